package mailbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An Addition is a message that is being added to a Box: a file in tmp. Box.Add
// makes it a message, Discard forgets it.
type Addition struct {
	Flags    Flags
	Keywords []string
	Seen     bool // goes to cur even without flags: nobody need be told that it is new

	dir   string
	path  string
	f     *os.File
	out   *bufio.Writer
	cr    bool // a CR waits for what follows it
	size  sizes
	date  time.Time
	base  string
	whole bool // written and synced
}

var drafted atomic.Uint64

// tempName is a new name in tmp.
func tempName(dir string) string {
	now := time.Now()
	host, _ := os.Hostname() // only a part of a name that is unique without it
	return filepath.Join(dir, "tmp", fmt.Sprintf("%d.M%06dP%dQ%d.%s", now.Unix(), now.Nanosecond()/1000, os.Getpid(), drafted.Add(1), hostPart(host)))
}

// NewAddition begins a message for the Box; date is its INTERNALDATE (RFC 3501
// §2.3.3), the zero time is now.
func (b *Box) NewAddition(date time.Time) (*Addition, error) {
	d := &Addition{dir: b.dir, path: tempName(b.dir), date: date}
	f, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	d.f, d.size.w = f, f
	d.out = bufio.NewWriterSize(&d.size, copyBuffer)
	return d, nil
}

