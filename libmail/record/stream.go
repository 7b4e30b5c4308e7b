package record

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// ErrLength reports a length of more than four bytes: the input holds no records.
var ErrLength = errors.New("record: length has more than four bytes")

// ErrTooLong reports a record whose data exceed the reader's limit.
var ErrTooLong = errors.New("record: data too long")

// Append appends the record (t, data) to dst and returns the result. It
// panics when data are longer than MaxSize, which no caller may produce.
func Append(dst []byte, t Type, data []byte) []byte {
	return append(appendHead(dst, t, len(data)), data...)
}

// AppendString is Append for a string.
func AppendString(dst []byte, t Type, data string) []byte {
	return append(appendHead(dst, t, len(data)), data...)
}

func appendHead(dst []byte, t Type, n int) []byte {
	if n > MaxSize {
		panic(fmt.Sprintf("record: %d bytes in one record", n))
	}
	dst = append(dst, byte(t))
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// Len returns how many bytes the record of n data bytes takes.
func Len(n int) int {
	size := 2 + n
	for n >= 0x80 {
		size++
		n >>= 7
	}
	return size
}

// A Reader takes records from a stream, one after the other. It gives Padding
// and Pointer records like all others; a Walker gives them their meaning.
type Reader struct {
	r   *bufio.Reader
	max int
	buf []byte
	err error
}

// NewReader returns a Reader of r that refuses records of more than maxData bytes.
func NewReader(r *bufio.Reader, maxData int) *Reader {
	return &Reader{r: r, max: maxData}
}

// Next returns the next record. The data stay valid until the next call. The
// error is io.EOF only between two records, io.ErrUnexpectedEOF inside one,
// ErrLength or ErrTooLong for a record that is refused; every error is final.
func (r *Reader) Next() (Type, []byte, error) {
	if r.err != nil {
		return 0, nil, r.err
	}
	t, data, err := r.next()
	r.err = err
	return t, data, err
}

func (r *Reader) next() (Type, []byte, error) {
	t, n, _, err := readHead(r.r)
	if err != nil {
		return 0, nil, err
	}
	if n > r.max {
		return 0, nil, fmt.Errorf("%w: type %q, %d bytes", ErrTooLong, byte(t), n)
	}
	if err := r.fill(n); err != nil {
		return 0, nil, err
	}
	return t, r.buf, nil
}

// fill reads n data bytes. The buffer grows with the bytes that arrive, not
// with the length that a peer claims.
func (r *Reader) fill(n int) error {
	const step = 64 << 10
	r.buf = r.buf[:0]
	for n > 0 {
		k := min(n, max(step, len(r.buf)))
		at := len(r.buf)
		if cap(r.buf)-at < k {
			r.buf = append(r.buf, make([]byte, k)...)
		}
		r.buf = r.buf[:at+k]
		if _, err := io.ReadFull(r.r, r.buf[at:]); err != nil {
			return unexpected(err)
		}
		n -= k
	}
	return nil
}

// readHead reads type and length and says how many bytes they took.
func readHead(r io.ByteReader) (t Type, n, size int, err error) {
	c, err := r.ReadByte()
	if err != nil {
		return 0, 0, 0, err
	}
	for shift := 0; ; shift += 7 {
		if shift >= 28 {
			return 0, 0, 0, ErrLength
		}
		b, err := r.ReadByte()
		if err != nil {
			return 0, 0, 0, unexpected(err)
		}
		n |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			return Type(c), n, 2 + shift/7, nil
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
