package smtpwire

import (
	"bufio"
	"io"
)

// A ChunkReader cuts the octets of BDAT chunks (RFC 3030 §2) into lines. A line
// may begin in one chunk and end in a later one; what is unfinished at the end of
// a chunk waits for the next. Dots mean nothing here.
//
//	Start(r, 5, NotLast)  Next ... io.EOF
//	Start(r, 7, Last)     Next ... io.EOF
type ChunkReader struct {
	r      *bufio.Reader
	limit  int
	policy EndPolicy
	left   int64
	last   bool
	held   []byte // begin of a line that goes on beyond the buffer or the chunk
	keep   int    // how many octets at the end of held the next call needs
	bareLF bool
}

// A ChunkKind says whether BDAT had the LAST marker.
type ChunkKind uint8

const (
	NotLast ChunkKind = iota
	Last
)

// Reset forgets everything about the message before; lines longer than limit
// octets come in pieces. With policy Lenient all CRs before a LF belong to the
// terminator.
func (c *ChunkReader) Reset(limit int, policy EndPolicy) {
	*c = ChunkReader{limit: limit, policy: policy, held: c.held[:0]}
}

// Start begins the next chunk of size octets.
func (c *ChunkReader) Start(r *bufio.Reader, size int64, kind ChunkKind) {
	c.r, c.left, c.last = r, size, kind == Last
}

// BareLF reports whether any line since Reset ended in LF without CR.
func (c *ChunkReader) BareLF() bool { return c.bareLF }

// Held is the number of octets that wait for the rest of their line.
func (c *ChunkReader) Held() int { return c.keep }

// Next returns the next line or piece of a line, without terminator; more means
// that the same line goes on. It is valid until the next call. After the
// chunk's last octet err is io.EOF; when that chunk was the last one, an
// unterminated line is returned before as if it were whole. A connection that
// ends inside the chunk gives io.ErrUnexpectedEOF.
func (c *ChunkReader) Next() (line []byte, more bool, err error) {
	copy(c.held, c.held[len(c.held)-c.keep:])
	c.held = c.held[:c.keep]
	for c.left > 0 {
		room := max(c.limit-len(c.held), 1) // one more after a CR at the limit
		frag, err := readFragment(c.r, int(min(c.left, int64(room))))
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, false, err
		}
		c.left -= int64(len(frag))
		data := frag
		if len(c.held) > 0 || !c.complete(frag) {
			c.held = append(c.held, frag...)
			data = c.held
		}
		if c.complete(data) {
			return c.take(data)
		}
		c.keep = len(c.held)
	}
	if c.last && len(c.held) > 0 {
		c.keep = 0
		return c.held, false, nil
	}
	c.keep = len(c.held)
	return nil, false, io.EOF
}

// complete reports whether data is a line or a full piece of one. A CR at the
// limit may be half a terminator, then one octet more is needed.
func (c *ChunkReader) complete(data []byte) bool {
	n := len(data)
	return data[n-1] == '\n' || n > c.limit || n == c.limit && data[n-1] != '\r'
}

// take strips the terminator from complete data.
func (c *ChunkReader) take(data []byte) (line []byte, more bool, err error) {
	n := len(data)
	c.keep = 0
	if data[n-1] != '\n' {
		if n > c.limit {
			c.keep = 1
		}
		return data[:min(n, c.limit)], true, nil
	}
	line = data[:n-1]
	if n < 2 || data[n-2] != '\r' {
		c.bareLF = true
		return line, false, nil
	}
	line = data[:n-2]
	for c.policy == Lenient && len(line) > 0 && line[len(line)-1] == '\r' {
		line = line[:len(line)-1]
	}
	return line, false, nil
}