// Write adds to the message. Line ends become LF.
func (d *Addition) Write(p []byte) (int, error) {
	for i, c := range p {
		if d.cr && c != '\n' {
			d.out.WriteByte('\r') // d.out keeps its error
		}
		if d.cr = c == '\r'; d.cr {
			continue
		}
		if err := d.out.WriteByte(c); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// WriteRaw adds to the message without looking at line ends.
func (d *Addition) WriteRaw(p []byte) (int, error) { return d.out.Write(p) }

// Reader flushes what was written so far and reads it from its beginning.
func (d *Addition) Reader() (io.ReaderAt, int64, error) {
	if d.cr {
		d.cr = false
		d.out.WriteByte('\r') // d.out keeps its error
	}
	if err := d.out.Flush(); err != nil {
		return nil, 0, err
	}
	return d.f, d.size.size, nil
}

// Finish makes the contents durable.
func (d *Addition) Finish() error {
	if _, _, err := d.Reader(); err != nil {
		return err
	}
	if !d.date.IsZero() {
		if err := os.Chtimes(d.path, d.date, d.date); err != nil {
			return err
		}
	}
	if err := d.f.Sync(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(d.f.Fd()), &st); err != nil {
		return err
	}
	err := d.f.Close()
	d.f, d.whole = nil, err == nil
	d.name(&st, d.size.size, d.size.size+d.size.lines)
	return err
}

// name makes the addition's base.
func (d *Addition) name(st *unix.Stat_t, size, wire int64) {
	now := time.Now()
	host, _ := os.Hostname() // see tempName
	d.base = fmt.Sprintf("%d.V%xI%xM%dQ%d.%s,S=%d,W=%d", now.Unix(), st.Dev, st.Ino, now.Nanosecond()/1000,
		drafted.Add(1), hostPart(host), size, wire)
}

// Discard removes the file of an addition that Add was not called for, or did not
// take.
func (d *Addition) Discard() {
	if d.f != nil {
		d.f.Close() // nobody needs it
	}
	_ = os.Remove(d.path) // a leftover is removed like every old file in tmp
}

// LinkAddition makes an addition of a message of another Box: a hard link where the
// file system allows it, else a copy. wire is its size with CRLF.
func (b *Box) LinkAddition(from *Box, m *Item, wire int64) (*Addition, error) {
	f, err := from.OpenItem(m)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it is only read
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	d := &Addition{dir: b.dir, path: tempName(b.dir), Flags: m.Flags, Keywords: m.Keywords}
	err = os.Link(from.path(m), d.path)
	if err == nil {
		d.whole = true
		d.name(&st, st.Size, wire)
		return d, nil
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return nil, err
	}
	c, err := b.NewAddition(time.Unix(st.Mtim.Unix()))
	if err != nil {
		return nil, err
	}
	c.Flags, c.Keywords = m.Flags, m.Keywords
	_, err = io.CopyBuffer(writerFunc(c.WriteRaw), onlyReader{f}, make([]byte, copyBuffer))
	if err == nil {
		err = c.Finish()
	}
	if err != nil {
		c.Discard()
		return nil, err
	}
	c.name(&st, st.Size, wire)
	return c, nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Add makes drafts messages, all or none, in their order. When it returns nil
// their names and their UIDs are on stable storage.
func (b *Box) Add(drafts []*Addition) ([]*Item, error) {
	infos := make([]string, len(drafts))
	for i, d := range drafts {
		letters, err := b.words.letters(d.Keywords, true)
		if errors.Is(err, ErrKeywords) {
			letters, _ = b.words.find(d.Keywords) // those that fit
		} else if err != nil {
			return nil, err
		}
		infos[i] = fileName{flags: d.Flags, keywords: letters}.info()
	}
	unlock, err := lockList(b.dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := b.loadList(); err != nil {
		return nil, err
	}
	placed := make([]*Item, 0, len(drafts))
	undo := func() {
		for _, m := range placed {
			_ = os.Remove(b.path(m)) // a second copy at worst
		}
	}
	subs := map[string]bool{}
	bases := make([]string, 0, len(drafts))
	for i, d := range drafts {
		m := &Item{base: d.base, name: d.base, sub: "new", Flags: d.Flags, Size: sizeIn(d.base, ",S="), Wire: sizeIn(d.base, ",W=")}
		if infos[i] != ":2," || d.Seen {
			m.name, m.sub = d.base+infos[i], "cur"
		}
		if err := rename(d.path, b.path(m)); err != nil {
			undo()
			return nil, fmt.Errorf("add to mailbox: %w", err)
		}
		f, _ := parseName(m.name)
		m.Keywords = b.words.names(f.keywords)
		placed, bases = append(placed, m), append(bases, d.base)
		subs[m.sub] = true
	}
	for sub := range subs {
		if err := syncDir(filepath.Join(b.dir, sub)); err != nil {
			undo()
			return nil, fmt.Errorf("add to mailbox: %w", err)
		}
	}
	if err := b.list.add(bases); err != nil {
		undo()
		return nil, err
	}
	for _, m := range placed {
		m.UID = b.list.byBase[m.base].uid
		b.items[m.base] = m
		b.order = append(b.order, m)
	}
	return placed, nil
}

// rename moves a file to a name that must be free.
func rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSYS) {
		err = linkAndRemove(from, to)
	}
	return err
}

// Forget drops messages from the Box that Expunge has removed.
func (b *Box) Forget(gone []*Item) {
	for _, m := range gone {
		delete(b.items, m.base)
	}
	kept := b.order[:0:0]
	for _, m := range b.order {
		if b.items[m.base] == m {
			kept = append(kept, m)
		}
	}
	b.order = kept
}

// IsNew reports whether no reader has taken note of a message: it is in new.
func (m *Item) IsNew() bool { return m.sub == "new" }

// Settle moves a message from new to cur: a reader has taken note of it.
func (b *Box) Settle(m *Item) error {
	if m.sub != "new" {
		return nil
	}
	return b.Store(m, AddFlags, 0, nil)
}

// Date is a message's INTERNALDATE: the time of its file (RFC 3501 §2.3.3).
func (b *Box) Date(m *Item) (time.Time, error) {
	for range 3 {
		st, err := os.Lstat(b.path(m))
		if err == nil {
			return st.ModTime(), nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return time.Time{}, err
		}
		if err := b.relocate(m); err != nil {
			return time.Time{}, err
		}
	}
	return time.Time{}, fmt.Errorf("message %d: renamed all the time: %w", m.UID, os.ErrNotExist)
}

// Dir is where the Box is.
func (b *Box) Dir() string { return b.dir }

// Knows reports whether a directory entry that somebody made or removed is as
// the Box believes it to be: then the change was the Box's own.
func (b *Box) Knows(sub, name string, exists bool) bool {
	f, ok := parseName(name)
	if !ok {
		return true // no message
	}
	m := b.items[f.base]
	here := m != nil && m.sub == sub && m.name == name
	return here == exists
}

// HasKeyword reports whether the mailbox has a letter for the keyword.
func (b *Box) HasKeyword(name string) bool {
	letters, _ := b.words.find([]string{name})
	return letters != ""
}

// MayAddKeywords reports whether there is a letter left.
func (b *Box) MayAddKeywords() bool {
	for _, n := range b.words.list {
		if n == "" {
			return true
		}
	}
	return false
}

// SetWire corrects a message's size with CRLF after it was counted.
func (m *Item) SetWire(n int64) { m.Wire = n }

// identity makes the identity of a new mailbox.
func (b *Box) identity(validity uint32) error {
	unlock, err := lockList(b.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := b.loadList(); err != nil {
		return err
	}
	if b.list.inode != 0 {
		return nil // it has one
	}
	b.list.validity = validity
	return b.list.rewrite(nil)
}

// ValidKeyword reports whether a name can be a keyword (RFC 3501 §9).
func ValidKeyword(name string) bool {
	return name != "" && len(name) <= maxKeyword && !strings.ContainsAny(name, " (){%*\"\\]\x7f\r\n\t")
}

// Moved tells the Box that its Maildir was renamed.
func (b *Box) Moved(dir string) { b.dir, b.list.dir, b.words.dir = dir, dir, dir }

// Rewrite replaces what was written with what f writes, and finishes it; f
// reads the old contents.
func (d *Addition) Rewrite(f func(old io.ReaderAt, size int64) error) error {
	old, size, err := d.Reader()
	if err != nil {
		return err
	}
	from := d.f
	defer from.Close() // it has been read
	next, err := os.OpenFile(d.path+".2", os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	d.f, d.size = next, sizes{w: next}
	d.out.Reset(&d.size)
	if err := os.Rename(d.path+".2", d.path); err != nil {
		return err
	}
	if err := f(old, size); err != nil {
		return err
	}
	return d.Finish()
}
