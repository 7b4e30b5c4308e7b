package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// The control conversation between master and a process that it started: a
// sequenced-packet socket pair, one message a packet, a word and the rest of
// the line. The end of the stream means that the other side is gone.
//
//	process to master
//	ready [resident] [sandbox TEXT]   it takes clients now; what was enforced
//	full N                            all N sessions are in use
//	leaving                           it takes no new clients, and will end
//	restarting                        the same; a new process is wanted now. Of a
//	                                  datagram service: it takes what comes until
//	                                  the new process is ready and it is drained
//
//	master to process
//	wake                              the wakeup timer fired
//	reload                            settings have changed
//	drain                             take no new clients, finish, end
//	stop                              the same within 10 s, sessions too

// Words of the control conversation.
const (
	WordReady      = "ready"
	WordFull       = "full"
	WordLeaving    = "leaving"
	WordRestarting = "restarting"
	WordWake       = "wake"
	WordReload     = "reload"
	WordDrain      = "drain"
	WordStop       = "stop"
)

// ControlFD is the control socket's number in a process that master started;
// the two ends of the flow pipe and the listening sockets follow.
const (
	ControlFD   = 3
	flowReadFD  = 4
	flowWriteFD = 5
	SocketFD    = 6
)

// maxControl bounds one message, in bytes.
const maxControl = 2048

// A Control is one end of the control conversation.
type Control struct {
	conn *net.UnixConn
}

// ControlPair makes both ends: master's, and the file to hand to the process.
func ControlPair() (*Control, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("control socket: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "control")
	ours, err := newControl(fds[0])
	if err != nil {
		theirs.Close() // the first error says what is wrong
		return nil, nil, err
	}
	return ours, theirs, nil
}

// newControl takes over the descriptor.
func newControl(fd int) (*Control, error) {
	f := os.NewFile(uintptr(fd), "control")
	defer f.Close() // FileConn made a copy
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close() // not ours after all
		return nil, errors.New("control socket: not a Unix socket")
	}
	return &Control{u}, nil
}

// isControl tells whether a descriptor is a control socket: whether master
// started this process.
func isControl(fd int) bool {
	kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	return err == nil && kind == syscall.SOCK_SEQPACKET
}

// Send sends one message: a word, and what belongs to it.
func (c *Control) Send(word, rest string) error {
	if rest != "" {
		word += " " + rest
	}
	_, err := c.conn.Write([]byte(word))
	return err
}

// Receive waits for the next message; io.EOF means that the other side is gone.
func (c *Control) Receive() (word, rest string, err error) {
	var buf [maxControl]byte
	n, err := c.conn.Read(buf[:])
	if err != nil {
		return "", "", err
	}
	word, rest, _ = strings.Cut(string(buf[:n]), " ")
	return word, rest, nil
}

// Close ends the conversation.
func (c *Control) Close() error { return c.conn.Close() }
