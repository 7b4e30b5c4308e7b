package main

import (
	"bufio"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postroad/libmail/ipc"
)

// Sizes of buffers, bytes. An idle session holds only the small ones.
const (
	commandBuffer = 1 << 10
	contentBuffer = 16 << 10
)

// contentBuffers holds the readers of sessions that receive no content.
type contentBuffers struct{ pool sync.Pool }

func (p *contentBuffers) get() *bufio.Reader {
	if r, ok := p.pool.Get().(*bufio.Reader); ok {
		return r
	}
	return bufio.NewReaderSize(nil, contentBuffer)
}

func (p *contentBuffers) put(r *bufio.Reader) {
	r.Reset(nil)
	p.pool.Put(r)
}

// pace is how patient the server is with one client.
type pace struct {
	timeout  time.Duration // of one read or write, or of a whole request
	requests bool          // timeout counts for a whole request (smtpd_per_request_deadline)
}

// wire is the connection to one client. Replies are collected and sent when
// the next command must be waited for (RFC 2920 §3.2).
type wire struct {
	conn    net.Conn // TLS or the timed connection
	timed   *timedConn
	small   *bufio.Reader
	large   *bufio.Reader // while content is read and until it is drained, else nil
	w       *bufio.Writer
	buffers *contentBuffers
	scratch []byte
}

func newWire(c net.Conn, pace func() pace, buffers *contentBuffers) *wire {
	timed := &timedConn{Conn: ipc.Quick(c), pace: pace, began: time.Now()}
	x := &wire{conn: timed, timed: timed, buffers: buffers}
	x.small = bufio.NewReaderSize(flushFirst{x}, commandBuffer)
	x.w = bufio.NewWriterSize(flushTo{x}, commandBuffer)
	return x
}

// flushFirst sends what is due to the client before waiting for it.
type flushFirst struct{ x *wire }

func (f flushFirst) Read(p []byte) (int, error) {
	if f.x.w.Buffered() > 0 {
		if err := f.x.w.Flush(); err != nil {
			return 0, err
		}
	}
	return f.x.conn.Read(p)
}

// flushTo follows conn when TLS begins.
type flushTo struct{ x *wire }

func (f flushTo) Write(p []byte) (int, error) { return f.x.conn.Write(p) }

// reader is what to read commands from: what is left of a large buffer first.
func (x *wire) reader() *bufio.Reader {
	if x.large != nil && x.large.Buffered() > 0 {
		return x.large
	}
	x.release()
	return x.small
}

// content is what to read message content from.
func (x *wire) content() *bufio.Reader {
	if x.large == nil {
		x.large = x.buffers.get()
		x.large.Reset(x.small)
	}
	return x.large
}

// release gives a drained large buffer back.
func (x *wire) release() {
	if x.large != nil {
		x.buffers.put(x.large)
		x.large = nil
	}
}

// buffered is the number of bytes that were received and not yet read.
func (x *wire) buffered() int {
	n := x.small.Buffered()
	if x.large != nil {
		n += x.large.Buffered()
	}
	return n
}

// peek shows up to n bytes that the client sent without being asked.
func (x *wire) peek(n int) []byte {
	if x.buffered() == 0 && x.conn == net.Conn(x.timed) && x.timed.pending() {
		_, _ = x.reader().Peek(1) // an error shows at the next read
	}
	r := x.reader()
	data, _ := r.Peek(min(n, r.Buffered())) // they are in the buffer
	return data
}

// purge forgets what was received and what was not yet sent: at the begin of
// TLS neither may be believed (RFC 3207 §4.2).
func (x *wire) purge() {
	x.release()
	x.small.Reset(flushFirst{x})
	x.w.Reset(flushTo{x})
}

// timedConn limits every wait for the client. With pace.requests the whole
// request has one budget, which grows with the content that arrives.
type timedConn struct {
	net.Conn
	pace func() pace

	began   time.Time // of the request
	budget  time.Duration
	minRate int // content bytes per second that keep the budget; 0: nothing does
	lastIO  time.Time
	shown   *x509.Certificate // to the client, in TLS

	mu      sync.Mutex
	idle    bool // the session waits for a command and holds no transaction
	stopped bool // it shall end as soon as it is idle
}

// errStopping ends a session because the mail system stops.
var errStopping = errors.New("mail system is stopping")

// setIdle says whether the session could end now.
func (t *timedConn) setIdle(idle bool) {
	t.mu.Lock()
	t.idle = idle
	t.mu.Unlock()
}

// stop ends the session when it is idle, now or later.
func (t *timedConn) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.idle {
		_ = t.Conn.SetReadDeadline(time.Unix(1, 0)) // an error means that it is closed
	}
}

// arm sets the deadline of one read, unless the session is to end.
func (t *timedConn) arm(deadline time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped && t.idle {
		return errStopping
	}
	return t.Conn.SetReadDeadline(deadline)
}

// slice bounds one wait, so that a change of pace (stress) is noticed.
const slice = 10 * time.Second

// request starts a new request. minRate > 0: the budget grows as content
// arrives (smtpd_min_data_rate).
func (t *timedConn) request(minRate int) {
	t.began, t.minRate, t.budget = time.Now(), minRate, 0
}

// left is how much longer a wait may take that began at start.
func (t *timedConn) left(start, now time.Time) time.Duration {
	p := t.pace()
	if !p.requests {
		return p.timeout - now.Sub(start)
	}
	return min(p.timeout, p.timeout-now.Sub(t.began)+t.budget)
}

func (t *timedConn) Read(p []byte) (int, error) {
	start := time.Now()
	for now := start; ; now = time.Now() {
		left := t.left(start, now)
		if left <= 0 {
			return 0, os.ErrDeadlineExceeded
		}
		if err := t.arm(now.Add(min(left, slice))); err != nil {
			return 0, err
		}
		n, err := t.Conn.Read(p)
		if n > 0 {
			t.lastIO = time.Now()
			if t.minRate > 0 {
				t.earn(n)
			}
			return n, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			if err == nil {
				err = io.ErrNoProgress
			}
			return 0, err
		}
	}
}

// earn extends the budget by the time that n bytes may take, but never beyond
// one timeout from now.
func (t *timedConn) earn(n int) {
	t.budget += time.Duration(n) * time.Second / time.Duration(t.minRate)
	t.budget = min(t.budget, time.Since(t.began))
}

func (t *timedConn) Write(p []byte) (int, error) {
	start := time.Now()
	left := t.left(start, start)
	if left <= 0 {
		return 0, os.ErrDeadlineExceeded
	}
	if err := t.Conn.SetWriteDeadline(start.Add(left)); err != nil {
		return 0, err
	}
	n, err := t.Conn.Write(p)
	t.lastIO = time.Now()
	return n, err
}

// pending reports whether the kernel holds bytes from the client.
func (t *timedConn) pending() bool {
	c, ok := t.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false // closed: the next read tells
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) // n is 0 if it fails
	})
	return err == nil && n > 0
}
