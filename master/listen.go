package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"postroad/libmail/conf"
)

// A socket is one listening socket, or the FIFO, of a service.
type socket struct {
	fd   int
	name string // "0.0.0.0:25", "public/cleanup"
}

// endpoints lists the addresses on which an inet service listens.
func endpoints(s conf.Service, c *conf.Config) ([]netip.AddrPort, error) {
	host, portName, err := conf.SplitInet(s.Name)
	if err != nil {
		return nil, err
	}
	port, err := portNumber(portName)
	if err != nil {
		return nil, err
	}
	hosts, err := hostAddresses(host, c)
	if err != nil {
		return nil, err
	}
	var list []netip.AddrPort
	for _, a := range hosts {
		list = append(list, netip.AddrPortFrom(a, port))
	}
	return list, nil
}

// wellKnown are the mail ports that a short services(5) may lack.
var wellKnown = map[string]uint16{
	"smtp": 25, "smtps": 465, "submissions": 465, "submission": 587,
	"pop3": 110, "pop3s": 995, "imap": 143, "imap2": 143, "imaps": 993, "sieve": 4190, "lmtp": 24,
}

// portNumber is the number of a port or of a service name.
func portNumber(name string) (uint16, error) {
	if n, err := strconv.ParseUint(name, 10, 16); err == nil {
		return uint16(n), nil
	}
	if n, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", name); err == nil {
		return uint16(n), nil
	}
	if n, found := wellKnown[name]; found {
		return n, nil
	}
	return 0, fmt.Errorf("service %s: unknown port name", name)
}

// hostAddresses is where to listen for a host: all addresses or those in
// inet_interfaces when none is given.
func hostAddresses(host string, c *conf.Config) ([]netip.Addr, error) {
	families := c.Families()
	var list []netip.Addr
	switch a, err := netip.ParseAddr(host); {
	case err == nil:
		list = []netip.Addr{a}
	case host != "":
		ips, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip", host)
		if err != nil {
			return nil, fmt.Errorf("host %s: %w", host, err)
		}
		list = ips
	case c.String("inet_interfaces") == "all":
		list = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	default:
		list = c.OwnAddresses()
	}
	var wanted []netip.Addr
	for _, a := range list {
		a = a.Unmap()
		if a.Is4() && families.V4 || a.Is6() && families.V6 {
			wanted = append(wanted, a)
		}
	}
	if len(wanted) == 0 {
		return nil, fmt.Errorf("host %q: no address in inet_interfaces and inet_protocols", host)
	}
	return wanted, nil
}

// errNoFamily means that this machine has no IPv6.
var errNoFamily = errors.New("address family not supported")

// listenInet opens one TCP socket.
func listenInet(ap netip.AddrPort) (socket, error) {
	network := "tcp4"
	if ap.Addr().Is6() {
		network = "tcp6"
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), network, ap.String())
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EADDRNOTAVAIL) && ap.Addr().IsUnspecified():
		return socket{}, errNoFamily
	case err != nil:
		return socket{}, err // names address and port
	}
	defer l.Close() // descriptor has a copy
	fd, err := descriptor(l.(*net.TCPListener))
	return socket{fd, l.Addr().String()}, err
}

// descriptor is a copy of a listener's descriptor, non-blocking as it is.
func descriptor(l interface {
	SyscallConn() (syscall.RawConn, error)
}) (int, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dup error
	err = raw.Control(func(orig uintptr) {
		fd, dup = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 0)
	})
	return fd, errors.Join(err, dup)
}

// listenLocal opens a service's socket or FIFO below the queue directory,
// which is the working directory. Everybody may use it who can enter the
// directory.
func listenLocal(s conf.Service) (socket, error) {
	path := s.Socket()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return socket{}, fmt.Errorf("remove old socket: %w", err)
	}
	defer unix.Umask(unix.Umask(0o111)) // everybody may write, as with Postfix
	if s.Type == "fifo" {
		return openFIFO(path)
	}
	kind := unix.SOCK_STREAM
	if s.Type == "unix-dgram" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return socket{}, fmt.Errorf("%s: %w", path, err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		unix.Close(fd) // of no use
		return socket{}, fmt.Errorf("listen on %s: %w", path, err)
	}
	return socket{fd, path}, nil
}

