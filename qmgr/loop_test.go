package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/server"
)

// busyAgents are agents on goroutines of their own: each recipient is
// delivered, bounced or deferred once, by its name.
type busyAgents struct {
	spool *queue.Spool
	name  string
	mu    *sync.Mutex
	ends  map[string]int
}

func (a busyAgents) Deliver(req *proto.Request) (dsn.Outcome, int, error) {
	f, err := a.spool.Open(req.QueueName, req.QueueID, queue.Shared)
	if err != nil {
		return dsn.Outcome{}, proto.DeliverDefer, nil
	}
	defer f.Close()
	for _, r := range req.Rcpts {
		if a.name == retryTransport || r.Address[0] == 'd' {
			err := a.spool.AppendLog(queue.Defer, req.QueueID, queue.Rcpt(r), dsn.Outcome{Status: "4.0.0", Reason: "later"})
			return dsn.Outcome{}, proto.DeliverDefer, err
		}
		a.mu.Lock()
		a.ends[r.Address]++
		a.mu.Unlock()
		if r.Address[0] == 'b' {
			err = a.spool.AppendLog(queue.Bounce, req.QueueID, queue.Rcpt(r), dsn.Outcome{Status: "5.0.0", Reason: "never"})
		}
		if err = errors.Join(err, f.MarkDone(r.Offset)); err != nil {
			return dsn.Outcome{}, proto.DeliverDefer, err
		}
	}
	return dsn.Outcome{}, proto.DeliverFinal, nil
}

// quietService is a bounce service that only removes logs.
type quietService struct {
	spool *queue.Spool
	kind  string
}

func (s quietService) Append(int, string, proto.Rcpt, dsn.Outcome) error { return nil }
func (s quietService) Warn(int, proto.BounceMessage) error               { return nil }
func (s quietService) Trace(int, proto.BounceMessage) error              { return nil }
func (s quietService) Flush(_ int, m proto.BounceMessage) error {
	return s.spool.RemoveLog(s.kind, m.QueueID)
}
func (s quietService) VERP(_ int, m proto.BounceMessage, _ string) error { return s.Flush(0, m) }

// TestLoop runs the queue manager with real goroutines and the real clock.
func TestLoop(t *testing.T) {
	w := newWorld(t)
	h := w.m.house
	h.clock = newSystemClock(server.RealClock())
	var mu sync.Mutex
	ends := map[string]int{}
	spool := queue.New(queue.Options{Root: w.root, LongIDs: true, Owner: -1, FS: queue.System{}})
	h.spool = spool
	h.agent = func(name string) agent { return busyAgents{spool, name, &mu, ends} }
	h.bounce, h.defers, h.trace = quietService{spool, queue.Bounce}, quietService{spool, queue.Defer}, quietService{spool, queue.Trace}
	h.credit = nil
	set := defaults()
	set.lifetime = 0 // what is deferred is given up at once
	set.watchdog = time.Hour
	m := newQmgr(h, &set)
	m.watchdog = time.AfterFunc(time.Hour, func() {})

	const n = 200
	m.start()
	ctx, stop := context.WithCancel(context.Background())
	go m.loop(ctx)
	w.clock.wall = time.Now()
	for i := range n {
		id := w.mail(letter{to: []string{fmt.Sprintf("a%d@x", i), fmt.Sprintf("b%d@y%d", i, i%5), fmt.Sprintf("d%d@z", i), fmt.Sprintf("a%d@local.z", i)}})
		m.post(func() { m.trigger([]byte("N" + id + "\n")) })
		if i%50 == 0 {
			m.post(func() { fresh := set; m.reload(&fresh) })
			m.post(func() { m.trigger([]byte("FDAI")) })
		}
	}
	for left := 1; left > 0; {
		time.Sleep(5 * time.Millisecond)
		got := make(chan int)
		m.post(func() { got <- len(m.messages) + len(m.announced) })
		left = <-got
		if left == 0 {
			scan := spool.Scan(queue.Incoming)
			if _, err := scan.Next(); err == nil {
				left = 1
				m.post(func() { m.trigger([]byte("I")) })
			}
			scan.Close()
		}
	}
	stop()
	m.wake()
	<-m.over
	if len(ends) != 3*n {
		t.Errorf("%d recipients have an end, want %d", len(ends), 3*n)
	}
	for rcpt, k := range ends {
		if k != 1 {
			t.Errorf("%s has %d ends", rcpt, k)
		}
	}
	if got := w.count(": removed"); got != n {
		t.Errorf("%d removed, want %d", got, n)
	}
}
