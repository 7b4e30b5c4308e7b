// Package smtpwire is what an SMTP client and an SMTP server both say: replies,
// command lines, message lines with their dots, chunks, and parameters (RFC 5321).
//
//	S: 250-mx.example.com                     reply.go   ReadReply, AppendReply
//	S: 250 SIZE 10240000                      ehlo.go    Keywords, ParseEHLO
//	C: MAIL FROM:<a@example.org> SIZE=10      command.go AppendTokens, Param
//	C: RCPT TO:<b@example.com> ORCPT=rfc822;b xtext.go   ParseORCPT
//	C: Subject: x                             line.go    ReadLine
//	C: ..                                     dotreader.go, dotwriter.go
//	C: .
//	C: BDAT 5 LAST                            chunk.go   ChunkReader
//
// Nothing here opens a socket, knows a time limit or reads a parameter: bytes
// come from a bufio.Reader, values go out.
package smtpwire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// An Ending says how a line ended on the wire.
type Ending uint8

const (
	CRLF    Ending = iota // CR LF, the only line ending of RFC 5321 §2.3.8
	BareLF                // LF without CR before it
	Partial               // no ending: the line is longer than the limit and goes on
)

// ErrLineTooLong means that more of an over-long line arrived than the reader
// is willing to skip; the conversation cannot go on.
var ErrLineTooLong = errors.New("line too long: giving up")

// ReadLine reads one line and returns it without its terminator. A line that has
// no LF among its first limit bytes (or right after them, if they end in CR)
// comes in pieces of limit bytes with ending Partial; its last piece has the
// true ending and may be empty. One CR before LF belongs to the terminator, all
// other CRs are data.
//
// The result is either inside the reader's buffer or inside scratch, which
// grows as needed and is returned for the next call; it is valid until then.
// End of input before a terminator is io.ErrUnexpectedEOF, or io.EOF when
// nothing at all was read: a line that was cut off is never returned.
func ReadLine(r *bufio.Reader, scratch []byte, limit int) (line []byte, end Ending, newScratch []byte, err error) {
	frag, err := readFragment(r, limit)
	if err == nil && (frag[len(frag)-1] == '\n' || len(frag) >= limit) {
		line, end, err = finish(r, frag)
		return line, end, scratch, err
	}
	scratch = scratch[:0]
	for {
		scratch = append(scratch, frag...)
		if err != nil {
			if err == io.EOF && len(scratch) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, Partial, scratch, err
		}
		n := len(scratch)
		if scratch[n-1] == '\n' || n >= limit {
			break
		}
		frag, err = readFragment(r, limit-n)
	}
	line, end, err = finish(r, scratch)
	return line, end, scratch, err
}

// readFragment takes what the buffer holds, up to a LF or max bytes, after
// waiting for at least one byte.
func readFragment(r *bufio.Reader, max int) ([]byte, error) {
	if r.Buffered() == 0 {
		if _, err := r.Peek(1); err != nil {
			return nil, err
		}
	}
	n := min(r.Buffered(), max)
	frag, _ := r.Peek(n) // these bytes are in the buffer
	if i := bytes.IndexByte(frag, '\n'); i >= 0 {
		frag = frag[:i+1]
	}
	_, _ = r.Discard(len(frag)) // likewise
	return frag, nil
}

// finish strips the terminator from data. When data stops at the limit with a
// CR, the next byte decides whether that CR is half a terminator.
func finish(r *bufio.Reader, data []byte) ([]byte, Ending, error) {
	n := len(data)
	if data[n-1] == '\n' {
		if n > 1 && data[n-2] == '\r' {
			return data[:n-2], CRLF, nil
		}
		return data[:n-1], BareLF, nil
	}
	if data[n-1] != '\r' {
		return data, Partial, nil
	}
	// Peek may move the buffer under data: keep a copy of this rare piece.
	data = append(make([]byte, 0, n+1), data...)
	next, err := r.Peek(1)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, Partial, err
	}
	if next[0] == '\n' {
		_, _ = r.Discard(1) // just peeked
		return data[:n-1], CRLF, nil
	}
	return data, Partial, nil
}

// SkipLine discards the rest of a line whose first piece was Partial, but no
// more than limit bytes: then it returns ErrLineTooLong.
func SkipLine(r *bufio.Reader, limit int) error {
	for limit > 0 {
		frag, err := readFragment(r, limit)
		if err != nil {
			return err
		}
		if frag[len(frag)-1] == '\n' {
			return nil
		}
		limit -= len(frag)
	}
	return ErrLineTooLong
}
