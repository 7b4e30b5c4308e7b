package main

import (
	"strings"

	"postroad/libmail/addr"
)

// A token is one destination in an alias, a .forward or an :include: file.
type token struct {
	kind tokenKind
	text string // address (internal form), command, file name
}

type tokenKind int

const (
	address  tokenKind = iota
	command            // |command
	filename           // /file
	include            // :include:/file
)

// maxTokens bounds the destinations of one list, maxLine what one may be long.
const (
	maxTokens = 100000
	maxLine   = 64 << 10
)

// tokens reads the destinations in text: separated by commas and line ends,
// with quoted strings and comments as in a mail header (aliases(5)). Lines
// that begin with # are comments.
func tokens(text string) []token {
	var list []token
	for _, line := range strings.Split(text, "\n") {
		if t := strings.TrimLeft(line, " \t"); t == "" || t[0] == '#' {
			continue
		}
		if len(line) > maxLine {
			line = line[:maxLine]
		}
		for _, word := range splitWords(line) {
			if len(list) >= maxTokens {
				return list
			}
			if t, ok := newToken(word); ok {
				list = append(list, t)
			}
		}
	}
	return list
}

// splitWords divides a line at commas that are not quoted, in a comment or in
// angle brackets.
func splitWords(line string) []string {
	var words []string
	start, quoted, depth := 0, false, 0
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == ',' && depth == 0:
			words = append(words, line[start:i])
			start = i + 1
		}
	}
	return append(words, line[start:])
}

// newToken classifies one destination.
func newToken(word string) (token, bool) {
	word = strings.TrimSpace(word)
	bare := word
	if len(word) >= 2 && word[0] == '"' && word[len(word)-1] == '"' {
		bare = unescape(word[1 : len(word)-1])
	}
	const includes = ":include:"
	switch {
	case bare == "":
		return token{}, false
	case bare[0] == '|':
		return token{command, strings.TrimSpace(bare[1:])}, true
	case bare[0] == '/':
		return token{filename, bare}, true
	case len(bare) > len(includes) && strings.EqualFold(bare[:len(includes)], includes):
		return token{include, strings.TrimSpace(bare[len(includes):])}, true
	}
	if word[0] == '\\' && len(word) > 1 { // \name: the mailbox itself
		return token{address, `\` + strings.TrimSpace(word[1:])}, true
	}
	for _, t := range addr.ParseList(word, 0) {
		if t.Kind == addr.Address {
			if a := t.Internal(); a != "" {
				return token{address, a}, true
			}
		}
	}
	return token{}, false
}

// unescape takes the backslashes out of a quoted string.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
