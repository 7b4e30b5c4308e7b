package resolver

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// A Type is a record type (RFC 1035 §3.2.2).
type Type uint16

// The record types that a mail system asks for.
const (
	A     = Type(dns.TypeA)
	NS    = Type(dns.TypeNS)
	CNAME = Type(dns.TypeCNAME)
	PTR   = Type(dns.TypePTR)
	MX    = Type(dns.TypeMX)
	TXT   = Type(dns.TypeTXT)
	AAAA  = Type(dns.TypeAAAA)
	SRV   = Type(dns.TypeSRV)
	TLSA  = Type(dns.TypeTLSA)
)

// String returns the type's mnemonic, "MX".
func (t Type) String() string { return dns.Type(t).String() }

// A Host is a mail exchanger or a service host.
type Host struct {
	Name   string // without the final dot
	Pref   uint16 // MX preference or SRV priority; smaller is better
	Weight uint16 // SRV only
	Port   uint16 // SRV only
}

// A TLSARecord is a certificate association (RFC 6698 §2.1).
type TLSARecord struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// An Answer holds the records of one type for one name.
type Answer[T any] struct {
	Records []T           // never empty when the error is nil
	Name    string        // the name that owns the records, after CNAMEs and search
	Secure  bool          // a trusted server says that DNSSEC validated all of it
	TTL     time.Duration // the shortest time to live of the records and CNAMEs
}

// text returns rr in the form that smtp_dns_reply_filter sees:
// "example.com. 300 IN MX 10 mx.example.com.".
func text(rr dns.RR) string {
	h := rr.Header()
	data := ""
	switch rr := rr.(type) {
	case *dns.A:
		data = rr.A.String()
	case *dns.AAAA:
		data = rr.AAAA.String()
	case *dns.MX:
		data = fmt.Sprintf("%d %s", rr.Preference, rr.Mx)
	case *dns.NS:
		data = rr.Ns
	case *dns.PTR:
		data = rr.Ptr
	case *dns.SRV:
		data = fmt.Sprintf("%d %d %d %s", rr.Priority, rr.Weight, rr.Port, rr.Target)
	case *dns.TLSA:
		data = fmt.Sprintf("%d %d %d %s", rr.Usage, rr.Selector, rr.MatchingType, strings.ToLower(rr.Certificate))
	case *dns.TXT:
		data = joinTXT(rr.Txt)
	}
	return fmt.Sprintf("%s %d IN %s %s", h.Name, h.Ttl, dns.Type(h.Rrtype), data)
}

// joinTXT joins the strings of a TXT record. Bytes that cannot be printed
// become blanks, so that a reply text made from them is one line.
func joinTXT(parts []string) string {
	raw := []byte(strings.Join(parts, ""))
	out := raw[:0]
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		// The library presents bytes as \DDD and \c.
		if c == '\\' && i+3 < len(raw) && digits(raw[i+1:i+4]) {
			c = (raw[i+1]-'0')*100 + (raw[i+2]-'0')*10 + raw[i+3] - '0'
			i += 3
		} else if c == '\\' && i+1 < len(raw) {
			i++
			c = raw[i]
		}
		if c < ' ' || c > '~' {
			c = ' '
		}
		out = append(out, c)
	}
	return string(out)
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// The decoders turn one record into our own type. They report false for
// data that no client may use.

func decodeAddr(rr dns.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *dns.A:
		return netip.AddrFromSlice(rr.A.To4())
	case *dns.AAAA:
		a, ok := netip.AddrFromSlice(rr.AAAA.To16())
		return a, ok
	}
	return netip.Addr{}, false
}

func decodeHost(rr dns.RR) (Host, bool) {
	switch rr := rr.(type) {
	case *dns.MX:
		name, ok := target(rr.Mx)
		return Host{Name: name, Pref: rr.Preference}, ok
	case *dns.SRV:
		name, ok := target(rr.Target)
		return Host{Name: name, Pref: rr.Priority, Weight: rr.Weight, Port: rr.Port}, ok
	}
	return Host{}, false
}

func decodeName(rr dns.RR) (string, bool) {
	switch rr := rr.(type) {
	case *dns.NS:
		return target(rr.Ns)
	case *dns.PTR:
		return target(rr.Ptr)
	case *dns.CNAME:
		return target(rr.Target)
	}
	return "", false
}

func decodeTXT(rr dns.RR) (string, bool) {
	if rr, ok := rr.(*dns.TXT); ok {
		return joinTXT(rr.Txt), true
	}
	return "", false
}

func decodeTLSA(rr dns.RR) (TLSARecord, bool) {
	r, ok := rr.(*dns.TLSA)
	if !ok {
		return TLSARecord{}, false
	}
	data, err := hex.DecodeString(r.Certificate)
	if err != nil {
		return TLSARecord{}, false
	}
	return TLSARecord{r.Usage, r.Selector, r.MatchingType, data}, true
}

// target returns a host name found in record data without its final dot. A
// numerical name is passed on, as many mailers do; a malformed one is not.
func target(fqdn string) (string, bool) {
	name := strings.TrimSuffix(fqdn, ".")
	if _, err := netip.ParseAddr(name); err == nil {
		return name, true
	}
	return name, validHostname(strings.TrimPrefix(name, "*."))
}

// validHostname reports whether name can be asked for (RFC 1123 §2.1, with
// underscores): no final dot, no empty label, not all numeric.
func validHostname(name string) bool {
	if name == "" || len(name) > 255 {
		return false
	}
	numeric := true
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			switch c := label[i]; {
			case '0' <= c && c <= '9':
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == '-':
				numeric = false
			default:
				return false
			}
		}
	}
	return !numeric
}
