package table

import (
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// openRegexp opens regexp:FILE: POSIX patterns, in order (regexp_table(5)). Of
// the matches that begin first the longest counts. POSIX also says how the
// groups share it, each as long as it can be from left to right; here the
// first alternative that fits counts: /^(a|ab)(.*)/ gives "a" for $1.
func openRegexp(t *front, name string) (contents, error) {
	return openRules(t, "regexp", name, posix.parseRule)
}

// openPCRE opens pcre:FILE: Perl patterns, in order (pcre_table(5)).
func openPCRE(t *front, name string) (contents, error) {
	return openRules(t, "pcre", name, perl.parseRule)
}

// A dialect is one of the two pattern languages.
type dialect struct {
	flags     string    // option letters
	initially flagSet   // what is on without any
	two       bool      // /pattern/!/pattern/ is allowed
	unclosed  string    // end of the complaint about a missing delimiter
	translate translate // to the engines' language
}

// A flagSet is a set of option letters.
type flagSet uint32

func flag(letter byte) flagSet { return 1 << (letter & 31) }

// has distinguishes letters whose case differs too: none of the dialects has
// both.
func (f flagSet) has(letter byte) bool { return f&flag(letter) != 0 }

var (
	posix = dialect{flags: "imx", initially: flag('i') | flag('x'), two: true, unclosed: "skipping", translate: translatePOSIX}
	perl  = dialect{flags: "imsxAEUX", initially: flag('i') | flag('s'), unclosed: "ignoring", translate: translatePerl}
)

// parseRule reads a line of a regexp or pcre table.
func (d *dialect) parseRule(t *front, line string, open bool, warn complain) (r rule, ok bool) {
	if !isAlnum(line[0]) {
		return d.parseMatch(t, line, warn)
	}
	kind, rest, ok := statement(line)
	switch {
	case !ok:
		warn("ignoring unrecognized request")
		return r, false
	case kind == ruleEndif && !open:
		warn("ignoring ENDIF without matching IF")
		return r, false
	case kind == ruleEndif:
		if rest != "" {
			warn("ignoring extra text after ENDIF")
		}
		return rule{kind: ruleEndif}, true
	}
	pat, not, rest, ok := d.parsePattern(rest, warn)
	if !ok {
		return r, false
	}
	if rest = trimLeft(rest); rest != "" {
		warn("ignoring extra text after IF statement: \"%s\"", rest)
		warn("do not prepend whitespace to statements between IF and ENDIF")
	}
	r = rule{kind: ruleIf, not: not}
	r.pat, ok = d.compile(pat, warn)
	return r, ok
}

// parseMatch reads /pattern/flags result.
func (d *dialect) parseMatch(t *front, line string, warn complain) (r rule, ok bool) {
	pat, not, rest, ok := d.parsePattern(line, warn)
	if !ok {
		return r, false
	}
	var second source2
	if d.two && strings.HasPrefix(rest, "!") {
		if second.text, second.not, rest, ok = d.parsePattern(rest, warn); !ok {
			return r, false
		}
	}
	if rest = trimLeft(rest); rest == "" {
		warn("no replacement text: using empty string")
	}
	var err error
	if t.o.FileValues {
		if rest, err = FileValue(rest); err != nil {
			warn("%v: skipping this rule", err)
			return r, false
		}
	}
	r.not = not
	if r.text, err = parseResult(rest); err != nil {
		warn("%v", err)
		warn("bad replacement syntax: skipping this rule")
		return r, false
	}
	switch {
	case r.text.max > 0 && not:
		warn("$number found in negative match replacement text: skipping this rule")
		return r, false
	case r.text.max > 0 && t.o.Trust&NoSubstitution != 0:
		warn("regular expression substitution is not allowed: skipping this rule")
		return r, false
	}
	if r.pat, ok = d.compile(pat, warn); !ok {
		return r, false
	}
	if r.text.max > r.pat.groups() {
		warn("out of range replacement index \"%d\": skipping this rule", r.text.max)
		return r, false
	}
	if second.text.re != "" || second.not {
		r.not2 = second.not
		r.pat2, ok = d.compile(second.text, warn)
	}
	return r, ok
}

// source2 is the second pattern of /pattern/!/pattern/.
type source2 struct {
	text flagged
	not  bool
}

// flagged is a pattern as it stands between its delimiters, with its flags.
type flagged struct {
	re    string
	flags flagSet
}

// parsePattern reads !/pattern/flags.
func (d *dialect) parsePattern(s string, warn complain) (p flagged, not bool, rest string, ok bool) {
	for s != "" && (s[0] == '!' || isSpace(s[0])) {
		not = not != (s[0] == '!')
		s = s[1:]
	}
	if s == "" {
		warn("no regexp: skipping this rule")
		return p, not, s, false
	}
	delimiter, s := s[0], s[1:]
	end := 0
	for end < len(s) && s[end] != delimiter {
		if s[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(s) {
		warn("no closing regexp delimiter \"%c\": %s this rule", delimiter, d.unclosed)
		return p, not, "", false
	}
	p.re, s = s[:end], s[end+1:]
	p.flags = d.initially
	for s != "" && !isSpace(s[0]) && !(d.two && s[0] == '!') {
		switch {
		case strings.IndexByte(d.flags, s[0]) < 0:
			warn("unknown regexp option \"%c\": skipping this rule", s[0])
			return p, not, s, false
		case s[0] == 'X':
			warn("ignoring obsolete regexp option \"X\"")
		default:
			p.flags ^= flag(s[0])
		}
		s = s[1:]
	}
	return p, not, s, true
}

// compile makes a pattern of its text.
func (d *dialect) compile(p flagged, warn complain) (pattern, bool) {
	re, err := compileRegexp(p, d.translate)
	if err != nil {
		warn("%v", err)
		return nil, false
	}
	return re, true
}

// matchTime is how long the backtracking engine may try one key.
const matchTime = 500 * time.Millisecond

// expression is a compiled regular expression. Go's own engine, whose time
// grows with the length of the key only, does what it can express; a
// backtracking one, with limits on time and stack, does the rest: back
// references, assertions, atomic groups, and a $ before a newline at the end.
//
// Keys and patterns are bytes, as in the C locale: a byte above 127 is widened
// to a character of the private use area for both.
type expression struct {
	fast    *regexp.Regexp // nil: only slow can do it
	newline bool           // fast is wrong about keys that end in a newline
	number  int            // groups

	slowText  string
	slowFlags regexp2.RegexOptions
	slow      func() (*regexp2.Regexp, error)
}

func compileRegexp(p flagged, tr translate) (*expression, error) {
	out, err := tr(p)
	if err != nil {
		return nil, err
	}
	e := &expression{number: out.groups, newline: out.newline}
	e.slow = sync.OnceValues(func() (*regexp2.Regexp, error) {
		re, err := regexp2.Compile(out.slow, out.slowFlags, regexp2.OptionMaxBacktrackingStackSize(1<<20))
		if err == nil {
			re.MatchTimeout = matchTime
		}
		return re, err
	})
	if out.fast != "" {
		if e.fast, err = regexp.Compile(out.fast); err == nil && out.longest {
			e.fast.Longest()
		}
	}
	if e.fast == nil || e.newline {
		_, err = e.slow()
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (e *expression) groups() int { return e.number }

func (e *expression) match(key string, want int) ([]int, bool, error) {
	if e.fast == nil || e.newline && strings.HasSuffix(key, "\n") {
		return e.matchSlow(key, want)
	}
	text := widen(key)
	if want == 0 {
		return nil, e.fast.MatchString(text), nil
	}
	at := e.fast.FindStringSubmatchIndex(text)
	if len(text) != len(key) {
		narrowOffsets(text, at)
	}
	return at, at != nil, nil
}

func (e *expression) matchSlow(key string, want int) ([]int, bool, error) {
	re, err := e.slow()
	if err != nil {
		return nil, false, err
	}
	text := widen(key)
	if want == 0 {
		ok, err := re.MatchString(text)
		return nil, ok, err
	}
	m, err := re.FindStringMatch(text)
	if err != nil || m == nil {
		return nil, false, err
	}
	at := make([]int, 0, 2*want+2)
	for i := 0; i <= want; i++ {
		g := m.GroupByNumber(i)
		if g == nil || len(g.Captures) == 0 {
			at = append(at, -1, -1)
			continue
		}
		at = append(at, g.RuneIndex, g.RuneIndex+g.RuneLength) // a character of text is a byte of key
	}
	return at, true, nil
}

// wide is where the private characters for the bytes begin.
const wide = 0xE000

// widen makes a character of each byte above 127.
func widen(key string) string {
	i := 0
	for i < len(key) && key[i] < 0x80 {
		i++
	}
	if i == len(key) {
		return key
	}
	var b strings.Builder
	b.WriteString(key[:i])
	for ; i < len(key); i++ {
		if key[i] < 0x80 {
			b.WriteByte(key[i])
		} else {
			b.WriteRune(wide + rune(key[i]))
		}
	}
	return b.String()
}

// narrowOffsets turns offsets in widened text into offsets in the key.
func narrowOffsets(text string, at []int) {
	for i, off := range at {
		if off > 0 {
			at[i] = strings.Count(text[:off], "") - 1 // characters before it
		}
	}
}
