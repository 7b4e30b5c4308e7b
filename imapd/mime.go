package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// Bounds of a message's structure.
const (
	maxNesting  = 100
	maxParts    = 10_000
	maxHeader   = 1 << 20  // bytes of one header block that are kept
	maxHeaders  = 16 << 20 // of all of them
	maxBoundary = 200
)

// A stretch is a piece of a message's file. wire is its length with CRLF line
// ends.
type stretch struct {
	from, to int64
	wire     int64
	lines    int64
}

// A part is an entity of a message (RFC 2045 §2.4): the message itself, a part
// of a multipart, or the message in a message/rfc822 part.
type part struct {
	head, body stretch
	fields     []field // of the header
	main, sub  string  // lower case
	params     []param
	parts      []*part // of a multipart
	inner      *part   // of a message/rfc822
}

// A field is one header. The value is unfolded, and has no blanks around it.
type field struct {
	name  string // as it is spelled
	value string
	raw   stretch
}

// A param is a parameter of a MIME header, as it stands there.
type param struct{ name, value string }

// get is the value of the first header with a name.
func (p *part) get(name string) (string, bool) {
	for i := range p.fields {
		if strings.EqualFold(p.fields[i].name, name) {
			return p.fields[i].value, true
		}
	}
	return "", false
}

// last is the value of the last header with a name.
func (p *part) last(name string) (value string, given bool) {
	for i := range p.fields {
		if strings.EqualFold(p.fields[i].name, name) {
			value, given = p.fields[i].value, true
		}
	}
	return value, given
}

// all joins the values of all headers with a name.
func (p *part) all(name string) string {
	var values []string
	for i := range p.fields {
		if strings.EqualFold(p.fields[i].name, name) {
			values = append(values, p.fields[i].value)
		}
	}
	return strings.Join(values, ", ")
}

func (p *part) param(name string) string {
	for _, q := range p.params {
		if strings.EqualFold(q.name, name) {
			return q.value
		}
	}
	return ""
}

// A scanner reads a message line by line. Line ends are LF or CRLF.
type scanner struct {
	in     *bufio.Reader
	at     int64  // offset of the line
	line   []byte // the line with its end, or a piece of a long one
	begins bool   // the line is no continuation of a piece
	ended  bool   // the piece before had the line's end
	err    error

	open    []string // boundaries
	parts   int
	headers int
}

// next moves to the next line; false at the end of the message.
func (s *scanner) next() bool {
	s.at += int64(len(s.line))
	s.begins = s.ended
	line, err := s.in.ReadSlice('\n')
	s.line = line
	s.ended = len(line) > 0 && line[len(line)-1] == '\n'
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
		s.err = err
		return false
	}
	return len(line) > 0
}

// add counts the scanner's line as part of a stretch.
func (t *stretch) add(s *scanner) {
	t.to = s.at + int64(len(s.line))
	t.wire += int64(len(s.line))
	if n := len(s.line); s.ended {
		t.lines++
		if n < 2 || s.line[n-2] != '\r' {
			t.wire++
		}
	}
}

// parseMessage finds the structure of a message.
func parseMessage(r io.Reader) (*part, error) {
	s := newScanner(r)
	p := &part{}
	if !s.next() && s.err == nil {
		p.classify("text", "plain")
		return p, nil
	}
	s.entity(p, "text", "plain")
	return p, s.err
}

// parseHeader reads the header of a message only.
func parseHeader(r io.Reader) (*part, error) {
	s := newScanner(r)
	p := &part{}
	if s.next() {
		s.header(p)
	}
	p.classify("text", "plain")
	return p, s.err
}

func newScanner(r io.Reader) *scanner {
	return &scanner{in: bufio.NewReaderSize(r, 16<<10), ended: true}
}

// A stop says why an entity ended: at the boundary of an open multipart, at
// its last one, or at the end of the message (level -1).
type stop struct {
	level int
	last  bool
}

