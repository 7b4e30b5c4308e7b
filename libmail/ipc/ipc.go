// Package ipc is the service sockets: listen, connect, keep connections, pass
// descriptors, with a time limit on each operation.
//
// A service listens on a Unix stream socket below the queue directory
// (public/cleanup, private/rewrite). On a new connection the server speaks
// first and names its conversation as one attribute list; then requests
// follow each other until either side closes:
//
//	S: protocol NUL NAME NUL NUL
//	C: request attributes NUL
//	S: reply attributes NUL
//	C: ...
//
// A server closes only between two requests, so a client whose kept
// connection ends before the first byte of a reply repeats the request once
// on a new one.
package ipc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"postroad/libmail/attr"
)

// DefaultTimeout is ipc_timeout's default (postconf(5)).
const DefaultTimeout = 3600 * time.Second

// bufferSize is what a connection buffers in each direction, in bytes.
const bufferSize = 8192

// fileMark is the byte that carries a passed descriptor.
const fileMark = 0xfd

// maxPassed is the number of descriptors of one message that a reader sees;
// the kernel closes what is beyond.
const maxPassed = 8

// A Conn is one end of a conversation. Every read and every write has the
// whole time limit anew. One goroutine uses it at a time, except Shutdown and
// Close.
type Conn struct {
	net.Conn
	R *bufio.Reader // reads, each with the time limit
	W *bufio.Writer // writes, each with the time limit, at Flush or when full

	timeout  time.Duration
	in       *attr.Reader
	out      *attr.Writer
	unix     *net.UnixConn // nil: descriptors cannot be passed
	quick    *quick        // the same, nil with it
	oob      []byte
	passed   []int // descriptors that came and were not taken yet, at most one
	surplus  bool  // the peer sent more descriptors than it may
	received int64 // bytes read since the connection was made

	await awaiting
}

// awaiting is what Await and Shutdown share.
type awaiting struct {
	mu      sync.Mutex
	calls   int  // of Await so far
	waiting bool // in Await, and Shutdown may interrupt it
	closing bool
	hurry   bool // the first request is not taken either
	check   func() bool
	since   time.Time // when the wait began; zero outside Await
}

// NewConn wraps c; a timeout of 0 means DefaultTimeout.
func NewConn(c net.Conn, timeout time.Duration) *Conn {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	conn := &Conn{Conn: c, timeout: timeout}
	if u, ok := c.(*net.UnixConn); ok {
		if q, ok := Quick(u).(*quick); ok {
			conn.unix, conn.quick = u, q
			conn.oob = make([]byte, unix.CmsgSpace(4*maxPassed))
		}
	}
	conn.R = bufio.NewReaderSize(reader{conn}, bufferSize)
	conn.W = bufio.NewWriterSize(writer{conn}, bufferSize)
	conn.in = attr.NewReader(conn.R)
	conn.out = attr.NewWriter(conn.W)
	return conn
}

// In is the connection's attribute reader. It keeps its first error, as the
// connection is of no use after one.
func (c *Conn) In() *attr.Reader { return c.in }

// Out is the connection's attribute writer.
func (c *Conn) Out() *attr.Writer { return c.out }

// Flush sends what is buffered in W, as one write.
func (c *Conn) Flush() error { return c.out.Flush() }

// Close closes the connection and the descriptors that nobody took.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	for _, fd := range c.passed {
		unix.Close(fd) // received but unwanted; nothing to do about an error
	}
	c.passed = nil
	return err
}

// SetTimeout changes the time limit of the operations that follow.
func (c *Conn) SetTimeout(timeout time.Duration) { c.timeout = timeout }

// Await waits for the first byte of the next request. It returns io.EOF when
// the peer closed, or when the server takes no more requests; the caller then
// ends the session without an answer, and the client repeats its request
// elsewhere. The first request of a connection is always taken: its client
// would not know that it may repeat it.
func (c *Conn) Await() error {
	first, more := c.await.begin()
	if !more {
		return io.EOF
	}
	_, err := c.R.Peek(1)
	closing := c.await.end()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return io.EOF
	case err != nil:
		return err
	case first:
		return nil
	case closing, c.await.check != nil && !c.await.check():
		return io.EOF
	}
	return nil
}

