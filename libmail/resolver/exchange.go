package resolver

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	maxAliases   = 10   // CNAMEs followed for one name
	maxRecords   = 100  // records of one answer
	udpSize      = 1232 // EDNS0 buffer that fits every path (RFC 6891 §6.2.5)
	maxAliasHops = 16   // CNAMEs within one reply
)

// A reply is the records of the asked type, after CNAMEs and filter.
type reply struct {
	records []dns.RR
	owner   string // with final dot
	secure  bool
	ttl     time.Duration
}

// resolve asks for one name and type and follows CNAMEs that the server
// did not follow for us. A chain is secure only if every link of it is.
func (r *Resolver) resolve(ctx context.Context, name string, t Type) (reply, error) {
	secure := true
	var ttl time.Duration
	asked := dns.Fqdn(name)
	for range maxAliases {
		msg, trusted, err := r.ask(ctx, strings.TrimSuffix(asked, "."), t)
		if err != nil {
			return reply{}, err
		}
		secure = secure && trusted && msg.AuthenticatedData
		got, next, err := pick(msg, asked, t)
		if err != nil {
			return reply{}, err
		}
		if ttl == 0 || got.ttl < ttl {
			ttl = got.ttl
		}
		if len(got.records) > 0 {
			got.secure, got.ttl = secure, ttl
			return r.filter(got, name, t)
		}
		asked = next
	}
	return reply{}, &Error{Kind: NotFound, Name: name, Type: t, Text: "Name server loop for " + name}
}

// pick walks the CNAMEs of one reply from the asked name to the records.
// Records of other names do not count: a server has no say about them here.
// Without records it returns the name that the chain ends in.
func pick(msg *dns.Msg, asked string, t Type) (got reply, next string, err error) {
	owner, ttl := asked, uint32(1<<31-1)
	hops := 0
	for ; hops < maxAliasHops; hops++ {
		alias := ""
		for _, rr := range msg.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, owner) {
				continue
			}
			if h.Rrtype == uint16(t) {
				if err := null(rr, asked, t); err != nil {
					return reply{}, "", err
				}
				if len(got.records) < maxRecords {
					got.records = append(got.records, rr)
					ttl = min(ttl, h.Ttl)
				}
			} else if c, ok := rr.(*dns.CNAME); ok && alias == "" {
				alias = c.Target
				ttl = min(ttl, h.Ttl)
			}
		}
		if len(got.records) > 0 {
			got.owner, got.ttl = owner, time.Duration(ttl)*time.Second
			return got, "", nil
		}
		if alias == "" {
			break
		}
		if _, ok := target(alias); !ok {
			return reply{}, "", &Error{Kind: BadReply, Name: strings.TrimSuffix(asked, "."), Type: t}
		}
		owner = dns.Fqdn(alias)
	}
	if hops == 0 { // an answer section, but nothing in it for us
		return reply{}, "", &Error{Kind: ServFail, Name: strings.TrimSuffix(asked, "."), Type: t,
			Err: errors.New("reply has no record for the question")}
	}
	return reply{ttl: time.Duration(ttl) * time.Second}, owner, nil
}

// null reports a record that says "there is no such service here".
func null(rr dns.RR, asked string, t Type) error {
	name := strings.TrimSuffix(asked, ".")
	switch rr := rr.(type) {
	case *dns.MX: // RFC 7505 §3
		if rr.Mx == "." {
			return &Error{Kind: NullMX, Name: name, Type: t}
		}
	case *dns.SRV: // RFC 2782, "Target"
		if rr.Target == "." {
			return &Error{Kind: NullSRV, Name: name, Type: t}
		}
	}
	return nil
}

// filter applies Options.Filter.
func (r *Resolver) filter(got reply, name string, t Type) (reply, error) {
	if r.opt.Filter == nil {
		return got, nil
	}
	kept := got.records[:0]
	for _, rr := range got.records {
		drop, err := r.opt.Filter(text(rr))
		if err != nil {
			return reply{}, &Error{Kind: BadFilter, Name: name, Type: t, Err: err}
		}
		if !drop {
			kept = append(kept, rr)
		}
	}
	if len(kept) == 0 {
		return reply{}, &Error{Kind: Policy, Name: name, Type: t}
	}
	got.records = kept
	return got, nil
}

