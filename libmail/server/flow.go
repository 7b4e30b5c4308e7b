package server

import (
	"context"
	"errors"
	"syscall"
	"time"

	"postroad/libmail/conf"
)

// A Flow slows down the acceptance of mail when it arrives faster than the
// queue manager takes it (in_flow_delay, postconf(5)): the queue manager
// puts one token into a pipe for each message it took, cleanup takes one for
// each message it accepts, and waits for a moment when there is none.
type Flow struct {
	read, write int // descriptors, non-blocking; -1: no flow control
	delay       time.Duration
}

// newFlow uses the pipe that master made.
func newFlow(c *conf.Config, o options) *Flow {
	f := &Flow{read: -1, write: -1, delay: c.Duration("in_flow_delay")}
	if !o.stdio && o.kind != "" && isControl(ControlFD) {
		f.read, f.write = flowReadFD, flowWriteFD
	}
	return f
}

// Take takes a token. Without one it waits for in_flow_delay, or until the
// context ends, and goes on without.
func (f *Flow) Take(ctx context.Context) {
	if f.delay <= 0 || f.read < 0 {
		return
	}
	var one [1]byte
	if n, err := syscall.Read(f.read, one[:]); n == 1 || err != nil && !errors.Is(err, syscall.EAGAIN) {
		return
	}
	t := time.NewTimer(f.delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Give puts n tokens. What the pipe does not hold is dropped: there are
// tokens enough then.
func (f *Flow) Give(n int) {
	if f.write < 0 {
		return
	}
	var tokens [512]byte
	for n > 0 {
		part := min(n, len(tokens))
		if wrote, err := syscall.Write(f.write, tokens[:part]); err != nil || wrote < part {
			return // full
		}
		n -= part
	}
}

// Drain takes all tokens, as the queue manager does at its start.
func (f *Flow) Drain() {
	if f.read < 0 {
		return
	}
	var tokens [512]byte
	for {
		if n, err := syscall.Read(f.read, tokens[:]); err != nil || n == 0 {
			return
		}
	}
}
