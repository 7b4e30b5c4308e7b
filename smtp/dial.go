package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"postroad/libmail/dsn"
)

// dial connects to one address.
func (j *job) dial(ctx context.Context, s server) (*session, dsn.Outcome) {
	d := net.Dialer{Timeout: j.p.connect, KeepAlive: -1, Control: j.control}
	from, wanted := j.sourceAddr(s.addr)
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	to := netip.AddrPortFrom(s.addr, uint16(s.port)).String()
	conn, err := d.DialContext(ctx, "tcp", to)
	if call := (*os.SyscallError)(nil); errors.As(err, &call) && call.Syscall == "bind" {
		j.log.Warning("bind %s: %s", from, connectError(call.Err))
		if wanted == explicit && j.p.bindEnforce {
			return nil, local("4.4.0", "server configuration error")
		}
		d.LocalAddr = nil
		conn, err = d.DialContext(ctx, "tcp", to)
	}
	if err != nil {
		return nil, local("4.4.1", "connect to %s[%s]:%d: %s", s.host, s.addr, s.port, connectError(err))
	}
	return j.newSession(conn, s.host, s.addr.String(), s.port), dsn.Outcome{}
}

// dialUnix connects to a socket of this host.
func (j *job) dialUnix(ctx context.Context, path string) (*session, dsn.Outcome) {
	if len(path) >= len(syscall.RawSockaddrUnix{}.Path) {
		j.log.Warning("unix-domain name too long: %s", path)
		return nil, local("4.3.5", "Server configuration error")
	}
	d := net.Dialer{Timeout: j.p.connect}
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, local("4.4.1", "connect to %s[%s]: %s", j.p.myhost, path, connectError(err))
	}
	return j.newSession(conn, j.p.myhost, path, 0), dsn.Outcome{}
}

// control sets what must be set before connecting (tcp_windowsize).
func (j *job) control(_, _ string, c syscall.RawConn) error {
	if j.p.windowSize <= 0 {
		return nil
	}
	return c.Control(func(fd uintptr) {
		// A size that the kernel does not want leaves its own.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, j.p.windowSize)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, j.p.windowSize)
	})
}

// A sourceWish says whose wish a source address is.
type sourceWish int

const (
	implied  sourceWish = iota // this host has no other
	explicit                   // smtp_bind_address
)

// sourceAddr is the address to connect from: smtp_bind_address, or the only
// address of inet_interfaces if there is just one, so that the mail of a
// virtual host comes from its own address. The zero Addr leaves it to the
// kernel.
func (j *job) sourceAddr(to netip.Addr) (netip.Addr, sourceWish) {
	want := j.p.bind6
	if to.Is4() {
		want = j.p.bind4
	}
	if want.IsValid() {
		return want, explicit
	}
	var only netip.Addr
	for _, a := range j.p.interfaces {
		if a.Is4() != to.Is4() {
			continue
		}
		if only.IsValid() {
			return netip.Addr{}, implied
		}
		only = a
	}
	if only.IsLoopback() {
		return netip.Addr{}, implied
	}
	return only, implied
}

// connectError is the system's reason, as strerror(3) has it.
func connectError(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "Connection timed out"
	case errors.As(err, &errno):
		return capital(errno.Error())
	}
	return fmt.Sprint(err)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// capital writes the first letter large: Go's texts are those of the C
// library but for that.
func capital(text string) string {
	if text == "" || text[0] < 'a' || text[0] > 'z' {
		return text
	}
	return string(text[0]-'a'+'A') + text[1:]
}
