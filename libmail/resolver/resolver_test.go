package resolver

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const testZone = `
example.com.         300 IN SOA ns hostmaster 1 3600 600 86400 120
example.com.         300 IN MX 20 mx2.example.com.
example.com.          60 IN MX 10 mx1.example.com.
mx1.example.com.     300 IN A 192.0.2.1
mx1.example.com.     300 IN AAAA 2001:db8::1
mx2.example.com.     300 IN A 192.0.2.2
www.example.com.     100 IN CNAME mx1.example.com.
null.example.com.    300 IN MX 0 .
bad.example.com.     300 IN MX 0 -bad-.example.com.
loop1.example.com.   300 IN CNAME loop2.example.com.
loop2.example.com.   300 IN CNAME loop1.example.com.
txt.example.com.     300 IN TXT "v=spf1 " "-all" 
txt.example.com.     300 IN TXT "tab\009and \"quote\""
big.example.com.     300 IN A 192.0.2.9
broken.example.com.  300 IN A 192.0.2.9
slow.example.com.    300 IN A 192.0.2.9
no.example.com.      300 IN A 192.0.2.9
dane.example.com.    300 IN A 192.0.2.9
_25._tcp.dane.example.com. 300 IN TLSA 3 1 1 AABB
_smtp._tcp.example.com. 300 IN SRV 10 5 2525 mx1.example.com.
host.sub.example.com. 300 IN A 192.0.2.77
*.wild.example.com.  300 IN A 192.0.2.78
1.2.0.192.in-addr.arpa. 300 IN PTR mx1.example.com.
; servfail broken.example.com
; timeout slow.example.com
; refuse no.example.com
; truncate big.example.com
; secure dane.example.com
`

