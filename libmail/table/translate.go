package table

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dlclark/regexp2/v2"
)

// translate rewrites a pattern for the engines.
type translate func(p flagged) (engines, error)

// engines is one pattern in the languages of both engines.
type engines struct {
	fast      string // for package regexp; "": it cannot express the pattern
	slow      string // for package regexp2
	slowFlags regexp2.RegexOptions
	longest   bool // POSIX: of the matches that begin first, the longest
	newline   bool // fast must not see keys that end in a newline
	groups    int
}

// A rewriter reads a pattern and writes it for both engines at once. The text
// for the fast one is given up as soon as it cannot say something.
type rewriter struct {
	in    string
	at    int
	fast  strings.Builder
	slow  strings.Builder
	noGo  bool // fast cannot express the pattern
	level int  // open parentheses

	atomFast, atomSlow int // where the last atom began
	repeated           bool
	starts             []atomStart // where the groups that are open began
	groups             int
}

type atomStart struct{ fast, slow int }

// put writes the same text for both engines.
func (w *rewriter) put(s string) {
	w.fast.WriteString(s)
	w.slow.WriteString(s)
}

// putSlow writes what only the slow engine knows.
func (w *rewriter) putSlow(s string) {
	w.noGo = true
	w.slow.WriteString(s)
}

// atom begins something that a repetition can follow.
func (w *rewriter) atom() {
	w.atomFast, w.atomSlow, w.repeated = w.fast.Len(), w.slow.Len(), false
}

// char writes one literal byte.
func (w *rewriter) char(c byte) {
	w.atom()
	w.put(quoteByte(c))
}

// quoteByte is a byte as both engines take it literally.
func quoteByte(c byte) string {
	switch {
	case c >= 0x80:
		return string(wide + rune(c))
	case isAlnum(c) || c == ' ' || c == '_':
		return string(rune(c))
	case c < ' ' || c == 0x7f:
		return fmt.Sprintf(`\x%02x`, c)
	}
	return `\` + string(rune(c))
}

// open and shut write the parentheses of a group.
func (w *rewriter) open(fast, slow string) {
	w.starts = append(w.starts, atomStart{w.fast.Len(), w.slow.Len()})
	w.fast.WriteString(fast)
	w.slow.WriteString(slow)
	w.level++
	w.atom()
}

func (w *rewriter) shut() {
	w.put(")")
	start := w.starts[len(w.starts)-1]
	w.starts = w.starts[:len(w.starts)-1]
	w.atomFast, w.atomSlow, w.repeated = start.fast, start.slow, false
	w.level--
}

// repeat writes a repetition of the last atom. A repetition of a repetition
// is put in a group: a** is no error and a*? is not lazy in POSIX.
func (w *rewriter) repeat(op string) {
	if w.repeated {
		regroup(&w.fast, w.atomFast)
		regroup(&w.slow, w.atomSlow)
	}
	w.put(op)
	w.repeated = true
}

func regroup(b *strings.Builder, from int) {
	s := b.String()
	b.Reset()
	b.WriteString(s[:from] + "(?:" + s[from:] + ")")
}

// next is the next byte, or 0 at the end.
func (w *rewriter) peek(ahead int) byte {
	if w.at+ahead < len(w.in) {
		return w.in[w.at+ahead]
	}
	return 0
}

func (w *rewriter) has(s string) bool { return strings.HasPrefix(w.in[w.at:], s) }

// interval reads {n}, {n,} or {n,m} at the start of s, or returns 0.
func interval(s string) int {
	i := 1
	digits := func() bool {
		from := i
		for i < len(s) && '0' <= s[i] && s[i] <= '9' {
			i++
		}
		return i > from && i-from < 6
	}
	if s == "" || s[0] != '{' || !digits() {
		return 0
	}
	if i < len(s) && s[i] == ',' {
		i++
		digits()
	}
	if i < len(s) && s[i] == '}' {
		return i + 1
	}
	return 0
}

// byteSet is a bracket expression: the bytes in it.
type byteSet [256]bool

func (b *byteSet) addRange(lo, hi byte) {
	for c := int(lo); c <= int(hi); c++ {
		b[c] = true
	}
}

func (b *byteSet) addSet(o *byteSet, not bool) {
	for c := range o {
		if o[c] != not {
			b[c] = true
		}
	}
}

// class writes a bracket expression for both engines.
func (w *rewriter) class(b *byteSet, not bool) {
	w.atom()
	var s strings.Builder
	s.WriteByte('[')
	if not {
		s.WriteByte('^')
	}
	empty := true
	for c := 0; c < 256; c++ {
		if !b[c] {
			continue
		}
		empty = false
		last := c
		for last < 255 && b[last+1] && (last+1 < 0x80) == (c < 0x80) {
			last++
		}
		s.WriteString(classByte(byte(c)))
		if last > c {
			s.WriteString("-" + classByte(byte(last)))
		}
		c = last
	}
	if empty { // matches nothing, or everything
		s.WriteString(`\x00`)
	}
	s.WriteByte(']')
	w.put(s.String())
}

func classByte(c byte) string {
	if c >= 0x80 {
		return string(wide + rune(c))
	}
	if isAlnum(c) {
		return string(rune(c))
	}
	return fmt.Sprintf(`\x%02x`, c)
}

// namedClass is [:name:] in the C locale.
func namedClass(name string) (*byteSet, error) {
	var b byteSet
	for c := 0; c < 0x80; c++ {
		ch := byte(c)
		lower, upper := 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z'
		digit, graph := '0' <= ch && ch <= '9', '!' <= ch && ch <= '~'
		switch name {
		case "alpha":
			b[c] = lower || upper
		case "digit":
			b[c] = digit
		case "alnum":
			b[c] = lower || upper || digit
		case "upper":
			b[c] = upper
		case "lower":
			b[c] = lower
		case "space":
			b[c] = isSpace(ch)
		case "blank":
			b[c] = ch == ' ' || ch == '\t'
		case "punct":
			b[c] = graph && !lower && !upper && !digit
		case "print":
			b[c] = graph || ch == ' '
		case "graph":
			b[c] = graph
		case "cntrl":
			b[c] = ch < ' ' || ch == 0x7f
		case "xdigit":
			b[c] = digit || 'a' <= ch && ch <= 'f' || 'A' <= ch && ch <= 'F'
		case "ascii":
			b[c] = true
		case "word":
			b[c] = lower || upper || digit || ch == '_'
		default:
			return nil, errors.New("Invalid character class name")
		}
	}
	return &b, nil
}
