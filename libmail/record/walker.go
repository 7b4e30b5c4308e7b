package record

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrLoop reports more backward jumps than a message can need.
var ErrLoop = errors.New("record: too many backward pointers")

// ErrPointer reports a pointer that is no offset.
var ErrPointer = errors.New("record: malformed pointer")

// maxBack is how many backward jumps one walk may take: there is one for each
// header that a milter inserts.
const maxBack = 10000

// A Walker reads the records of a file, in the order in which the file means
// them: it follows pointers, skips padding and stops at the end record.
type Walker struct {
	r    io.ReaderAt
	max  int
	buf  []byte // a window of the file
	base int64  // file offset of buf[0]
	pos  int    // next byte in buf
	at   int64  // offset of the record that Next returned
	back int
	end  bool
	big  []byte // a record that does not fit in the window
}

const windowSize = 16 << 10

// NewWalker returns a Walker that begins at offset 0 of r and refuses records
// of more than maxData bytes.
func NewWalker(r io.ReaderAt, maxData int) *Walker {
	return &Walker{r: r, max: maxData}
}

// Reset makes the walker read another file, with the buffer that it has.
func (w *Walker) Reset(r io.ReaderAt) {
	*w = Walker{r: r, max: w.max, buf: w.buf[:0], big: w.big}
}

// Goto continues the walk at a file offset.
func (w *Walker) Goto(offset int64) {
	w.end = false
	if offset >= w.base && offset <= w.base+int64(len(w.buf)) {
		w.pos = int(offset - w.base)
		return
	}
	w.base, w.pos, w.buf = offset, 0, w.buf[:0]
}

// Pos is the offset at which the next record is looked for.
func (w *Walker) Pos() int64 { return w.base + int64(w.pos) }

// Offset is where the record that Next or NextRaw returned last begins.
func (w *Walker) Offset() int64 { return w.at }

// Next returns the next record that means something. The data stay valid until
// the next call. After the end record, and where the file ends between two
// records, the error is io.EOF; a cut record is io.ErrUnexpectedEOF.
func (w *Walker) Next() (Type, []byte, error) {
	for {
		t, data, err := w.NextRaw()
		switch {
		case err != nil:
			return 0, nil, err
		case t == Pointer:
			if err := w.Follow(data); err != nil {
				return 0, nil, err
			}
		case t == End:
			w.end = true
			return t, data, nil
		case t != Padding:
			return t, data, nil
		}
	}
}

// NextRaw returns the next record as it lies in the file, pointers and padding
// too. It goes on after an end record that NextRaw itself returned.
func (w *Walker) NextRaw() (Type, []byte, error) {
	if w.end {
		return 0, nil, io.EOF
	}
	w.at = w.Pos()
	t, n, _, err := readHead(w)
	if err != nil {
		return 0, nil, err
	}
	if n > w.max {
		return 0, nil, fmt.Errorf("%w: type %q, %d bytes at %d", ErrTooLong, byte(t), n, w.at)
	}
	data, err := w.take(n)
	return t, data, err
}

// Follow goes where a pointer record with these data says; 0 goes nowhere.
func (w *Walker) Follow(data []byte) error {
	s := strings.TrimLeft(string(data), " \t")
	offset, err := strconv.ParseInt(s, 10, 64)
	if err != nil || offset < 0 {
		return fmt.Errorf("%w: %.30q at %d", ErrPointer, s, w.at)
	}
	if offset == 0 {
		return nil
	}
	if offset <= w.at {
		if w.back++; w.back > maxBack {
			return ErrLoop
		}
	}
	w.Goto(offset)
	return nil
}

// ReadByte gives readHead its bytes.
func (w *Walker) ReadByte() (byte, error) {
	if w.pos == len(w.buf) {
		if err := w.fill(1); err != nil {
			return 0, err
		}
	}
	w.pos++
	return w.buf[w.pos-1], nil
}

// fill has the window hold at least n bytes from pos on; io.EOF if the file
// ends before the first, io.ErrUnexpectedEOF before the others.
func (w *Walker) fill(n int) error {
	if cap(w.buf) < windowSize {
		w.buf = append(make([]byte, 0, windowSize), w.buf...)
	}
	rest := copy(w.buf[:cap(w.buf)], w.buf[w.pos:])
	w.base += int64(w.pos)
	w.pos, w.buf = 0, w.buf[:rest]
	for len(w.buf) < n {
		k, err := w.r.ReadAt(w.buf[len(w.buf):cap(w.buf)], w.base+int64(len(w.buf)))
		w.buf = w.buf[:len(w.buf)+k]
		switch {
		case len(w.buf) >= n:
			return nil
		case err == io.EOF && len(w.buf) > 0:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case k == 0:
			return io.ErrNoProgress
		}
	}
	return nil
}

// take returns the next n bytes.
func (w *Walker) take(n int) ([]byte, error) {
	if len(w.buf)-w.pos >= n {
		w.pos += n
		return w.buf[w.pos-n : w.pos], nil
	}
	if n <= windowSize {
		if err := w.fill(n); err != nil {
			return nil, unexpected(err)
		}
		w.pos += n
		return w.buf[:n], nil
	}
	w.big = append(w.big[:0], w.buf[w.pos:]...)
	w.pos = len(w.buf)
	for len(w.big) < n { // grows with what the file holds
		if err := w.fill(1); err != nil {
			return nil, unexpected(err)
		}
		k := min(n-len(w.big), len(w.buf)-w.pos)
		w.big = append(w.big, w.buf[w.pos:w.pos+k]...)
		w.pos += k
	}
	return w.big, nil
}
