package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errLeft means that another process took the connection.
var errLeft = errors.New("no connection waits any more")

// A socket is one listening socket that master opened.
type socket struct {
	file *os.File
	raw  syscall.RawConn
}

// openSocket takes over the descriptor.
func openSocket(fd int) (*socket, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("socket %d: %w", fd, err)
	}
	unix.CloseOnExec(fd)
	s := &socket{file: os.NewFile(uintptr(fd), fmt.Sprintf("socket %d", fd))}
	if s.file == nil {
		return nil, fmt.Errorf("socket %d: not open", fd)
	}
	raw, err := s.file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("socket %d: %w", fd, err)
	}
	s.raw = raw
	return s, nil
}

// wait returns when something can be accepted or read. It does not take it,
// so that a process which is about to leave can let its successor have it.
func (s *socket) wait() error {
	return s.raw.Read(func(fd uintptr) bool {
		p := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		var now unix.Timespec
		// Without a wait it cannot block, so the runtime need not know (see ipc.Quick).
		n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		return errno != 0 && errno != unix.EINTR || errno == 0 && n > 0
	})
}

// accept takes a connection; errLeft when there is none.
func (s *socket) accept() (net.Conn, error) {
	fd := -1
	var err error
	if cerr := s.raw.Control(func(listener uintptr) {
		fd, _, err = unix.Accept4(int(listener), unix.SOCK_CLOEXEC)
	}); cerr != nil {
		return nil, cerr
	}
	switch {
	case err == nil:
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		return nil, errLeft
	default:
		return nil, os.NewSyscallError("accept", err)
	}
	f := os.NewFile(uintptr(fd), "connection")
	c, err := net.FileConn(f)
	f.Close() // FileConn made a copy
	return c, err
}

// read takes what waits into p; 0 when there is nothing.
func (s *socket) read(p []byte) (n int, err error) {
	var errno syscall.Errno
	var got uintptr
	if err := s.raw.Control(func(fd uintptr) {
		// The descriptor does not block, so the runtime need not know (see ipc.Quick).
		got, _, errno = unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	}); err != nil {
		return 0, err
	}
	switch errno {
	case 0:
		return int(got), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, os.NewSyscallError("read", errno)
}

// interrupt makes wait return an error now and from now on.
func (s *socket) interrupt() {
	// An error means that the socket is closed, which does the same.
	_ = s.file.SetReadDeadline(time.Unix(1, 0))
}

// shortage reports an error of accept that passes when others close files or
// free memory.
func shortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) ||
		errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}
