package main

import (
	"context"
	"errors"
	"strings"

	"postroad/libmail/maillog"
	"postroad/libmail/sasl"
	"postroad/libmail/smtpwire"
	"postroad/libmail/table"
)

// A saslServer decides about logins: a server of Dovecot's kind.
type saslServer interface {
	Mechanisms(ctx context.Context) ([]sasl.Mechanism, error)
	Begin(ctx context.Context, l sasl.Login) (*sasl.DovecotLogin, sasl.Verdict)
}

// saslSettings are the parameters of authentication.
type saslSettings struct {
	service  string
	security sasl.Security // without TLS
	withTLS  sasl.Security
}

// saslState is the authentication of one session.
type saslState struct {
	active     bool
	mechanisms []string
	user       string // after success
	method     string
}

// saslClient makes the client of smtpd_sasl_path.
func (sv *service) saslClient() error {
	c := sv.params.conf
	if !sv.params.saslEnable {
		return nil
	}
	if kind := c.String("smtpd_sasl_type"); kind != "dovecot" {
		return errors.New("unsupported SASL server implementation: " + kind + "; smtpd_sasl_type = dovecot is the one there is")
	}
	d := &sasl.Dovecot{Network: "unix", Address: c.String("smtpd_sasl_path")}
	if host, ok := strings.CutPrefix(d.Address, "inet:"); ok {
		d.Network, d.Address = "tcp", host
	} else {
		d.Address = strings.TrimPrefix(d.Address, "unix:")
	}
	var err1, err2 error
	sv.saslSettings.service = c.String("smtpd_sasl_service")
	sv.saslSettings.security, err1 = sasl.ParseSecurity(c.List("smtpd_sasl_security_options"))
	sv.saslSettings.withTLS, err2 = sasl.ParseSecurity(c.List("smtpd_sasl_tls_security_options"))
	sv.saslServer = d
	return errors.Join(err1, err2)
}

// activateSASL finds out which mechanisms the client may use, now that it is
// known whether the session is encrypted. Without an answer there are none.
func (s *session) activateSASL() {
	s.sasl.active, s.sasl.mechanisms = false, nil
	if s.saslServer == nil || s.alone || s.tls == nil && s.params.tls.authOnly {
		return
	}
	offered, err := s.saslServer.Mechanisms(s.ctx)
	if err != nil {
		s.log.Warning("SASL: %v", err)
		return
	}
	needs := s.saslSettings.security
	if s.tls != nil {
		needs = s.saslSettings.withTLS
	}
	for _, m := range offered {
		if m.Meets(needs) && s.mayUse(s.lists.mechanismFilter, m.Name) {
			s.sasl.mechanisms = append(s.sasl.mechanisms, m.Name)
		}
	}
	if len(s.sasl.mechanisms) == 0 {
		s.log.Warning("no SASL authentication mechanisms")
		return
	}
	s.sasl.active = true
}

// mayUse is smtpd_sasl_mechanism_filter.
func (s *session) mayUse(filter *table.MatchList, mechanism string) bool {
	match, err := filter.Match(mechanism, "")
	return match && err == nil // the list has logged it
}

// logout forgets who the client is.
func (s *session) logout() { s.sasl = saslState{} }

