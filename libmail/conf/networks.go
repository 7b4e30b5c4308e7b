package conf

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// computeNetworks is the default of mynetworks: the networks that this machine
// is in, as mynetworks_style says, for the interfaces in inet_interfaces.
func (c *Config) computeNetworks() string {
	var result []string
	for _, p := range c.ownPrefixes() {
		text := networkOf(p, c.String("mynetworks_style"))
		if !slices.Contains(result, text) {
			result = append(result, text)
		}
	}
	return strings.Join(result, " ")
}

// OwnAddresses lists the addresses in inet_interfaces, restricted to the
// families in inet_protocols.
func (c *Config) OwnAddresses() []netip.Addr {
	var addrs []netip.Addr
	for _, p := range c.ownPrefixes() {
		addrs = append(addrs, p.Addr())
	}
	return addrs
}

// ProxyAddresses lists the addresses in proxy_interfaces: other hosts' that
// pass mail on to this one. Names that do not resolve are left out.
func (c *Config) ProxyAddresses() []netip.Addr {
	var addrs []netip.Addr
	for _, host := range SplitWords(c.String("proxy_interfaces")) {
		addrs = append(addrs, hostAddresses(host)...)
	}
	return addrs
}

// ownPrefixes is OwnAddresses with the length of each network. Names in
// inet_interfaces that do not resolve to an address here are left out.
func (c *Config) ownPrefixes() []netip.Prefix {
	local := c.localPrefixes()
	switch wanted := c.String("inet_interfaces"); wanted {
	case "all":
		return local
	case "loopback-only":
		return slices.DeleteFunc(local, func(p netip.Prefix) bool { return !p.Addr().IsLoopback() })
	default:
		var chosen []netip.Prefix
		for _, host := range SplitWords(wanted) {
			for _, a := range hostAddresses(host) {
				i := slices.IndexFunc(local, func(p netip.Prefix) bool { return p.Addr() == a })
				if i >= 0 && !slices.Contains(chosen, local[i]) {
					chosen = append(chosen, local[i])
				}
			}
		}
		return chosen
	}
}

// localPrefixes lists the addresses of the interfaces that are up, IPv4 first.
func (c *Config) localPrefixes() []netip.Prefix {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil // no interface can be seen: there is no network to trust
	}
	var v4, v6 []netip.Prefix
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // the interface went away in the meantime
		}
		for _, a := range addrs {
			p, ok := prefixOf(a)
			switch {
			case !ok || p.Addr().IsUnspecified():
			case p.Addr().Is4():
				v4 = append(v4, p)
			default:
				v6 = append(v6, p)
			}
		}
	}
	families := c.Families()
	if !families.V4 {
		v4 = nil
	}
	if !families.V6 {
		v6 = nil
	}
	return append(v4, v6...)
}

// Families are the address families that a configuration allows.
type Families struct{ V4, V6 bool }

// Families reads inet_protocols: all, ipv4, ipv6.
func (c *Config) Families() Families {
	var f Families
	for _, w := range SplitWords(c.String("inet_protocols")) {
		switch strings.ToLower(w) {
		case "all":
			f = Families{true, true}
		case "ipv4":
			f.V4 = true
		case "ipv6":
			f.V6 = true
		}
	}
	return f
}

func prefixOf(a net.Addr) (netip.Prefix, bool) {
	n, ok := a.(*net.IPNet)
	if !ok {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}

// hostAddresses resolves a name or an address, with or without brackets.
func hostAddresses(host string) []netip.Addr {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if a, err := netip.ParseAddr(strings.TrimPrefix(host, "IPv6:")); err == nil {
		return []netip.Addr{a.Unmap()}
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return nil // ownPrefixes says what this means
	}
	var addrs []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip); ok {
			addrs = append(addrs, a.Unmap())
		}
	}
	return addrs
}

// networkOf writes the network of p as mynetworks has it, in the given style:
// host, subnet, or class (the historic IPv4 classes; IPv6 has none).
func networkOf(p netip.Prefix, style string) string {
	bits := p.Bits()
	switch {
	case style == "host":
		bits = p.Addr().BitLen()
	case style == "class" && p.Addr().Is4():
		bits = classBits(p.Addr().As4()[0])
	}
	network := netip.PrefixFrom(p.Addr(), bits).Masked()
	if p.Addr().Is4() {
		return network.String()
	}
	return fmt.Sprintf("[%s]/%d", network.Addr(), bits)
}

func classBits(first byte) int {
	switch {
	case first < 128:
		return 8
	case first < 192:
		return 16
	case first < 224:
		return 24
	default:
		return 4
	}
}
