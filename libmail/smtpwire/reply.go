package smtpwire

import (
	"bufio"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Reply is one reply of an SMTP server (RFC 5321 §4.2).
type Reply struct {
	Code   int    // 220..559; 0 if the last line was no reply at all
	Status string // enhanced code (RFC 2034), or "2.0.0" by class; "5.5.0" for garbage and 3xx
	Text   string // all lines with their codes, joined with "\n"; controls are '?'
	// Garbage counts lines that were no SMTP reply lines. With pipelining they
	// may have shifted later replies, so the session must not be reused.
	Garbage int
	// LongLines counts lines that were cut at the limit.
	LongLines int
}

// maxReplyLines bounds how many lines of one reply are read.
const maxReplyLines = 1000

// ReadReply reads one reply, of one or more lines. Each line is cut at limit
// bytes, what follows the first limit bytes of text is read and dropped, and a
// reply of more than 1,000 lines is an error. Lines that are no reply are
// kept in the text and counted; reading goes on until a final line.
// scratch is reused; pass the returned one to the next call.
func ReadReply(r *bufio.Reader, scratch []byte, limit int) (reply Reply, newScratch []byte, err error) {
	var text strings.Builder
	for range maxReplyLines {
		var line []byte
		var end Ending
		line, end, scratch, err = ReadLine(r, scratch, limit)
		if err != nil {
			return Reply{}, scratch, err
		}
		first := Printable(string(line))
		if end == Partial {
			reply.LongLines++
			if err = SkipLine(r, limit); err != nil {
				return Reply{}, scratch, err
			}
		}
		if text.Len() < limit {
			if text.Len() > 0 {
				text.WriteByte('\n')
			}
			text.WriteString(first)
		}
		switch code, kind := lineCode(first); kind {
		case finalLine:
			reply.Code, reply.Status, reply.Text = code, replyStatus(first), text.String()
			return reply, scratch, nil
		case noReplyLine:
			reply.Garbage++
		case continuedLine: // next
		}
	}
	return Reply{}, scratch, fmt.Errorf("reply of more than %d lines", maxReplyLines)
}

type lineKind uint8

const (
	noReplyLine lineKind = iota
	continuedLine
	finalLine
)

// lineCode reads "ddd", "ddd text" or "ddd-text".
func lineCode(line string) (int, lineKind) {
	if len(line) < 3 || !digit(line[0]) || !digit(line[1]) || !digit(line[2]) {
		return 0, noReplyLine
	}
	code := int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	switch {
	case len(line) == 3 || line[3] == ' ':
		return code, finalLine
	case line[3] == '-':
		return code, continuedLine
	}
	return 0, noReplyLine
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// replyStatus is the enhanced code of a final line if it has one of the same
// class (RFC 2034 §4), else x.0.0.
func replyStatus(line string) string {
	if line[0] != '2' && line[0] != '4' && line[0] != '5' {
		return "5.5.0"
	}
	rest := strings.TrimLeft(line[3:], " ")
	if status := LeadingStatus(rest); status != "" && status[0] == line[0] {
		return status
	}
	return line[:1] + ".0.0"
}

// LeadingStatus returns the enhanced status code (RFC 3463 §2) at the start of
// text, followed by a blank or the end, or "".
func LeadingStatus(text string) string {
	i := 1
	if len(text) < 5 || text[0] != '2' && text[0] != '4' && text[0] != '5' {
		return ""
	}
	for range 2 {
		if i >= len(text) || text[i] != '.' {
			return ""
		}
		i++
		start := i
		for i < len(text) && digit(text[i]) {
			i++
		}
		if i == start || i > start+3 {
			return ""
		}
	}
	if i < len(text) && text[i] != ' ' && text[i] != '\t' {
		return ""
	}
	return text[:i]
}

// Lines returns the texts of the reply, one a line, without codes.
func (r *Reply) Lines() []string {
	lines := strings.Split(r.Text, "\n")
	for i, line := range lines {
		if _, kind := lineCode(line); kind != noReplyLine {
			lines[i] = line[min(4, len(line)):]
		}
	}
	return lines
}

// OneLine is Text with blanks for line ends, as log lines and bounces quote it.
func (r *Reply) OneLine() string { return strings.ReplaceAll(r.Text, "\n", " ") }

// AppendReply appends a reply to dst with CR LF. A text of several lines (LF or
// CR LF between them) becomes a multi-line reply; an empty status is left out.
// Every line of the reply carries the code and the status (RFC 2034 §4).
// Control characters, which a client may have brought, become '?'.
func AppendReply(dst []byte, code int, status, text string) []byte {
	for {
		line, rest, more := strings.Cut(text, "\n")
		line = strings.TrimSuffix(line, "\r")
		more = more && rest != ""
		dst = append(dst, byte('0'+code/100%10), byte('0'+code/10%10), byte('0'+code%10))
		if more {
			dst = append(dst, '-')
		} else {
			dst = append(dst, ' ')
		}
		if status != "" {
			dst = append(dst, status...)
			dst = append(dst, ' ')
		}
		for i := 0; i < len(line); i++ {
			c := line[i]
			if c < ' ' && c != '\t' || c == 0x7f {
				c = '?'
			}
			dst = append(dst, c)
		}
		dst = append(dst, '\r', '\n')
		if !more {
			return dst
		}
		text = rest
	}
}

// Printable replaces control characters and bytes that are no UTF-8 with '?'.
func Printable(s string) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f
	}
	if clean {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case c == utf8.RuneError && n == 1, c < ' ', c == 0x7f:
			b.WriteByte('?')
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}
