package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Berkeley DB file is pages of one size; page 0 says which access method it
// is and how the others hang together. Numbers have the byte order of the
// machine that wrote them, which the magic number tells.
//
//	every page       lsn[8] pgno prev next entries[2] free[2] level[1] type[1] offset[2]...
//	meta page        lsn[8] pgno magic version pagesize encrypt[1] type[1] flags[1] - free
//	                 last - keys records flags uid[20], from byte 72 the access method's own
//	hash: item       1 data | 3 -[3] pgno length (an overflow page)
//	btree: item      length[2] 1 data | -[2] 3 - pgno length
//	overflow page    free = bytes on this page, which follow the header; next = more
const (
	bdbHeader = 26

	hashMagic  = 0x061561
	btreeMagic = 0x053162

	pageUnsorted  = 2 // hash, before 4.6
	pageInternal  = 3
	pageLeaf      = 5
	pageOverflow  = 7
	pageHashMeta  = 8
	pageBtreeMeta = 9
	pageHash      = 13

	itemData    = 1
	itemOffPage = 3
	itemDeleted = 0x80

	maxItem  = 32 << 20 // bytes of a key or value that we believe
	maxBlank = 1 << 20  // pages at the end of a file that were taken but not written
	maxDepth = 32       // levels of a tree
)

// A bdb is an open Berkeley DB file. Lookups are one at a time: each takes a
// few microseconds, most of them in the two file locks that keep a postmap
// that writes in place away.
type bdb struct {
	name  string
	magic uint32

	mu    sync.Mutex
	f     *os.File    // for the lock
	r     io.ReaderAt // the same file
	null  nullRule
	raw   bool      // walk keeps the NUL at the end of keys and values
	read  time.Time // change time of the file when meta was read
	order binary.ByteOrder
	pages uint32 // number of pages in the file
	last  uint32 // number of the last page that is taken, which may be beyond
	size  int    // of a page
	buf   []byte // one page
	meta  bdbMeta
}

// bdbMeta is what the meta page says of the access method.
type bdbMeta struct {
	hashMeta
	root uint32 // btree
}

type hashMeta struct {
	maxBucket, highMask, lowMask uint32
	spares                       [32]uint32
}

// openHash opens hash:FILE, which stands in FILE.db.
func openHash(t *front, name string) (contents, error) { return openBDB(t, name, hashMagic) }

// openBtree opens btree:FILE, which stands in FILE.db.
func openBtree(t *front, name string) (contents, error) { return openBDB(t, name, btreeMagic) }

func openBDB(t *front, name string, magic uint32) (contents, error) {
	path := name + ".db"
	return openWatched(t, "open database", path, func(f *os.File) (fileContents, error) {
		b := &bdb{name: path, magic: magic, f: f, r: f}
		err := b.lock()
		if err == nil {
			err = b.readMeta()
			b.unlock()
		}
		if err != nil {
			return nil, fmt.Errorf("open database %s: %w", path, err)
		}
		warnOlder(t, path, name)
		return b, nil
	})
}

// warnOlder says that a source file is newer than what was made of it, but
// not within the first moments.
func warnOlder(t *front, path, source string) {
	db, err1 := os.Stat(path)
	src, err2 := os.Stat(source)
	if err1 == nil && err2 == nil && src.ModTime().Unix() > db.ModTime().Unix() && time.Since(src.ModTime()) > 100*time.Second {
		t.warn().Warning("database %s is older than source file %s", path, source)
	}
}

// lock takes the file lock that Postfix's postmap takes (flock), shared.
func (b *bdb) lock() error { return flock(b.f, syscall.LOCK_SH) }

// unlock gives it back.
func (b *bdb) unlock() {
	if err := flock(b.f, syscall.LOCK_UN); err != nil {
		b.f.Close() // gives the lock back whatever happens; the next lookup fails
	}
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// readMeta reads page 0. The file is locked.
func (b *bdb) readMeta() error {
	fi, err := b.f.Stat()
	if err != nil {
		return err
	}
	if err := b.readHead(fi.Size()); err != nil {
		return err
	}
	b.read = fi.ModTime()
	return nil
}

// readHead reads the head of page 0 in a file of that size.
func (b *bdb) readHead(size int64) error {
	head := make([]byte, 512)
	if _, err := b.r.ReadAt(head, 0); err != nil {
		return errors.New("file is not a Berkeley DB")
	}
	for _, b.order = range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if b.order.Uint32(head[12:]) == b.magic {
			return b.parseMeta(head, size)
		}
	}
	le := binary.LittleEndian.Uint32(head[12:])
	if le == hashMagic || le == btreeMagic {
		return errors.New("file has the other Berkeley DB access method: hash, not btree, or the reverse")
	}
	return errors.New("file is not a Berkeley DB")
}