// backlog is the length of listen queues; the kernel lowers it to
// net.core.somaxconn.
const backlog = 65535

// openFIFO makes a FIFO that anybody may write to (as Postfix's triggers
// were), and opens it for both, so that it never ends.
func openFIFO(path string) (socket, error) {
	if err := unix.Mkfifo(path, 0o622); err != nil {
		return socket{}, fmt.Errorf("make FIFO %s: %w", path, err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return socket{}, fmt.Errorf("open FIFO %s: %w", path, err)
	}
	return socket{fd, path}, nil
}

// makeDirectories makes the directories of sockets and locks where a new
// queue directory lacks them, with the rights that they must have: only
// mail_owner enters private, and setgid_group public.
func makeDirectories(p params, owner credentials) error {
	for _, d := range []struct {
		name  string
		mode  os.FileMode
		owned bool
	}{{"pid", 0o755, false}, {"private", 0o700, true}, {"public", 0o710, true}} {
		if err := os.Mkdir(d.name, d.mode); errors.Is(err, os.ErrExist) {
			continue
		} else if err != nil {
			return err
		}
		if err := os.Chmod(d.name, d.mode); err != nil { // whatever the umask
			return err
		}
		if !owner.change || !d.owned {
			continue
		}
		gid := owner.gid
		if d.name == "public" {
			var err error
			if gid, err = groupID(p.setgidGroup); err != nil {
				return fmt.Errorf("setgid_group: %w", err)
			}
		}
		if err := os.Lchown(d.name, owner.uid, gid); err != nil {
			return err
		}
	}
	if err := os.Mkdir(p.dataDir, 0o700); err == nil && owner.change {
		return os.Lchown(p.dataDir, owner.uid, owner.gid)
	} else if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("data_directory: %w", err)
	}
	return nil
}

// openSockets opens all sockets of a service; have are those that it has
// already, by name.
func (m *master) openSockets(s conf.Service, have map[string]socket) ([]socket, error) {
	if s.Type != "inet" {
		if old, found := have[s.Socket()]; found {
			return []socket{old}, nil
		}
		var sock socket
		err := m.owner.do(func() (err error) { sock, err = listenLocal(s); return err })
		return []socket{sock}, err
	}
	list, err := endpoints(s, m.conf)
	if err != nil {
		return nil, err
	}
	var sockets []socket
	for _, ap := range list {
		if old, found := have[ap.String()]; found {
			sockets = append(sockets, old)
			continue
		}
		if given, found := m.inherited.take(ap); found {
			sockets = append(sockets, given)
			continue
		}
		sock, err := listenInet(ap)
		switch {
		case errors.Is(err, errNoFamily):
			m.log.Info("service %s: %s: %v", s.Name, ap, err)
		case errors.Is(err, unix.EADDRINUSE) && m.inherited.covers(ap):
		case err != nil:
			closeSockets(sockets, have)
			return nil, err
		default:
			if ap.Port() == 0 {
				m.log.Info("service %s listens on %s", s.Name, sock.name)
			}
			sock.name = ap.String()
			sockets = append(sockets, sock)
		}
	}
	if len(sockets) == 0 {
		return nil, fmt.Errorf("service %s: no address to listen on", s.Name)
	}
	return sockets, nil
}

// closeSockets closes those that are not in keep.
func closeSockets(sockets []socket, keep map[string]socket) {
	for _, s := range sockets {
		if _, kept := keep[s.name]; !kept {
			unix.Close(s.fd) // a listening socket holds nothing that is ours
		}
	}
}

// removeSocket removes a service's name from the file system.
func (m *master) removeSocket(s conf.Service) {
	if path := s.Socket(); path != "" {
		if err := os.Remove(filepath.Clean(path)); err != nil && !errors.Is(err, os.ErrNotExist) {
			m.log.Warning("%v", err)
		}
	}
}
