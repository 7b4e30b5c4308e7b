package main

import (
	"slices"
	"strconv"
	"strings"
)

// tspecials end a token of a MIME header (RFC 2045 §5.1).
const tspecials = "()<>@,;:\\\"/[]?="

// maxParams bounds the parameters of a MIME header.
const maxParams = 100

// A headerWord is one lexical element of a MIME header.
type headerWord struct {
	kind byte // 'a' for a token, '"' for a quoted string, else the special itself
	text string
}

// words takes a MIME header apart; comments are left out.
type words struct {
	text string
	at   int
}

func (l *words) next() (headerWord, bool) {
	for l.at < len(l.text) {
		c := l.text[l.at]
		l.at++
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		case c == '(':
			l.comment()
		case c == '"':
			return headerWord{'"', l.quoted()}, true
		case strings.IndexByte(tspecials, c) >= 0:
			return headerWord{kind: c}, true
		default:
			start := l.at - 1
			for l.at < len(l.text) && l.text[l.at] > ' ' && strings.IndexByte(tspecials, l.text[l.at]) < 0 {
				l.at++
			}
			return headerWord{'a', l.text[start:l.at]}, true
		}
	}
	return headerWord{}, false
}

// comment skips a comment after its first parenthesis and returns its text
// (RFC 5322 §3.2.2).
func (l *words) comment() string {
	var b strings.Builder
	for depth := 1; l.at < len(l.text); l.at++ {
		c := l.text[l.at]
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				l.at++
				return b.String()
			}
		case '\\':
			if l.at++; l.at == len(l.text) {
				return b.String()
			}
			c = l.text[l.at]
		}
		b.WriteByte(c)
	}
	return b.String()
}

// quoted takes a quoted string after its first quote.
func (l *words) quoted() string {
	var b strings.Builder
	for ; l.at < len(l.text); l.at++ {
		c := l.text[l.at]
		switch c {
		case '"':
			l.at++
			return b.String()
		case '\\':
			if l.at++; l.at == len(l.text) {
				return b.String()
			}
			c = l.text[l.at]
		}
		b.WriteByte(c)
	}
	return b.String()
}

// params takes "; name=value" as often as it comes. What is malformed is left
// out. Parameters that RFC 2231 §3 divides are joined, not decoded, and come
// last.
func (l *words) params() []param {
	var plain, starred []param
	for _, p := range l.rawParams() {
		if strings.Contains(p.name, "*") {
			starred = append(starred, p)
		} else {
			plain = append(plain, p)
		}
	}
	slices.SortStableFunc(starred, func(a, b param) int {
		x, m, _ := pieceOf(a.name)
		y, n, _ := pieceOf(b.name)
		if c := strings.Compare(strings.ToLower(x), strings.ToLower(y)); c != 0 {
			return c
		}
		return m - n
	})
	for i := 0; i < len(starred); {
		name, n, extended := pieceOf(starred[i].name)
		value := starred[i].value
		k := i + 1
		for ; n >= 0 && k < len(starred); k++ {
			next, m, ext := pieceOf(starred[k].name)
			if !strings.EqualFold(next, name) || m != n+k-i {
				break
			}
			value += starred[k].value
			extended = extended || ext
		}
		if n > 0 { // its beginning is missing
			name = starred[i].name
			value, k, extended = starred[i].value, i+1, false
		}
		if extended {
			name += "*"
		}
		plain = append(plain, param{name, value})
		i = k
	}
	return plain
}

// pieceOf takes the name of a divided parameter apart: "name*2*" is the
// extended piece 2 of name; n is -1 where there is no number.
func pieceOf(name string) (base string, n int, extended bool) {
	base, rest, _ := strings.Cut(name, "*")
	if rest == "" {
		return base, -1, true
	}
	rest, extended = strings.CutSuffix(rest, "*")
	n, err := strconv.Atoi(rest)
	if err != nil || n < 0 {
		return name, -1, false
	}
	return base, n, extended
}

// rawParams takes parameters as they stand there.
func (l *words) rawParams() (list []param) {
	for len(list) < maxParams {
		w, ok := l.next()
		if !ok {
			return list
		}
		if w.kind != 'a' {
			continue
		}
		save := l.at
		if eq, ok := l.next(); !ok || eq.kind != '=' {
			l.at = save
			continue
		}
		value, ok := l.next()
		if !ok {
			return list
		}
		switch value.kind {
		case 'a', '"':
			text := value.text
			if value.kind == 'a' { // a value with specials that should have been quoted
				text += l.untilSemicolon()
			}
			list = append(list, param{w.text, text})
		case ';':
			list = append(list, param{w.text, ""})
		case '=', '?', '/', ':', '@', '[', '<': // as above: an encoded word, a boundary
			list = append(list, param{w.text, string(value.kind) + l.untilSemicolon()})
		}
	}
	return list
}

// untilSemicolon takes what directly follows a token.
func (l *words) untilSemicolon() string {
	start := l.at
	for l.at < len(l.text) && strings.IndexByte("; \t\r\n(\"", l.text[l.at]) < 0 {
		l.at++
	}
	return l.text[start:l.at]
}
