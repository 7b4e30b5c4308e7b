package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/resolver"
)

// A destination is one next hop: "example.com", "example.com:587",
// "[mail.example.com]", "[192.0.2.1]:2525", "[ipv6:2001:db8::1]".
type destination struct {
	text    string // as written
	domain  string // without brackets and port
	literal bool   // it had brackets: no MX lookup
	service string // port as written, or the default
	port    int
}

// destinations splits a next hop list.
func destinations(nexthop string) []string { return conf.SplitWords(nexthop) }

// parseDestination reads one next hop.
func (p *params) parseDestination(text string) (destination, error) {
	d := destination{text: text, service: p.port}
	rest := ""
	if strings.HasPrefix(text, "[") {
		host, after, ok := strings.Cut(text[1:], "]")
		if !ok {
			return d, fmt.Errorf("missing \"]\" in server description: %s", text)
		}
		if len(host) > 5 && strings.EqualFold(host[:5], "ipv6:") {
			host = host[5:]
			if a, err := netip.ParseAddr(host); err != nil || !a.Is6() {
				return d, fmt.Errorf("malformed IPv6 address in server description: %s", text)
			}
		}
		d.domain, d.literal, rest = host, true, after
		if rest != "" && rest[0] != ':' {
			return d, fmt.Errorf("garbage after \"]\" in server description: %s", text)
		}
		rest = strings.TrimPrefix(rest, ":")
	} else if i := strings.LastIndexByte(text, ':'); i >= 0 {
		d.domain, rest = text[:i], text[i+1:]
	} else {
		d.domain = text
	}
	if d.domain == "" {
		return d, fmt.Errorf("missing host in server description: %s", text)
	}
	if _, err := netip.ParseAddr(d.domain); err != nil && !addr.ValidHostname(resolver.ASCII(d.domain)) {
		return d, fmt.Errorf("valid hostname or network address required in server description: %s", text)
	}
	if rest != "" {
		d.service = rest
	}
	var err error
	d.port, err = p.lookupPort(d.service)
	if err != nil {
		return d, fmt.Errorf("%w for destination: %s", err, text)
	}
	return d, nil
}

// lookupPort finds the number of a service: known_tcp_ports, then the
// system's database.
func (p *params) lookupPort(service string) (int, error) {
	if n, ok := p.knownPorts[service]; ok {
		return n, nil
	}
	if n, err := strconv.Atoi(service); err == nil {
		if n < 1 || n > 65535 {
			return 0, fmt.Errorf("bad network port: %s", service)
		}
		return n, nil
	}
	n, err := net.LookupPort("tcp", service)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("unknown service: %s/tcp", service)
	}
	return n, nil
}
