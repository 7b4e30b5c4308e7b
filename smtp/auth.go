package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/sasl"
	"postroad/libmail/smtpwire"
	"postroad/libmail/table"
)

// saslParams are the login settings of the client.
type saslParams struct {
	enabled   bool
	passwords *table.Maps
	delimiter string
	bySender  bool
	filter    *table.MatchList // nil: all mechanisms
	needs     sasl.Security    // in plaintext
	needsTLS  sasl.Security
	needsSeen sasl.Security // over TLS with a verified server
	soft      bool          // smtp_sasl_auth_soft_bounce
	cache     *loginCache   // nil: none
}

func (p *saslParams) read(s *source) {
	p.enabled, p.soft = s.yes("sasl_auth_enable"), s.yes("sasl_auth_soft_bounce")
	p.bySender = s.yes("sender_dependent_authentication") && s.prefix == "smtp"
	p.delimiter = s.str("sasl_password_result_delimiter")
	if !p.enabled {
		return
	}
	p.passwords = s.maps("sasl_password_maps")
	if p.passwords.Empty() {
		s.fail("sasl_password_maps", errors.New("specify a password table"))
	}
	if text := s.str("sasl_mechanism_filter"); text != "" {
		list, err := table.OpenMatchList(s.prefix+"_sasl_mechanism_filter", table.StringList, text, table.DotParents, s.tables)
		s.fail("sasl_mechanism_filter", err)
		p.filter = list
	}
	for _, o := range []struct {
		name string
		to   *sasl.Security
	}{
		{"sasl_security_options", &p.needs},
		{"sasl_tls_security_options", &p.needsTLS},
		{"sasl_tls_verified_security_options", &p.needsSeen},
	} {
		var err error
		*o.to, err = sasl.ParseSecurity(s.words(o.name))
		s.fail(o.name, err)
	}
	if s.str("sasl_auth_cache_name") != "" {
		p.cache = &loginCache{keep: s.limit("sasl_auth_cache_time")}
	}
}

// credentials looks up who we are for a server: by sender, by host, by next
// hop.
func (j *job) credentials(s *session) (user, password string, found bool, err error) {
	p := &j.p.sasl
	var value string
	if p.bySender && j.Sender != "" {
		value, _, found, err = p.passwords.FindAddress(j.Sender, table.FindDefault)
	}
	for _, key := range []string{s.host, s.dest} {
		if err == nil && !found {
			value, found, err = p.passwords.Find(key)
		}
	}
	if err != nil || !found {
		return "", "", false, err
	}
	user, password, _ = strings.Cut(value, p.delimiter)
	return user, password, true, nil
}

// login authenticates (RFC 4954), if the server offers it and we have
// something to say. On false the failure is accounted for.
func (j *job) login(s *session) bool {
	p := &j.p.sasl
	if !p.enabled || !s.has(smtpwire.AUTH) {
		return true
	}
	user, password, found, err := j.credentials(s)
	if err != nil {
		j.log.Warning("%s: %s lookup error: %v", j.QueueID, p.passwords.Title(), err)
		j.stream(s, errData, "")
		return false
	}
	if !found {
		s.features.Set &^= smtpwire.AUTH
		return true
	}
	offered := j.usable(s)
	if len(offered) == 0 {
		return j.loginFailed(s, local("4.7.0", "SASL authentication failed: server %s offered no compatible "+
			"authentication mechanisms for this type of connection security", s.nameAddr))
	}
	if o, known := p.cache.find(s, user, password, j.clock.Now()); known {
		return j.loginFailed(s, o)
	}
	o, err := j.authenticate(s, offered, user, password)
	switch {
	case err != nil:
		j.stream(s, err, "performing the authentication")
		return false
	case o.Status != "":
		return j.loginFailed(s, o)
	}
	return true
}

func (j *job) loginFailed(s *session, o dsn.Outcome) bool {
	j.failAll(s, o, throttle)
	return false
}

// usable are the server's mechanisms that smtp_sasl_mechanism_filter lets
// through.
func (j *job) usable(s *session) []string {
	var names []string
	for _, m := range s.features.Auth {
		ok := j.p.sasl.filter == nil
		if !ok {
			match, err := j.p.sasl.filter.Match(m, "")
			ok = match && err == nil // a filter that cannot answer lets nothing through
		}
		if ok {
			names = append(names, m)
		}
	}
	if len(names) == 0 {
		j.log.Warning("%s offered no supported AUTH mechanisms: '%s'", s.nameAddrPort, strings.Join(s.features.Auth, " "))
	}
	return names
}