// boundary tells whether the line is a boundary of an open multipart
// (RFC 2046 §5.1.1).
func (s *scanner) boundary() (stop, bool) {
	if !s.begins || len(s.line) < 3 || s.line[0] != '-' || s.line[1] != '-' {
		return stop{}, false
	}
	text := bytes.TrimRight(s.line[2:], " \t\r\n")
	for i := len(s.open) - 1; i >= 0; i-- {
		rest, ok := bytes.CutPrefix(text, []byte(s.open[i]))
		if ok && len(rest) == 0 {
			return stop{i, false}, true
		}
		if ok && bytes.HasPrefix(rest, []byte("--")) {
			return stop{i, true}, true
		}
	}
	return stop{}, false
}

var endOfMessage = stop{level: -1}

// entity reads an entity whose first line is the scanner's. It returns at the
// boundary that ended it, which stays the scanner's line.
func (s *scanner) entity(p *part, main, sub string) stop {
	s.parts++
	end, ended := s.header(p)
	p.classify(main, sub)
	if ended {
		return end
	}
	p.body.from, p.body.to = p.head.to, p.head.to
	if len(s.open) >= maxNesting || s.parts >= maxParts {
		if p.main == "multipart" || p.isMessage() {
			p.main, p.sub, p.params = "application", "octet-stream", nil
		}
	}
	switch {
	case p.main == "multipart":
		return s.multipart(p)
	case p.isMessage():
		return s.message(p)
	}
	return s.content(p)
}

// isMessage reports whether a part is a message that can be looked into.
func (p *part) isMessage() bool {
	if p.main != "message" || p.sub != "rfc822" && p.sub != "global" {
		return false
	}
	enc := p.encoding()
	return enc != "base64" && enc != "quoted-printable"
}

// encoding is the transfer encoding in lower case.
func (p *part) encoding() string {
	v, _ := p.get("Content-Transfer-Encoding")
	l := words{text: v}
	w, ok := l.next()
	if more, _ := l.next(); ok && w.kind == 'a' && more.kind != '/' { // not a type that was put here
		return strings.ToLower(w.text)
	}
	return "7bit"
}

// content reads up to a boundary. The line end before a boundary belongs to
// the boundary.
func (s *scanner) content(p *part) stop {
	t := &p.body
	var last stretch // as t was before the last line end
	for s.next() {
		if end, ok := s.boundary(); ok {
			if t.lines > 0 {
				*t = last
			}
			return end
		}
		t.add(s)
		last = *t
		if s.ended {
			last.to--
			last.lines--
			last.wire -= 2
			if n := len(s.line); n >= 2 && s.line[n-2] == '\r' {
				last.to--
			}
		}
	}
	return endOfMessage
}

// enclose makes the body of a part what its contents were: from its start to
// the end of the last of them.
func (p *part) enclose(more stretch) {
	p.body.wire += more.wire
	p.body.lines += more.lines
	if more.to > p.body.to {
		p.body.to = more.to
	}
}

// message reads the message in a message/rfc822 part.
func (s *scanner) message(p *part) stop {
	p.inner = &part{}
	p.inner.head.from, p.inner.head.to = p.body.from, p.body.from
	if !s.next() {
		p.inner.classify("text", "plain")
		return endOfMessage
	}
	if end, ok := s.boundary(); ok {
		p.inner.classify("text", "plain")
		return end
	}
	end := s.entity(p.inner, "text", "plain")
	p.enclose(p.inner.head)
	p.enclose(p.inner.body)
	return end
}

