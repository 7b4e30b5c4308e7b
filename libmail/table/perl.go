package table

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dlclark/regexp2/v2"
)

// A perlRewriter reads Perl-compatible expressions (pcre2pattern(3)). Neither
// engine knows recursion, \K, verbs such as (*COMMIT), branch reset, and
// Unicode properties: a rule with one of them is skipped.
type perlRewriter struct {
	rewriter
	spaced   bool // flag x: blanks and #comments are not part of the pattern
	lazy     bool // flag U: repetitions are lazy, and greedy with ?
	dollar   bool // flag E: $ is the very end
	lines    bool // flag m
	newline  bool // the fast engine is wrong about keys that end in a newline
	names    map[string]int
	restored []perlState // of the groups that are open
}

type perlState struct{ spaced, lazy, lines bool }

// translatePerl is the translation for pcre: tables.
func translatePerl(p flagged) (engines, error) {
	w := perlRewriter{spaced: p.flags.has('x'), lazy: p.flags.has('U'), dollar: p.flags.has('E'),
		lines: p.flags.has('m'), names: map[string]int{}}
	w.in = p.re
	for w.at < len(w.in) {
		if err := w.step(); err != nil {
			return engines{}, fmt.Errorf("error in regex at offset %d: %w", w.at, err)
		}
	}
	if w.level > 0 {
		return engines{}, fmt.Errorf("error in regex at offset %d: missing closing parenthesis", w.at)
	}
	e := engines{groups: w.groups, newline: w.newline}
	fast, slow := w.fast.String(), w.slow.String()
	if p.flags.has('A') {
		fast, slow = `\A(?:`+fast+`)`, `\A(?:`+slow+`)`
	}
	flags := ""
	for _, f := range []struct {
		letter byte
		option regexp2.RegexOptions
	}{{'i', regexp2.IgnoreCase}, {'s', regexp2.Singleline}, {'m', regexp2.Multiline}} {
		if p.flags.has(f.letter) {
			flags += string(rune(f.letter))
			e.slowFlags |= f.option
		}
	}
	if flags != "" {
		fast = "(?" + flags + ")" + fast
	}
	if e.slow = slow; !w.noGo {
		e.fast = fast
		if fast == "" {
			e.fast = "(?:)"
		}
	}
	return e, nil
}

// step takes one token.
func (w *perlRewriter) step() error {
	c := w.in[w.at]
	w.at++
	switch {
	case w.spaced && isSpace(c):
		return nil
	case w.spaced && c == '#':
		if end := strings.IndexByte(w.in[w.at:], '\n'); end >= 0 {
			w.at += end + 1
		} else {
			w.at = len(w.in)
		}
		return nil
	case c == '\\':
		return w.escape()
	case c == '[':
		return w.bracket()
	case c == '(':
		return w.parenthesis()
	case c == ')':
		if w.level == 0 {
			return errors.New("unmatched closing parenthesis")
		}
		last := len(w.restored) - 1
		w.spaced, w.lazy, w.lines = w.restored[last].spaced, w.restored[last].lazy, w.restored[last].lines
		w.restored = w.restored[:last]
		w.shut()
	case c == '|':
		w.put("|")
		w.atom()
	case c == '.' || c == '^':
		w.atom()
		w.put(string(rune(c)))
	case c == '$':
		w.end()
	case c == '*' || c == '+' || c == '?':
		return w.quantifier(string(rune(c)))
	case c == '{' && interval(w.in[w.at-1:]) > 0:
		n := interval(w.in[w.at-1:])
		w.at += n - 1
		return w.quantifier(w.in[w.at-n : w.at])
	default:
		w.char(c)
	}
	return nil
}

// end takes $: the end, or before a newline that is the end, or with m the end
// of a line.
func (w *perlRewriter) end() {
	w.atom()
	switch {
	case w.lines:
		w.put("$")
	case w.dollar:
		w.put(`\z`)
	default:
		w.newline = true
		w.put("$")
	}
}