// maxCommand is the longest command line of RFC 5321 §4.5.3.1.4.
const maxCommand = 512

// maxSteps bounds the challenges of one login.
const maxSteps = 100

// authenticate runs one login. The Outcome is empty on success.
func (j *job) authenticate(s *session, offered []string, user, password string) (dsn.Outcome, error) {
	needs := j.p.sasl.needs
	switch {
	case s.secure != nil && s.secure.peer.Matched:
		needs = j.p.sasl.needsSeen
	case s.secure != nil:
		needs = j.p.sasl.needsTLS
	}
	cannot := func(err error) (dsn.Outcome, error) {
		o := local("4.7.0", "SASL authentication failed; cannot authenticate to server %s: %v", s.nameAddr, err)
		o.DiagType, o.DiagText = "x-sasl", err.Error()
		return o, nil
	}
	client, err := sasl.NewClient(offered, user, password, needs)
	if err != nil {
		return cannot(err)
	}
	first, hasFirst, err := client.First()
	if err != nil {
		return cannot(err)
	}
	command, held := "AUTH "+client.Mechanism, hasFirst
	if initial := encode(first); hasFirst && len(command)+len(initial)+3 <= maxCommand {
		if initial == "" {
			initial = "="
		}
		command, held = command+" "+initial, false
	}
	s.command(command)
	for range maxSteps {
		r, err := s.reply()
		if err != nil {
			return dsn.Outcome{}, err
		}
		if r.Code/100 != 3 {
			return j.verdict(s, r, user, password), nil
		}
		response := first
		if held {
			held = false
		} else {
			challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(r.Lines()[0]))
			if err == nil {
				response, err = client.Next(challenge)
			}
			if err != nil {
				return cannot(err)
			}
		}
		s.commandQuietly(encode(response))
	}
	return local("4.3.0", "SASL authentication failed; authentication protocol loop with server %s", s.nameAddr), nil
}

func encode(response []byte) string { return base64.StdEncoding.EncodeToString(response) }

// verdict reads the last reply of a login.
func (j *job) verdict(s *session, r smtpwire.Reply, user, password string) dsn.Outcome {
	if r.Code/100 == 2 {
		return dsn.Outcome{}
	}
	o := s.refused(r, "SASL authentication failed; server %s said: %s", s.nameAddr, r.OneLine())
	if r.Code == 535 {
		j.p.sasl.cache.store(s, user, password, j.clock.Now(), r)
	}
	if j.p.sasl.soft && r.Code/100 == 5 {
		o.Status = "4" + o.Status[1:]
	}
	return o
}

// A loginCache remembers logins that a server has refused, so that it is not
// bothered again with the same (smtp_sasl_auth_cache_name). It lives as long
// as the process.
type loginCache struct {
	keep time.Duration

	mu      sync.Mutex
	entries map[string]refusal
}

type refusal struct {
	until  time.Time
	status string
	text   string
}

// maxRefusals bounds a loginCache.
const maxRefusals = 1000

func (c *loginCache) key(s *session, user, password string) string {
	return strings.Join([]string{s.host, user, password}, "\x00")
}

func (c *loginCache) find(s *session, user, password string, now time.Time) (dsn.Outcome, bool) {
	if c == nil {
		return dsn.Outcome{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.entries[c.key(s, user, password)]
	if !ok || now.After(r.until) {
		return dsn.Outcome{}, false
	}
	o := dsn.Outcome{Status: r.status, MTAType: "dns", MTAName: s.host, DiagType: "smtp", DiagText: r.text,
		Reason: fmt.Sprintf("SASL [CACHED] authentication failed; server %s said: %s", s.host, r.text)}
	if s.p.sasl.soft {
		o.Status = "4" + o.Status[1:]
	}
	return o, true
}

func (c *loginCache) store(s *session, user, password string, now time.Time, r smtpwire.Reply) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil || len(c.entries) >= maxRefusals {
		c.entries = map[string]refusal{}
	}
	c.entries[c.key(s, user, password)] = refusal{now.Add(c.keep), r.Status, r.OneLine()}
}
