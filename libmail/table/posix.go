package table

import (
	"errors"
	"strings"
)

// Complaints of POSIX's regcomp.
var (
	errParen    = errors.New("Unmatched ( or \\(")
	errParen2   = errors.New("Unmatched ) or \\)")
	errBracket  = errors.New("Unmatched [, [^, [:, [., or [=")
	errRange    = errors.New("Invalid range end")
	errRepeat   = errors.New("Invalid preceding regular expression")
	errBackslsh = errors.New("Trailing backslash")
	errCollate  = errors.New("Invalid collation character")
)

// A posixRewriter reads POSIX extended (flag x) or basic expressions with the
// extensions of the GNU library.
type posixRewriter struct {
	rewriter
	extended bool
	newline  bool // flag m: a newline ends lines
	begun    bool // something that a repetition can follow stands before
}

// translatePOSIX is the translation for regexp: tables.
func translatePOSIX(p flagged) (engines, error) {
	w := posixRewriter{extended: p.flags.has('x'), newline: p.flags.has('m')}
	w.in = p.re
	prefix := ""
	if p.flags.has('i') {
		prefix = "(?i)"
	}
	for w.at < len(w.in) {
		if err := w.step(); err != nil {
			return engines{}, err
		}
	}
	if w.level > 0 {
		return engines{}, errParen
	}
	e := engines{slow: prefix + w.slow.String(), groups: w.groups, longest: true}
	if !w.noGo {
		e.fast = prefix + w.fast.String()
	}
	return e, nil
}

// step takes one token.
func (w *posixRewriter) step() error {
	c := w.in[w.at]
	w.at++
	switch {
	case c == '\\':
		return w.escape()
	case c == '[':
		return w.bracket()
	case c == '.':
		w.begun = true
		w.atom()
		if w.newline {
			w.put(`[^\n]`)
		} else {
			w.put(`(?s:.)`)
		}
		return nil
	case c == '^' && w.anchorStart(), c == '$' && w.anchorEnd():
		w.anchor(c)
		return nil
	case c == '*':
		return w.operator("*")
	case w.extended && (c == '(' || c == ')' && w.level > 0 || c == '|' || c == '+' || c == '?'):
		return w.operator(string(rune(c)))
	case w.extended && c == '{':
		if op, n := posixInterval(w.in[w.at-1:]); n > 0 {
			w.at += n - 1
			return w.operator(op)
		}
	}
	w.begun = true
	w.char(c)
	return nil
}

// anchorStart reports whether ^ is an anchor here.
func (w *posixRewriter) anchorStart() bool { return w.extended || !w.begun }

// anchorEnd reports whether $ is an anchor here.
func (w *posixRewriter) anchorEnd() bool {
	return w.extended || w.at == len(w.in) || w.has(`\)`) || w.has(`\|`)
}

func (w *posixRewriter) anchor(c byte) {
	w.atom()
	switch {
	case w.newline && c == '^':
		w.put(`(?m:^)`)
	case w.newline:
		w.put(`(?m:$)`)
	case c == '^':
		w.put(`\A`)
	default:
		w.put(`\z`)
	}
}

// operator takes ( ) | or a repetition.
func (w *posixRewriter) operator(op string) error {
	switch op[0] {
	case '(':
		w.groups++
		w.open("(", "(")
		w.begun = false
	case ')':
		if w.level == 0 {
			return errParen2
		}
		w.shut()
		w.begun = true
	case '|':
		w.put("|")
		w.atom()
		w.begun = false
	default:
		if !w.begun {
			if w.extended {
				return errRepeat
			}
			w.begun = true // a star at the start is itself
			w.char(op[0])
			return nil
		}
		w.repeat(op)
	}
	return nil
}

