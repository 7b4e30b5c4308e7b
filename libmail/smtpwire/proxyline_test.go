package smtpwire

import (
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
)

const proxyV2 = proxySignature + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x9c\x40\x00\x19"

func TestReadProxy(t *testing.T) {
	v4 := ProxyHeader{Client: netip.MustParseAddrPort("192.0.2.1:40000"), Server: netip.MustParseAddrPort("192.0.2.2:25")}
	v6 := ProxyHeader{Client: netip.MustParseAddrPort("[2001:db8::1]:1"), Server: netip.MustParseAddrPort("[2001:db8::2]:2")}
	for _, test := range []struct {
		rule, input string
		want        ProxyHeader
	}{
		{"version 1, IPv4", "PROXY TCP4 192.0.2.1 192.0.2.2 40000 25\r\n", v4},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", v6},
		{"mapped IPv4 is IPv4", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 40000 25\r\n", v4},
		{"unknown origin", "PROXY UNKNOWN and so on\r\n", ProxyHeader{Direct: true}},
		{"version 2", proxyV2, v4},
		{"version 2 with extensions", strings.Replace(proxyV2, "\x00\x0c\xc0", "\x00\x0e\xc0", 1) + "xx", v4},
		{"version 2, the proxy itself", proxySignature + "\x20\x00\x00\x00", ProxyHeader{Direct: true}},
	} {
		r := strings.NewReader(test.input + "rest")
		got, err := ReadProxy(r)
		if rest, _ := io.ReadAll(r); got != test.want || err != nil || string(rest) != "rest" {
			t.Errorf("%s: %+v, %v, left %q", test.rule, got, err, rest)
		}
	}
	for _, bad := range []string{
		"", "EHLO x\r\n", "PROXY\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 40000\r\n", "PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.2 40000 70000\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
		"PROXY " + strings.Repeat("x", 200) + "\r\n", proxyV2[:20], strings.Replace(proxyV2, "\x21\x11", "\x31\x11", 1),
		strings.Replace(proxyV2, "\x21\x11", "\x21\x12", 1), strings.Replace(proxyV2, "\x00\x0c\xc0", "\x00\x04\xc0", 1), "\r\n",
	} {
		if got, err := ReadProxy(strings.NewReader(bad)); !errors.Is(err, ErrProxy) {
			t.Errorf("%q gives %+v, %v", bad, got, err)
		}
	}
}

func FuzzReadProxy(f *testing.F) {
	f.Add([]byte(proxyV2))
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 40000 25\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := ReadProxy(strings.NewReader(string(data)))
		if err == nil && !h.Direct && (!h.Client.IsValid() || !h.Server.IsValid()) {
			t.Fatalf("%q gives %+v", data, h)
		}
	})
}