func testResolver(t *testing.T, o Options) (*Resolver, *Zone) {
	t.Helper()
	z, err := ServeZone(testZone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Close)
	dir := t.TempDir()
	o.ResolvConf, err = z.WriteResolvConf(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(o.ResolvConf, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, "search sub.example.com example.com")
	f.Close()
	o.Hosts = filepath.Join(dir, "hosts")
	if err := os.WriteFile(o.Hosts, []byte("192.0.2.200 filed.example.com filed # comment\n192.0.2.1 filed-ptr\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return New(o), z
}

// show renders any answer as text.
func show[T any](a Answer[T], err error) string {
	if err != nil {
		return fmt.Sprintf("%v (temporary=%v)", err, Temporary(err))
	}
	s := fmt.Sprintf("%s %v %v", a.Name, a.Records, a.TTL)
	if a.Secure {
		s += " secure"
	}
	return s
}

func TestLookup(t *testing.T) {
	r, _ := testResolver(t, Options{})
	ctx := context.Background()
	notFound := "Host or domain name not found. Name service error for name=%s type=%s: %s (temporary=%v)"
	for _, c := range []struct{ rule, got, want string }{
		{"MX come in order of preference with the shortest TTL", show(r.MX(ctx, "example.com")),
			"example.com [{mx1.example.com 10 0 0} {mx2.example.com 20 0 0}] 1m0s"},
		{"a null MX is an error of its own", show(r.MX(ctx, "null.example.com")),
			"Domain null.example.com does not accept mail (nullMX) (temporary=false)"},
		{"a malformed MX host is a malformed reply", show(r.MX(ctx, "bad.example.com")),
			"Name service error for name=bad.example.com type=MX: Malformed or unexpected name server reply (temporary=false)"},
		{"no such name", show(r.MX(ctx, "nope.example.com")),
			fmt.Sprintf(notFound, "nope.example.com", "MX", "Host not found", false)},
		{"no such record", show(r.MX(ctx, "mx1.example.com")),
			fmt.Sprintf(notFound, "mx1.example.com", "MX", "Host found but no data record of requested type", false)},
		{"server failure is temporary", show(r.MX(ctx, "broken.example.com")),
			fmt.Sprintf(notFound, "broken.example.com", "MX", "Host not found, try again", true)},
		{"no reply is temporary", show(r.IPv4(ctx, "slow.example.com")),
			fmt.Sprintf(notFound, "slow.example.com", "A", "Host not found, try again", true)},
		{"a refusal is permanent", show(r.IPv4(ctx, "no.example.com")),
			fmt.Sprintf(notFound, "no.example.com", "A", "Non-recoverable error", false)},
		{"both families, IPv4 first", show(r.Addresses(ctx, "mx1.example.com")),
			"mx1.example.com [192.0.2.1 2001:db8::1] 5m0s"},
		{"one family is enough", show(r.Addresses(ctx, "mx2.example.com")),
			"mx2.example.com [192.0.2.2] 5m0s"},
		{"a CNAME is followed and its TTL counts", show(r.IPv4(ctx, "www.example.com")),
			"mx1.example.com [192.0.2.1] 1m40s"},
		{"a CNAME loop ends", show(r.IPv4(ctx, "loop1.example.com")),
			"Name server loop for loop1.example.com (temporary=false)"},
		{"a truncated reply is asked again over TCP", show(r.IPv4(ctx, "big.example.com")),
			"big.example.com [192.0.2.9] 5m0s"},
		{"TXT strings are joined, controls become blanks", show(sorted(r.TXT(ctx, "txt.example.com"))),
			`txt.example.com [tab and "quote" v=spf1 -all] 5m0s`},
		{"the AD bit of a loopback server is believed", show(r.TLSA(ctx, "_25._tcp.dane.example.com")),
			"_25._tcp.dane.example.com [{3 1 1 [170 187]}] 5m0s secure"},
		{"SRV", show(r.SRV(ctx, "_smtp._tcp.example.com")),
			"_smtp._tcp.example.com [{mx1.example.com 10 5 2525}] 5m0s"},
		{"the hosts file has reverse names too", show(r.PTR(ctx, netip.MustParseAddr("192.0.2.1"))), "filed-ptr [filed-ptr] 0s"},
		{"a wildcard record", show(r.IPv4(ctx, "any.wild.example.com")), "any.wild.example.com [192.0.2.78] 5m0s"},
		{"an address is no name", show(r.MX(ctx, "192.0.2.1")),
			"Name service error for 192.0.2.1: invalid host or domain name (temporary=false)"},
		{"a malformed name is not asked for", show(r.MX(ctx, "a..b")),
			"Name service error for a..b: invalid host or domain name (temporary=false)"},
		{"a numerical host is its own address", show(r.Addresses(ctx, "192.0.2.55")), "192.0.2.55 [192.0.2.55] 0s"},
	} {
		if c.got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.rule, c.got, c.want)
		}
	}
}

func sorted(a Answer[string], err error) (Answer[string], error) {
	if len(a.Records) == 2 && a.Records[0] > a.Records[1] {
		a.Records[0], a.Records[1] = a.Records[1], a.Records[0]
	}
	return a, err
}

func TestAddressOptions(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		rule string
		opt  Options
		host string
		want string
	}{
		{"without options a short name is asked as it is", Options{}, "host",
			"Host or domain name not found. Name service error for name=host type=AAAA: Host not found (temporary=false)"},
		{"res_defnames appends the first domain", Options{Search: DefNames}, "host", "host.sub.example.com [192.0.2.77] 5m0s"},
		{"res_dnsrch alone completes only names with dots", Options{Search: DNSrch}, "host.sub", "host.sub.example.com [192.0.2.77] 5m0s"},
		{"res_defnames and res_dnsrch try the whole list", Options{Search: DefNames | DNSrch}, "mx2", "mx2.example.com [192.0.2.2] 5m0s"},
		{"inet_protocols chooses the family", Options{Protocols: IPv6}, "mx1.example.com", "mx1.example.com [2001:db8::1] 5m0s"},
		{"dns does not look into the hosts file", Options{}, "filed.example.com",
			"Host or domain name not found. Name service error for name=filed.example.com type=AAAA: Host not found (temporary=false)"},
		{"native does", Options{Sources: Native}, "filed", "filed [192.0.2.200] 0s"},
		{"dns, native falls back to the hosts file", Options{Sources: DNS | Native}, "filed.example.com", "filed.example.com [192.0.2.200] 0s"},
		{"a temporary failure does not fall back", Options{Sources: DNS | Native}, "broken.example.com",
			"Host or domain name not found. Name service error for name=broken.example.com type=AAAA: Host not found, try again (temporary=true)"},
		{"native failures have the C library's text", Options{Sources: Native}, "nope.example.com",
			"unable to look up host nope.example.com: Name or service not known (temporary=false)"},
		{"a filter that drops all leaves a policy error", Options{Filter: func(rr string) (bool, error) {
			return strings.HasPrefix(rr, "mx2.example.com. 300 IN A 192.0.2.2"), nil
		}}, "mx2.example.com", "Error looking up name=mx2.example.com type=A: DNS reply filter drops all results (temporary=true)"},
	} {
		r, _ := testResolver(t, c.opt)
		if got := show(r.Addresses(ctx, c.host)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.rule, got, c.want)
		}
	}
}

