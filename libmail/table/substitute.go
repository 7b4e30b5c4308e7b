package table

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A result is the right-hand side of a pattern rule: text, and $1 ${1} $(1) for
// groups of the pattern; $$ is a dollar.
type result struct {
	parts []part
	max   int // highest group
}

// A part is literal text or a group.
type part struct {
	text  string
	group int // 0: text
}

// parseResult reads a right-hand side.
func parseResult(s string) (r result, err error) {
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			r.parts = append(r.parts, part{text: text.String()})
			text.Reset()
		}
	}
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			text.WriteString(s)
			break
		}
		text.WriteString(s[:i])
		s = s[i+1:]
		if strings.HasPrefix(s, "$") {
			text.WriteByte('$')
			s = s[1:]
			continue
		}
		var name string
		if name, s, err = macroName(s); err != nil {
			return r, err
		}
		n, err := groupNumber(name)
		if err != nil {
			return r, err
		}
		flush()
		r.parts = append(r.parts, part{group: n})
		r.max = max(r.max, n)
	}
	flush()
	return r, nil
}

// macroName cuts the name off after a dollar.
func macroName(s string) (name, rest string, err error) {
	i := 0
	if strings.HasPrefix(s, "{") || strings.HasPrefix(s, "(") {
		open, shut, level := s[0], s[0]+2, 1 // {} are two apart, () are one
		if open == '(' {
			shut = ')'
		}
		for i = 1; level > 0; i++ {
			if i == len(s) {
				return "", "", fmt.Errorf("truncated macro reference: \"$%s\"", s)
			}
			switch s[i] {
			case open:
				level++
			case shut:
				level--
			}
		}
		name, rest = s[1:i-1], s[i:]
	} else {
		for i < len(s) && (isAlnum(s[i]) || s[i] == '_') {
			i++
		}
		name, rest = s[:i], s[i:]
	}
	if name == "" {
		return "", "", errors.New("empty macro name: \"$" + s + "\"")
	}
	return name, rest, nil
}

// groupNumber reads the name of a group, which is a number.
func groupNumber(name string) (int, error) {
	for i := 0; i < len(name); i++ {
		if name[i] < '0' || name[i] > '9' {
			return 0, fmt.Errorf("non-numeric replacement index \"%s\"", name)
		}
	}
	n, err := strconv.Atoi(name)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("out-of-range replacement index \"%s\"", name)
	}
	return n, nil
}

// expand puts the groups of key in. Without groups nothing is allocated.
func (r *result) expand(key string, groups []int) string {
	if r.max == 0 {
		if len(r.parts) == 0 {
			return ""
		}
		if len(r.parts) == 1 {
			return r.parts[0].text
		}
	}
	var b strings.Builder
	for _, p := range r.parts {
		b.WriteString(p.text)
		if g := 2 * p.group; g > 0 && g+1 < len(groups) && groups[g] >= 0 {
			b.WriteString(key[groups[g]:groups[g+1]])
		}
	}
	return b.String()
}
