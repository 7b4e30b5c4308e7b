package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A syntaxError is what is wrong with a command; the session lives on.
type syntaxError string

func (e syntaxError) Error() string { return string(e) }

// errTooLong ends a session: what follows can't be told from commands.
var errTooLong = errors.New("command line too long")

// Bounds of a command.
const (
	maxAtom    = 64 << 10
	maxLists   = 16        // nesting of parentheses
	maxSet     = 1 << 16   // ranges of a sequence set
	maxSwallow = 256 << 20 // bytes of a literal+ that is thrown away
)

// A parser reads commands (RFC 3501 §9). It is pulled: each method takes one
// element, and after the first error all do nothing. It never reads beyond the
// line end of a command.
type parser struct {
	in      *bufio.Reader
	proceed func() error // tells the client to send its literal
	line    int          // limit: bytes of a command without the literals of APPEND
	literal int64        // limit: bytes of a literal in an argument
	utf8    bool         // 8-bit in quoted strings (RFC 6855 §3)

	err     error
	used    int
	lineEnd bool // the command's line was read to its end
	refused bool // what ended it was a literal the client will not send
}

// begin readies the parser for the next command.
func (p *parser) begin() { p.err, p.used, p.lineEnd, p.refused = nil, 0, false, false }

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = syntaxError(fmt.Sprintf(format, args...))
	}
}

// peek is the next byte, 0 after an error.
func (p *parser) peek() byte {
	if p.err != nil {
		return 0
	}
	b, err := p.in.Peek(1)
	if err != nil {
		p.err = err
		return 0
	}
	return b[0]
}

// comes reports whether a text, in capitals, is next. It waits for no byte
// more than is needed to tell.
func (p *parser) comes(text string) bool {
	for n := 1; n <= len(text) && p.err == nil; n++ {
		b, err := p.in.Peek(n)
		if err != nil {
			p.err = err
			return false
		}
		if !strings.EqualFold(string(b), text[:n]) {
			return false
		}
	}
	return p.err == nil
}

// skip takes the byte that peek saw.
func (p *parser) skip() {
	if p.err != nil {
		return
	}
	if p.used++; p.used > p.line {
		p.err = errTooLong
		return
	}
	_, p.err = p.in.ReadByte()
}

// is takes the byte c if it is next.
func (p *parser) is(c byte) bool {
	if p.peek() != c || p.err != nil {
		return false
	}
	p.skip()
	return true
}

// want takes the byte c, which must be next.
func (p *parser) want(c byte) {
	if !p.is(c) {
		p.fail("Expected %q", c)
	}
}

// sp takes the blank between two arguments, or several of them.
func (p *parser) sp() {
	if p.peek() != ' ' {
		p.fail("Missing argument")
	}
	for p.is(' ') {
	}
}

// end takes the line end of a command. false means that there is none, or that
// an error came before: the handler returns at once.
func (p *parser) end() bool {
	for p.is(' ') {
	}
	p.is('\r')
	if !p.is('\n') {
		p.fail("Too many arguments")
		return false
	}
	p.lineEnd = true
	return p.err == nil
}

// atEnd reports whether the line ends here.
func (p *parser) atEnd() bool {
	c := p.peek()
	return c == '\r' || c == '\n' || p.err != nil
}

// recover skips what is left of a command with an error, with the literals
// that the client sends unasked (RFC 7888 §4).
func (p *parser) recover() error {
	p.err = nil
	if p.refused || p.lineEnd {
		return nil
	}
	tail := ""
	for {
		part, err := p.in.ReadSlice('\n')
		if p.used += len(part); p.used > p.line+maxAtom {
			return errTooLong
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			tail = string(part[len(part)-min(32, len(part)):])
			continue
		}
		if err != nil {
			return err
		}
		tail = strings.TrimRight(tail+string(part), "\r\n")
		i := strings.LastIndexByte(tail, '{')
		if i < 0 || !strings.HasSuffix(tail, "+}") {
			return nil
		}
		n, err := strconv.ParseInt(tail[i+1:len(tail)-2], 10, 63)
		if err != nil {
			return nil
		}
		if err := p.swallow(n); err != nil {
			return err
		}
		tail = ""
	}
}

func (p *parser) swallow(n int64) error {
	if n > maxSwallow {
		return errTooLong
	}
	_, err := io.CopyN(io.Discard, p.in, n)
	return err
}

// atomSpecial is set for bytes that no atom has (RFC 3501 §9).
var atomSpecial = func() (t [256]bool) {
	for c := range t {
		t[c] = c <= ' ' || c >= 0x7f || strings.IndexByte("(){%*\"\\]", byte(c)) >= 0
	}
	return t
}()

// chars takes bytes that no set of specials forbids, but those in also.
func (p *parser) chars(also string) string {
	var b []byte
	for {
		c := p.peek()
		if p.err != nil || atomSpecial[c] && strings.IndexByte(also, c) < 0 || len(b) > maxAtom {
			break
		}
		b = append(b, c)
		p.skip()
	}
	if len(b) == 0 {
		p.fail("Missing argument")
	}
	return string(b)
}

