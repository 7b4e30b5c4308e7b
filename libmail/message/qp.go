package message

// QuotedPrintable converts lines to quoted-printable (RFC 2045 §6.7). An
// output line has at most 76 bytes. The zero value is ready for use.
type QuotedPrintable struct {
	line []byte // what is waiting for its end
}

// Line converts a line, or a piece of one, and calls emit for each complete
// output line. The bytes that emit gets are valid until it returns.
func (q *QuotedPrintable) Line(text []byte, end Ending, emit func(line []byte)) {
	for _, c := range text {
		if len(q.line) > 72 {
			emit(append(q.line, '='))
			q.line = q.line[:0]
		}
		if c < ' ' && c != '\t' || c == '=' || c > '~' {
			q.encode(c)
		} else {
			q.line = append(q.line, c)
		}
	}
	if end == Soft {
		return
	}
	if n := len(q.line); n > 0 && isBlank(q.line[n-1]) {
		c := q.line[n-1]
		q.line = q.line[:n-1]
		q.encode(c)
	}
	emit(q.line)
	q.line = q.line[:0]
}

func (q *QuotedPrintable) encode(c byte) {
	const hex = "0123456789ABCDEF"
	q.line = append(q.line, '=', hex[c>>4], hex[c&15])
}
