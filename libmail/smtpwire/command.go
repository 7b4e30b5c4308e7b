package smtpwire

import (
	"strings"
)

// A Token is one word of a command line. It is a part of the line, with its
// quotes and angle brackets.
type Token struct {
	Text string
	Bad  bool // a quote or an angle bracket is not closed
}

// AppendTokens splits a command line at blanks and appends the words to dst.
// Blanks inside "..." and <...> do not split, nor does what follows a
// backslash; "FROM:" and "TO:" end a word, so that MAIL FROM:<a> and the
// MAIL FROM: <a> of RFC 5321 §3.3's bad examples read alike. Input ends at NUL.
func AppendTokens(dst []Token, line string) []Token {
	if i := strings.IndexByte(line, 0); i >= 0 {
		line = line[:i]
	}
	for i := 0; ; {
		for i < len(line) && isBlank(line[i]) {
			i++
		}
		if i == len(line) {
			return dst
		}
		end, bad := wordEnd(line, i)
		dst = append(dst, Token{Text: line[i:end], Bad: bad})
		i = end
	}
}

func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// wordEnd finds the end of the word that begins at start.
func wordEnd(line string, start int) (end int, bad bool) {
	for i := start; i < len(line); {
		switch c := line[i]; {
		case isBlank(c):
			return i, bad
		case c == '<':
			next, closed := quotedEnd(line, i+1, '>')
			i, bad = next, bad || !closed
		case c == '"':
			next, closed := quotedEnd(line, i+1, '"')
			i, bad = next, bad || !closed
		case c == ':':
			i++
			if word := line[start:i]; strings.EqualFold(word, "FROM:") || strings.EqualFold(word, "TO:") {
				return i, bad
			}
		case c == '\\':
			i = min(i+2, len(line))
		default:
			i++
		}
	}
	return len(line), bad
}

// quotedEnd finds the end of text that began with '<' or '"' before i. Quotes
// nest in angle brackets and angle brackets in each other.
func quotedEnd(line string, i int, wanted byte) (end int, closed bool) {
	depth, quoted := 0, wanted == '"'
	inQuote := quoted
	for i < len(line) {
		c := line[i]
		i++
		switch {
		case c == '\\':
			i = min(i+1, len(line))
		case inQuote && c == '"':
			if quoted {
				return i, true
			}
			inQuote = false
		case inQuote:
		case c == '"':
			inQuote = true
		case c == '<':
			depth++
		case c == '>' && depth > 0:
			depth--
		case c == '>':
			return i, true
		}
	}
	return len(line), false
}

// A Param is one parameter of MAIL or RCPT (RFC 5321 §4.1.2 esmtp-param).
type Param struct {
	Key   string // upper case
	Value string
	Has   bool // there was a "="
}

// ParseParam splits KEY or KEY=VALUE.
func ParseParam(word string) Param {
	key, value, has := strings.Cut(word, "=")
	return Param{Key: strings.ToUpper(key), Value: value, Has: has}
}

// ParseSize reads the value of SIZE= or BDAT (RFC 1870 §3, RFC 3030 §2): digits
// only, at most 20 of them, and no more than fit an int64.
func ParseSize(text string) (int64, bool) {
	if text == "" || len(text) > 20 {
		return 0, false
	}
	var n int64
	for i := 0; i < len(text); i++ {
		if !digit(text[i]) {
			return 0, false
		}
		d := int64(text[i] - '0')
		if n > (1<<63-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// Notify is the value of NOTIFY= (RFC 3461 §4.1), with the bits that queue files
// and delivery requests use.
type Notify int

const (
	NotifyNever   Notify = 1
	NotifySuccess Notify = 2
	NotifyFailure Notify = 4
	NotifyDelay   Notify = 8
)

var notifyWords = []struct {
	word string
	bit  Notify
}{
	{"NEVER", NotifyNever},
	{"SUCCESS", NotifySuccess},
	{"FAILURE", NotifyFailure},
	{"DELAY", NotifyDelay},
}

// ParseNotify reads NEVER, or a comma list of SUCCESS, FAILURE and DELAY.
func ParseNotify(text string) (Notify, bool) {
	var bits Notify
	for _, word := range strings.Split(text, ",") {
		known := false
		for _, w := range notifyWords {
			if strings.EqualFold(word, w.word) {
				bits |= w.bit
				known = true
			}
		}
		if !known {
			return 0, false
		}
	}
	return bits, bits&NotifyNever == 0 || bits == NotifyNever
}

// String is the value for NOTIFY=.
func (n Notify) String() string {
	var words []string
	for _, w := range notifyWords {
		if n&w.bit != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

// Ret is the value of RET= (RFC 3461 §4.3), with the bits of queue files.
type Ret int

const (
	RetFull    Ret = 1
	RetHeaders Ret = 2
)

// ParseRet reads FULL or HDRS.
func ParseRet(text string) (Ret, bool) {
	switch {
	case strings.EqualFold(text, "FULL"):
		return RetFull, true
	case strings.EqualFold(text, "HDRS"):
		return RetHeaders, true
	}
	return 0, false
}

// String is the value for RET=.
func (r Ret) String() string {
	switch r {
	case RetFull:
		return "FULL"
	case RetHeaders:
		return "HDRS"
	}
	return ""
}
