package main

import (
	"fmt"
	"strings"

	"postroad/libmail/smtpwire"
)

// cmdHELO greets a client without extensions (RFC 5321 §4.1.1.1).
func (s *session) cmdHELO(args []smtpwire.Token) reply {
	if len(args) < 2 {
		return protocolError(501, "", "Syntax: HELO hostname")
	}
	if r := s.hello(joinTokens(args[1:])); r != nil {
		return *r
	}
	// A client that spoke EHLO before may go on pipelining, so ESMTP stays.
	if s.protocol != "ESMTP" {
		s.protocol = "SMTP"
	}
	return reply{code: 250, text: s.params.hostname}
}

// cmdEHLO greets a client and lists our extensions.
func (s *session) cmdEHLO(args []smtpwire.Token) reply {
	if len(args) < 2 {
		return protocolError(501, "", "Syntax: EHLO hostname")
	}
	if r := s.hello(joinTokens(args[1:])); r != nil {
		return *r
	}
	s.protocol = "ESMTP"
	if s.discardErr != nil {
		s.log.Warning("don't know what EHLO features to announce to %s", s.client.namaddr)
		return s.dataError()
	}
	if s.discard != 0 && !s.discard.Has(smtpwire.SilentDiscard) && !s.discard.Has(smtpwire.EnhancedStatusCodes) {
		s.log.Info("discarding EHLO keywords: %s", strings.Join(s.discard.Names(), " "))
	}
	lines, err := s.features()
	if err != nil {
		s.log.Warning("don't know if EHLO feature %v should be announced to %s", err, s.client.namaddr)
		return s.dataError()
	}
	return reply{code: 250, text: strings.Join(append([]string{s.params.hostname}, lines...), "\n")}
}

// hello checks and remembers the client's name. It resets the transaction, as
// RSET does (RFC 5321 §4.1.4).
func (s *session) hello(name string) *reply {
	if !s.alone && !s.params.delayReject {
		if r := s.checkHELO(name); r != nil {
			return r
		}
	}
	s.resetMail()
	s.helo = neuter(smtpwire.Printable(name))
	return nil
}

// neuter masks characters that would mean something in a Received header or a
// log line.
func neuter(text string) string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(" <>()\\\";@", c) {
			return '?'
		}
		return c
	}, text)
}

// joinTokens puts words together again.
func joinTokens(args []smtpwire.Token) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(a.Text)
	}
	return b.String()
}

// features lists what EHLO announces to this client, in Postfix's order.
func (s *session) features() ([]string, error) {
	p := s.params
	var lines []string
	add := func(keyword smtpwire.Keywords, line string) {
		if s.discard&keyword == 0 {
			lines = append(lines, line)
		}
	}
	add(smtpwire.Pipelining, "PIPELINING")
	if p.messageLimit > 0 {
		add(smtpwire.Size, fmt.Sprintf("SIZE %d", p.messageLimit))
	} else {
		add(smtpwire.Size, "SIZE")
	}
	if !p.disableVRFY {
		add(smtpwire.VRFY, "VRFY")
	}
	add(smtpwire.ETRN, "ETRN")
	if s.tls == nil && p.tls.offered && !s.alone {
		add(smtpwire.STARTTLS, "STARTTLS")
	}
	if err := s.addAuth(add); err != nil {
		return nil, err
	}
	if verp, err := s.mayVERP(); err != nil {
		return nil, fmt.Errorf("XVERP: %w", err)
	} else if verp {
		add(smtpwire.XVERP, "XVERP")
	}
	if s.xclientAllowed {
		add(smtpwire.XCLIENT, "XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT")
	}
	if s.xforwardAllowed {
		add(smtpwire.XFORWARD, "XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT")
	}
	add(smtpwire.EnhancedStatusCodes, "ENHANCEDSTATUSCODES")
	add(smtpwire.EightBitMIME, "8BITMIME")
	add(smtpwire.DSN, "DSN")
	if p.utf8 {
		add(smtpwire.SMTPUTF8, "SMTPUTF8")
	}
	add(smtpwire.Chunking, "CHUNKING")
	if p.requireTLS && s.tls != nil {
		add(smtpwire.RequireTLS, "REQUIRETLS")
	}
	return lines, nil
}

// addAuth announces the mechanisms, unless this client is better off without
// (smtpd_sasl_exceptions_networks).
func (s *session) addAuth(add func(smtpwire.Keywords, string)) error {
	if !s.sasl.active {
		return nil
	}
	except, err := s.lists.saslExceptions.Match(s.client.name, s.client.addr)
	if err != nil {
		return fmt.Errorf("AUTH: %w", err)
	}
	if except {
		return nil
	}
	mechanisms := strings.Join(s.sasl.mechanisms, " ")
	add(smtpwire.AUTH, "AUTH "+mechanisms)
	if s.params.brokenAuth {
		add(smtpwire.AUTH, "AUTH="+mechanisms)
	}
	return nil
}

// mayVERP reports whether the client may ask for one return path a recipient.
func (s *session) mayVERP() (bool, error) {
	return s.lists.verp.Match(s.client.name, s.client.addr)
}
