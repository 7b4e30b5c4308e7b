package ipc

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Quick returns c with a cheaper way of reading and writing, or c itself when
// it is no socket. At most one goroutine reads from it, and one writes.
//
// Go's runtime is told of each system call that may block, and keeps a thread
// busy that takes the processor from those which do. A call on a non-blocking
// socket never blocks; what has to be waited for, the poller waits for. So
// the calls are made without telling, and a program that only talks on
// sockets leaves that thread asleep.
func Quick(c net.Conn) net.Conn {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return c
	}
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return c // closed already: the first use says so
	}
	return newQuick(c, raw)
}

// quick is a socket of which each system call is made unannounced.
type quick struct {
	net.Conn
	raw    syscall.RawConn
	rd, wr transfer
}

// A transfer is one read or write under way. Its function is made once, as a
// new one at each call would be garbage.
type transfer struct {
	p    []byte
	oob  []byte // control messages, read only
	n    int
	oobn int
	err  error
	try  func(fd uintptr) bool
}

func newQuick(c net.Conn, raw syscall.RawConn) *quick {
	q := &quick{Conn: c, raw: raw}
	q.rd.try, q.wr.try = q.rd.receive, q.wr.send
	return q
}

// SyscallConn gives access to the descriptor, as that of the connection does.
func (q *quick) SyscallConn() (syscall.RawConn, error) { return q.raw, nil }

// Read implements io.Reader.
func (q *quick) Read(p []byte) (int, error) {
	n, _, err := q.readMsg(p, nil)
	return n, err
}

// readMsg is recvmsg(2); the end of the stream is io.EOF.
func (q *quick) readMsg(p, oob []byte) (n, oobn int, err error) {
	if len(p) == 0 {
		return 0, 0, nil
	}
	t := &q.rd
	t.p, t.oob, t.n, t.oobn, t.err = p, oob, 0, 0, nil
	err = q.raw.Read(t.try)
	t.p, t.oob = nil, nil
	switch {
	case err != nil: // a deadline, or closed
	case t.err != nil:
		err = os.NewSyscallError("recvmsg", t.err)
	case t.n == 0:
		err = io.EOF
	}
	return t.n, t.oobn, err
}

// receive tries once; false means that nothing has come yet.
func (t *transfer) receive(fd uintptr) bool {
	iov := unix.Iovec{Base: &t.p[0]}
	iov.SetLen(len(t.p))
	msg := unix.Msghdr{Iov: &iov}
	msg.SetIovlen(1)
	if len(t.oob) > 0 {
		msg.Control = &t.oob[0]
		msg.SetControllen(len(t.oob))
	}
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		switch errno {
		case 0:
			t.n, t.oobn = int(n), int(msg.Controllen)
			if len(t.oob) == 0 {
				t.oobn = 0
			}
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			t.err = errno
			return true
		}
	}
}

// Write implements io.Writer.
func (q *quick) Write(p []byte) (int, error) {
	t := &q.wr
	t.p, t.n, t.err = p, 0, nil
	err := q.raw.Write(t.try)
	t.p = nil
	if err == nil && t.err != nil {
		err = os.NewSyscallError("sendto", t.err)
	}
	return t.n, err
}

// send writes what there is room for; false means that more is to be written
// when there is room again.
func (t *transfer) send(fd uintptr) bool {
	for t.n < len(t.p) {
		p := t.p[t.n:]
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			t.n += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			t.err = errno
			return true
		}
	}
	return true
}