// Shutdown makes the session end at its next Await, at once when it is in one
// now. The session's other operations go on.
func (c *Conn) Shutdown() {
	c.await.mu.Lock()
	defer c.await.mu.Unlock()
	c.await.closing = true
	if c.await.waiting {
		// An error means that the connection is closed already.
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// HangUp is Shutdown for a server that is in a hurry: it also ends a wait for
// the first request, whose client sees that nobody serves it now.
func (c *Conn) HangUp() {
	c.await.mu.Lock()
	defer c.await.mu.Unlock()
	c.await.closing, c.await.hurry = true, true
	if !c.await.since.IsZero() {
		// An error means that the connection is closed already.
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// OnRequest makes Await ask check, once a further request has begun to
// arrive, whether this process may still take it. Call it before Await.
func (c *Conn) OnRequest(check func() bool) { c.await.check = check }

// Waiting reports since when the session has been in Await; ok is false while
// it serves a request.
func (c *Conn) Waiting() (since time.Time, ok bool) {
	c.await.mu.Lock()
	defer c.await.mu.Unlock()
	return c.await.since, !c.await.since.IsZero()
}

// begin enters Await; more is false when there shall be no further request.
func (a *awaiting) begin() (first, more bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	first = a.calls == 0
	if a.closing && !first || a.hurry {
		return false, false
	}
	a.calls++
	a.waiting = !first
	a.since = time.Now()
	return first, true
}

// interrupted reports whether the wait in Await shall end.
func (a *awaiting) interrupted() bool {
	return a.closing && a.waiting || a.hurry && !a.since.IsZero()
}

// end leaves Await.
func (a *awaiting) end() (closing bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = false
	a.since = time.Time{}
	return a.closing
}

// reader is Conn's reading half for R: it sets the deadline and takes
// descriptors that come along.
type reader struct{ c *Conn }

func (r reader) Read(p []byte) (int, error) {
	c := r.c
	c.await.mu.Lock()
	var err error
	if !c.await.interrupted() { // else Shutdown's deadline stays
		err = c.Conn.SetReadDeadline(time.Now().Add(c.timeout))
	}
	c.await.mu.Unlock()
	if err != nil {
		return 0, err
	}
	var n int
	if c.unix == nil {
		n, err = c.Conn.Read(p)
	} else {
		n, err = c.readMsg(p)
	}
	c.received += int64(n)
	return n, err
}

// writer is Conn's writing half for W.
type writer struct{ c *Conn }

func (w writer) Write(p []byte) (int, error) {
	if err := w.c.Conn.SetWriteDeadline(time.Now().Add(w.c.timeout)); err != nil {
		return 0, err
	}
	if w.c.quick != nil {
		return w.c.quick.Write(p)
	}
	return w.c.Conn.Write(p)
}

// readMsg is recvmsg(2): a plain read would drop descriptors that arrive with
// the bytes.
func (c *Conn) readMsg(p []byte) (int, error) {
	n, oobn, err := c.quick.readMsg(p, c.oob)
	if oobn > 0 {
		c.take(c.oob[:oobn])
	}
	return n, err
}

// take keeps the first descriptor of a control message and closes the others.
func (c *Conn) take(oob []byte) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		c.surplus = true
		return
	}
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // not SCM_RIGHTS: credentials, which nobody asked for
		}
		for _, fd := range fds {
			if len(c.passed) == 0 && !c.surplus {
				c.passed = append(c.passed, fd)
				continue
			}
			c.surplus = true
			unix.Close(fd) // ours alone; an error changes nothing
		}
	}
}

// SendFile passes an open file to the peer, after what is buffered. The
// caller still owns f.
func (c *Conn) SendFile(f *os.File) error {
	if c.unix == nil {
		return errors.New("send file: not a Unix socket")
	}
	if err := c.Flush(); err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("send file %s: %w", f.Name(), err)
	}
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		_, _, sent = c.unix.WriteMsgUnix([]byte{fileMark}, unix.UnixRights(int(fd)), nil)
	})
	if err == nil {
		err = sent
	}
	if err != nil {
		return fmt.Errorf("send file %s: %w", f.Name(), err)
	}
	return nil
}

// ReceiveFile takes the file that the peer sends with SendFile: exactly one
// descriptor. More than one, or none, is an error, and none stays open.
func (c *Conn) ReceiveFile() (*os.File, error) {
	mark, err := c.R.ReadByte()
	if err != nil {
		return nil, fmt.Errorf("receive file: %w", err)
	}
	var fd = -1
	if len(c.passed) == 1 {
		fd = c.passed[0]
		c.passed = c.passed[:0]
	}
	switch {
	case fd >= 0 && mark == fileMark && !c.surplus:
		return os.NewFile(uintptr(fd), "received"), nil
	case fd >= 0:
		unix.Close(fd) // ours alone; an error changes nothing
	}
	switch {
	case c.surplus:
		return nil, errors.New("receive file: more than one descriptor")
	case mark != fileMark:
		return nil, fmt.Errorf("receive file: got byte %#x instead", mark)
	}
	return nil, errors.New("receive file: no descriptor came")
}

// PeerCred is the peer's process, user and group as the kernel saw them when
// it connected.
func (c *Conn) PeerCred() (*unix.Ucred, error) {
	if c.unix == nil {
		return nil, errors.New("peer credentials: not a Unix socket")
	}
	raw, err := c.unix.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var got error
	err = raw.Control(func(fd uintptr) {
		cred, got = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err == nil {
		err = got
	}
	if err != nil {
		return nil, fmt.Errorf("peer credentials: %w", err)
	}
	return cred, nil
}