// multipart reads the parts of a multipart. Its body is all that stands there,
// boundaries included.
func (s *scanner) multipart(p *part) stop {
	text := p.param("boundary")
	if text == "" {
		return s.content(p)
	}
	level := len(s.open)
	s.open = append(s.open, strings.TrimRight(text[:min(len(text), maxBoundary)], " "))
	defer func() { s.open = s.open[:level] }()
	main, sub := "text", "plain"
	if p.sub == "digest" { // RFC 2046 §5.1.5
		main, sub = "message", "rfc822"
	}
	preamble := &part{}
	preamble.body.from, preamble.body.to = p.body.from, p.body.from
	end := s.content(preamble)
	p.span(preamble.body, s, end)
	for end.level == level && !end.last {
		p.body.add(s) // the boundary line
		child := &part{}
		child.head.from, child.head.to = p.body.to, p.body.to
		if !s.next() {
			child.classify(main, sub)
			p.parts = append(p.parts, child)
			return endOfMessage
		}
		if e, ok := s.boundary(); ok { // a part without anything
			child.classify(main, sub)
			end = e
		} else {
			end = s.entity(child, main, sub)
		}
		p.parts = append(p.parts, child)
		p.enclose(child.head)
		p.span(child.body, s, end)
	}
	if end.level != level {
		return end
	}
	p.body.add(s) // the last boundary
	s.open = s.open[:level]
	epilogue := &part{}
	epilogue.body.from, epilogue.body.to = p.body.to, p.body.to
	end = s.content(epilogue)
	p.enclose(epilogue.body)
	return end
}

// span adds the body of a child, and the line end before the boundary of this
// multipart that followed it.
func (p *part) span(body stretch, s *scanner, end stop) {
	p.enclose(body)
	if end.level == len(s.open)-1 && p.body.to < s.at {
		p.body.to = s.at
		p.body.wire += 2
		p.body.lines++
	}
}

// header reads the header block that the scanner's line begins. ended reports
// that a boundary or the end of the message ended it.
func (s *scanner) header(p *part) (end stop, ended bool) {
	p.head.from, p.head.to = s.at, s.at
	var text []byte
	var raw stretch
	flush := func() {
		if len(text) > 0 {
			p.addField(text, raw)
		}
		text = text[:0]
	}
	for {
		if e, ok := s.boundary(); ok {
			flush()
			p.body.from, p.body.to = p.head.to, p.head.to
			return e, true
		}
		p.head.add(s)
		bare := bytes.TrimRight(s.line, "\r\n")
		switch {
		case s.begins && s.ended && len(bare) == 0:
			flush()
			return stop{}, false
		case s.begins && (len(s.line) == 0 || s.line[0] != ' ' && s.line[0] != '\t'):
			flush()
			raw = stretch{from: s.at, to: s.at}
		}
		raw.add(s)
		if keep := min(len(s.line), maxHeader-len(text), maxHeaders-s.headers); keep > 0 {
			text = append(text, s.line[:keep]...)
			s.headers += keep
		}
		if !s.next() {
			flush()
			p.body.from, p.body.to = p.head.to, p.head.to
			return endOfMessage, true
		}
	}
}

// addField takes a header apart. A line that is none has no name.
func (p *part) addField(text []byte, raw stretch) {
	name, value, ok := strings.Cut(string(text), ":")
	name = strings.TrimRight(name, " \t")
	if !ok || name == "" || strings.ContainsAny(name, " \t\r\n") {
		name, value = "", string(text)
	}
	p.fields = append(p.fields, field{name: name, value: unfold(value), raw: raw})
}

// unfolder makes a folded value one line; a tab that it was folded with
// becomes a blank, as Dovecot has it.
var unfolder = strings.NewReplacer("\r\n\t", " ", "\n\t", " ", "\r\n", "", "\n", "")

// unfold removes line ends (RFC 5322 §2.2.3) and the blanks around a value.
func unfold(value string) string {
	if strings.ContainsAny(value, "\r\n") {
		value = unfolder.Replace(value)
	}
	return strings.Trim(value, " \t\r\n")
}

// classify finds the type of a part; one that does not parse is text/plain.
func (p *part) classify(main, sub string) {
	value, given := p.get("Content-Type")
	if !given {
		p.main, p.sub = main, sub
		return
	}
	l := words{text: value}
	t, ok1 := l.next()
	slash, ok2 := l.next()
	u, ok3 := l.next()
	if !ok1 || !ok2 || !ok3 || t.kind != 'a' || slash.kind != '/' || u.kind != 'a' {
		p.main, p.sub = "text", "plain"
		return
	}
	p.main, p.sub = strings.ToLower(t.text), strings.ToLower(u.text)
	p.params = l.params()
}
