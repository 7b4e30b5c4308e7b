package main

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"postroad/libmail/addr"
)

// headerName makes the text of a full name for a From header: a phrase, or a
// comment with header_from_format = obsolete. It is "" when there is no name.
func (s *session) headerName(name string) string {
	name = strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	switch {
	case name == "":
		return ""
	case !addr.IsASCII(name):
		special := phraseSpecials
		if s.commentNames {
			special = commentSpecials
		}
		return encodeWords(name, s.charset, special)
	case s.commentNames:
		return balanced(name)
	case strings.ContainsAny(name, "%!()<>@,;:\\\".[]"):
		return addr.External([]addr.Token{{Kind: addr.QuotedString, Text: name}})
	}
	return name
}

// balanced makes text fit for a comment (RFC 5322 §3.2.2): parentheses that
// have no partner go or get one.
func balanced(text string) string {
	var b strings.Builder
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			if i+1 == len(text) {
				continue
			}
			b.WriteByte('\\')
			i++
		case '(':
			depth++
		case ')':
			if depth == 0 {
				continue
			}
			depth--
		}
		b.WriteByte(text[i])
	}
	return b.String() + strings.Repeat(")", depth)
}

// Characters that the Q encoding must hide (RFC 2047 §4.2 and §5).
const (
	commentSpecials = " =?_()\\"
	phraseSpecials  = " =?_()<>@,;:\\\".[]#$%&'^`{|}~"
)

// maxWord is the length of an encoded word (RFC 2047 §2).
const maxWord = 75

// encodeWords writes text as encoded words (RFC 2047), a line each: in Q as
// long as most of it stays legible, else in B. No character is divided
// between two words.
func encodeWords(text, charset, special string) string {
	if charset == "" || len(charset) > maxWord/2 || strings.ContainsAny(charset, "()<>@,;:\\\"/[]?.= ") {
		return ""
	}
	hidden := 0
	for i := 0; i < len(text); i++ {
		if hides(text[i], special) {
			hidden++
		}
	}
	encode, kind := encodeQ, "Q"
	if len(text) >= 20 && hidden >= len(text)/2 {
		encode, kind = encodeB, "B"
	}
	head := "=?" + charset + "?" + kind + "?"
	var words []string
	for len(text) > 0 {
		n := 0
		for n < len(text) {
			_, size := utf8.DecodeRuneInString(text[n:])
			if n > 0 && len(head)+len(encode(text[:n+size], special))+len("?=") > maxWord {
				break
			}
			n += size
		}
		words = append(words, head+encode(text[:n], special)+"?=")
		text = text[n:]
	}
	return strings.Join(words, "\n")
}

func hides(c byte, special string) bool {
	return c <= ' ' || c >= 0x7f || strings.IndexByte(special, c) >= 0
}

func encodeQ(text, special string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ' ':
			b.WriteByte('_')
		case hides(c, special):
			fmt.Fprintf(&b, "=%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func encodeB(text, _ string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
