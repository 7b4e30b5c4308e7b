package ipc

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestQuick: what goes through is complete, whatever the buffers hold, and
// ends, deadlines and a peer that is gone show as with net's own calls.
func TestQuick(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			a, b := sockets(t, network)
			q := Quick(b)
			if q == b {
				t.Fatal("the plain connection is used")
			}
			sent := bytes.Repeat([]byte("0123456789"), 1<<18)
			go func() {
				if n, err := Quick(a).Write(sent); n != len(sent) || err != nil {
					t.Errorf("wrote %d, %v", n, err)
				}
				a.Close()
			}()
			got, err := io.ReadAll(q)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			for err == nil {
				_, err = q.Write(sent)
			}
			if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the peer is gone: %v", err)
			}
			b.Close()
			if _, err := q.Read(got); !errors.Is(err, net.ErrClosed) {
				t.Errorf("closed: %v", err)
			}
			if a, b = sockets(t, network); b.SetReadDeadline(time.Unix(1, 0)) != nil {
				t.Fatal("no deadline")
			}
			if _, err := Quick(b).Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("after the deadline: %v", err)
			}
		})
	}
}

// sockets are two ends of a connection.
func sockets(t testing.TB, network string) (a, b net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial(network, l.Addr().String()); err == nil {
		b, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// BenchmarkRequest is one request and its reply on a kept connection.
func BenchmarkRequest(b *testing.B) {
	client, server := sockets(b, "unix")
	go func() {
		for c := NewConn(server, time.Minute); c.Await() == nil; {
			address := c.In().Str("address")
			c.In().End()
			c.Out().Str("address", address)
			c.Out().End()
			if c.Flush() != nil {
				return
			}
		}
	}()
	c := NewConn(client, time.Minute)
	for b.Loop() {
		c.Out().Str("address", "user@example.com")
		c.Out().End()
		if err := c.Flush(); err != nil {
			b.Fatal(err)
		}
		c.In().Str("address")
		c.In().End()
		if err := c.In().Err(); err != nil {
			b.Fatal(err)
		}
	}
}
