package main

import (
	"bytes"
	"fmt"

	"postroad/libmail/conf"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/record"
)

// beginContent starts the content segment. The checks are for new mail; mail
// that is bounced or forwarded passes.
func (s *session) beginContent() {
	s.put(record.Content, "")
	s.dataOffset = s.file.Offset()
	o := s.mime
	if s.flags&proto.CleanupFilter == 0 {
		o.Report = 0
	}
	s.walker = message.NewWalker(content{s}, o)
	s.take = (*session).content
}

// content takes a record of the content segment: text up to X.
func (s *session) content(t record.Type, data []byte) {
	switch t {
	case record.Text:
		s.text(data, message.Hard)
	case record.Continued:
		s.text(data, message.Soft)
	case record.Extracted:
		s.endContent(s.walker.End())
	default:
		s.malformed("unexpected record type %d in message content", t)
	}
}

// text takes a line, or a piece of one.
func (s *session) text(line []byte, end message.Ending) {
	if s.strayCRLF {
		replaceStray(line, '\r')
		replaceStray(line, '\n')
	}
	if s.flags&proto.CleanupFilter != 0 {
		if s.reject != nil && s.reject.in(line) {
			s.act(match{"content", string(line), "character reject"}, "REJECT disallowed character")
			return
		}
		if s.strip != nil {
			s.stripped = s.strip.without(s.stripped[:0], line)
			line = s.stripped
		}
	}
	s.walker.Line(line, end)
}

// replaceStray makes blanks of a byte that belongs to line ends only. As
// part of a line it would let a later host see other lines than we did, and
// with them other messages.
func replaceStray(line []byte, c byte) {
	for {
		i := bytes.IndexByte(line, c)
		if i < 0 {
			return
		}
		line[i] = ' '
		line = line[i+1:]
	}
}

// endContent ends the segment: its size is known, and what is wrong with its
// structure.
func (s *session) endContent(found message.Problems) {
	if s.headersEnd != "reject" {
		found &^= message.NonEmptyHeadersEnd
	}
	if found != 0 && s.reason == "" {
		s.errs |= proto.StatCont
		s.reason = message.Status + " " + found.String()
	}
	s.contentLength = s.file.Offset() - s.dataOffset
	s.put(record.Extracted, "")
	s.inRcpts = false
	s.take = (*session).extracted
}

// content receives the message from the Walker.
type content struct{ *session }

// Body writes a line of the body, unless body_checks has something against
// it. They see long lines in pieces, and nothing beyond
// body_checks_size_limit of each part.
func (s content) Body(line []byte, end message.Ending, offset int64) {
	if !s.sound() {
		return
	}
	t := record.Text
	if end == message.Soft {
		t = record.Continued
	}
	if s.flags&proto.CleanupFilter != 0 && !s.bodyChecks.Empty() && (s.bodyCheckLimit == 0 || offset < s.bodyCheckLimit) {
		text, keep := s.check(match{"body", string(line), "body_checks"}, s.bodyChecks)
		if !keep {
			return
		}
		if text != "" {
			s.put(t, text)
			return
		}
	}
	s.putBytes(t, line)
}

// Problem logs what is wrong with the structure of the message.
func (s content) Problem(p message.Problems, text []byte) {
	if p == message.NonEmptyHeadersEnd && s.headersEnd != "reject" {
		return
	}
	rcpt := "unknown"
	if s.rcptSeen {
		rcpt = s.logged(s.rcpt)
	}
	s.log.Info("%s: reject: mime-error %s: %s from %s; from=<%s> to=<%s>",
		s.id, p, text[:min(len(text), 100)], s.origin(), s.logged(s.sender), rcpt)
}

// A byteSet is a set of bytes (message_reject_characters and the like).
type byteSet [256]bool

// newByteSet reads a parameter with escapes as in C: \n, \r, \0, \200.
func newByteSet(c *conf.Config, name string) (*byteSet, error) {
	text := c.String(name)
	if text == "" {
		return nil, nil
	}
	set := &byteSet{}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			set[text[i]] = true
			continue
		}
		b, n, err := unescape(text[i+1:])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		set[b] = true
		i += n
	}
	return set, nil
}

// unescape reads what follows a backslash, and how long it is.
func unescape(text string) (b byte, n int, err error) {
	if text == "" {
		return 0, 0, fmt.Errorf("backslash at the end")
	}
	if i := bytes.IndexByte([]byte("abfnrtv\\"), text[0]); i >= 0 {
		return "\a\b\f\n\r\t\v\\"[i], 1, nil
	}
	v := 0
	for n < len(text) && n < 3 && text[n] >= '0' && text[n] <= '7' {
		v = v*8 + int(text[n]-'0')
		n++
	}
	if n == 0 {
		return text[0], 1, nil
	}
	return byte(v), n, nil
}

// in reports whether line holds a byte of the set.
func (set *byteSet) in(line []byte) bool {
	for _, c := range line {
		if set[c] {
			return true
		}
	}
	return false
}

// without appends line to dst but for the bytes of the set.
func (set *byteSet) without(dst, line []byte) []byte {
	for _, c := range line {
		if !set[c] {
			dst = append(dst, c)
		}
	}
	return dst
}
