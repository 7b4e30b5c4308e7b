package addr

import "strings"

// A Kind says what a token is. An operator has its own character as kind:
// Kind('@').
type Kind uint16

// The kinds of tokens that are no operators.
const (
	Atom         Kind = 256 + iota // characters without special meaning
	QuotedString                   // "…"; Text is what the quotes hold, unescaped
	Comment                        // (…), may nest; Text is the whole, escapes included
	Literal                        // […]; Text is what the brackets hold, unescaped
	Address                        // one address; its parts are in List
	GroupStart                     // the colon after the name of a group
)

// operators are the characters that are tokens by themselves: the specials of
// RFC 5322 §3.2.3, the routing characters ! and %, and | of alias files.
const operators = "|%!()<>@,;:\\\".[]"

// A Token is one word of a header address list, or an Address, which is a
// list of tokens itself. Nothing that the text held is dropped except white
// space, so the list can be written back with External or Header.
type Token struct {
	Kind Kind
	Text string  // for Atom, QuotedString, Comment and Literal
	List []Token // for Address

	// packed is set for an Address that ParseList made: its parts stood
	// together and are written without blanks. After SetExternal two words
	// in a row are written with a blank between them.
	packed bool
}

// Scan divides external text into tokens, from left to right, without
// grouping them. It stops after limit tokens; 0 is no limit.
func Scan(text string, limit int) []Token {
	var list []Token
	s := scanner{text: text}
	for limit <= 0 || len(list) < limit {
		t, ok := s.next()
		if !ok {
			break
		}
		list = append(list, t)
	}
	return list
}

// NewAddress makes an Address of external text, which is taken for one
// address whatever it holds.
func NewAddress(external string) Token {
	t := Token{Kind: Address}
	t.SetExternal(external)
	return t
}

// SetExternal replaces an Address by what external text says.
func (t *Token) SetExternal(external string) {
	t.List = Scan(external, 0)
	t.packed = false
}

// External is the address itself in the form in which it was written, for
// handing to a rewriting service.
func (t *Token) External() string {
	return string(appendExternal(nil, t.List, t.packed))
}

// Internal is the address without quotes.
func (t *Token) Internal() string {
	return string(appendInternal(nil, t.List, t.packed))
}

type scanner struct {
	text string
	at   int
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func isOperator(c byte) bool { return strings.IndexByte(operators, c) >= 0 }

// next returns the next token; ok is false at the end of the text.
func (s *scanner) next() (t Token, ok bool) {
	for s.at < len(s.text) && isSpace(s.text[s.at]) {
		s.at++
	}
	if s.at == len(s.text) {
		return t, false
	}
	switch c := s.text[s.at]; {
	case c == '(':
		return Token{Kind: Comment, Text: s.comment()}, true
	case c == '[':
		return Token{Kind: Literal, Text: s.delimited(']')}, true
	case c == '"':
		return Token{Kind: QuotedString, Text: s.delimited('"')}, true
	case c != '\\' && isOperator(c):
		s.at++
		return Token{Kind: Kind(c)}, true
	}
	text := s.collect(func(c byte) bool { return isSpace(c) || isOperator(c) })
	return Token{Kind: wordKind(text), Text: text}, true
}

// wordKind is Atom, or QuotedString for a word that backslashes gave
// characters that an atom cannot hold. Bytes above 127 may stand in an atom.
func wordKind(text string) Kind {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c <= ' ' || c == 0x7f || isOperator(c) {
			return QuotedString
		}
	}
	return Atom
}

// delimited takes the text between the current byte and the end byte, and
// skips the latter. The end of the input ends it too.
func (s *scanner) delimited(end byte) string {
	s.at++
	text := s.collect(func(c byte) bool { return c == end })
	if s.at < len(s.text) {
		s.at++
	}
	return text
}

// collect takes bytes until stop says so of a byte without a backslash
// before it. Backslashes are removed, white space becomes a blank.
func (s *scanner) collect(stop func(byte) bool) string {
	start := s.at
	for s.at < len(s.text) {
		c := s.text[s.at]
		if c == '\\' || c != ' ' && isSpace(c) && !stop(c) {
			return s.collectSlow(start, stop)
		}
		if stop(c) {
			break
		}
		s.at++
	}
	return s.text[start:s.at]
}

// collectSlow is collect from the first byte that is not copied as it is.
func (s *scanner) collectSlow(start int, stop func(byte) bool) string {
	out := []byte(s.text[start:s.at])
	for s.at < len(s.text) {
		c := s.text[s.at]
		if c == '\\' {
			if s.at++; s.at == len(s.text) {
				break
			}
			c = s.text[s.at]
		} else if stop(c) {
			break
		}
		if isSpace(c) {
			c = ' '
		}
		out = append(out, c)
		s.at++
	}
	return string(out)
}

// comment takes a comment with its parentheses and backslashes.
func (s *scanner) comment() string {
	start, depth := s.at, 0
	for s.at < len(s.text) {
		c := s.text[s.at]
		s.at++
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return s.text[start:s.at]
			}
		case '\\':
			if s.at < len(s.text) {
				s.at++
			}
		}
	}
	return s.text[start:s.at]
}
