package main

import (
	"strings"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/smtpwire"
)

// write sends one reply, after the filters that main.cf has for replies. The
// reply leaves when the next command is waited for, or at once when a client
// that makes errors is being slowed down.
func (s *session) write(r *reply) error {
	if r.lost != nil || r.silent {
		return r.lost
	}
	slow := s.errors >= s.params.softErrorLimit
	if slow {
		s.pause(s.params.errorSleep)
	}
	s.trouble |= r.class
	if r.code >= 400 {
		s.filter(r)
		s.foot(r)
		if s.params.softBounce {
			r.soften()
		}
		r.hangup = r.hangup || r.code == 421 || r.code == 521 // RFC 5321 §3.8, RFC 7504 §3
	}
	s.rememberReply(r)
	var buf [512]byte
	out := smtpwire.AppendReply(buf[:0], r.code, r.status, r.text)
	if _, err := s.wire.w.Write(out); err != nil {
		return err
	}
	if slow || r.hangup || r.then != nil || time.Since(s.wire.timed.lastIO) > 10*time.Second {
		return s.wire.w.Flush()
	}
	return nil
}

// filter replaces a refusal by what smtpd_reject_filter_maps says.
func (s *session) filter(r *reply) {
	if s.tables.rejectFilter.Empty() {
		return
	}
	before := r.String()
	text, found, err := s.tables.rejectFilter.Find(before)
	if err != nil || !found {
		return // the table has logged its error; the reply stays what it is
	}
	other, ok := parseReply(text)
	if !ok || other.status != "" && other.status[0] != text[0] {
		s.log.Warning("%s: ignoring invalid reject filter result: %s", s.queueID(), text)
		return
	}
	s.log.Info("%s: reply filter in: %s", s.queueID(), before)
	s.log.Info("%s: reply filter out: %s", s.queueID(), text)
	r.code, r.status, r.text = other.code, other.status, other.text
}

// foot appends the contact information of smtpd_reject_footer. "\n" in the
// template begins a new line of the reply, "\c" at its begin does not.
func (s *session) foot(r *reply) {
	template := s.params.footer
	if !s.tables.rejectFooter.Empty() {
		value, found, err := s.tables.rejectFooter.Find(r.String())
		if err == nil && found { // the table has logged its error
			template = value
		}
	}
	if template == "" {
		return
	}
	separator := "\n"
	if rest, ok := strings.CutPrefix(template, `\c`); ok {
		separator, template = "", rest
	}
	var lines []string
	for _, line := range strings.Split(template, `\n`) {
		text, err := s.expand(line, nil)
		if err != nil {
			s.log.Warning("bad reply footer %q: %v", template, err)
			return
		}
		lines = append(lines, text)
	}
	r.text += separator + strings.Join(lines, "\n")
}

// expand replaces the $names that replies may contain (postconf(5)
// smtpd_reject_footer, default_rbl_reply); more adds others. Values come from
// clients, so only characters of smtpd_expansion_filter get through.
func (s *session) expand(template string, more func(name string) (string, bool)) (string, error) {
	if !strings.Contains(template, "$") {
		return template, nil
	}
	return conf.Substitute(template, func(name string) (string, bool) {
		value, known := "", false
		if more != nil {
			value, known = more(name)
		}
		if !known {
			value, known = s.attribute(name)
		}
		if !known {
			s.log.Warning("unknown macro name %q in expansion request", name)
			return "", false
		}
		return censor(value, s.params.expansionFilter), true
	})
}

// censor replaces every character that is not in allowed by '_'.
func censor(text, allowed string) string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(allowed, c) {
			return c
		}
		return '_'
	}, text)
}

// attribute is a $name about this session.
func (s *session) attribute(name string) (string, bool) {
	c := &s.client
	switch name {
	case "server_name":
		return s.params.hostname, true
	case "client":
		return c.namaddr, true
	case "client_port":
		return c.port, true
	case "client_address":
		return c.addr, true
	case "client_name":
		return c.name, true
	case "reverse_client_name":
		return c.reverseName, true
	case "helo_name":
		return s.helo, true
	case "localtime":
		return s.clock.Now().Format("Jan 02 15:04:05"), true
	}
	if part, ok := strings.CutPrefix(name, "sender"); ok {
		return addressPart(s.mail.sender, part)
	}
	if part, ok := strings.CutPrefix(name, "recipient"); ok {
		return addressPart(s.mail.recipient, part)
	}
	return "", false
}

// addressPart is $sender, $sender_name or $sender_domain; nil is no address.
func addressPart(address *string, part string) (string, bool) {
	if part != "" && part != "_name" && part != "_domain" {
		return "", false
	}
	if address == nil {
		return "", true
	}
	local, domain, _ := splitAt(*address)
	switch {
	case *address == "" && part == "_domain":
		return "", true
	case *address == "":
		return "<>", true
	case part == "_name":
		return local, true
	case part == "_domain":
		return domain, true
	}
	return *address, true
}

// splitAt divides an address at its last @.
func splitAt(address string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return address, "", false
	}
	return address[:i], address[i+1:], true
}

// escape shows bytes in a log line: controls and backslash as C writes them.
func escape(data []byte) string {
	var b strings.Builder
	for _, c := range data {
		switch c {
		case '\\':
			b.WriteString(`\\`)
		case '\a':
			b.WriteString(`\a`)
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '\v':
			b.WriteString(`\v`)
		default:
			if c < ' ' || c > '~' {
				b.WriteByte('\\')
				b.WriteByte('0' + c>>6)
				b.WriteByte('0' + c>>3&7)
				b.WriteByte('0' + c&7)
				continue
			}
			b.WriteByte(c)
		}
	}
	return b.String()
}
