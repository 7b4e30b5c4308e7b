package main

import (
	"strings"
	"unicode/utf8"

	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/table"
)

// Header takes a header of the message or of one of its parts: it is checked,
// noted, rewritten, and written unless it must be dropped.
func (s content) Header(class message.Class, f *message.Field, text []byte) {
	if f != nil && f.Type == message.Received {
		s.hops++
	}
	text, f, keep := s.checkHeader(class, f, text)
	if !keep {
		return
	}
	dropped := s.dropped(text)
	if f == nil && !dropped {
		s.putHeader(text)
		return
	}
	if f != nil && f.Type == message.ContentTransferEncoding && s.detect8Bit {
		s.noteEncoding(message.Value(text))
	}
	if class != message.Primary {
		s.putHeader(text)
		return
	}
	if f != nil {
		s.note(f, text)
	}
	if !s.sound() {
		return
	}
	if f != nil && f.Flags&message.Resent != 0 {
		s.resent = "Resent-"
	}
	addresses := f != nil && f.Flags&(message.SenderAddress|message.RcptAddress) != 0
	if addresses && s.headerRules != "" {
		text = s.rewriteHeader(f, text)
	}
	if !dropped {
		s.putHeader(text)
	}
}

// longestDropped bounds the names in message_drop_headers.
const longestDropped = 100

// dropped reports whether message_drop_headers names a header.
func (s *session) dropped(header []byte) bool {
	n := message.HeaderName(header)
	if n == 0 || n > longestDropped {
		return false
	}
	var key [longestDropped]byte
	for i, c := range header[:n] {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		key[i] = c
	}
	return s.drop[string(key[:n])]
}

// checkHeader applies header_checks, mime_header_checks or
// nested_header_checks. MIME headers are checked as such wherever they stand.
func (s *session) checkHeader(class message.Class, f *message.Field, text []byte) ([]byte, *message.Field, bool) {
	if f != nil && f.Flags&message.MIMEField != 0 {
		class = message.Multipart
	}
	if s.flags&proto.CleanupFilter == 0 {
		return text, f, true
	}
	var checks *table.Maps
	switch class {
	case message.Primary:
		checks = s.headerChecks
	case message.Multipart:
		checks = s.mimeChecks
	case message.Nested:
		checks = s.nestedChecks
	}
	if checks.Empty() {
		return text, f, true
	}
	other, keep := s.check(match{"header", string(text), checks.Title()}, checks)
	if other != "" {
		text = []byte(other)
		f = message.LookupField(text)
	}
	return text, f, keep
}

// noteEncoding records that some part of the message is not 7bit (RFC 6152).
func (s *session) noteEncoding(value []byte) {
	if v := strings.ToLower(string(value)); v == "8bit" || v == "binary" {
		s.setAttr("encoding", "8bit")
	}
}

// note remembers what the rest of the message depends on.
func (s *session) note(f *message.Field, text []byte) {
	s.seen |= 1 << f.Type
	value := message.Value(text)
	switch f.Type {
	case message.MessageID:
		s.log.MessageID(s.id, "message-id", string(value))
		if id := message.FirstID(value); s.messageID == "" && id != nil {
			s.messageID = blankControls(id)
		}
	case message.ResentMessageID:
		s.log.MessageID(s.id, "resent-message-id", string(value))
	case message.Received:
		if s.hops >= s.maxHops {
			s.log.Warning("%s: message rejected: hopcount exceeded", s.id)
			s.errs |= proto.StatHops
		}
	case message.TLSRequired: // RFC 8689 §5
		switch {
		case !s.tlsRequired:
		case strings.EqualFold(string(value), "no"):
			s.sendOpts |= proto.SendOptNoRequireTLS
		default:
			s.log.Warning("ignoring malformed header: '%.100s'", text)
		}
	case message.RequireTLS:
		if s.requireTLS && s.requireTLSField && strings.EqualFold(string(value), "yes") {
			s.sendOpts |= proto.SendOptRequireTLS
			s.requireTLSSeen = true
		}
	}
}

// blankControls makes blanks of control characters and of what is not UTF-8.
func blankControls(text []byte) string {
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r < ' ' || r == 0x7f || r == utf8.RuneError && n == 1 {
			b.WriteByte(' ')
		} else {
			b.Write(text[:n])
		}
		text = text[n:]
	}
	return b.String()
}
