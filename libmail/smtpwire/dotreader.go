package smtpwire

import (
	"bufio"
	"io"
)

// An EndPolicy says which byte sequences end the content after DATA.
type EndPolicy uint8

const (
	// Normalize accepts lines that end in bare LF but ends the content only
	// at CR LF "." CR LF (RFC 5321 §4.1.1.4). A lone dot that has a bare LF on
	// either side is dropped: passed on with normal line endings it would
	// end the content at the next hop. This is postconf(5)
	// smtpd_forbid_bare_newline = normalize, yes, note, reject.
	Normalize EndPolicy = iota
	// Lenient lets any lone dot end the content, as servers did before 2023
	// (smtpd_forbid_bare_newline = no). It also takes all CRs before a LF for
	// part of the terminator.
	Lenient
)

// A DotReader reads message content after DATA line by line, removes the dots
// that the client stuffed (RFC 5321 §4.5.2), and finds the end of the content.
// That end is what smuggling attacks aim at, so nothing else is in this file.
type DotReader struct {
	r       *bufio.Reader
	limit   int
	policy  EndPolicy
	scratch []byte
	inLine  bool // the piece before had no terminator
	prevLF  bool // the line before ended in bare LF
	bareLF  bool
	done    bool
}

// NewDotReader reads from r; lines longer than limit bytes come in pieces.
func NewDotReader(r *bufio.Reader, limit int, policy EndPolicy) *DotReader {
	return &DotReader{r: r, limit: limit, policy: policy}
}

// Reset makes d read new content and keeps its scratch space.
func (d *DotReader) Reset(r *bufio.Reader, limit int, policy EndPolicy) {
	*d = DotReader{r: r, limit: limit, policy: policy, scratch: d.scratch}
}

// BareLF reports whether any line so far ended in LF without CR.
func (d *DotReader) BareLF() bool { return d.bareLF }

// Next returns the next line or piece of a line, without terminator; more
// means that the same line goes on. It is valid until the next call.
// After the end of the content err is io.EOF. A connection that ends earlier
// gives io.ErrUnexpectedEOF: content without its end is not a message.
func (d *DotReader) Next() (line []byte, more bool, err error) {
	if d.done {
		return nil, false, io.EOF
	}
	for {
		var end Ending
		line, end, d.scratch, err = ReadLine(d.r, d.scratch, d.limit)
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, false, err
		}
		atStart, prevLF := !d.inLine, d.prevLF
		d.inLine, d.prevLF = end == Partial, end == BareLF
		d.bareLF = d.bareLF || end == BareLF
		if d.policy == Lenient && end != Partial {
			for len(line) > 0 && line[len(line)-1] == '\r' {
				line = line[:len(line)-1]
			}
		}
		if !atStart || len(line) == 0 || line[0] != '.' {
			return line, end == Partial, nil
		}
		if len(line) == 1 && d.policy == Normalize && (end == BareLF || prevLF) {
			continue
		}
		if len(line) == 1 && end != Partial {
			d.done = true
			return nil, false, io.EOF
		}
		return line[1:], end == Partial, nil
	}
}
