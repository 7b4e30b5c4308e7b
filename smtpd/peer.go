package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/resolver"
	"postroad/libmail/smtpwire"
)

// unknown stands for what we do not know about a client.
const unknown = "unknown"

// nameStatus is how far a client's name can be believed.
type nameStatus int

const (
	nameOK        nameStatus = 2
	nameTemporary nameStatus = 4 // the name service does not answer now
	namePermanent nameStatus = 5 // there is no name
	nameForged    nameStatus = 6 // the name does not lead back to the address
)

// A client is who is connected, or who XCLIENT says is.
type client struct {
	name, reverseName      string // verified; only claimed
	nameStatus             nameStatus
	reverseStatus          nameStatus
	addr                   string // "2001:db8::1"
	rfcAddr                string // "IPv6:2001:db8::1" (RFC 5321 §4.1.3)
	port                   string
	ip                     netip.Addr // invalid when unknown
	family                 int        // AF_INET, AF_INET6, or 0
	serverAddr, serverPort string
	namaddr                string // "name[addr]", as the log shows the client
}

// Address families as queue files number them (client_address_type).
const (
	afInet  = 2
	afInet6 = 10
)

// unknownClient is what the log says about a client that is gone, or about
// whom a proxy gave no information.
func unknownClient() client {
	return client{
		name: unknown, reverseName: unknown, nameStatus: namePermanent, reverseStatus: namePermanent,
		addr: unknown, rfcAddr: unknown, port: unknown, serverAddr: unknown, serverPort: unknown,
		namaddr: unknown + "[" + unknown + "]",
	}
}

// localClient is the client on standard input or a Unix socket.
func localClient() client {
	c := client{
		name: "localhost", reverseName: "localhost", nameStatus: nameOK, reverseStatus: nameOK,
		addr: "127.0.0.1", rfcAddr: "127.0.0.1", port: "0", serverAddr: "127.0.0.1", serverPort: "0",
	}
	c.namaddr = c.name + "[" + c.addr + "]"
	return c
}

// setAddr fills in the forms of the client's address. IPv4 mapped into IPv6 is
// IPv4.
func (c *client) setAddr(ip netip.Addr) {
	ip = ip.Unmap().WithZone("")
	c.ip, c.addr = ip, ip.String()
	c.rfcAddr, c.family = c.addr, afInet
	if ip.Is6() {
		c.rfcAddr, c.family = "IPv6:"+c.addr, afInet6
	}
}

// setNamaddr makes the form for the log.
func (c *client) setNamaddr(withPort bool) {
	c.namaddr = c.name + "[" + c.addr + "]"
	if withPort {
		c.namaddr += ":" + c.port
	}
}

// fromConn reads the addresses of a connection; false if it is none of TCP.
func (c *client) fromConn(conn net.Conn) bool {
	remote, ok1 := conn.RemoteAddr().(*net.TCPAddr)
	local, ok2 := conn.LocalAddr().(*net.TCPAddr)
	if !ok1 || !ok2 {
		return false
	}
	c.fromPair(remote.AddrPort(), local.AddrPort())
	return true
}

func (c *client) fromPair(remote, local netip.AddrPort) {
	c.setAddr(remote.Addr())
	c.port = strconv.Itoa(int(remote.Port()))
	c.serverAddr = local.Addr().Unmap().WithZone("").String()
	c.serverPort = strconv.Itoa(int(local.Port()))
}

// fromPassed reads what the program that passed the connection (postscreen)
// said about it.
func (c *client) fromPassed(attrs map[string]string) error {
	remote, err1 := netip.ParseAddrPort(net.JoinHostPort(attrs["client_address"], attrs["client_port"]))
	local, err2 := netip.ParseAddrPort(net.JoinHostPort(attrs["server_address"], attrs["server_port"]))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	c.fromPair(remote, local)
	return nil
}

// lookupNames finds the client's names. A name counts only if it leads back to
// the address: everything else would be the client's own word.
func (s *session) lookupNames(ctx context.Context) {
	c := &s.client
	c.name, c.reverseName = unknown, unknown
	c.nameStatus, c.reverseStatus = namePermanent, namePermanent
	if !s.params.peerLookup || !c.ip.IsValid() {
		return
	}
	answer, err := s.native.PTR(ctx, c.ip)
	if err != nil {
		if resolver.Temporary(err) {
			c.nameStatus, c.reverseStatus = nameTemporary, nameTemporary
		}
		return
	}
	name := strings.TrimSuffix(answer.Records[0], ".")
	if !addr.ValidHostname(name) {
		return
	}
	c.reverseName, c.reverseStatus = name, nameOK
	addresses, err := s.addresses(ctx, name, c.ip)
	switch {
	case err != nil:
		s.log.Warning("hostname %s does not resolve to address %s: %s", name, c.addr, lookupText(err))
		c.nameStatus = nameForged
		if resolver.Temporary(err) {
			c.nameStatus = nameTemporary
		}
	case !contains(addresses, c.ip):
		s.log.Warning("hostname %s does not resolve to address %s", name, c.addr)
		c.nameStatus = nameForged
	default:
		c.name, c.nameStatus = name, nameOK
	}
}

// addresses looks up the addresses of a host in the family of like.
func (s *session) addresses(ctx context.Context, host string, like netip.Addr) ([]netip.Addr, error) {
	answer, err := s.native.Addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	var same []netip.Addr
	for _, a := range answer.Records {
		if a.Unmap().Is4() == like.Is4() {
			same = append(same, a.Unmap())
		}
	}
	if len(same) == 0 {
		return nil, &resolver.Error{Kind: resolver.NoData, Name: host, Type: resolver.A}
	}
	return same, nil
}

func contains(list []netip.Addr, a netip.Addr) bool {
	for _, b := range list {
		if a == b {
			return true
		}
	}
	return false
}

// lookupText is the C library's word for a failed address lookup.
func lookupText(err error) string {
	switch {
	case resolver.Temporary(err):
		return "Temporary failure in name resolution"
	case resolver.KindOf(err) == resolver.NoData:
		return "No address associated with hostname"
	}
	return "Name or service not known"
}

// anvilRange is the address, or the network around it, that limits on events
// are counted for.
func (c *client) anvilRange(l anvilLimits) string {
	bits := l.prefix4
	if c.ip.Is6() {
		bits = l.prefix6
	}
	if bits >= c.ip.BitLen() {
		return c.addr
	}
	prefix, err := c.ip.Prefix(bits)
	if err != nil {
		return c.addr // a length out of bounds, which the catalogue refuses
	}
	return prefix.String()
}

// proxied reads what the proxy in front of us says about the client
// (smtpd_upstream_proxy_protocol).
func (s *session) proxied(conn net.Conn) error {
	if s.params.proxyProtocol != "haproxy" {
		return errors.New("unsupported smtpd_upstream_proxy_protocol value: " + s.params.proxyProtocol)
	}
	if err := conn.SetReadDeadline(time.Now().Add(s.params.proxyTimeout)); err != nil {
		return err
	}
	h, err := smtpwire.ReadProxy(conn)
	switch {
	case err != nil:
		return err
	case !h.Direct:
		s.client.fromPair(h.Client, h.Server)
	case !s.client.fromConn(conn):
		return errors.New("haproxy header: no address")
	}
	return nil
}
