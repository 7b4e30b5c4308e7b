package table

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// What a backslash makes of a letter, in the C locale. Sets in upper case are
// the opposites.
var (
	perlBytes = map[byte]byte{'a': 7, 'e': 27, 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}
	perlSets  = map[byte]string{
		'd': "0-9",
		'w': "0-9A-Z_a-z",
		's': "\t-\r ",
		'h': "\t \xa0",
		'v': "\n-\r\x85",
		'n': "\n", // \N
	}
)

// perlSet is the set of \d, \D and so on.
func perlSet(letter byte) (set *byteSet, not, ok bool) {
	name := letter
	if 'A' <= letter && letter <= 'Z' {
		name += 'a' - 'A'
		not = true
	}
	text, ok := perlSets[name]
	if !ok || letter == 'n' {
		return nil, false, false
	}
	set = new(byteSet)
	for i := 0; i < len(text); i++ {
		hi := text[i]
		if i+2 < len(text) && text[i+1] == '-' {
			hi = text[i+2]
		}
		set.addRange(text[i], hi)
		if hi != text[i] {
			i += 2
		}
	}
	return set, not, true
}

// escape takes what follows a backslash outside brackets.
func (w *perlRewriter) escape() error {
	if w.at == len(w.in) {
		return errors.New("\\ at end of pattern")
	}
	c := w.in[w.at]
	if set, not, ok := perlSet(c); ok {
		w.at++
		w.class(set, not)
		return nil
	}
	switch {
	case c == 'b' || c == 'B' || c == 'A' || c == 'z':
		w.at++
		w.atom()
		w.put(`\` + string(rune(c)))
	case c == 'Z':
		w.at++
		w.atom()
		w.newline = true
		w.fast.WriteString(`\z`)
		w.slow.WriteString(`\Z`)
	case c == 'G':
		w.at++
		w.atom()
		w.put(`\A`)
	case c == 'R':
		w.at++
		w.atom()
		w.put("(?:\\r\\n|[\\n-\\r" + quoteByte(0x85) + "])")
	case c == 'Q':
		w.at++
		text, rest, _ := strings.Cut(w.in[w.at:], `\E`)
		for i := 0; i < len(text); i++ {
			w.char(text[i])
		}
		w.at = len(w.in) - len(rest)
	case c == 'E':
		w.at++
	case c == 'k' || c == 'g':
		return w.namedReference()
	case '1' <= c && c <= '9' && w.isReference():
		n := w.at
		for w.at < len(w.in) && '0' <= w.in[w.at] && w.in[w.at] <= '9' {
			w.at++
		}
		return w.backReference(w.in[n:w.at])
	default:
		b, err := w.escapedByte()
		if err != nil {
			return err
		}
		w.char(b)
	}
	return nil
}

// isReference reports whether \N is a group and no octal number: one digit, or
// a group that exists already.
func (w *perlRewriter) isReference() bool {
	end := w.at
	for end < len(w.in) && '0' <= w.in[end] && w.in[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(w.in[w.at:end])
	return err == nil && (n < 10 || n <= w.groups)
}

// namedReference takes \k<name>, \k'name', \k{name}, \g{name}, \g{-1} and \g1.
func (w *perlRewriter) namedReference() error {
	kind := w.in[w.at]
	w.at++
	open := w.peek(0)
	shut, ok := map[byte]byte{'<': '>', '\'': '\'', '{': '}'}[open]
	switch {
	case ok && (kind == 'k' || open == '{'):
		w.at++
		name, err := w.until(shut)
		if err != nil {
			return err
		}
		return w.backReference(name)
	case kind == 'g' && (open == '-' || '0' <= open && open <= '9'):
		n := w.at
		for w.at++; w.at < len(w.in) && '0' <= w.in[w.at] && w.in[w.at] <= '9'; w.at++ {
		}
		return w.backReference(w.in[n:w.at])
	}
	return fmt.Errorf("\\%c is not followed by a name", kind)
}

// escapedByte takes an escape that is one byte; w.at is at the letter.
func (w *perlRewriter) escapedByte() (byte, error) {
	c := w.in[w.at]
	w.at++
	if b, ok := perlBytes[c]; ok {
		return b, nil
	}
	switch {
	case c == 'c':
		b := w.peek(0)
		if b < ' ' || b > '~' {
			return 0, errors.New("\\c must be followed by a printable ASCII character")
		}
		w.at++
		if 'a' <= b && b <= 'z' {
			b -= 'a' - 'A'
		}
		return b ^ 0x40, nil
	case c == 'x' && w.peek(0) == '{':
		return w.braced(16)
	case c == 'x':
		return w.number(16, 2)
	case c == 'o' && w.peek(0) == '{':
		return w.braced(8)
	case '0' <= c && c <= '7':
		w.at--
		return w.number(8, 3)
	case isAlnum(c):
		return 0, fmt.Errorf("unrecognized or unsupported character \"%c\" follows \\", c)
	}
	return c, nil
}

// number reads up to max digits.
func (w *perlRewriter) number(base, max int) (byte, error) {
	end := w.at
	for end < len(w.in) && end-w.at < max {
		if _, err := strconv.ParseUint(w.in[end:end+1], base, 8); err != nil {
			break
		}
		end++
	}
	if end == w.at {
		return 0, nil
	}
	n, err := strconv.ParseUint(w.in[w.at:end], base, 8)
	w.at = end
	if err != nil {
		return 0, errors.New("character code point value is too large")
	}
	return byte(n), nil
}

// braced reads {digits}.
func (w *perlRewriter) braced(base int) (byte, error) {
	w.at++
	text, err := w.until('}')
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, base, 8)
	if err != nil {
		return 0, errors.New("character code point value is too large")
	}
	return byte(n), nil
}

// bracket takes a bracket expression; the bracket that opens it is taken
// already.
func (w *perlRewriter) bracket() error {
	var b byteSet
	not := w.peek(0) == '^'
	if not {
		w.at++
	}
	for first := true; ; first = false {
		if w.at >= len(w.in) {
			return errors.New("missing terminating ] for character class")
		}
		if w.in[w.at] == ']' && !first {
			w.at++
			w.class(&b, not)
			return nil
		}
		if err := w.element(&b); err != nil {
			return err
		}
	}
}

// element takes a byte, a range or a set.
func (w *perlRewriter) element(b *byteSet) error {
	if w.has("[:") {
		if end := strings.Index(w.in[w.at:], ":]"); end > 0 {
			name, not := strings.CutPrefix(w.in[w.at+2:w.at+end], "^")
			set, err := namedClass(name)
			if err != nil {
				return errors.New("unknown POSIX class name")
			}
			w.at += end + 2
			b.addSet(set, not)
			return nil
		}
	}
	lo, set, err := w.endpoint(b)
	if err != nil || set {
		return err
	}
	hi := lo
	if w.peek(0) == '-' && w.peek(1) != ']' && w.at+1 < len(w.in) {
		w.at++
		if hi, set, err = w.endpoint(b); err != nil {
			return err
		}
		if set { // [a-\d]: the dash is itself
			b[lo], b['-'] = true, true
			return nil
		}
		if hi < lo {
			return errors.New("range out of order in character class")
		}
	}
	b.addRange(lo, hi)
	return nil
}

// endpoint takes a byte, or adds a set such as \d.
func (w *perlRewriter) endpoint(b *byteSet) (c byte, set bool, err error) {
	if c = w.in[w.at]; c != '\\' {
		w.at++
		return c, false, nil
	}
	w.at++
	if w.at == len(w.in) {
		return 0, false, errors.New("\\ at end of pattern")
	}
	c = w.in[w.at]
	if s, not, ok := perlSet(c); ok && c != 'N' {
		w.at++
		b.addSet(s, not)
		return 0, true, nil
	}
	switch c {
	case 'b':
		w.at++
		return '\b', false, nil
	case 'E':
		w.at++
		return 0, true, nil
	}
	c, err = w.escapedByte()
	return c, false, err
}
