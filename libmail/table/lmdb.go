package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"
	"syscall"
)

// An LMDB file is pages; numbers are those of a 64-bit little-endian machine.
// Pages 0 and 1 are meta pages, of which the one with the later transaction
// counts. All others hang below the root of the main tree:
//
//	page      number[8] -[2] flags[2] lower[2] upper[2] offset[2]...
//	meta      magic[4] version[4] -[16] tree tree last[8] transaction[8]
//	tree      pagesize[4] flags[2] depth[2] -[32] root[8]
//	branch    page[6] keylength[2] key
//	leaf      length[4] flags[2] keylength[2] key value; flag 1: the value is the
//	          number of the overflow pages that hold it, which stand together
type lmdb struct {
	name string
	f    *os.File    // for the lock
	r    io.ReaderAt // the same file
	size int64

	mu   sync.Mutex
	null nullRule
	page int // bytes
	root uint64
	buf  []byte
}

const (
	lmdbHeader  = 16
	lmdbMagic   = 0xBEEFC0DE
	lmdbVersion = 1
	lmdbNone    = 1<<64 - 1 // the root of an empty tree

	lmdbBranch   = 1
	lmdbLeaf     = 2
	lmdbOverflow = 4

	lmdbBig = 1 // flag of a node
)

// openLMDB opens lmdb:FILE, which stands in FILE.lmdb. It is only read.
func openLMDB(t *front, name string) (contents, error) {
	path := name + ".lmdb"
	return openWatched(t, "open database", path, func(f *os.File) (fileContents, error) {
		l := &lmdb{name: path, f: f, r: f}
		err := flock(f, syscall.LOCK_SH)
		if err == nil {
			err = l.begin()
			l.end()
		}
		if err != nil {
			return nil, fmt.Errorf("open database %s: %w", path, err)
		}
		warnOlder(t, path, name)
		return l, nil
	})
}

// begin reads the meta pages of a file that is locked.
func (l *lmdb) begin() error {
	if l.f != nil {
		fi, err := l.f.Stat()
		if err != nil {
			return err
		}
		l.size = fi.Size()
	}
	head := make([]byte, 512)
	if err := l.readMeta(head, 0); err != nil {
		return err
	}
	txn := l.useMeta(head)
	if err := l.readMeta(head, int64(l.page)); err != nil {
		return err
	}
	if le.Uint64(head[lmdbHeader+128:]) > txn {
		l.useMeta(head)
	}
	return nil
}

// readMeta reads and checks one meta page.
func (l *lmdb) readMeta(head []byte, at int64) error {
	if _, err := l.r.ReadAt(head, at); err != nil {
		return errors.New("file is not an LMDB database")
	}
	m := head[lmdbHeader:]
	page := le.Uint32(m[24:])
	switch {
	case le.Uint32(m) != lmdbMagic:
		return errors.New("file is not an LMDB database")
	case le.Uint32(m[4:]) != lmdbVersion:
		return fmt.Errorf("unsupported LMDB version %d", le.Uint32(m[4:]))
	case page < 512 || page > 65536 || page&(page-1) != 0 || at != 0 && int64(page) != at:
		return fmt.Errorf("bad page size %d", page)
	}
	return nil
}

// useMeta takes page size and root over and returns the transaction.
func (l *lmdb) useMeta(head []byte) uint64 {
	m := head[lmdbHeader:]
	if page := int(le.Uint32(m[24:])); page != l.page {
		l.page, l.buf = page, make([]byte, page)
	}
	l.root = le.Uint64(m[72+40:])
	return le.Uint64(m[128:])
}

// end gives the lock back.
func (l *lmdb) end() {
	if err := flock(l.f, syscall.LOCK_UN); err != nil {
		l.f.Close() // gives the lock back whatever happens; the next lookup fails
	}
}

func (l *lmdb) get(key string) (value string, found bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err = flock(l.f, syscall.LOCK_SH); err == nil {
		defer l.end()
		if err = l.begin(); err == nil {
			value, found, err = l.null.find(key, l.find)
		}
	}
	if err != nil {
		err = fmt.Errorf("error reading %s: %w", l.name, err)
	}
	return value, found, err
}

// lmdbPage is one page, as read.
type lmdbPage []byte

func (p lmdbPage) flags() uint16    { return binary.LittleEndian.Uint16(p[10:]) }
func (p lmdbPage) entries() int     { return (int(binary.LittleEndian.Uint16(p[12:])) - lmdbHeader) / 2 }
func (p lmdbPage) offset(i int) int { return int(binary.LittleEndian.Uint16(p[lmdbHeader+2*i:])) }

