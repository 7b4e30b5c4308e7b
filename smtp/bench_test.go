package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	daemon "postroad/libmail/server"
)

// mustParams reads a small main.cf.
func mustParams(tb testing.TB, overrides []string) *params {
	dir := tb.TempDir()
	text := "compatibility_level = 3.6\nmyhostname = client.example.org\ninet_interfaces = 127.0.0.1\n"
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
	c, err := conf.Load(dir, overrides...)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := readParams(c, maillog.Discard(), "smtp", nil, func(string) {})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// BenchmarkDeliver measures deliveries of 4 KiB messages from 20 goroutines
// to a server that POSTROAD_SINK names, "127.0.0.1:2525" (smtp-sink).
func BenchmarkDeliver(b *testing.B) {
	sink := os.Getenv("POSTROAD_SINK")
	if sink == "" {
		b.Skip("POSTROAD_SINK is not set")
	}
	host, port, err := net.SplitHostPort(sink)
	if err != nil {
		b.Fatal(err)
	}
	c := newClient(mustParams(b, nil), maillog.Discard(), daemon.RealClock())
	body := strings.Split("Subject: x\n\n"+strings.Repeat(strings.Repeat("x", 70)+"\n", 58), "\n")
	work := make(chan int)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for i := range work {
				now := time.Now()
				req := &proto.Request{QueueID: fmt.Sprint(i), Nexthop: "[" + host + "]:" + port, Sender: "a@example.org", Encoding: "7bit",
					Stats: proto.MsgStats{Arrival: now, Active: now}, Rcpts: []proto.Rcpt{{Address: "b@example.com"}}}
				l := &book{}
				c.deliver(context.Background(), req, l, func() lines { return &text{lines: body} })
				if len(l.results) != 1 || !strings.Contains(l.results[0], "status=sent") {
					b.Error(l.results)
				}
			}
		})
	}
	b.ResetTimer()
	for i := range b.N {
		work <- i
	}
	close(work)
	wg.Wait()
}
