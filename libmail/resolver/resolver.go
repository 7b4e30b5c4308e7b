// Package resolver answers the questions that mail asks of the name service:
// mail exchangers, addresses, texts, reverse names, name servers and
// certificate associations.
//
//	lookup -> /etc/hosts (native)
//	       -> question(s) by search option -> servers of /etc/resolv.conf
//	             UDP with EDNS0, TCP after truncation, next server on trouble
//	       -> CNAME chain, at most 10 -> reply filter -> Answer, or *Error
//
// An *Error tells "there is no such name" from "ask again later"; nothing
// else in the system may guess the one from the other.
package resolver

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// Protocols selects the address families to ask for (inet_protocols).
type Protocols uint8

// The address families; All asks for both.
const (
	IPv4 Protocols = 1 << iota
	IPv6
	All = IPv4 | IPv6
)

// ParseProtocols reads the value of inet_protocols: "all", or "ipv4" and
// "ipv6" separated by commas or blanks. Words that are neither are ignored;
// an empty result selects nothing.
func ParseProtocols(value string) Protocols {
	var p Protocols
	for _, w := range strings.FieldsFunc(strings.ToLower(value), func(r rune) bool { return r == ',' || r <= ' ' }) {
		switch w {
		case "all":
			p |= All
		case "ipv4":
			p |= IPv4
		case "ipv6":
			p |= IPv6
		}
	}
	return p
}

// Allows reports whether addresses of a's family are wanted.
func (p Protocols) Allows(a netip.Addr) bool {
	if a.Unmap().Is4() {
		return p&IPv4 != 0
	}
	return p&IPv6 != 0
}

// A Search option says how a name is completed in address lookups
// (smtp_dns_resolver_options). Other lookups ask for names as they are.
type Search uint8

// The search options.
const (
	DefNames Search = 1 << iota // res_defnames: append the local domain to a name without dots
	DNSrch                      // res_dnsrch: try the search list of resolv.conf
)

// A Source is a place where host addresses are looked up
// (smtp_host_lookup).
type Source uint8

// The sources. With both, the native one is asked when the name service
// says that the name does not exist.
const (
	DNS    Source = 1 << iota
	Native        // /etc/hosts, then the name service with its search list
)

// Options are the settings of a Resolver. The zero value asks the servers
// of /etc/resolv.conf for both address families, without completing names.
type Options struct {
	Protocols  Protocols // 0 means All
	Search     Search
	Sources    Source // 0 means DNS
	ResolvConf string // default: environment POSTROAD_RESOLV_CONF, or /etc/resolv.conf
	Hosts      string // default: environment POSTROAD_HOSTS, or /etc/hosts

	// Filter, if set, sees every record in text form and says whether to
	// drop it (smtp_dns_reply_filter, smtpd_dns_reply_filter).
	Filter func(record string) (drop bool, err error)
}

// A Resolver is safe for use by many goroutines. It keeps no answers: that
// is the work of the server that it asks.
type Resolver struct {
	opt   Options
	conf  watched[*resolvConf]
	hosts watched[*hostsFile]
}

