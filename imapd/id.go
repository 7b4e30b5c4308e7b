package main

import (
	"strings"

	"postroad/libmail/maillog"
)

// frontCapabilities are announced before login.
const frontCapabilities = "IMAP4rev1 SASL-IR ID ENABLE IDLE LITERAL+"

// idAnswer does not say which version we are: that helps attackers only.
const idAnswer = `* ID ("name" "postroad")`

// maxID is how many fields a client may say about itself (RFC 2971 §3.3).
const maxID = 30

// parseID takes the argument of ID, and makes a text for the log of it.
func parseID(p *parser) string {
	p.sp()
	if p.peek() != '(' {
		if _, isNil := p.nstring(); !isNil {
			p.fail("Expected a list or NIL")
		}
		return ""
	}
	var fields []string
	p.list(func() {
		name := p.astring()
		p.sp()
		value, isNil := p.nstring()
		if len(fields) >= maxID || len(name) > 30 || len(value) > 1024 {
			p.fail("Too long ID")
		}
		if !isNil {
			fields = append(fields, maillog.Printable(name)+"="+maillog.Printable(value[:min(len(value), 100)]))
		}
	})
	return strings.Join(fields, ", ")
}

// id tells who we are (RFC 2971).
func (s *session) id(p *parser) reply {
	client := parseID(p)
	if !p.end() {
		return reply{}
	}
	if client != "" {
		s.log.Info("imap(%s): ID sent: %s", s.user.name, client)
	}
	s.out.line(idAnswer)
	return ok("ID completed.")
}