func TestNegativeTTL(t *testing.T) {
	r, _ := testResolver(t, Options{})
	_, err := r.IPv4(context.Background(), "nope.example.com")
	e, ok := err.(*Error)
	if !ok || e.TTL != 120*time.Second {
		t.Errorf("a negative answer holds for the SOA's minimum: got %#v", err)
	}
}

func TestExpiredContextIsTemporary(t *testing.T) {
	r, _ := testResolver(t, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.MX(ctx, "example.com"); !Temporary(err) {
		t.Errorf("got %v, want a temporary failure", err)
	}
}

func TestMissingResolvConfIsTemporary(t *testing.T) {
	r := New(Options{ResolvConf: filepath.Join(t.TempDir(), "absent")})
	if _, err := r.MX(context.Background(), "example.com"); !Temporary(err) {
		t.Errorf("got %v, want a temporary failure", err)
	}
}

func TestResolvConf(t *testing.T) {
	c := parseResolvConf([]byte("# x\nnameserver 192.0.2.53\nnameserver ::1\nnameserver [::1]:5353\nnameserver 192.0.2.54\n" +
		"search a.example b.example.\noptions ndots:2 timeout:3 attempts:9 rotate use-vc bogus:x\n"))
	got := fmt.Sprintf("%v %v %d %v %d %v %v", c.servers, c.search, c.ndots, c.timeout, c.attempts, c.rotate, c.useTCP)
	want := "[{192.0.2.53:53 false} {[::1]:53 true} {[::1]:5353 true}] [a.example b.example] 2 3s 5 true true"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParseProtocols(t *testing.T) {
	for value, want := range map[string]Protocols{"all": All, "ipv4": IPv4, "IPv6, ipv4": All, "ipv6": IPv6, "": 0} {
		if got := ParseProtocols(value); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
}

func TestWeighKeepsPriorityAndPutsZeroLast(t *testing.T) {
	first := map[string]int{}
	for range 200 {
		h := []Host{{"z", 1, 0, 0}, {"heavy", 1, 1000, 0}, {"last", 2, 65535, 0}}
		weigh(h)
		if h[2].Name != "last" {
			t.Fatalf("priority broken: %v", h)
		}
		first[h[0].Name]++
	}
	if first["heavy"] < 150 {
		t.Errorf("weight has no effect: %v", first)
	}
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte("nameserver 1.2.3.4\noptions ndots:3\n127.0.0.1 localhost\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := parseResolvConf(data)
		if len(c.servers) == 0 || len(c.servers) > maxServers || c.attempts < 1 || c.timeout <= 0 {
			t.Errorf("unusable settings: %+v", c)
		}
		parseHosts(data)
	})
}

func FuzzHostname(f *testing.F) {
	f.Add("example.com")
	f.Add("a..b")
	f.Fuzz(func(t *testing.T, name string) {
		if validHostname(name) && (len(name) > 255 || strings.ContainsAny(name, " \r\n\x00@")) {
			t.Errorf("accepted %q", name)
		}
	})
}
