// Package attr is attribute lists: the alphabet in which the programs talk
// to each other.
//
// A list is a sequence of names and values, each ended by NUL; an empty name
// ends the list. It is Postfix's own form, so that its commands can ask our
// programs and ours can ask Postfix's:
//
//	queue_id NUL 4A1B2C3D NUL status NUL 0 NUL NUL
//
// Integers are decimal, bytes that may hold NUL are base64. A reader takes
// names in the order in which the conversation defines them.
package attr

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
)

// Bounds on what a reader takes from its peer.
const (
	MaxName  = 100
	MaxValue = 1 << 20
	maxExtra = 1000 // attributes that a list may carry beyond what we know
)

// A Writer writes attribute lists. It keeps the first error; later calls do
// nothing.
type Writer struct {
	w   *bufio.Writer
	num [20]byte
	err error
}

// NewWriter writes to w, which the caller may share with the writer between
// lists.
func NewWriter(w *bufio.Writer) *Writer { return &Writer{w: w} }

// Str writes a name and a value. A value that holds NUL is an error: it would
// end early and shift all that follows.
func (w *Writer) Str(name, value string) {
	if w.err != nil {
		return
	}
	for i := 0; i < len(value); i++ {
		if value[i] == 0 {
			w.err = fmt.Errorf("attribute %s: value holds NUL", name)
			return
		}
	}
	w.put(name)
	w.put(value)
}

// Int writes a decimal number.
func (w *Writer) Int(name string, v int64) {
	if w.err != nil {
		return
	}
	w.put(name)
	if _, err := w.w.Write(append(strconv.AppendInt(w.num[:0], v, 10), 0)); err != nil {
		w.err = err
	}
}

// Data writes bytes in base64.
func (w *Writer) Data(name string, b []byte) {
	w.Str(name, base64.StdEncoding.EncodeToString(b))
}

// End ends the list.
func (w *Writer) End() {
	if w.err == nil {
		w.err = w.w.WriteByte(0)
	}
}

// Flush sends what is buffered and returns the first error of all calls.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.err
}

// Err is the first error so far.
func (w *Writer) Err() error { return w.err }

// put writes a string and its NUL.
func (w *Writer) put(s string) {
	if w.err != nil {
		return
	}
	if _, err := w.w.WriteString(s); err != nil {
		w.err = err
		return
	}
	w.err = w.w.WriteByte(0)
}

// A Reader reads attribute lists. It keeps the first error; later calls
// return zero values.
type Reader struct {
	r   *bufio.Reader
	buf []byte
	err error
}

// NewReader reads from r, which the caller may share with the reader between
// lists.
func NewReader(r *bufio.Reader) *Reader { return &Reader{r: r} }

// Err is the first error so far: io.EOF only where the peer closed before the
// first byte of a name was read.
func (r *Reader) Err() error { return r.err }

// Str reads the attribute that must come next and has that name.
func (r *Reader) Str(name string) string {
	got, value, more := r.Next()
	if r.err != nil {
		return ""
	}
	if !more {
		r.err = fmt.Errorf("attribute %s: missing", name)
		return ""
	}
	if got != name {
		r.err = fmt.Errorf("attribute %s: got %.100q instead", name, got)
		return ""
	}
	return value
}

// Int is Str for a decimal number.
func (r *Reader) Int(name string) int64 {
	s := r.Str(name)
	if r.err != nil {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		r.err = fmt.Errorf("attribute %s: %.30q is not a number", name, s)
	}
	return n
}

// Data is Str for base64.
func (r *Reader) Data(name string) []byte {
	s := r.Str(name)
	if r.err != nil {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		r.err = fmt.Errorf("attribute %s: not base64", name)
	}
	return b
}

// End reads the end of the list. Attributes that a newer peer added before it
// are skipped.
func (r *Reader) End() {
	for range maxExtra {
		if _, _, more := r.Next(); !more || r.err != nil {
			return
		}
	}
	r.err = errors.New("attribute list: too long")
}

// Next reads whatever attribute comes next; more is false at the end of the
// list and after an error.
func (r *Reader) Next() (name, value string, more bool) {
	name = r.take(MaxName)
	if r.err != nil || name == "" {
		return "", "", false
	}
	value = r.take(MaxValue)
	if r.err != nil {
		return "", "", false
	}
	return name, value, true
}

// take reads up to the next NUL.
func (r *Reader) take(limit int) string {
	if r.err != nil {
		return ""
	}
	r.buf = r.buf[:0]
	for {
		part, err := r.r.ReadSlice(0)
		if len(r.buf)+len(part) > limit+1 {
			r.err = fmt.Errorf("attribute: longer than %d bytes", limit)
			return ""
		}
		if err == nil && len(r.buf) == 0 {
			return string(part[:len(part)-1])
		}
		r.buf = append(r.buf, part...)
		switch {
		case err == nil:
			return string(r.buf[:len(r.buf)-1])
		case errors.Is(err, bufio.ErrBufferFull):
		case len(r.buf) > 0:
			r.err = fmt.Errorf("attribute: cut short: %w", err)
			return ""
		default:
			r.err = err
			return ""
		}
	}
}