// ask sends one question to the servers in turn until one has a usable
// reply: records, or the word that there are none. trusted tells whether
// the AD bit of that reply may be believed.
func (r *Resolver) ask(ctx context.Context, name string, t Type) (msg *dns.Msg, trusted bool, err error) {
	conf, err := r.conf.get()
	if err != nil {
		return nil, false, &Error{Kind: ServFail, Name: name, Type: t, Err: err}
	}
	servers := conf.servers
	if conf.rotate && len(servers) > 1 {
		n := rand.IntN(len(servers))
		servers = append(append([]server{}, servers[n:]...), servers[:n]...)
	}
	worst := &Error{Kind: Timeout, Name: name, Type: t}
	for range conf.attempts {
		for _, s := range servers {
			msg, err := conf.exchange(ctx, s, name, t)
			if err != nil {
				worst.Err = err
				if ctx.Err() != nil {
					return nil, false, worst
				}
				continue
			}
			if e := rcodeError(msg, name, t); e == nil {
				return msg, s.trusted, nil
			} else if e.Kind == NotFound || e.Kind == NoData {
				return nil, false, e
			} else if worst.Kind != ServFail {
				worst = e // another server may know better
			}
		}
		if worst.Kind == Refused {
			break
		}
	}
	return nil, false, worst
}

// rcodeError tells what a reply without records means.
func rcodeError(msg *dns.Msg, name string, t Type) *Error {
	e := &Error{Name: name, Type: t, TTL: negativeTTL(msg)}
	switch {
	case msg.Rcode == dns.RcodeNameError:
		e.Kind = NotFound
	case msg.Rcode == dns.RcodeSuccess && len(msg.Answer) == 0:
		e.Kind = NoData
	case msg.Rcode == dns.RcodeSuccess:
		return nil
	case msg.Rcode == dns.RcodeServerFailure:
		e.Kind = ServFail
	default:
		e.Kind, e.Err = Refused, errors.New("server replies "+dns.RcodeToString[msg.Rcode])
	}
	return e
}

// negativeTTL is how long "no" holds (RFC 2308 §5).
func negativeTTL(msg *dns.Msg) time.Duration {
	for _, rr := range msg.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return time.Duration(min(soa.Hdr.Ttl, soa.Minttl)) * time.Second
		}
	}
	return 0
}

// exchange asks one server once: over UDP with EDNS0, without EDNS0 if the
// server does not know it, over TCP if the reply was truncated.
func (c *resolvConf) exchange(ctx context.Context, s server, name string, t Type) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), uint16(t))
	q.AuthenticatedData = true // RFC 6840 §5.7: please say whether it is secure
	q.SetEdns0(udpSize, true)
	client := dns.Client{Net: "udp", Timeout: c.timeout, UDPSize: udpSize}
	if c.useTCP {
		client.Net = "tcp"
	}
	msg, _, err := client.ExchangeContext(ctx, q, s.addr)
	if err == nil && (msg.Rcode == dns.RcodeFormatError || msg.Rcode == dns.RcodeNotImplemented) {
		q.Extra, q.Id = nil, dns.Id()
		msg, _, err = client.ExchangeContext(ctx, q, s.addr)
	}
	if err == nil && msg.Truncated || errors.Is(err, dns.ErrBuf) {
		client.Net = "tcp"
		q.Id = dns.Id()
		msg, _, err = client.ExchangeContext(ctx, q, s.addr)
	}
	if err != nil {
		return nil, err
	}
	if !msg.Response || len(msg.Question) != 1 || msg.Question[0].Qtype != uint16(t) ||
		!strings.EqualFold(msg.Question[0].Name, dns.Fqdn(name)) {
		return nil, errors.New("reply answers another question")
	}
	return msg, nil
}
