package table

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"os"
	"slices"
	"strings"
)

// Files are written for Berkeley DB 4.6 and later, little-endian, with pages
// of 4096 bytes: what Debian's Postfix makes itself.
const (
	writePage     = 4096
	hashVersion   = 9
	btreeVersion  = 9
	bigItem       = writePage / 4 // longer keys and values get pages of their own
	bucketEntries = 40            // entries that a bucket is made for, at most; a page has room for more of the usual size
)

func buildHash(*Builder) (maker, error)  { return hashMaker{}, nil }
func buildBtree(*Builder) (maker, error) { return btreeMaker{}, nil }

// A pageWriter writes the pages of a new file. The meta page comes last.
type pageWriter struct {
	f    *os.File
	next uint32 // number of the first page that is not taken yet
}

var le = binary.LittleEndian

// page takes the next page.
func (w *pageWriter) page(kind, level byte) *newPage {
	w.next++
	return pageAt(w.next-1, kind, level)
}

// pageAt is an empty page with a number that is taken already.
func pageAt(number uint32, kind, level byte) *newPage {
	p := &newPage{b: make([]byte, writePage), number: number, free: writePage}
	le.PutUint32(p.b[8:], number)
	p.b[24], p.b[25] = level, kind
	return p
}

func (w *pageWriter) write(p *newPage) error {
	if p.b[25] != pageOverflow {
		le.PutUint16(p.b[20:], uint16(p.entries))
		le.PutUint16(p.b[22:], uint16(p.free))
	}
	_, err := w.f.WriteAt(p.b, int64(p.number)*writePage)
	return err
}

// finish writes the meta page.
func (w *pageWriter) finish(meta []byte) error {
	le.PutUint32(meta[32:], w.next-1)
	if _, err := rand.Read(meta[52:72]); err != nil {
		return err
	}
	_, err := w.f.WriteAt(meta, 0)
	return err
}

// metaPage is the part of a meta page that both access methods have.
func metaPage(magic, version uint32, kind byte) []byte {
	meta := make([]byte, writePage)
	le.PutUint32(meta[12:], magic)
	le.PutUint32(meta[16:], version)
	le.PutUint32(meta[20:], writePage)
	meta[25] = kind
	return meta
}

// overflow writes text on pages of its own. It returns what an item says of
// it: page and length.
func (w *pageWriter) overflow(text string) (item [8]byte, err error) {
	le.PutUint32(item[0:], w.next)
	le.PutUint32(item[4:], uint32(len(text)))
	prev := uint32(0)
	for text != "" {
		p := w.page(pageOverflow, 0)
		n := copy(p.b[bdbHeader:], text)
		text = text[n:]
		le.PutUint16(p.b[20:], 1) // one reference
		le.PutUint16(p.b[22:], uint16(n))
		le.PutUint32(p.b[12:], prev)
		if text != "" {
			le.PutUint32(p.b[16:], w.next)
		}
		prev = p.number
		if err := w.write(p); err != nil {
			return item, err
		}
	}
	return item, nil
}

// A newPage is a page that is being filled: offsets grow up after the header,
// items grow down from the end.
type newPage struct {
	b       []byte
	number  uint32
	entries int
	free    int // where the lowest item begins
}

// room reports whether items of these sizes fit.
func (p *newPage) room(sizes ...int) bool {
	need := 0
	for _, n := range sizes {
		need += n + 2
	}
	return bdbHeader+2*p.entries+need <= p.free
}

// add puts an item on the page, which has room for it.
func (p *newPage) add(item []byte) {
	p.free -= len(item)
	copy(p.b[p.free:], item)
	le.PutUint16(p.b[bdbHeader+2*p.entries:], uint16(p.free))
	p.entries++
}

// link puts the next page after p in a chain.
func (p *newPage) link(next *newPage) {
	le.PutUint32(p.b[16:], next.number)
	le.PutUint32(next.b[12:], p.number)
}

// hashMaker writes hash files.
type hashMaker struct{}

// write makes as many buckets as the entries need, whose first pages stand
// one after the other from page 1; after them come further pages of buckets
// that have too much, and overflow pages.
func (hashMaker) write(f *os.File, entries []entry) error {
	buckets := uint32(2)
	for uint64(buckets)*bucketEntries < uint64(len(entries)) {
		buckets *= 2
	}
	m := hashMeta{maxBucket: buckets - 1, highMask: buckets - 1, lowMask: buckets/2 - 1}
	for i := 0; i <= bits.Len32(buckets-1); i++ {
		m.spares[i] = 1
	}
	byBucket := make([][]entry, buckets)
	for _, e := range entries {
		n := m.bucketOf(e.key)
		byBucket[n] = append(byBucket[n], e)
	}
	w := &pageWriter{f: f, next: 1 + buckets}
	for n, list := range byBucket {
		if err := w.bucket(pageAt(m.bucketPage(uint32(n)), pageHash, 0), list); err != nil {
			return err
		}
	}
	meta := metaPage(hashMagic, hashVersion, pageHashMeta)
	for i, v := range []uint32{m.maxBucket, m.highMask, m.lowMask, 0, uint32(len(entries)), hashBytes(hashCheck)} {
		le.PutUint32(meta[72+4*i:], v)
	}
	for i, s := range m.spares {
		le.PutUint32(meta[96+4*i:], s)
	}
	return w.finish(meta)
}

