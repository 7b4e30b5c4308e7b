package resolver

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// A Zone is a name server for tests: it listens on a loopback port and
// answers from a master file (RFC 1035 §5) that stands for the whole name
// space. Lines of their own direct it:
//
//	; servfail NAME    answer SERVFAIL for NAME and all below
//	; timeout NAME     do not answer
//	; secure NAME      set the AD bit for NAME and all below
//	; truncate NAME    answer over UDP with the TC bit
//	; refuse NAME      answer REFUSED
type Zone struct {
	Addr string // host:port

	mu      sync.Mutex
	records map[string][]dns.RR
	rules   map[string][]string // directive -> names
	asked   []string            // "NAME TYPE"
	servers []*dns.Server
}

// ServeZone starts a name server. Close ends it.
func ServeZone(text string) (*Zone, error) {
	z := &Zone{}
	if err := z.Set(text); err != nil {
		return nil, err
	}
	pc, l, err := listenBoth()
	if err != nil {
		return nil, err
	}
	z.Addr = pc.LocalAddr().String()
	for _, s := range []*dns.Server{
		{PacketConn: pc, Handler: dns.HandlerFunc(z.serveUDP)},
		{Listener: l, Handler: dns.HandlerFunc(z.serveTCP)},
	} {
		z.servers = append(z.servers, s)
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		go s.ActivateAndServe() // returns an error only after Close, which expects it
		<-ready
	}
	return z, nil
}

// listenBoth binds one port for UDP and TCP.
func listenBoth() (net.PacketConn, net.Listener, error) {
	var failure error
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		pc, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return pc, l, nil
		}
		failure = err
		l.Close() // the port is half taken: try another
	}
	return nil, nil, failure
}

// Set replaces the zone's contents.
func (z *Zone) Set(text string) error {
	records := map[string][]dns.RR{}
	rules := map[string][]string{}
	for _, line := range strings.Split(text, "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == ";" {
			rules[f[1]] = append(rules[f[1]], strings.ToLower(dns.Fqdn(f[2])))
		}
	}
	p := dns.NewZoneParser(strings.NewReader(text), ".", "zone")
	p.SetDefaultTTL(300)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := strings.ToLower(rr.Header().Name)
		records[name] = append(records[name], rr)
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("test zone: %w", err)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records, z.rules = records, rules
	return nil
}

// Asked returns the questions so far, "example.com MX", and forgets them.
func (z *Zone) Asked() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	asked := z.asked
	z.asked = nil
	return asked
}

// Close ends the server.
func (z *Zone) Close() {
	for _, s := range z.servers {
		s.Shutdown() // fails only when already ended
	}
}

// WriteResolvConf writes a resolv.conf that names this server into dir and
// returns its path, for Options.ResolvConf or POSTROAD_RESOLV_CONF.
func (z *Zone) WriteResolvConf(dir string) (string, error) {
	path := filepath.Join(dir, "resolv.conf")
	host, port, err := net.SplitHostPort(z.Addr)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("nameserver [%s]:%s\noptions timeout:1 attempts:1\n", host, port)
	if strings.Count(host, ":") == 0 {
		text = fmt.Sprintf("nameserver %s:%s\noptions timeout:1 attempts:1\n", host, port)
	}
	return path, os.WriteFile(path, []byte(text), 0o644)
}

func (z *Zone) serveUDP(w dns.ResponseWriter, q *dns.Msg) { z.serve(w, q, "udp") }
func (z *Zone) serveTCP(w dns.ResponseWriter, q *dns.Msg) { z.serve(w, q, "tcp") }

func (z *Zone) serve(w dns.ResponseWriter, q *dns.Msg, network string) {
	if len(q.Question) != 1 {
		return
	}
	name := strings.ToLower(q.Question[0].Name)
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	z.mu.Lock()
	z.asked = append(z.asked, strings.TrimSuffix(name, ".")+" "+dns.Type(q.Question[0].Qtype).String())
	switch {
	case z.ruled("timeout", name):
		z.mu.Unlock()
		return
	case z.ruled("servfail", name):
		m.Rcode = dns.RcodeServerFailure
	case z.ruled("refuse", name):
		m.Rcode = dns.RcodeRefused
	case network == "udp" && z.ruled("truncate", name):
		m.Truncated = true
	default:
		z.answer(m, name, q.Question[0].Qtype)
		m.AuthenticatedData = z.ruled("secure", name)
	}
	z.mu.Unlock()
	w.WriteMsg(m) // a client that has gone needs no answer
}

func (z *Zone) ruled(rule, name string) bool {
	for _, top := range z.rules[rule] {
		if dns.IsSubDomain(top, name) {
			return true
		}
	}
	return false
}

// answer follows CNAMEs as a recursive server does.
func (z *Zone) answer(m *dns.Msg, name string, qtype uint16) {
	for range maxAliasHops {
		alias := ""
		for _, rr := range z.lookup(name) {
			if t := rr.Header().Rrtype; t == qtype {
				m.Answer = append(m.Answer, rr)
			} else if c, ok := rr.(*dns.CNAME); ok {
				m.Answer = append(m.Answer, rr)
				alias = strings.ToLower(c.Target)
			}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	if len(z.lookup(name)) == 0 && !z.hasBelow(name) {
		m.Rcode = dns.RcodeNameError
	}
	if len(m.Answer) == 0 {
		for top := name; top != ""; top = parent(top) {
			for _, rr := range z.records[top] {
				if rr.Header().Rrtype == dns.TypeSOA {
					m.Ns = append(m.Ns, rr)
					return
				}
			}
		}
	}
}

// lookup finds the records of a name, or of the wildcard that covers it
// (RFC 4592), renamed.
func (z *Zone) lookup(name string) []dns.RR {
	if rrs := z.records[name]; len(rrs) > 0 || z.hasBelow(name) {
		return rrs
	}
	for up := parent(name); up != ""; up = parent(up) {
		if wild := z.records["*."+up]; len(wild) > 0 {
			var out []dns.RR
			for _, rr := range wild {
				rr = dns.Copy(rr)
				rr.Header().Name = name
				out = append(out, rr)
			}
			return out
		}
		if len(z.records[up]) > 0 {
			break
		}
	}
	return nil
}

func (z *Zone) hasBelow(name string) bool {
	for n := range z.records {
		if n != name && dns.IsSubDomain(name, n) {
			return true
		}
	}
	return false
}

func parent(name string) string {
	i, end := dns.NextLabel(name, 0)
	if end {
		return ""
	}
	return name[i:]
}
