package table

import (
	"fmt"
	"strings"
)

// Separators between the parts of a list.
const separators = ", \t\r\n"

// isSpace is C's isspace for ASCII.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func trimSpace(s string) string { return trimRight(trimLeft(s)) }

func trimLeft(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	return s
}

func trimRight(s string) string {
	for s != "" && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// blankIndex is where the first blank stands, or the length.
func blankIndex(s string) int {
	for i := 0; i < len(s); i++ {
		if isSpace(s[i]) {
			return i
		}
	}
	return len(s)
}

// nextField cuts the first part off a list at commas and blanks; text in
// braces stays together. It is empty at the end.
func nextField(list string) (field, rest string) {
	list = strings.TrimLeft(list, separators)
	level := 0
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '{':
			level++
		case c == '}' && level > 0:
			level--
		case level == 0 && strings.IndexByte(separators, c) >= 0:
			return list[:i], list[i+1:]
		}
	}
	return list, ""
}

// fields are all parts of a list.
func fields(list string) (parts []string) {
	for {
		part, rest := nextField(list)
		if part == "" {
			return parts
		}
		parts, list = append(parts, part), rest
	}
}

// braced is the length of the text from { to the } that belongs to it, both
// included, or 0.
func braced(s string) int {
	level := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			level++
		case '}':
			if level--; level == 0 {
				return i + 1
			}
		}
		if level == 0 {
			break
		}
	}
	return 0
}

// unbrace takes the text out of {text}.
func unbrace(s string) (string, error) {
	n := braced(s)
	switch {
	case !strings.HasPrefix(s, "{"):
		return "", fmt.Errorf("no '{' at start of text in %q", s)
	case n == 0:
		return "", fmt.Errorf("missing '}' in %q", s)
	case n < len(s):
		return "", fmt.Errorf("syntax error after '}' in %q", s)
	}
	return s[1 : n-1], nil
}

// unbraceTrim is unbrace without the blanks at both ends.
func unbraceTrim(s string) (string, error) {
	s, err := unbrace(s)
	return trimSpace(s), err
}

// keyEnd is the length of the key at the start of an entry: it ends at a blank,
// or a byte of stop, that stands in no quotes and after no backslash.
func keyEnd(s, stop string) (n int, err error) {
	quoted := false
	for ; n < len(s); n++ {
		switch c := s[n]; {
		case c == '\\':
			if n++; n == len(s) {
				n--
			}
		case !quoted && (isSpace(c) || strings.IndexByte(stop, c) >= 0):
			return n, nil
		case c == '"':
			quoted = !quoted
		}
	}
	if quoted {
		return 0, fmt.Errorf("unbalanced '\"' in '%s'", s)
	}
	return n, nil
}