// bucket writes the pages of one bucket, whose entries stand in the order of
// their keys.
func (w *pageWriter) bucket(p *newPage, list []entry) error {
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	for _, e := range list {
		key, err := w.hashItem(e.key)
		if err != nil {
			return err
		}
		value, err := w.hashItem(e.value)
		if err != nil {
			return err
		}
		if !p.room(len(key), len(value)) {
			more := w.page(pageHash, 0)
			p.link(more)
			if err := w.write(p); err != nil {
				return err
			}
			p = more
		}
		p.add(key)
		p.add(value)
	}
	return w.write(p)
}

// hashItem is a key or value as it stands on a page.
func (w *pageWriter) hashItem(text string) ([]byte, error) {
	if len(text) <= bigItem {
		return append([]byte{itemData}, text...), nil
	}
	where, err := w.overflow(text)
	return append([]byte{itemOffPage, 0, 0, 0}, where[:]...), err
}

// btreeMaker writes btree files.
type btreeMaker struct{}

// A branch is a page and the least key below it.
type branch struct {
	key  string
	page uint32
}

// rootPage is where the root of a tree must be. The first page of each level
// is taken for the root until a second one is needed.
const rootPage = 1

// write makes the leaves from left to right, then each level above them.
func (btreeMaker) write(f *os.File, entries []entry) error {
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	w := &pageWriter{f: f, next: rootPage + 1}
	level, err := w.leaves(entries)
	for depth := byte(2); err == nil && len(level) > 1; depth++ {
		level, err = w.branches(level, depth)
	}
	if err != nil {
		return err
	}
	meta := metaPage(btreeMagic, btreeVersion, pageBtreeMeta)
	le.PutUint32(meta[76:], 2) // least number of keys on a page
	le.PutUint32(meta[84:], ' ')
	le.PutUint32(meta[88:], rootPage)
	return w.finish(meta)
}

// leaves writes the leaf pages.
func (w *pageWriter) leaves(entries []entry) (level []branch, err error) {
	p := pageAt(rootPage, pageLeaf, 1)
	level = []branch{{"", p.number}}
	for _, e := range entries {
		key, err := w.leafItem(e.key)
		if err != nil {
			return nil, err
		}
		value, err := w.leafItem(e.value)
		if err != nil {
			return nil, err
		}
		if !p.room(len(key), len(value)) {
			w.notRoot(p, level)
			more := w.page(pageLeaf, 1)
			p.link(more)
			if err := w.write(p); err != nil {
				return nil, err
			}
			p = more
			level = append(level, branch{e.key, p.number})
		}
		p.add(key)
		p.add(value)
	}
	return level, w.write(p)
}

// notRoot gives p, the last page of level, a number of its own if it was
// taken for the root.
func (w *pageWriter) notRoot(p *newPage, level []branch) {
	if p.number != rootPage {
		return
	}
	p.number = w.next
	w.next++
	le.PutUint32(p.b[8:], p.number)
	level[len(level)-1].page = p.number
}

// leafItem is a key or value as it stands on a leaf. Items begin at multiples
// of 4.
func (w *pageWriter) leafItem(text string) ([]byte, error) {
	if len(text) > bigItem {
		where, err := w.overflow(text)
		return append([]byte{0, 0, itemOffPage, 0}, where[:]...), err
	}
	item := make([]byte, (3+len(text)+3)&^3)
	le.PutUint16(item, uint16(len(text)))
	item[2] = itemData
	copy(item[3:], text)
	return item, nil
}

// branches writes the pages of one level above another.
func (w *pageWriter) branches(below []branch, depth byte) (level []branch, err error) {
	var p *newPage
	for _, br := range below {
		item, err := w.branchItem(br)
		if err != nil {
			return nil, err
		}
		if p == nil || !p.room(len(item)) {
			if p == nil {
				p = pageAt(rootPage, pageInternal, depth)
			} else {
				w.notRoot(p, level)
				if err := w.write(p); err != nil {
					return nil, err
				}
				p = w.page(pageInternal, depth)
			}
			level = append(level, branch{br.key, p.number})
		}
		p.add(item)
	}
	return level, w.write(p)
}

// branchItem is an entry of an internal page.
func (w *pageWriter) branchItem(br branch) ([]byte, error) {
	data, kind := []byte(br.key), byte(itemData)
	if len(data) > bigItem {
		where, err := w.overflow(br.key)
		if err != nil {
			return nil, err
		}
		data, kind = append([]byte{0, 0, itemOffPage, 0}, where[:]...), itemOffPage
	}
	item := make([]byte, (12+len(data)+3)&^3)
	le.PutUint16(item, uint16(len(data)))
	item[2] = kind
	le.PutUint32(item[4:], br.page)
	copy(item[12:], data)
	return item, nil
}