func (b *bdb) parseMeta(head []byte, size int64) error {
	u32 := func(at int) uint32 { return b.order.Uint32(head[at:]) }
	version, kind := u32(16), head[25]
	b.size = int(u32(20))
	switch {
	case b.magic == hashMagic && (version < 5 || version > 10 || kind != pageHashMeta),
		b.magic == btreeMagic && (version < 7 || version > 10 || kind != pageBtreeMeta):
		return fmt.Errorf("unsupported Berkeley DB version %d", version)
	case b.size < 512 || b.size > 65536 || b.size&(b.size-1) != 0:
		return fmt.Errorf("bad page size %d", b.size)
	case head[24] != 0 || head[26]&1 != 0:
		return errors.New("encrypted or checksummed Berkeley DB is not supported")
	}
	b.pages = uint32(min(size/int64(b.size), 1<<32-1))
	b.last = u32(32)
	b.meta.root = u32(88)
	if b.magic == hashMagic {
		b.meta.maxBucket, b.meta.highMask, b.meta.lowMask = u32(72), u32(76), u32(80)
		for i := range b.meta.spares {
			b.meta.spares[i] = u32(96 + 4*i)
		}
		if u32(92) != hashBytes(hashCheck) {
			return errors.New("unknown hash function")
		}
		m := &b.meta
		if m.lowMask > m.maxBucket || m.maxBucket > m.highMask || m.maxBucket >= 1<<31 ||
			m.maxBucket > b.last || uint64(b.last) > maxBlank+uint64(b.pages) {
			return errDamaged
		}
	}
	b.buf = make([]byte, b.size)
	return nil
}

// hashCheck is the text whose hash value the meta page has.
const hashCheck = "%$sniglet^&\x00"

// hashBytes is the hash function of Berkeley DB: FNV-1 from 0.
func hashBytes(key string) (h uint32) {
	for i := 0; i < len(key); i++ {
		h = h*16777619 ^ uint32(key[i])
	}
	return h
}

// get implements contents.
func (b *bdb) get(key string) (value string, found bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.begin(); err != nil {
		return "", false, fmt.Errorf("error reading %s: %w", b.name, err)
	}
	defer b.unlock()
	value, found, err = b.null.find(key, b.find)
	if err != nil {
		err = fmt.Errorf("error reading %s: %w", b.name, err)
	}
	return value, found, err
}

// begin locks the file, and reads page 0 again if somebody wrote in place.
func (b *bdb) begin() error {
	if err := b.lock(); err != nil {
		return err
	}
	fi, err := b.f.Stat()
	if err == nil && !fi.ModTime().Equal(b.read) {
		err = b.readMeta()
	}
	if err != nil {
		b.unlock()
	}
	return err
}

// find looks one stored key up.
func (b *bdb) find(key string) (string, bool, error) {
	if b.magic == hashMagic {
		return b.findHash(key)
	}
	return b.findTree(key)
}

// walk implements walker.
func (b *bdb) walk(fn func(key, value string) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.begin(); err != nil {
		return fmt.Errorf("error seeking %s: %w", b.name, err)
	}
	defer b.unlock()
	return b.each(fn)
}

// each lists all pairs.
func (b *bdb) each(fn func(key, value string) error) error {
	if b.magic == hashMagic {
		return b.walkHash(fn)
	}
	return b.walkTree(fn)
}

func (b *bdb) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.f.Close()
}

// cut takes the NUL off, unless raw.
func (b *bdb) cut(s string) string {
	if b.raw {
		return s
	}
	return cutNull(s)
}

var errDamaged = errors.New("database is damaged")

// page reads a page into buf and checks what later code relies on.
func (b *bdb) page(n uint32) (bdbPage, error) {
	p := bdbPage{b.buf, b.order}
	if err := b.readPage(n, b.buf); err != nil {
		return p, err
	}
	if bdbHeader+2*p.entries() > b.size {
		return p, errDamaged
	}
	for i := 0; i < p.entries(); i++ {
		if off := p.offset(i); off < bdbHeader+2*p.entries() || off >= b.size {
			return p, errDamaged
		}
	}
	return p, nil
}

func (b *bdb) readPage(n uint32, into []byte) error {
	if n == 0 || n >= b.pages {
		return errDamaged
	}
	if _, err := b.r.ReadAt(into, int64(n)*int64(b.size)); err != nil {
		return err
	}
	if b.order.Uint32(into[8:]) != n {
		if blankPage(into) {
			return errBlank
		}
		return errDamaged
	}
	return nil
}

// errBlank is a page that was taken but never written: a bucket that never
// had an entry.
var errBlank = errors.New("database page was never written")

func blankPage(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// A bdbPage is one page, as read.
type bdbPage struct {
	b     []byte
	order binary.ByteOrder
}

func (p bdbPage) next() uint32     { return p.order.Uint32(p.b[16:]) }
func (p bdbPage) entries() int     { return int(p.order.Uint16(p.b[20:])) }
func (p bdbPage) used() int        { return int(p.order.Uint16(p.b[22:])) }
func (p bdbPage) kind() byte       { return p.b[25] }
func (p bdbPage) offset(i int) int { return int(p.order.Uint16(p.b[bdbHeader+2*i:])) }

// overflow reads an item that stands on pages of its own.
func (b *bdb) overflow(page, length uint32) (string, error) {
	if length > maxItem {
		return "", errDamaged
	}
	var text strings.Builder
	text.Grow(int(length))
	buf := make([]byte, b.size)
	for uint32(text.Len()) < length {
		if err := b.readPage(page, buf); err != nil {
			return "", err
		}
		p := bdbPage{buf, b.order}
		n := p.used()
		if p.kind() != pageOverflow || n == 0 || bdbHeader+n > b.size || uint32(text.Len()+n) > length {
			return "", errDamaged
		}
		text.Write(buf[bdbHeader : bdbHeader+n])
		page = p.next()
	}
	return text.String(), nil
}
