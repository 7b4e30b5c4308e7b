package server

import (
	"net"
	"os"
	"time"
)

// stdio is a connection made of standard input and output.
type stdio struct{}

func (stdio) Read(p []byte) (int, error)  { return os.Stdin.Read(p) }
func (stdio) Write(p []byte) (int, error) { return os.Stdout.Write(p) }

func (stdio) Close() error {
	err := os.Stdin.Close()
	if oerr := os.Stdout.Close(); err == nil {
		err = oerr
	}
	return err
}

func (stdio) LocalAddr() net.Addr  { return stdioAddr{} }
func (stdio) RemoteAddr() net.Addr { return stdioAddr{} }

func (c stdio) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline has no effect on files and terminals, which have none.
func (stdio) SetReadDeadline(t time.Time) error { return noDeadline(os.Stdin.SetReadDeadline(t)) }

// SetWriteDeadline has no effect on files and terminals, which have none.
func (stdio) SetWriteDeadline(t time.Time) error { return noDeadline(os.Stdout.SetWriteDeadline(t)) }

func noDeadline(err error) error {
	if os.IsTimeout(err) || err == nil {
		return err
	}
	return nil
}

type stdioAddr struct{}

func (stdioAddr) Network() string { return "stdio" }
func (stdioAddr) String() string  { return "stdio" }