// tag takes a command's tag.
func (p *parser) tag() string {
	t := p.chars("]")
	if strings.Contains(t, "+") || len(t) > 256 {
		p.fail("Invalid tag")
	}
	return t
}

// atom takes an atom.
func (p *parser) atom() string { return p.chars("") }

// word takes an atom that is a word of the protocol, in capitals.
func (p *parser) word() string { return strings.ToUpper(p.chars("")) }

// astring takes an atom, a quoted string or a literal.
func (p *parser) astring() string { return p.text("]") }

// pattern takes a mailbox name with wildcards (RFC 3501 §6.3.8).
func (p *parser) pattern() string { return p.text("]%*") }

func (p *parser) text(also string) string {
	switch c := p.peek(); {
	case c == '"':
		return p.quoted()
	case c == '{':
		return p.literalText()
	case c >= 0x80 && p.utf8:
		p.fail("8-bit data in an atom")
		return ""
	}
	return p.chars(also)
}

// nstring takes a string or NIL.
func (p *parser) nstring() (s string, isNil bool) {
	if c := p.peek(); c == '"' || c == '{' {
		return p.astring(), false
	}
	if w := p.word(); w != "NIL" {
		p.fail("Expected a string or NIL")
	}
	return "", true
}

func (p *parser) quoted() string {
	p.want('"')
	var b []byte
	for p.err == nil {
		c := p.peek()
		switch {
		case c == '\r' || c == '\n' || c == 0:
			p.fail("Missing '\"'")
			return ""
		case c == '"':
			p.skip()
			return string(b)
		case c == '\\':
			p.skip()
			if c = p.peek(); c != '"' && c != '\\' {
				p.fail("Invalid escape in a quoted string")
				return ""
			}
		}
		if len(b) > maxAtom {
			p.fail("Too long argument")
		}
		b = append(b, c)
		p.skip()
	}
	return ""
}

// A literalHead announces a literal.
type literalHead struct {
	size   int64
	binary bool // literal8 (RFC 3516 §4.4)
	unsync bool // the client does not wait (RFC 7888)
}

// literalHead takes "{n}", "{n+}" or "~{n}" with its line end. The caller
// checks the size and then calls go-ahead, or refuse.
func (p *parser) literalHead() (h literalHead) {
	h.binary = p.is('~')
	p.want('{')
	h.size = p.number64()
	h.unsync = p.is('+')
	if !h.unsync {
		p.is('-')
	}
	p.want('}')
	p.is('\r')
	p.want('\n')
	return h
}

// accept tells the client to send the literal.
func (p *parser) accept(h literalHead) {
	if p.err == nil && !h.unsync {
		p.err = p.proceed()
	}
}

// refuse ends a command whose literal is not wanted.
func (p *parser) refuse(h literalHead, reason string) {
	if p.err != nil {
		return
	}
	if !h.unsync {
		p.refused = true
	} else if err := p.swallow(h.size); err != nil {
		p.err = err
		return
	}
	p.fail("%s", reason)
}

func (p *parser) literalText() string {
	h := p.literalHead()
	if p.err != nil {
		return ""
	}
	if h.size > p.literal || int64(p.used)+h.size > int64(p.line) {
		p.refuse(h, "[TOOBIG] Literal is too big")
		return ""
	}
	p.accept(h)
	if p.err != nil {
		return ""
	}
	p.used += int(h.size)
	b := make([]byte, h.size)
	if _, err := io.ReadFull(p.in, b); err != nil {
		p.err = err
		return ""
	}
	if strings.IndexByte(string(b), 0) >= 0 {
		p.fail("NUL in a literal")
	}
	return string(b)
}

func (p *parser) number64() int64 {
	var b []byte
	for c := p.peek(); c >= '0' && c <= '9' && len(b) < 20; c = p.peek() {
		b = append(b, c)
		p.skip()
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		p.fail("Invalid number")
	}
	return n
}

func (p *parser) number() uint32 {
	n := p.number64()
	if n > 1<<32-1 {
		p.fail("Invalid number")
	}
	return uint32(n)
}

// list takes a parenthesized list: each is called for every element and must
// take at least one byte.
func (p *parser) list(each func()) {
	p.want('(')
	for p.is(' ') {
	}
	for !p.is(')') && p.err == nil {
		each()
		if p.peek() != ')' {
			p.sp()
		}
	}
}

// flags takes a list of flags, or flags without parentheses when bare.
func (p *parser) flags() (words []string) {
	one := func() {
		if len(words) > 200 {
			p.fail("Too many flags")
		}
		lead := ""
		if p.is('\\') {
			lead = "\\"
		}
		words = append(words, lead+p.atom())
	}
	if p.peek() == '(' {
		p.list(one)
		return words
	}
	one()
	for p.is(' ') {
		one()
	}
	return words
}