// load reads a page of a tree into buf and checks what later code relies on.
func (l *lmdb) load(n uint64) (lmdbPage, error) {
	if n >= uint64(l.size)/uint64(l.page) {
		return nil, errDamaged
	}
	if _, err := l.r.ReadAt(l.buf, int64(n)*int64(l.page)); err != nil {
		return nil, err
	}
	p := lmdbPage(l.buf)
	if le.Uint64(p) != n || p.entries() < 0 || lmdbHeader+2*p.entries() > l.page {
		return nil, errDamaged
	}
	for i := range p.entries() {
		off := p.offset(i)
		if off+8 > l.page || off+8+int(le.Uint16(p[off+6:])) > l.page {
			return nil, errDamaged
		}
	}
	return p, nil
}

// key is the key of an entry.
func (p lmdbPage) key(i int) string {
	off := p.offset(i)
	return string(p[off+8 : off+8+int(le.Uint16(p[off+6:]))])
}

// child is the page below an entry of a branch.
func (p lmdbPage) child(i int) uint64 {
	off := p.offset(i)
	return uint64(le.Uint32(p[off:])) | uint64(le.Uint16(p[off+4:]))<<32
}

// find looks one stored key up.
func (l *lmdb) find(key string) (string, bool, error) {
	if l.root == lmdbNone {
		return "", false, nil
	}
	page := l.root
	for range maxDepth {
		p, err := l.load(page)
		if err != nil {
			return "", false, err
		}
		switch p.flags() & (lmdbBranch | lmdbLeaf) {
		case lmdbLeaf:
			i := sort.Search(p.entries(), func(i int) bool { return p.key(i) >= key })
			if i == p.entries() || p.key(i) != key {
				return "", false, nil
			}
			value, err := l.value(p, i)
			return value, err == nil, err
		case lmdbBranch:
			// The first entry has no key and is less than every key.
			i := 1 + sort.Search(p.entries()-1, func(i int) bool { return p.key(i+1) > key })
			if p.entries() == 0 {
				return "", false, errDamaged
			}
			page = p.child(i - 1)
		default:
			return "", false, errDamaged
		}
	}
	return "", false, errDamaged
}

// value is the value of an entry of a leaf.
func (l *lmdb) value(p lmdbPage, i int) (string, error) {
	off := p.offset(i)
	n, flags := int64(le.Uint32(p[off:])), le.Uint16(p[off+4:])
	at := off + 8 + int(le.Uint16(p[off+6:]))
	switch {
	case flags == 0 && int64(at)+n <= int64(l.page):
		return string(p[at : int64(at)+n]), nil
	case flags != lmdbBig || at+8 > l.page || n > maxItem:
		return "", errDamaged // also sub-databases and duplicates, which postmap never makes
	}
	page := le.Uint64(p[at:])
	if page >= uint64(l.size)/uint64(l.page) {
		return "", errDamaged
	}
	start := int64(page)*int64(l.page) + lmdbHeader
	if start+n > l.size {
		return "", errDamaged
	}
	var text strings.Builder
	if _, err := io.Copy(&text, io.NewSectionReader(l.r, start, n)); err != nil {
		return "", err
	}
	return text.String(), nil
}

func (l *lmdb) walk(fn func(key, value string) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := flock(l.f, syscall.LOCK_SH); err != nil {
		return err
	}
	defer l.end()
	if err := l.begin(); err != nil {
		return err
	}
	return l.each(fn)
}

// each lists all pairs in the order of their keys.
func (l *lmdb) each(fn func(key, value string) error) error {
	if l.root == lmdbNone {
		return nil
	}
	left := l.size / int64(l.page) // pages that a tree can have
	return l.below(l.root, maxDepth, &left, fn)
}

// below lists the pairs below a page.
func (l *lmdb) below(page uint64, depth int, left *int64, fn func(key, value string) error) error {
	if *left--; depth == 0 || *left < 0 {
		return errDamaged
	}
	p, err := l.load(page)
	if err != nil {
		return err
	}
	p = append(lmdbPage(nil), p...) // buf is used again further down
	for i := range p.entries() {
		switch p.flags() & (lmdbBranch | lmdbLeaf) {
		case lmdbBranch:
			err = l.below(p.child(i), depth-1, left, fn)
		case lmdbLeaf:
			var value string
			if value, err = l.value(p, i); err == nil {
				err = fn(cutNull(p.key(i)), cutNull(value))
			}
		default:
			err = errDamaged
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *lmdb) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}
