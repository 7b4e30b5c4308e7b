package smtpwire

import "bufio"

// A DotWriter writes message content for DATA: lines end in CR LF, a dot at the
// start of a line is doubled (RFC 5321 §4.5.2), and Close writes the final dot.
// Errors stick in the bufio.Writer and show at its Flush.
type DotWriter struct {
	w      *bufio.Writer
	inLine bool
}

// NewDotWriter writes to w, which stays the caller's to flush.
func NewDotWriter(w *bufio.Writer) *DotWriter { return &DotWriter{w: w} }

// Piece writes part of a line; the line ends with EndLine or Line. The text has
// no line terminators: a CR or LF inside it would be the sender's chance to
// smuggle, so each is replaced with a blank (RFC 5321 §2.3.8).
func (d *DotWriter) Piece(text []byte) {
	if len(text) == 0 {
		return
	}
	if !d.inLine && text[0] == '.' {
		_ = d.w.WriteByte('.') // sticky until Flush
	}
	d.inLine = true
	start := 0
	for i, c := range text {
		if c == '\r' || c == '\n' {
			_, _ = d.w.Write(text[start:i]) // sticky
			_ = d.w.WriteByte(' ')          // sticky
			start = i + 1
		}
	}
	_, _ = d.w.Write(text[start:]) // sticky
}

// EndLine ends the line.
func (d *DotWriter) EndLine() {
	_, _ = d.w.WriteString("\r\n") // sticky
	d.inLine = false
}

// Line writes a whole line, or the rest of one.
func (d *DotWriter) Line(text []byte) {
	d.Piece(text)
	d.EndLine()
}

// Close ends an open line and writes the lone dot. It does not flush.
func (d *DotWriter) Close() {
	if d.inLine {
		d.EndLine()
	}
	_, _ = d.w.WriteString(".\r\n") // sticky
}
