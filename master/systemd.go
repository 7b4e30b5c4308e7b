package main

import (
	"net/netip"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// inherited are the listening sockets that systemd opened for us
// (sd_listen_fds(3)), until services take them.
type inherited struct {
	sockets map[netip.AddrPort]socket
	dual    map[uint16]bool // ports whose IPv6 socket takes IPv4 too
	unfit   int             // descriptors that are no listening TCP sockets
}

// inheritSockets takes what the environment offers.
func inheritSockets() *inherited {
	h := &inherited{sockets: map[netip.AddrPort]socket{}, dual: map[uint16]bool{}}
	for _, f := range activation.Files(true) {
		// A copy, because the file closes its descriptor when it is collected.
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		f.Close() // the copy stays
		if err != nil {
			h.unfit++
			continue
		}
		ap, ok := listensOn(fd)
		if !ok || unix.SetNonblock(fd, true) != nil {
			unix.Close(fd) // nothing for us
			h.unfit++
			continue
		}
		if only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err == nil && only == 0 && ap.Addr().Is6() {
			h.dual[ap.Port()] = true
		}
		h.sockets[ap] = socket{fd, ap.String()}
	}
	return h
}

// listensOn is the address of a listening TCP socket.
func listensOn(fd int) (netip.AddrPort, bool) {
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil || listening == 0 {
		return netip.AddrPort{}, false
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, false
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), true
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), true
	}
	return netip.AddrPort{}, false
}

// take gives away the socket for an address.
func (h *inherited) take(ap netip.AddrPort) (socket, bool) {
	s, found := h.sockets[ap]
	delete(h.sockets, ap)
	return s, found
}

// covers reports whether an IPv4 wildcard is served by an IPv6 socket that
// takes both families.
func (h *inherited) covers(ap netip.AddrPort) bool {
	return ap.Addr().Is4() && ap.Addr().IsUnspecified() && h.dual[ap.Port()]
}

// drop closes what no service wanted, and says so.
func (h *inherited) drop(warn func(format string, args ...any)) {
	for ap, s := range h.sockets {
		warn("no service of master.cf listens on inherited socket %s", ap)
		unix.Close(s.fd) // nobody's
	}
	clear(h.sockets)
	if h.unfit > 0 {
		warn("%d inherited descriptors are not listening TCP sockets", h.unfit)
		h.unfit = 0
	}
}

// notify tells systemd about a change of state (sd_notify(3)). Without
// systemd it does nothing; with it, an error costs only the information.
func notify(state string) {
	_, _ = daemon.SdNotify(false, state)
}

// notifyReload begins a reload in systemd's eyes; READY=1 ends it.
func notifyReload() { notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec()) }
