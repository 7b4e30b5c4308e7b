package server

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"postroad/libmail/ipc"
)

// TestTriggered: a connection may carry several requests; none is cut where a
// line is whole.
func TestTriggered(t *testing.T) {
	ours, theirs := net.Pipe()
	requests := make(chan string)
	r := &running{svc: Trigger(func(_ context.Context, p []byte) { requests <- string(bytes.Clone(p)) }), ipcTimeout: time.Minute}
	over := make(chan struct{})
	go func() {
		r.triggered(context.Background(), ipc.NewConn(ours, time.Minute))
		close(over)
	}()
	go func() {
		for _, text := range []string{"FDAI", "W", strings.Repeat("N0123456789\n", 1000)} {
			if _, err := theirs.Write([]byte(text)); err != nil {
				t.Error(err)
			}
		}
		theirs.Close()
	}()
	for _, want := range []string{"FDAI", "W"} {
		if got := <-requests; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	lines := 0
	for lines < 1000 {
		got := <-requests
		if strings.Trim(strings.ReplaceAll(got, "N0123456789\n", "."), ".") != "" {
			t.Fatalf("a line is cut: %.50q...", got)
		}
		lines += strings.Count(got, "\n")
	}
	<-over
}
