package main

import (
	"net/netip"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/proto"
	"postroad/libmail/smtpwire"
)

// cmdVRFY answers with the address as it was given, unless a recipient of that
// name would be refused (RFC 5321 §3.5.3 allows 252 for what we won't say).
func (s *session) cmdVRFY(args []smtpwire.Token) reply {
	if s.params.disableVRFY {
		return policyError(502, "5.5.1", "VRFY command is disabled")
	}
	utf8 := false
	if n := len(args) - 1; n > 0 && s.offers(smtpwire.SMTPUTF8) && strings.EqualFold(args[n].Text, "SMTPUTF8") {
		utf8, args = true, args[:n] // RFC 6531 §3.7.4.2
	}
	if len(args) < 2 {
		syntax := "Syntax: VRFY address"
		if s.params.utf8 {
			syntax += " [SMTPUTF8]"
		}
		return protocolError(501, "5.5.4", "%s", syntax)
	}
	if r := s.countRecipient(); r != nil {
		return *r
	}
	given := smtpwire.Token{Text: joinTokens(args[1:])}
	address, ok := s.address(given, nullRefused, utf8)
	if !ok {
		return protocolError(501, "5.1.3", "Bad recipient address syntax")
	}
	if r := s.undeclaredUTF8(address, utf8); r != nil {
		return *r
	}
	if !s.alone {
		before := s.mail.utf8
		s.mail.utf8 = before || utf8
		r := s.checkRCPT(address)
		s.mail.utf8 = before
		if r != nil {
			return *r
		}
	}
	return say(252, "2.0.0", "%s", given.Text)
}

// cmdETRN has mail for a domain delivered now (RFC 1985). Its replies have no
// enhanced status codes.
func (s *session) cmdETRN(args []smtpwire.Token) reply {
	switch {
	case s.params.heloRequired && s.helo == "":
		return policyError(503, "", "Error: send HELO/EHLO first")
	case s.mail.sender != nil:
		return protocolError(503, "", "Error: MAIL transaction in progress")
	case len(args) != 2:
		return protocolError(500, "", "Syntax: ETRN domain")
	}
	domain := args[1].Text
	if domain[0] == '@' || domain[0] == '#' {
		domain = domain[1:]
	}
	if _, err := addr.ParseLiteral(domain); err != nil && !addr.ValidHostname(domain) {
		return protocolError(501, "", "Error: invalid parameter syntax")
	}
	if s.alone {
		s.log.Warning("do not use ETRN in \"sendmail -bs\" mode")
		return say(458, "", "Unable to queue messages")
	}
	if r := s.checkETRN(domain); r != nil {
		return *r
	}
	return s.flushSite(domain)
}

// flushSite asks the flush service.
func (s *session) flushSite(domain string) reply {
	status, err := s.flush.Do(proto.FlushRequest{Verb: proto.FlushSendSite, Site: domain})
	switch {
	case err != nil:
		s.log.Warning("unable to talk to fast flush service: %v", err)
		return say(458, "", "Unable to queue messages")
	case status == proto.FlushOK:
		return say(250, "", "Queuing started")
	case status == proto.FlushDenied:
		s.log.Warning("reject: ETRN %.100s... from %s", domain, s.client.namaddr)
		return say(459, "", "<%s>: service unavailable", domain)
	case status == proto.FlushBadSite:
		s.log.Warning("bad ETRN %.100s... from %s", domain, s.client.namaddr)
	default:
		s.log.Warning("unable to talk to fast flush service")
	}
	return say(458, "", "Unable to queue messages")
}

// isIP reports whether text is an address without brackets or prefix.
func isIP(text string) bool {
	ip, err := netip.ParseAddr(text)
	return err == nil && ip.Zone() == ""
}
