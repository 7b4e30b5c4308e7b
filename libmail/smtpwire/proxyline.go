package smtpwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// A ProxyHeader is what a proxy in front of a server says about a connection,
// before its first byte (HAProxy's PROXY protocol, versions 1 and 2).
type ProxyHeader struct {
	Client, Server netip.AddrPort // IPv4 mapped into IPv6 is IPv4
	// Direct: the proxy speaks for itself (LOCAL) or does not know (UNKNOWN);
	// the addresses of the connection itself count.
	Direct bool
}

// proxySignature begins a header of version 2.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// maxProxyLine is the longest header of version 1, with CR LF.
const maxProxyLine = 107

// maxProxyV2 bounds the body of a version 2 header: addresses and extensions.
const maxProxyV2 = 4096

// ErrProxy means that there is no PROXY header, or none that can be read.
var ErrProxy = errors.New("haproxy header")

// ReadProxy reads a header and nothing beyond it.
func ReadProxy(r io.Reader) (ProxyHeader, error) {
	var first [1]byte
	if _, err := io.ReadFull(r, first[:]); err != nil {
		return ProxyHeader{}, fmt.Errorf("%w: %w", ErrProxy, err)
	}
	if first[0] == proxySignature[0] {
		return readProxyV2(r)
	}
	line := first[:]
	for line[len(line)-1] != '\n' {
		if len(line) == maxProxyLine {
			return ProxyHeader{}, fmt.Errorf("%w: line is too long", ErrProxy)
		}
		var next [1]byte
		if _, err := io.ReadFull(r, next[:]); err != nil {
			return ProxyHeader{}, fmt.Errorf("%w: %w", ErrProxy, err)
		}
		line = append(line, next[0])
	}
	return parseProxyV1(strings.TrimRight(string(line), "\r\n"))
}

// parseProxyV1 reads "PROXY TCP4 192.0.2.1 192.0.2.2 40000 25".
func parseProxyV1(line string) (h ProxyHeader, err error) {
	fields := strings.Split(line, " ")
	switch {
	case fields[0] != "PROXY" || len(fields) < 2:
		return h, fmt.Errorf("%w: unexpected text %.30q", ErrProxy, line)
	case fields[1] == "UNKNOWN":
		return ProxyHeader{Direct: true}, nil
	case len(fields) != 6 || fields[1] != "TCP4" && fields[1] != "TCP6":
		return h, fmt.Errorf("%w: unsupported protocol %.30q", ErrProxy, line)
	}
	h.Client, err = proxyEndpoint(fields[2], fields[4], fields[1])
	if err == nil {
		h.Server, err = proxyEndpoint(fields[3], fields[5], fields[1])
	}
	return h, err
}

func proxyEndpoint(address, port, family string) (netip.AddrPort, error) {
	ip, err1 := netip.ParseAddr(address)
	n, err2 := strconv.ParseUint(port, 10, 16)
	if err1 != nil || err2 != nil || ip.Zone() != "" || ip.Is4() != (family == "TCP4") || port[0] == '+' {
		return netip.AddrPort{}, fmt.Errorf("%w: bad address %.60q port %.10q", ErrProxy, address, port)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), nil
}

// readProxyV2 reads the rest of a binary header.
//
//	signature 12 | version, command 1 | family, protocol 1 | length 2 | addresses, extensions
func readProxyV2(r io.Reader) (h ProxyHeader, err error) {
	var head [15]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return h, fmt.Errorf("%w: %w", ErrProxy, err)
	}
	size := int(binary.BigEndian.Uint16(head[13:]))
	version, command, family := head[11]>>4, head[11]&15, head[12]
	switch {
	case string(head[:11]) != proxySignature[1:]:
		return h, fmt.Errorf("%w: bad signature", ErrProxy)
	case version != 2 || size > maxProxyV2:
		return h, fmt.Errorf("%w: bad version or length", ErrProxy)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return h, fmt.Errorf("%w: %w", ErrProxy, err)
	}
	bytes := 0
	switch {
	case command == 0:
		return ProxyHeader{Direct: true}, nil
	case command != 1:
		return h, fmt.Errorf("%w: unknown command %d", ErrProxy, command)
	case family == 0x11: // TCP over IPv4
		bytes = 4
	case family == 0x21: // TCP over IPv6
		bytes = 16
	default:
		return h, fmt.Errorf("%w: unsupported network protocol %#x", ErrProxy, family)
	}
	if len(body) < 2*bytes+4 {
		return h, fmt.Errorf("%w: addresses are missing", ErrProxy)
	}
	client, _ := netip.AddrFromSlice(body[:bytes])          // of 4 or 16 bytes
	server, _ := netip.AddrFromSlice(body[bytes : 2*bytes]) // likewise
	ports := body[2*bytes:]
	h.Client = netip.AddrPortFrom(client.Unmap(), binary.BigEndian.Uint16(ports))
	h.Server = netip.AddrPortFrom(server.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	return h, nil
}