// escape takes what follows a backslash.
func (w *posixRewriter) escape() error {
	if w.at == len(w.in) {
		return errBackslsh
	}
	c := w.in[w.at]
	w.at++
	switch {
	case !w.extended && strings.IndexByte("()|+?", c) >= 0:
		return w.operator(string(rune(c)))
	case !w.extended && c == '{':
		return w.basicInterval()
	case '1' <= c && c <= '9':
		if int(c-'0') > w.groups {
			return errors.New("Invalid back reference")
		}
		w.atom()
		w.putSlow(`(?:\` + string(rune(c)) + `)`)
	case strings.IndexByte("wWsSbB`'<>", c) >= 0:
		w.atom()
		w.gnuEscape(c)
	default:
		w.char(c)
	}
	w.begun = true
	return nil
}

// basicInterval takes \{n,m\}.
func (w *posixRewriter) basicInterval() error {
	end := strings.Index(w.in[w.at:], `\}`)
	if end < 0 {
		return errors.New("Unmatched \\{")
	}
	text := "{" + w.in[w.at:w.at+end] + "}"
	op, n := posixInterval(text)
	if n != len(text) {
		return errors.New("Invalid content of \\{\\}")
	}
	w.at += end + 2
	return w.operator(op)
}

// posixInterval is interval where {,m} is {0,m}.
func posixInterval(s string) (op string, n int) {
	if rest, ok := strings.CutPrefix(s, "{,"); ok {
		op = "{0," + rest
		if n = interval(op); n > 0 {
			return op[:n], n - 1
		}
		return "", 0
	}
	n = interval(s)
	return s[:n], n
}

// gnuEscape takes the extensions of the GNU library.
func (w *posixRewriter) gnuEscape(c byte) {
	switch c {
	case 's':
		w.put(`[\t-\r ]`)
	case 'S':
		w.put(`[^\t-\r ]`)
	case '`':
		w.put(`\A`)
	case '\'':
		w.put(`\z`)
	case '<':
		w.putSlow(`\b(?=\w)`)
	case '>':
		w.putSlow(`\b(?<=\w)`)
	default:
		w.put(`\` + string(rune(c)))
	}
}

// bracket takes a bracket expression (POSIX.1-2017, XBD 9.3.5); the bracket
// that opens it is taken already. A backslash has no meaning in it.
func (w *posixRewriter) bracket() error {
	var b byteSet
	not := w.peek(0) == '^'
	if not {
		w.at++
	}
	for first := true; ; first = false {
		if w.at >= len(w.in) {
			return errBracket
		}
		if w.in[w.at] == ']' && !first {
			w.at++
			break
		}
		if err := w.element(&b); err != nil {
			return err
		}
	}
	if not && w.newline {
		b['\n'] = true
	}
	w.class(&b, not)
	w.begun = true
	return nil
}

// element takes a byte, a range or a named class.
func (w *posixRewriter) element(b *byteSet) error {
	if w.has("[:") {
		end := strings.Index(w.in[w.at:], ":]")
		if end < 0 {
			return errBracket
		}
		set, err := namedClass(w.in[w.at+2 : w.at+end])
		if err != nil {
			return err
		}
		w.at += end + 2
		b.addSet(set, false)
		return nil
	}
	lo, err := w.endpoint()
	if err != nil {
		return err
	}
	hi := lo
	if w.peek(0) == '-' && w.peek(1) != ']' && w.at+1 < len(w.in) {
		w.at++
		if hi, err = w.endpoint(); err != nil {
			return err
		}
		if hi < lo {
			return errRange
		}
	}
	b.addRange(lo, hi)
	return nil
}

// endpoint takes a byte, which may stand as [.x.] or [=x=].
func (w *posixRewriter) endpoint() (byte, error) {
	for _, mark := range []string{".", "="} {
		if !w.has("[" + mark) {
			continue
		}
		end := strings.Index(w.in[w.at+2:], mark+"]")
		if end != 1 {
			return 0, errCollate
		}
		c := w.in[w.at+2]
		w.at += 5
		return c, nil
	}
	c := w.in[w.at]
	w.at++
	return c, nil
}
