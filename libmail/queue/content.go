package queue

import (
	"fmt"
	"io"

	"postroad/libmail/record"
)

// A Content reads the content of a message, headers and body, with LF line
// ends, as milters left it. It holds one record at a time.
type Content struct {
	w     *record.Walker
	rest  []byte // of the current record
	cont  bool   // the last record was a piece of a line
	nl    bool   // a line end is due
	done  error
	start int64
}

// Content starts reading at Sizes.DataOffset.
func (m *Message) Content(dataOffset int64) *Content {
	return NewContent(m.h, dataOffset)
}

// NewContent reads the content that begins at an offset of a queue file.
func NewContent(r io.ReaderAt, dataOffset int64) *Content {
	w := record.NewWalker(r, MaxRecord)
	w.Goto(dataOffset)
	return &Content{w: w, start: dataOffset}
}

// Rewind starts again.
func (c *Content) Rewind() { c.Goto(c.start) }

// Goto goes on at the record that begins at a file offset.
func (c *Content) Goto(offset int64) {
	c.w.Goto(offset)
	c.rest, c.cont, c.nl, c.done = nil, false, false, nil
}

// Offset is where the record that Line returned last begins.
func (c *Content) Offset() int64 { return c.w.Offset() }

// Line returns the next line without its end, or a piece of it: partial is
// true when the line goes on in the next record. The error is io.EOF at the
// end of the content; a file that ends before is damaged (ErrCorrupt). The
// line stays valid until the next call.
func (c *Content) Line() (line []byte, partial bool, err error) {
	if c.done != nil {
		return nil, false, c.done
	}
	t, data, err := c.w.Next()
	switch {
	case err != nil:
		c.done = fmt.Errorf("%w: content: %v", ErrCorrupt, noEOF(err))
	case t == record.Text, t == record.Continued:
		return data, t == record.Continued, nil
	case t == record.Extracted:
		c.done = io.EOF
	default:
		c.done = fmt.Errorf("%w: record %q in the content at %d", ErrCorrupt, byte(t), c.w.Offset())
	}
	return nil, false, c.done
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next loads a record.
func (c *Content) next() error {
	line, partial, err := c.Line()
	if err == io.EOF && c.cont {
		c.cont, c.nl = false, true // a line that was never ended
		return nil
	}
	if err != nil {
		return err
	}
	c.rest, c.cont, c.nl = line, partial, !partial
	return nil
}

// Read implements io.Reader.
func (c *Content) Read(p []byte) (n int, err error) {
	for n < len(p) {
		switch {
		case len(c.rest) > 0:
			k := copy(p[n:], c.rest)
			c.rest = c.rest[k:]
			n += k
		case c.nl:
			p[n] = '\n'
			c.nl = false
			n++
		default:
			if err = c.next(); err != nil {
				if n > 0 {
					return n, nil
				}
				return 0, err
			}
		}
	}
	return n, nil
}