// quantifier takes a repetition with its ? or +.
func (w *perlRewriter) quantifier(op string) error {
	if w.fast.Len() == w.atomFast && w.slow.Len() == w.atomSlow {
		return errors.New("quantifier does not follow a repeatable item")
	}
	lazy := w.lazy
	possessive := false
	switch w.peek(0) {
	case '?':
		lazy = !lazy
		w.at++
	case '+':
		possessive = true
		w.at++
	}
	if possessive { // x*+ is (?>x*)
		s := w.slow.String()
		w.slow.Reset()
		w.slow.WriteString(s[:w.atomSlow] + "(?>" + s[w.atomSlow:] + op + ")")
		w.noGo, w.repeated = true, false
		return nil
	}
	if lazy {
		op += "?"
	}
	if w.repeated {
		return errors.New("quantifier does not follow a repeatable item")
	}
	w.repeat(op)
	return nil
}

// parenthesis takes ( and what says which kind of group it opens.
func (w *perlRewriter) parenthesis() error {
	state := perlState{w.spaced, w.lazy, w.lines}
	group := func(fast, slow string) error {
		w.restored = append(w.restored, state)
		w.open(fast, slow)
		return nil
	}
	capture := func(name string) error {
		w.groups++
		if name != "" {
			w.names[name] = w.groups
		}
		return group("(", "(")
	}
	if w.peek(0) == '*' {
		return errors.New("(*VERB) is not supported")
	}
	if w.peek(0) != '?' {
		return capture("")
	}
	w.at++
	for _, intro := range []string{"<=", "<!", "=", "!", ">"} {
		if w.has(intro) {
			w.at += len(intro)
			w.noGo = true
			return group("(?:", "(?"+intro)
		}
	}
	for _, intro := range []string{"P<", "<", "'"} {
		if w.has(intro) {
			w.at += len(intro)
			name, err := w.until(map[string]byte{"P<": '>', "<": '>', "'": '\''}[intro])
			if err != nil {
				return err
			}
			return capture(name)
		}
	}
	switch {
	case w.has("#"):
		_, err := w.until(')')
		return err
	case w.has("P="):
		w.at += 2
		name, err := w.until(')')
		if err != nil {
			return err
		}
		return w.backReference(name)
	case w.has("("):
		return w.conditional(group)
	}
	return w.inlineFlags(group)
}

// until takes the text before a byte, and skips the byte.
func (w *perlRewriter) until(end byte) (string, error) {
	n := strings.IndexByte(w.in[w.at:], end)
	if n < 0 {
		return "", fmt.Errorf("missing %q", end)
	}
	text := w.in[w.at : w.at+n]
	w.at += n + 1
	return text, nil
}

// conditional takes (?(1)yes|no): by number or name only.
func (w *perlRewriter) conditional(group func(fast, slow string) error) error {
	w.at++
	name, err := w.until(')')
	if err != nil {
		return err
	}
	n, err := w.groupNumber(strings.Trim(name, "<>'"))
	if err != nil {
		return err
	}
	w.noGo = true
	return group("(?:", fmt.Sprintf("(?(%d)", n))
}

// inlineFlags takes (?i), (?i:, (?-s: and so on. x and U are this rewriter's
// own affair, the engines do the rest.
func (w *perlRewriter) inlineFlags(group func(fast, slow string) error) error {
	on, kept := true, ""
	for ; w.at < len(w.in); w.at++ {
		switch c := w.in[w.at]; c {
		case '-':
			on = false
			kept += "-"
		case 'i', 's':
			kept += string(rune(c))
		case 'm':
			w.lines = on
			kept += "m"
		case 'x':
			w.spaced = on
		case 'U':
			w.lazy = on
		case ':', ')':
			w.at++
			kept = strings.TrimSuffix(kept, "-")
			if c == ':' {
				return group("(?"+kept+":", "(?"+kept+":")
			}
			if kept != "" {
				w.put("(?" + kept + ")")
			}
			w.atom()
			return nil
		default:
			return fmt.Errorf("(?%c is not supported", c)
		}
	}
	return errors.New("missing closing parenthesis")
}

// backReference writes a reference to a group by name or number.
func (w *perlRewriter) backReference(name string) error {
	n, err := w.groupNumber(name)
	if err == nil {
		w.atom()
		w.putSlow(fmt.Sprintf(`(?:\%d)`, n))
	}
	return err
}

func (w *perlRewriter) groupNumber(name string) (int, error) {
	n, ok := w.names[name]
	if !ok {
		var err error
		if n, err = strconv.Atoi(name); err != nil {
			return 0, errors.New("reference to non-existent subpattern")
		}
		if n < 0 {
			n += w.groups + 1
		}
	}
	if n < 1 || n > w.groups {
		return 0, errors.New("reference to non-existent subpattern")
	}
	return n, nil
}
