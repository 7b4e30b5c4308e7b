package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"postroad/libmail/conf"
	"postroad/libmail/smtpwire"
)

// A policyServer decides in our place (SMTPD_POLICY_README). One line an
// attribute, an empty line ends a request or a reply; requests follow each
// other on a connection:
//
//	C: request=smtpd_access_policy
//	C: protocol_state=RCPT
//	C: ...
//	C:
//	S: action=DUNNO
//	S:
type policyServer struct {
	spec          string // as in main.cf, for the log
	network, addr string
	timeout       time.Duration
	maxIdle       time.Duration // of an unused connection
	maxTTL        time.Duration // of any connection
	requestLimit  int           // of one connection, 0: none
	tries         int
	retryDelay    time.Duration
	defaultAction string
	context       string

	mu   sync.Mutex
	idle []*policyConn // the last one was used last
}

type policyConn struct {
	net.Conn
	r        *bufio.Reader
	made     time.Time
	used     time.Time
	requests int
}

// maxPolicyConns bounds the connections to one server that are kept unused.
const maxPolicyConns = 20

// maxActionLine bounds a line of a policy server's reply, bytes.
const maxActionLine = 8 << 10

// policyServer makes the client of a policy server, once. Braces may hold
// settings that differ from main.cf: { inet:127.0.0.1:9998, timeout=10s }.
func (sv *service) policyServer(spec string) (*policyServer, error) {
	if p := sv.rulers.policies[spec]; p != nil {
		return p, nil
	}
	c := sv.params.conf
	p := &policyServer{
		spec:          spec,
		timeout:       c.Duration("smtpd_policy_service_timeout"),
		maxIdle:       c.Duration("smtpd_policy_service_max_idle"),
		maxTTL:        c.Duration("smtpd_policy_service_max_ttl"),
		requestLimit:  c.Int("smtpd_policy_service_request_limit"),
		tries:         c.Int("smtpd_policy_service_try_limit"),
		retryDelay:    c.Duration("smtpd_policy_service_retry_delay"),
		defaultAction: c.String("smtpd_policy_service_default_action"),
		context:       c.String("smtpd_policy_service_policy_context"),
	}
	endpoint := spec
	if inner, ok := unbrace(spec); ok {
		words := conf.SplitList(inner)
		if len(words) == 0 {
			return nil, fmt.Errorf("empty policy service: %q", spec)
		}
		endpoint = words[0]
		for _, word := range words[1:] {
			if err := p.override(word); err != nil {
				return nil, fmt.Errorf("policy service %q: %w", spec, err)
			}
		}
	}
	kind, rest, _ := strings.Cut(endpoint, ":")
	switch kind {
	case "unix":
		p.network, p.addr = "unix", rest
	case "inet":
		p.network, p.addr = "tcp", rest
		if !strings.Contains(rest, ":") {
			return nil, fmt.Errorf("policy service %q: need host:port", spec)
		}
	default:
		return nil, fmt.Errorf("policy service %q: need inet:host:port or unix:pathname", spec)
	}
	sv.rulers.policies[spec] = p
	return p, nil
}

