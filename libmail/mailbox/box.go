package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// An Item is one message of a Box.
type Item struct {
	UID      uint32
	Flags    Flags
	Keywords []string // sorted
	Size     int64    // on disk, bytes; -1: not known without a look
	Wire     int64    // with CRLF line ends, bytes; -1: not known without reading
	UIDL     string   // POP3 unique id that another server gave it, or ""

	base string
	name string // in its directory, now
	sub  string // "new" or "cur"
}

// Base is the message's identity: the name of its file without flags.
func (m *Item) Base() string { return m.base }

// A Box is an open Maildir. Other programs may change it at any time; Sync
// learns what they did. A Box is used by one goroutine at a time.
type Box struct {
	dir   string
	list  uidlist
	words keywords
	items map[string]*Item // by base
	seen  map[string]int   // bases that the last scan missed: expunged at the second
	order []*Item          // by UID
}

// Open opens the Maildir dir, which must exist; missing parts of it are made.
func Open(dir string) (*Box, error) {
	st, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("%s: not a directory: %w", dir, ErrUnsafe)
	}
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return &Box{dir: dir, list: uidlist{dir: dir}, words: keywords{dir: dir}, items: map[string]*Item{}, seen: map[string]int{}}, nil
}

// UIDValidity is the mailbox's UIDVALIDITY (RFC 3501 §2.3.1.1), after Sync.
func (b *Box) UIDValidity() uint32 { return b.list.validity }

// UIDNext is the UID that the next message gets, after Sync.
func (b *Box) UIDNext() uint32 { return b.list.next }

// Items are the messages by rising UID, as the last Sync found them.
func (b *Box) Items() []*Item { return b.order }