// New returns a resolver. Its files are read at the first lookup and again
// when they change.
func New(o Options) *Resolver {
	if o.Protocols == 0 {
		o.Protocols = All
	}
	if o.Sources == 0 {
		o.Sources = DNS
	}
	o.ResolvConf = firstOf(o.ResolvConf, os.Getenv("POSTROAD_RESOLV_CONF"), "/etc/resolv.conf")
	o.Hosts = firstOf(o.Hosts, os.Getenv("POSTROAD_HOSTS"), "/etc/hosts")
	return &Resolver{
		opt:   o,
		conf:  watched[*resolvConf]{path: o.ResolvConf, parse: parseResolvConf},
		hosts: watched[*hostsFile]{path: o.Hosts, parse: parseHosts},
	}
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// MX returns the mail exchangers of a domain, best preference first, those
// of equal preference in the order of the reply. A null MX is an *Error of
// kind NullMX.
func (r *Resolver) MX(ctx context.Context, domain string) (Answer[Host], error) {
	a, err := lookup(ctx, r, domain, MX, decodeHost)
	byPreference(a.Records)
	return a, err
}

// SRV returns the hosts of a service, "_submission._tcp.example.com", in
// the order of RFC 2782: by priority, then randomly by weight.
func (r *Resolver) SRV(ctx context.Context, name string) (Answer[Host], error) {
	a, err := lookup(ctx, r, name, SRV, decodeHost)
	rand.Shuffle(len(a.Records), func(i, j int) { a.Records[i], a.Records[j] = a.Records[j], a.Records[i] })
	byPreference(a.Records)
	weigh(a.Records)
	return a, err
}

// TXT returns the texts of a name, the strings of one record joined and
// bytes that cannot be printed replaced by blanks.
func (r *Resolver) TXT(ctx context.Context, name string) (Answer[string], error) {
	return lookup(ctx, r, name, TXT, decodeTXT)
}

// NS returns the name servers of a zone.
func (r *Resolver) NS(ctx context.Context, zone string) (Answer[string], error) {
	return lookup(ctx, r, zone, NS, decodeName)
}

// CNAME returns the canonical name of an alias, without following further.
func (r *Resolver) CNAME(ctx context.Context, name string) (Answer[string], error) {
	return lookup(ctx, r, name, CNAME, decodeName)
}

// TLSA returns certificate associations, "_25._tcp.mx.example.com".
func (r *Resolver) TLSA(ctx context.Context, name string) (Answer[TLSARecord], error) {
	return lookup(ctx, r, name, TLSA, decodeTLSA)
}

// PTR returns the names of an address. Like the C library it looks into
// /etc/hosts first. The names are not verified.
func (r *Resolver) PTR(ctx context.Context, addr netip.Addr) (Answer[string], error) {
	addr = addr.Unmap().WithZone("")
	if hosts, err := r.hosts.get(); err == nil {
		if names := hosts.names[addr]; len(names) > 0 {
			return Answer[string]{Records: slices.Clone(names), Name: names[0]}, nil
		}
	}
	name, err := dns.ReverseAddr(addr.String())
	if err != nil {
		return Answer[string]{}, &Error{Kind: NotFound, Name: addr.String(), Type: PTR, Err: err}
	}
	return lookup(ctx, r, strings.TrimSuffix(name, "."), PTR, decodeName)
}

// IPv4 and IPv6 return the addresses of one family, from the name service
// only and for the name as it is: for lists such as DNSBLs, where the
// answer is no host's address.
func (r *Resolver) IPv4(ctx context.Context, name string) (Answer[netip.Addr], error) {
	return lookup(ctx, r, name, A, decodeAddr)
}

// IPv6 returns the IPv6 addresses of a name; see IPv4.
func (r *Resolver) IPv6(ctx context.Context, name string) (Answer[netip.Addr], error) {
	return lookup(ctx, r, name, AAAA, decodeAddr)
}

func byPreference(hosts []Host) {
	slices.SortStableFunc(hosts, func(a, b Host) int { return int(a.Pref) - int(b.Pref) })
}

// weigh orders hosts of equal priority by the draw of RFC 2782: each draw
// takes the next host with a probability in proportion to its weight.
func weigh(hosts []Host) {
	for len(hosts) > 0 {
		n := 1
		for n < len(hosts) && hosts[n].Pref == hosts[0].Pref {
			n++
		}
		group := hosts[:n]
		slices.SortStableFunc(group, func(a, b Host) int { return min(int(a.Weight), 1) - min(int(b.Weight), 1) })
		for len(group) > 1 {
			total := 0
			for _, h := range group {
				total += int(h.Weight)
			}
			draw, i := rand.IntN(total+1), 0
			for sum := int(group[0].Weight); sum < draw; sum += int(group[i].Weight) {
				i++
			}
			picked := group[i]
			copy(group[1:i+1], group[:i])
			group[0] = picked
			group = group[1:]
		}
		hosts = hosts[n:]
	}
}

// lookup asks for name as it is and decodes the answer.
func lookup[T any](ctx context.Context, r *Resolver, name string, t Type, decode func(dns.RR) (T, bool)) (Answer[T], error) {
	asked, err := question(name, t)
	if err != nil {
		return Answer[T]{}, err
	}
	reply, err := r.resolve(ctx, asked, t)
	if err != nil {
		return Answer[T]{}, err
	}
	return decodeAll(reply, asked, t, decode)
}

// decodeAll keeps the records that decode accepts. Malformed records beside
// good ones are skipped.
func decodeAll[T any](reply reply, asked string, t Type, decode func(dns.RR) (T, bool)) (Answer[T], error) {
	a := Answer[T]{Name: strings.TrimSuffix(reply.owner, "."), Secure: reply.secure, TTL: reply.ttl}
	for _, rr := range reply.records {
		if v, ok := decode(rr); ok {
			a.Records = append(a.Records, v)
		}
	}
	if len(a.Records) == 0 {
		return Answer[T]{}, &Error{Kind: BadReply, Name: asked, Type: t}
	}
	return a, nil
}

// question returns name in the form in which it is asked: ASCII
// (RFC 5890 §2.3.2.1), without a final dot. What no server can know, an
// address for example, is NotFound at once.
func question(name string, t Type) (string, error) {
	asked := name
	if !ascii(name) {
		if a, err := idna.Lookup.ToASCII(name); err == nil {
			asked = a
		}
	}
	_, err := netip.ParseAddr(asked)
	if asked != "." && (err == nil || !validHostname(strings.TrimPrefix(asked, "*."))) {
		return "", &Error{Kind: NotFound, Name: name, Type: t,
			Text: "Name service error for " + printable(name) + ": invalid host or domain name"}
	}
	return asked, nil
}

// ASCII returns the form of a domain that is sent over the wire
// (RFC 5890 §2.3.2.1). A name that has no such form is returned unchanged;
// lookups of it fail.
func ASCII(domain string) string {
	if ascii(domain) {
		return domain
	}
	if a, err := idna.Lookup.ToASCII(domain); err == nil {
		return a
	}
	return domain
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// watched is a file's parsed contents, read again when the file changes.
type watched[T any] struct {
	path  string
	parse func([]byte) T

	mu      sync.Mutex
	checked time.Time
	stamp   fileStamp
	value   T
	err     error
}

// fileStamp tells one state of a file from another.
type fileStamp struct {
	size  int64
	mtime time.Time
}

// recheck is how often a file is looked at for changes.
const recheck = time.Second

func (w *watched[T]) get() (T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if !w.checked.IsZero() && now.Sub(w.checked) < recheck {
		return w.value, w.err
	}
	st, err := os.Stat(w.path)
	if err != nil {
		if w.checked.IsZero() || w.err != nil { // else keep what we know
			w.err = err
		}
		w.checked = now
		return w.value, w.err
	}
	if stamp := (fileStamp{st.Size(), st.ModTime()}); w.checked.IsZero() || stamp != w.stamp || w.err != nil {
		data, err := os.ReadFile(w.path)
		if err == nil {
			w.value, w.err, w.stamp = w.parse(data), nil, stamp
		} else if w.checked.IsZero() || w.err != nil {
			w.err = err
		}
	}
	w.checked = now
	return w.value, w.err
}
