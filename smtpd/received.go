package main

import (
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/message"
)

// receivedHeader makes our Received header (RFC 5321 §4.4), one string a line.
//
//	Received: from HELO (NAME [ADDR])
//		(using TLSv1.3 with cipher ... )
//		(Authenticated sender: USER)
//		by MYHOST (Postfix) with ESMTPSA id 4A1B2
//		for <recipient>; Fri, 22 Nov 2024 16:40:00 +0100 (CET)
func (s *session) receivedHeader() []string {
	var lines []string
	by, with := "\tby ", ""
	if s.params.hideSession {
		by = "Received: by "
	} else {
		with = " with " + s.withProtocol()
		helo := s.helo
		if helo == "" {
			helo = s.client.name
		}
		lines = append(lines, "Received: from "+helo+" ("+s.client.name+" ["+s.client.rfcAddr+"])")
		if s.tls != nil && s.params.tlsHeader {
			lines = append(lines, s.tls.receivedLines(s.params.tls.asksCert)...)
		}
		if s.params.saslHeader && s.sasl.user != "" {
			lines = append(lines, "\t(Authenticated sender: "+commentText(s.sasl.user)+")")
		}
	}
	by += s.params.hostname + " (" + s.params.mailName + ")" + with
	if s.mail.id != "" {
		by += " id " + s.mail.id
	}
	date := message.FormatDate(s.mail.arrival)
	if s.mail.rcpts == 1 && s.mail.recipient != nil {
		return append(lines, by, "\tfor <"+addr.Quote(*s.mail.recipient)+">; "+date)
	}
	return append(lines, by+";", "\t"+date)
}

// withProtocol is the protocol as RFC 3848 and RFC 6531 §4.3 name it.
func (s *session) withProtocol() string {
	name := s.protocol
	if s.mail.utf8 {
		name = "UTF8SMTP"
	}
	if s.protocol == "ESMTP" && s.tls != nil {
		name += "S"
	}
	if s.protocol == "ESMTP" && s.sasl.user != "" {
		name += "A"
	}
	return name
}

// commentText makes text fit for a comment in a header: printable ASCII, no
// backslash, balanced parentheses.
func commentText(text string) string {
	var b strings.Builder
	open := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c < ' ' || c > '~' || c == '\\', c == ')' && open == 0:
			c = '?'
		case c == '(':
			open++
		case c == ')':
			open--
		}
		b.WriteByte(c)
	}
	return b.String() + strings.Repeat(")", open)
}
