// Package message is headers and MIME: scan tolerantly, fold, walk, dates
// (RFC 5322, 2045).
//
// A message arrives line by line, without line ends, and is never held whole:
//
//	From: a@example.com          a header; text up to the first line that
//	Subject: long                is neither a header nor begins with a blank
//	 subject                     belongs to the header before it
//	Content-Type: multipart/...
//	                             the end of the header block
//	--boundary                   body; a Walker finds the header blocks
//	Content-Type: text/plain     inside it
package message

// HeaderName returns the length of the header name that a line begins with,
// or 0 when the line is no header (RFC 5322 §2.2). Blanks between the name
// and the colon are accepted (RFC 5322 §4.5); they are not counted.
func HeaderName(line []byte) int {
	n := 0
	for i, c := range line {
		switch {
		case c == ':':
			return n
		case c == ' ' || c == '\t':
			if n == 0 {
				return 0
			}
		case c < ' ' || c >= 0x7f || n != i:
			return 0
		default:
			n++
		}
	}
	return 0
}

// IsHeader reports whether text begins with a header name and a colon.
func IsHeader(text string) bool { return HeaderName([]byte(text)) > 0 }

// Value returns what follows the colon of a header, without blanks at its
// start. A text without a colon has no value.
func Value(header []byte) []byte {
	for i, c := range header {
		if c == ':' {
			return trimLeft(header[i+1:])
		}
	}
	return nil
}

func trimLeft(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return b
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// IsASCII reports whether b holds no byte above 127. A header that does needs
// SMTPUTF8 (RFC 6532 §3.2).
func IsASCII(b []byte) bool {
	for len(b) >= 8 {
		w := b[:8:8]
		if (w[0]|w[1]|w[2]|w[3]|w[4]|w[5]|w[6]|w[7])&0x80 != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c&0x80 != 0 {
			return false
		}
	}
	return true
}
