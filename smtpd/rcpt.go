package main

import (
	"strconv"
	"strings"

	"postroad/libmail/record"
	"postroad/libmail/smtpwire"
)

// An envelopeRcpt is what RCPT says of one recipient.
type envelopeRcpt struct {
	address string // internal form
	orcpt   string // "type;address", decoded (RFC 3461 §4.2)
	notify  smtpwire.Notify
}

// cmdRCPT adds a recipient (RFC 5321 §4.1.1.3).
func (s *session) cmdRCPT(args []smtpwire.Token) reply {
	switch {
	case s.mail.sender == nil:
		return protocolError(503, "5.5.1", "Error: need MAIL command")
	case s.mail.bdat != noBDAT:
		return protocolError(503, "5.5.1", "Error: RCPT after BDAT")
	case len(args) < 3 || !strings.EqualFold(args[1].Text, "to:"):
		return protocolError(501, "5.5.4", "Syntax: RCPT TO:<address>")
	}
	if r := s.countRecipient(); r != nil {
		return *r
	}
	rcpt, r := s.parseRCPT(args)
	if r != nil {
		return *r
	}
	if s.params.recipientLimit > 0 && s.mail.rcpts >= s.params.recipientLimit {
		s.mail.overshoot++
		return reply{code: 452, status: "4.5.3", text: "Error: too many recipients", forgiven: s.mail.overshoot <= s.params.overshootLimit}
	}
	if r := s.undeclaredUTF8(rcpt.address, s.mail.utf8); r != nil {
		return *r
	}
	if !s.alone {
		// A probe of our own address verification is always welcome: two
		// hosts that refuse each other's probes never get mail through.
		if original, ok := s.ownProbe(rcpt.address); ok {
			rcpt.address = original
		} else if r := s.checkRCPT(rcpt.address); r != nil {
			return *r
		}
	}
	if s.mail.queue == nil {
		if r := s.openQueue(); r != nil {
			return *r
		}
	}
	s.addRecipient(rcpt)
	return reply{code: 250, status: "2.1.5", text: "Ok"}
}

// parseRCPT reads the address and the parameters.
func (s *session) parseRCPT(args []smtpwire.Token) (rcpt envelopeRcpt, r *reply) {
	var ok bool
	if rcpt.address, ok = s.address(args[2], nullRefused, s.mail.utf8); !ok {
		r := protocolError(501, "5.1.3", "Bad recipient address syntax")
		return rcpt, &r
	}
	for _, arg := range args[3:] {
		p := smtpwire.ParseParam(arg.Text)
		switch {
		case p.Key == "NOTIFY" && p.Has:
			r = s.paramNOTIFY(&rcpt, p)
		case p.Key == "ORCPT" && p.Has:
			r = s.paramORCPT(&rcpt, p)
		default:
			r = s.unsupported(arg.Text)
		}
		if r != nil {
			return rcpt, r
		}
	}
	if rcpt.orcpt == "" {
		// RFC 3461 §5.2.1 lets us make up an original recipient. It is the
		// address as the client wrote it.
		given := args[2].Text
		if len(given) > 1 && given[0] == '<' && given[len(given)-1] == '>' {
			given = given[1 : len(given)-1]
		}
		rcpt.orcpt = "rfc822;" + given
	}
	return rcpt, nil
}

// paramNOTIFY is RFC 3461 §4.1.
func (s *session) paramNOTIFY(rcpt *envelopeRcpt, p smtpwire.Param) *reply {
	if r := s.dsnDisabled(); r != nil {
		return r
	}
	notify, ok := smtpwire.ParseNotify(p.Value)
	if !ok || rcpt.notify != 0 {
		r := protocolError(501, "5.5.4", "Error: Bad NOTIFY parameter syntax")
		return &r
	}
	rcpt.notify = notify
	return nil
}

// paramORCPT is RFC 3461 §4.2.
func (s *session) paramORCPT(rcpt *envelopeRcpt, p smtpwire.Param) *reply {
	if r := s.dsnDisabled(); r != nil {
		return r
	}
	kind, address, ok := smtpwire.ParseORCPT(p.Value)
	if !ok || rcpt.orcpt != "" || strings.IndexByte(address, 0) >= 0 {
		r := protocolError(501, "5.5.4", "Error: Bad ORCPT parameter syntax")
		return &r
	}
	rcpt.orcpt = kind + ";" + address
	return nil
}

// addRecipient hands an accepted recipient to cleanup, its attributes first.
func (s *session) addRecipient(rcpt envelopeRcpt) {
	m := &s.mail
	m.rcpts++
	if m.recipient == nil {
		m.recipient = &rcpt.address
	}
	if rcpt.notify != 0 {
		m.queue.attr("notify_flags", strconv.Itoa(int(rcpt.notify)))
	}
	m.queue.attr("dsn_orig_rcpt", rcpt.orcpt)
	m.queue.put(record.Rcpt, rcpt.address)
}
