package table

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// rules is a table of patterns: the first rule that matches the key decides.
// Rules between `if` and `endif` count only for keys that match the `if`.
type rules struct {
	t    *front
	list []rule
}

// A rule is one logical line of a pattern table.
type rule struct {
	line int
	kind ruleKind
	pat  pattern // nil for endif
	not  bool
	pat2 pattern // regexp: /pattern1/!/pattern2/; nil: none
	not2 bool
	end  int // if: index of its endif, or len(list)
	text result
}

type ruleKind int

const (
	ruleMatch ruleKind = iota
	ruleIf
	ruleEndif
)

// pattern matches keys.
type pattern interface {
	// match reports whether key matches, and where the groups of the
	// pattern stand in it, as pairs of offsets, -1 for a group that took no
	// part. With want = 0 no groups are asked for.
	match(key string, want int) (groups []int, ok bool, err error)
	groups() int
}

// A ruleParser makes a rule of a logical line. It complains to warn; ok is
// false for a rule that is skipped. open says whether an IF waits for its
// ENDIF.
type ruleParser func(t *front, line string, open bool, warn complain) (r rule, ok bool)

// complain takes a warning about one rule.
type complain func(format string, args ...any)

// openRules opens a table of patterns: a file, or {{rule} {rule}}.
func openRules(t *front, typ, name string, parse ruleParser) (contents, error) {
	if name[0] == '{' {
		list, err := unbrace(name)
		var text strings.Builder
		for _, part := range fields(list) {
			if part, err = unbraceTrim(part); err != nil {
				break
			}
			text.WriteString(part + "\n")
		}
		if err != nil {
			return nil, fmt.Errorf("%s map: %w", typ, err)
		}
		return readRules(t, strings.NewReader(text.String()), typ, name, parse)
	}
	return openWatched(t, "open", name, func(f *os.File) (fileContents, error) {
		r, err := readRules(t, f, typ, name, parse)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return nil, err
		}
		return r, nil
	})
}

// readRules reads the lines of a table of patterns.
func readRules(t *front, in io.Reader, typ, name string, parse ruleParser) (*rules, error) {
	rs := &rules{t: t}
	var open []int // the ifs without an endif yet
	src := NewSource(in, name, t.warn())
	for {
		line, n, ok := src.Next()
		if !ok {
			break
		}
		if line = trimRight(line); line == "" {
			continue
		}
		r, ok := parse(t, line, len(open) > 0, func(format string, args ...any) {
			t.warn().Warning("%s map %s, line %d: %s", typ, name, n, fmt.Sprintf(format, args...))
		})
		if !ok {
			continue
		}
		r.line = n
		switch r.kind {
		case ruleIf:
			open = append(open, len(rs.list))
		case ruleEndif:
			rs.list[open[len(open)-1]].end = len(rs.list)
			open = open[:len(open)-1]
		case ruleMatch:
		}
		rs.list = append(rs.list, r)
	}
	for i := len(open) - 1; i >= 0; i-- {
		r := &rs.list[open[i]]
		t.warn().Warning("%s map %s, line %d: IF has no matching ENDIF", typ, name, r.line)
		r.end = len(rs.list)
	}
	return rs, src.Err()
}

func (rs *rules) get(key string) (string, bool, error) {
	for i := 0; i < len(rs.list); i++ {
		r := &rs.list[i]
		if r.kind == ruleEndif {
			continue
		}
		groups, ok := rs.matches(r.line, r.pat, r.not, key, r.text.max)
		if r.kind == ruleIf {
			if !ok {
				i = r.end
			}
			continue
		}
		if ok && r.pat2 != nil {
			_, ok = rs.matches(r.line, r.pat2, r.not2, key, 0)
		}
		if ok {
			return r.text.expand(key, groups), true, nil
		}
	}
	return "", false, nil
}

// matches reports whether a pattern applies to key. One that gives up on the
// key does not apply, whether or not it is negated.
func (rs *rules) matches(line int, p pattern, not bool, key string, want int) ([]int, bool) {
	groups, ok, err := p.match(key, want)
	if err != nil {
		rs.t.warn().Warning("%s, line %d: %v", rs.t.name, line, err)
		return nil, false
	}
	return groups, ok != not
}

func (rs *rules) walk(func(key, value string) error) error {
	return fmt.Errorf("table %s does not support listing its contents", rs.t.name)
}

func (rs *rules) close() error { return nil }

// owner is who wrote the rules: for rules that stand in main.cf, root.
func (rs *rules) owner() Owner { return Owner{Known: true, UID: uint32(os.Getuid())} }

// statement recognises IF and ENDIF, in any case, and cuts the word off.
func statement(line string) (kind ruleKind, rest string, ok bool) {
	for _, w := range []struct {
		word string
		kind ruleKind
	}{{"IF", ruleIf}, {"ENDIF", ruleEndif}} {
		n := len(w.word)
		if len(line) >= n && strings.EqualFold(line[:n], w.word) && (len(line) == n || !isAlnum(line[n])) {
			return w.kind, trimLeft(line[n:]), true
		}
	}
	return ruleMatch, line, false
}