// Sync brings the Box up to date with the directory: new files get UIDs, in
// the order of their names, and the UIDs are durable before anybody hears of
// them. A file that one scan misses is looked for again, and is gone only when
// the second scan misses it too.
func (b *Box) Sync() error {
	unlock, err := lockList(b.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := b.loadList(); err != nil {
		return err
	}
	if err := b.words.load(); err != nil {
		return err
	}
	found, err := b.scan()
	if err != nil {
		return err
	}
	if b.missing(found) {
		again, err := b.scan()
		if err != nil {
			return err
		}
		for base, f := range again {
			found[base] = f
		}
	}
	var fresh []string
	for base := range found {
		if _, known := b.list.byBase[base]; !known {
			fresh = append(fresh, base)
		}
	}
	slices.SortFunc(fresh, compareBases)
	if b.list.inode == 0 && len(fresh) == 0 || b.list.damaged {
		if err := b.list.rewrite(nil); err != nil {
			return err
		}
	}
	if err := b.list.add(fresh); err != nil {
		return err
	}
	b.take(found)
	return b.tidy()
}

// loadList reads the list. One that can't be understood is set aside, never
// thrown away, and the mailbox gets a new UIDVALIDITY: clients fetch again, no
// UID stands for two messages.
func (b *Box) loadList() error {
	err := b.list.load()
	if !errors.Is(err, errDamaged) {
		return err
	}
	path := filepath.Join(b.dir, uidlistName)
	if err := os.Rename(path, fmt.Sprintf("%s.damaged.%d", path, time.Now().Unix())); err != nil {
		return err
	}
	b.list = uidlist{dir: b.dir}
	return b.list.load()
}

// A foundFile is a message's file in a scan.
type foundFile struct {
	fileName
	name, sub string
}

// scan reads new and then cur: a file that moves from one to the other
// meanwhile is seen at least once.
func (b *Box) scan() (map[string]foundFile, error) {
	found := make(map[string]foundFile, len(b.items)+16)
	for _, sub := range []string{"new", "cur"} {
		d, err := os.Open(filepath.Join(b.dir, sub))
		if err != nil {
			return nil, err
		}
		for {
			names, err := d.Readdirnames(1000)
			for _, name := range names {
				if f, ok := parseName(name); ok {
					found[f.base] = foundFile{f, name, sub}
				}
			}
			if err != nil {
				break // io.EOF, or the directory can't be read on: the second scan tells
			}
		}
		if err := d.Close(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// missing reports whether a message that was here is not in the scan.
func (b *Box) missing(found map[string]foundFile) bool {
	for base := range b.items {
		if _, ok := found[base]; !ok {
			return true
		}
	}
	return false
}

// take makes the items those that were found.
func (b *Box) take(found map[string]foundFile) {
	for base := range b.items {
		if _, ok := found[base]; !ok {
			delete(b.items, base)
		}
	}
	for base, f := range found {
		l := b.list.byBase[base]
		m := b.items[base]
		if m == nil || m.UID != l.uid {
			m = &Item{UID: l.uid, base: base, Size: sizeIn(base, ",S="), Wire: sizeIn(base, ",W=")}
			m.UIDL, _ = l.key('P')
			if s, ok := l.key('S'); ok && m.Size < 0 {
				m.Size = leadingInt(s)
			}
			if s, ok := l.key('W'); ok && m.Wire < 0 {
				m.Wire = leadingInt(s)
			}
			b.items[base] = m
		}
		m.name, m.sub = f.name, f.sub
		m.Flags, m.Keywords = f.flags, b.words.names(f.keywords)
	}
	b.order = b.order[:0]
	for _, m := range b.items {
		b.order = append(b.order, m)
	}
	slices.SortFunc(b.order, func(x, y *Item) int { return int(int64(x.UID) - int64(y.UID)) })
}

// tidy rewrites the list when most of it is about messages that are gone.
func (b *Box) tidy() error {
	if b.list.lines < 100 || b.list.lines < 4*len(b.items)/3 {
		return nil
	}
	gone := map[string]bool{}
	for base := range b.list.byBase {
		if b.items[base] == nil {
			gone[base] = true
		}
	}
	return b.list.rewrite(gone)
}

// path is where an item's file is, as far as we know.
func (b *Box) path(m *Item) string { return filepath.Join(b.dir, m.sub, m.name) }

// relocate looks for an item's file after another program renamed it.
func (b *Box) relocate(m *Item) error {
	found, err := b.scan()
	if err != nil {
		return err
	}
	f, ok := found[m.base]
	if !ok {
		return fmt.Errorf("message %d: %w", m.UID, fs.ErrNotExist)
	}
	m.name, m.sub = f.name, f.sub
	m.Flags, m.Keywords = f.flags, b.words.names(f.keywords)
	return nil
}

// OpenItem opens a message's file; fs.ErrNotExist when it was expunged.
func (b *Box) OpenItem(m *Item) (*os.File, error) {
	for range 3 {
		f, err := os.OpenFile(b.path(m), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err == nil {
			st, err := f.Stat()
			if err != nil || !st.Mode().IsRegular() {
				f.Close() // it was only opened
				return nil, errors.Join(err, fmt.Errorf("message %d: not a regular file: %w", m.UID, ErrUnsafe))
			}
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err := b.relocate(m); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("message %d: renamed all the time: %w", m.UID, fs.ErrNotExist)
}

// Change is how flags are set.
type Change int

// The kinds of Change (RFC 3501 §6.4.6).
const (
	SetFlags Change = iota
	AddFlags
	RemoveFlags
)

// Store changes an item's flags and keywords; a message in new moves to cur.
// fs.ErrNotExist when it was expunged.
func (b *Box) Store(m *Item, how Change, flags Flags, words []string) error {
	letters, err := b.words.letters(words, how != RemoveFlags)
	if err != nil {
		return err
	}
	for range 3 {
		f, _ := parseName(m.name) // it was a message when it was found
		switch how {
		case SetFlags:
			f.flags, f.keywords = flags|f.flags&Passed, letters // IMAP has no word for Passed
		case AddFlags:
			f.flags |= flags
			f.keywords += letters
		case RemoveFlags:
			f.flags &^= flags
			f.keywords = strings.Map(func(r rune) rune {
				if strings.ContainsRune(letters, r) {
					return -1
				}
				return r
			}, f.keywords)
		}
		name := f.base + f.info()
		if name == m.name && m.sub == "cur" {
			return nil
		}
		err = os.Rename(b.path(m), filepath.Join(b.dir, "cur", name))
		if err == nil {
			m.name, m.sub = name, "cur"
			f, _ = parseName(name)
			m.Flags, m.Keywords = f.flags, b.words.names(f.keywords)
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := b.relocate(m); err != nil {
			return err
		}
	}
	return fmt.Errorf("message %d: renamed all the time: %w", m.UID, fs.ErrNotExist)
}

// Expunge removes a message's file; one that is gone already is no error.
func (b *Box) Expunge(m *Item) error {
	for range 3 {
		err := os.Remove(b.path(m))
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := b.relocate(m); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return fmt.Errorf("message %d: renamed all the time", m.UID)
}

// SyncRemoved makes removals and renames durable.
func (b *Box) SyncRemoved() error { return syncDir(filepath.Join(b.dir, "cur")) }