// override takes one name=value in the braces of a policy service.
func (p *policyServer) override(word string) (err error) {
	if inner, ok := unbrace(word); ok {
		word = inner
	}
	name, value, found := strings.Cut(word, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !found {
		return fmt.Errorf("missing '=' after %q", word)
	}
	switch name {
	case "timeout":
		p.timeout, err = conf.ParseTime(value, time.Second)
	case "max_idle":
		p.maxIdle, err = conf.ParseTime(value, time.Second)
	case "max_ttl":
		p.maxTTL, err = conf.ParseTime(value, time.Second)
	case "retry_delay":
		p.retryDelay, err = conf.ParseTime(value, time.Second)
	case "request_limit":
		p.requestLimit, err = strconv.Atoi(value)
	case "try_limit":
		p.tries, err = strconv.Atoi(value)
	case "default_action":
		p.defaultAction = value
	case "policy_context":
		p.context = value
	default:
		err = fmt.Errorf("unknown attribute %q", name)
	}
	return err
}

// checkPolicy asks the server and acts on its answer as on an access table's.
func checkPolicy(s *session, st *step, sub subject) verdict {
	p := st.policy
	action, err := p.ask(s, s.policyRequest(p))
	if err == nil && s.params.utf8 && !utf8.ValidString(action) {
		err = fmt.Errorf("malformed UTF-8 in response: %q", action)
	}
	hit := accessHit{table: st.arg, value: action, key: "policy query", sub: sub}
	if err == nil {
		return s.decide(hit)
	}
	s.log.Warning("problem talking to server %s: %v", p.spec, err)
	// A default action may name this server again.
	s.rules.policyDepth++
	defer func() { s.rules.policyDepth-- }()
	if hit.value = p.defaultAction; s.rules.policyDepth > 1 {
		hit.value = "451 4.3.5 Server configuration problem"
	}
	return s.decide(hit)
}

// policyRequest is everything that is known about the request.
func (s *session) policyRequest(p *policyServer) []byte {
	m, c := &s.mail, &s.client
	stage, count, size := s.where, 0, m.announced
	if stage == "BDAT" {
		stage = "DATA"
	}
	if stage == "DATA" || stage == atEnd {
		count = m.rcpts
	}
	if m.size > 0 {
		size = m.size
	}
	tls := tlsAttributes(s.tls)
	out := make([]byte, 0, 1024)
	for _, a := range [][2]string{
		{"request", "smtpd_access_policy"},
		{"protocol_state", stage},
		{"protocol_name", s.protocol},
		{"client_address", c.addr},
		{"client_name", c.name},
		{"client_port", c.port},
		{"reverse_client_name", c.reverseName},
		{"server_address", c.serverAddr},
		{"server_port", c.serverPort},
		{"helo_name", s.helo},
		{"sender", text(m.sender)},
		{"recipient", text(m.recipient)},
		{"recipient_count", strconv.Itoa(count)},
		{"queue_id", m.id},
		{"instance", m.instance},
		{"size", strconv.FormatInt(size, 10)},
		{"etrn_domain", s.etrn},
		{"stress", s.limits().stress},
		{"sasl_method", s.sasl.method},
		{"sasl_username", s.sasl.user},
		{"sasl_sender", m.auth},
		{"ccert_subject", tls.subject},
		{"ccert_issuer", tls.issuer},
		{"ccert_fingerprint", tls.fingerprint},
		{"ccert_pubkey_fingerprint", tls.pubkeyFingerprint},
		{"encryption_protocol", tls.protocol},
		{"encryption_cipher", tls.cipher},
		{"encryption_keysize", strconv.Itoa(tls.bits)},
		{"tls_sni", tls.sni},
		{"policy_context", p.context},
		{"compatibility_level", s.params.compatibility},
		{"mail_version", s.params.mailVersion},
	} {
		out = append(append(append(out, a[0]...), '='), strings.Map(noLineEnd, a[1])...)
		out = append(out, '\n')
	}
	return append(out, '\n')
}

func noLineEnd(c rune) rune {
	if c == '\n' || c == '\r' || c == 0 {
		return ' '
	}
	return c
}

// ask sends a request and returns the action. A kept connection that turns out
// to be closed does not count as a try.
func (p *policyServer) ask(s *session, request []byte) (action string, err error) {
	for try := 1; ; try++ {
		c := p.take(s.clock.Now())
		kept := c != nil
		if c == nil {
			c, err = p.connect(s)
		}
		if c != nil {
			if action, err = c.exchange(request, p.timeout); err == nil {
				p.give(c, s.clock.Now())
				return action, nil
			}
			c.Close() // of no more use
		}
		if kept {
			try--
			continue
		}
		if try >= p.tries || s.ctx.Err() != nil {
			return "", err
		}
		s.pause(p.retryDelay)
	}
}

func (p *policyServer) connect(s *session) (*policyConn, error) {
	d := net.Dialer{Timeout: p.timeout}
	c, err := d.DialContext(s.ctx, p.network, p.addr)
	if err != nil {
		return nil, err
	}
	return &policyConn{Conn: c, r: bufio.NewReader(c), made: s.clock.Now()}, nil
}

// exchange sends a request and reads the action of the reply.
func (c *policyConn) exchange(request []byte, timeout time.Duration) (action string, err error) {
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	if _, err := c.Write(request); err != nil {
		return "", err
	}
	c.requests++
	found := false
	for range 100 { // lines of one reply
		line, end, _, err := smtpwire.ReadLine(c.r, nil, maxActionLine)
		switch {
		case err != nil:
			return "", err
		case end == smtpwire.Partial:
			return "", errors.New("reply line is too long")
		case len(line) == 0 && !found:
			return "", errors.New("missing attribute action in reply")
		case len(line) == 0:
			return action, nil
		}
		if name, value, ok := strings.Cut(string(line), "="); ok && strings.TrimSpace(name) == "action" {
			action, found = strings.TrimSpace(value), true
		}
	}
	return "", errors.New("reply is too long")
}

// take returns a kept connection that may still be used, or nil.
func (p *policyServer) take(now time.Time) *policyConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		if now.Sub(c.used) < p.maxIdle && now.Sub(c.made) < p.maxTTL {
			return c
		}
		c.Close() // too old
	}
	return nil
}

// give keeps a connection for later.
func (p *policyServer) give(c *policyConn, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.used = now
	if p.requestLimit > 0 && c.requests >= p.requestLimit || len(p.idle) >= maxPolicyConns || c.r.Buffered() > 0 {
		c.Close() // enough of it
		return
	}
	p.idle = append(p.idle, c)
}