// cmdAUTH authenticates the client (RFC 4954 §4).
func (s *session) cmdAUTH(args []smtpwire.Token) reply {
	if r := s.countAuth(); r != nil {
		return *r
	}
	switch {
	case s.params.heloRequired && s.helo == "":
		return policyError(503, "5.5.1", "Error: send HELO/EHLO first")
	case !s.sasl.active || s.discard&smtpwire.AUTH != 0:
		return protocolError(503, "5.5.1", "Error: authentication not enabled")
	case s.mail.sender != nil:
		return protocolError(503, "5.5.1", "Error: MAIL transaction in progress")
	case s.params.tls.authOnly && s.tls == nil:
		return protocolError(504, "5.5.4", "Encryption required for requested authentication mechanism")
	case s.sasl.user != "":
		return protocolError(503, "5.5.1", "Error: already authenticated")
	case len(args) < 2 || len(args) > 3:
		return protocolError(501, "5.5.4", "Syntax: AUTH mechanism")
	}
	a := &authentication{mechanism: maillog.Printable(args[1].Text)}
	if !hasWord(s.sasl.mechanisms, a.mechanism) {
		return s.authFailed(a, sasl.Verdict{Reason: "Invalid authentication mechanism: '" + a.mechanism + "'"})
	}
	login := sasl.Login{
		Mechanism: strings.ToUpper(a.mechanism), Service: s.saslSettings.service, Encrypted: s.tls != nil,
		LocalIP: known(s.client.serverAddr), RemoteIP: known(s.client.addr),
	}
	if len(args) == 3 {
		login.HasResp, login.Response = true, args[2].Text
		if login.Response == "=" { // RFC 4954 §4: an empty response
			login.Response = ""
		}
		if !isBase64(login.Response) {
			return s.authFailed(a, sasl.Verdict{Reason: "Invalid base64 data in initial response"})
		}
	}
	var v sasl.Verdict
	a.login, v = s.saslServer.Begin(s.ctx, login)
	return s.authStep(a, v)
}

// known is a value, or "" if it is unknown.
func known(value string) string {
	if value == unknown {
		return ""
	}
	return value
}

// isBase64 lets nothing through that could become a line of its own.
func isBase64(text string) bool {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '+' || c == '/' || c == '=') {
			return false
		}
	}
	return true
}

// An authentication is one AUTH command.
type authentication struct {
	mechanism string
	login     *sasl.DovecotLogin
}

// authStep passes on a challenge, or tells the end.
func (s *session) authStep(a *authentication, v sasl.Verdict) reply {
	switch {
	case !v.Done:
		return reply{code: 334, text: v.Challenge, then: func(s *session) reply { return s.authResponse(a) }}
	case !v.Success:
		return s.authFailed(a, v)
	}
	s.sasl.user, s.sasl.method = maillog.Printable(v.User), a.mechanism
	return reply{code: 235, status: "2.7.0", text: "Authentication successful"}
}

// authResponse reads what the client answers to a challenge. "*" gives up.
func (s *session) authResponse(a *authentication) reply {
	line, ending, err := s.readLine(s.params.saslResponseLimit)
	if err != nil {
		a.login.Cancel()
		return reply{lost: err}
	}
	response := string(line)
	s.remember("In:  ", "(authentication response)")
	switch {
	case ending == smtpwire.Partial:
		a.login.Cancel()
		r := s.tooLong(response, s.params.saslResponseLimit)
		return reply{code: 500, status: "5.5.6", text: "SASL response limit exceeded", hangup: r.hangup}
	case response == "*":
		a.login.Cancel()
		s.log.Warning("%s: SASL %s authentication aborted", s.client.namaddr, a.mechanism)
		return say(501, "5.7.0", "Authentication aborted")
	case !isBase64(response):
		a.login.Cancel()
		return s.authFailed(a, sasl.Verdict{Reason: "Invalid base64 data in continued response"})
	}
	return s.authStep(a, a.login.Continue(s.ctx, response))
}

// authFailed logs a failure in the form that intrusion detectors look for.
func (s *session) authFailed(a *authentication, v sasl.Verdict) reply {
	reason := or(maillog.Printable(v.Reason), "(reason unavailable)")
	s.log.Warning("%s: SASL %.100s authentication failed: %s, sasl_username=%.100s", s.client.namaddr, a.mechanism, reason,
		or(maillog.Printable(v.User), "(unavailable)"))
	if v.Temporary {
		return say(454, "4.7.0", "Temporary authentication failure: %s", reason)
	}
	return say(535, "5.7.8", "Error: authentication failed: %s", reason)
}
