package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// A cdb file (D. J. Bernstein's constant database) is 256 pointers, the
// records, and 256 hash tables; numbers are 4 bytes, little-endian:
//
//	pointer   position and slots of hash table hash%256
//	record    key length, value length, key, value
//	slot      hash and position of a record; position 0 is an empty slot
//
// A key is in slot hash/256 % slots of its table, or in one of the slots after
// it up to the first that is empty.
type cdb struct {
	name     string
	r        io.ReaderAt
	shut     func() error // closes the file
	size     int64
	pointers [256][2]uint32

	mu   sync.Mutex
	null nullRule
}

const cdbHead = 2048

// cdbHash is the hash function of cdb.
func cdbHash(key string) uint32 {
	h := uint32(5381)
	for i := 0; i < len(key); i++ {
		h = h*33 ^ uint32(key[i])
	}
	return h
}

// openCDB opens cdb:FILE, which stands in FILE.cdb.
func openCDB(t *front, name string) (contents, error) {
	path := name + ".cdb"
	return openWatched(t, "open database", path, func(f *os.File) (fileContents, error) {
		c := &cdb{name: path, r: f, shut: f.Close}
		fi, err := f.Stat()
		if err == nil {
			err = c.readHead(fi.Size())
		}
		if err != nil {
			return nil, fmt.Errorf("open database %s: %w", path, err)
		}
		warnOlder(t, path, name)
		return c, nil
	})
}

// readHead reads the pointers of a file of that size.
func (c *cdb) readHead(size int64) error {
	c.size = size
	var head [cdbHead]byte
	if _, err := c.r.ReadAt(head[:], 0); err != nil {
		return errors.New("file is not a cdb")
	}
	for i := range c.pointers {
		at, n := le.Uint32(head[8*i:]), le.Uint32(head[8*i+4:])
		if n > 0 && (at < cdbHead || int64(at)+8*int64(n) > c.size) {
			return errors.New("file is not a cdb")
		}
		c.pointers[i] = [2]uint32{at, n}
	}
	return nil
}

func (c *cdb) get(key string) (string, bool, error) {
	c.mu.Lock()
	null := c.null
	c.mu.Unlock()
	value, found, err := null.find(key, c.find)
	if err != nil {
		return "", false, fmt.Errorf("error reading %s: %w", c.name, err)
	}
	if found {
		c.mu.Lock()
		c.null = null
		c.mu.Unlock()
	}
	return value, found, nil
}

// find looks one stored key up.
func (c *cdb) find(key string) (string, bool, error) {
	h := cdbHash(key)
	at, n := c.pointers[h%256][0], c.pointers[h%256][1]
	if n == 0 {
		return "", false, nil
	}
	slot := h / 256 % n
	var b [8]byte
	for range n {
		if _, err := c.r.ReadAt(b[:], int64(at)+8*int64(slot)); err != nil {
			return "", false, err
		}
		pos := le.Uint32(b[4:])
		if pos == 0 {
			return "", false, nil
		}
		if le.Uint32(b[:]) == h {
			have, value, _, err := c.record(int64(pos), len(key))
			if err != nil || have == key {
				return value, err == nil, err
			}
		}
		if slot++; slot == n {
			slot = 0
		}
	}
	return "", false, nil
}

// record reads a record. With want >= 0, one whose key has another length is
// not read.
func (c *cdb) record(pos int64, want int) (key, value string, end int64, err error) {
	var b [8]byte
	if _, err := c.r.ReadAt(b[:], pos); err != nil {
		return "", "", 0, err
	}
	k, v := int64(le.Uint32(b[:])), int64(le.Uint32(b[4:]))
	end = pos + 8 + k + v
	if end > c.size || k > maxItem || v > maxItem {
		return "", "", 0, errDamaged
	}
	if want >= 0 && k != int64(want) {
		return "", "", end, nil
	}
	text := make([]byte, k+v)
	if _, err := c.r.ReadAt(text, pos+8); err != nil && !(errors.Is(err, io.EOF) && k+v == 0) {
		return "", "", 0, err
	}
	return string(text[:k]), string(text[k:]), end, nil
}

// walk lists all records in the order in which they were added.
func (c *cdb) walk(fn func(key, value string) error) error {
	end := c.size
	for _, p := range c.pointers {
		if p[1] > 0 || p[0] >= cdbHead {
			end = min(end, int64(p[0]))
		}
	}
	for pos := int64(cdbHead); pos < end; {
		key, value, next, err := c.record(pos, -1)
		if err != nil {
			return fmt.Errorf("error seeking %s: %w", c.name, err)
		}
		if err := fn(cutNull(key), cutNull(value)); err != nil {
			return err
		}
		pos = next
	}
	return nil
}

func (c *cdb) close() error { return c.shut() }

// cdbMaker writes cdb files.
type cdbMaker struct{}

func buildCDB(*Builder) (maker, error) { return cdbMaker{}, nil }

func (cdbMaker) write(f *os.File, entries []entry) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	w := newOffsetWriter(f)
	w.bytes(make([]byte, cdbHead))
	var slots [256][][2]uint32 // hash and position
	for _, e := range entries {
		h := cdbHash(e.key)
		slots[h%256] = append(slots[h%256], [2]uint32{h, uint32(w.at)})
		w.numbers(uint32(len(e.key)), uint32(len(e.value)))
		w.bytes([]byte(e.key))
		w.bytes([]byte(e.value))
		if w.at > 1<<32-1 {
			return errors.New("cdb files end at 4 GiB")
		}
	}
	var head []byte
	for _, list := range slots {
		head = le.AppendUint32(head, uint32(w.at))
		head = le.AppendUint32(head, uint32(2*len(list)))
		n := uint32(2 * len(list))
		table := make([][2]uint32, n)
		for _, s := range list {
			i := s[0] / 256 % n
			for table[i][1] != 0 {
				i = (i + 1) % n
			}
			table[i] = s
		}
		for _, s := range table {
			w.numbers(s[0], s[1])
		}
		if w.at > 1<<32-1 {
			return errors.New("cdb files end at 4 GiB")
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	_, err := f.WriteAt(head, 0)
	return err
}

// An offsetWriter writes numbers and bytes and knows where it stands. It keeps
// the first error for flush.
type offsetWriter struct {
	f   io.Writer
	buf []byte
	at  int64
	err error
}

func newOffsetWriter(f io.Writer) *offsetWriter {
	return &offsetWriter{f: f, buf: make([]byte, 0, 1<<16)}
}

func (w *offsetWriter) numbers(n ...uint32) {
	var b [4]byte
	for _, v := range n {
		binary.LittleEndian.PutUint32(b[:], v)
		w.bytes(b[:])
	}
}

func (w *offsetWriter) bytes(b []byte) {
	w.at += int64(len(b))
	w.buf = append(w.buf, b...)
	if len(w.buf) >= 1<<16 {
		w.err = w.flush()
	}
}

func (w *offsetWriter) flush() error {
	if w.err == nil {
		_, w.err = w.f.Write(w.buf)
	}
	w.buf = w.buf[:0]
	return w.err
}
