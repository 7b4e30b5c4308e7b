package table

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"

	"postroad/libmail/addr"
)

// A Builder makes the file of a hash:, btree: or cdb: table for postmap and
// postalias. The new contents are written to FILE.db.tmp (FILE.cdb.tmp), which
// replaces the file in one step when it is complete and on disk: who has the
// old one open goes on with it, and no reader ever sees a part.
type Builder struct {
	o    BuildOptions
	name string // "hash:/etc/aliases"
	path string // "/etc/aliases.db"
	blam string // what is blamed in warnings: FILE.db for hash and btree, FILE for cdb
	mk   maker
	tmp  *os.File // locked
	old  *os.File // the file that will be replaced, locked; nil: there is none

	entries []entry // in the order of Add; a deleted entry has dead set
	index   map[string]int
	live    int
}

type entry struct {
	key, value string
	dead       bool
}

// maker writes the entries of a Builder, with their NUL bytes, to a file.
type maker interface {
	write(f *os.File, entries []entry) error
}

// BuildOptions say how a table file is made.
type BuildOptions struct {
	Options              // Fold, UTF8, Duplicates, FileValues, Log
	Contents Contents    // whether what the file holds already stays
	Mode     fs.FileMode // permission bits of a new file; 0: 0644. A .db file that is replaced keeps its own, and its owner
	Null     Null
}

// Contents says what a Builder starts with.
type Contents int

const (
	Replace  Contents = iota // nothing
	Update                   // what the file holds, if there is one
	Existing                 // what the file holds, which must be there
)

// Null says whether stored keys and values end in a NUL byte. Readers find
// both.
type Null int

const (
	NullByType Null = iota // hash and btree: yes; cdb: no; an updated file keeps its own way
	NullAppend
	NullOmit
)

// NewBuilder starts to make the file of spec ("hash:/etc/aliases"). It waits
// for another program that is making the same file.
func NewBuilder(spec string, o BuildOptions) (*Builder, error) {
	typ, name, ok := strings.Cut(spec, ":")
	if !ok && o.DefaultType != "" {
		typ, name = o.DefaultType, spec
	}
	k, ok := kinds[typ]
	switch {
	case !ok:
		return nil, fmt.Errorf("unsupported dictionary type: %s", typ)
	case k.build == nil:
		return nil, fmt.Errorf("dictionary type %s does not support bulk-mode creation", typ)
	case typ == "cdb" && o.Contents != Replace:
		return nil, errors.New("unsupported non-bulk change request")
	}
	b := &Builder{o: o, name: typ + ":" + name, path: name + k.ext, blam: name + k.ext, index: map[string]int{}}
	if typ == "cdb" {
		b.blam = name
	}
	var err error
	if b.mk, err = k.build(b); err == nil {
		err = b.lockFiles()
	}
	if err == nil && o.Contents != Replace {
		err = b.load()
	}
	if err != nil {
		b.Abort()
		return nil, err
	}
	return b, nil
}

// Path is the file that Commit makes.
func (b *Builder) Path() string { return b.path }

// lockFiles locks the new file and the one that is there, as Postfix's own
// postmap does, so that two programs never make the same file at once.
func (b *Builder) lockFiles() (err error) {
	if b.tmp, err = openLocked(b.path+".tmp", os.O_RDWR|os.O_CREATE); err != nil {
		return err
	}
	if b.old, err = openLocked(b.path, os.O_RDWR); errors.Is(err, fs.ErrNotExist) {
		b.old, err = nil, nil
	}
	return err
}

// openLocked opens and locks a file that another program may replace
// meanwhile.
func openLocked(path string, flag int) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, flag|syscall.O_NOFOLLOW, 0o644)
		if err != nil {
			return nil, fmt.Errorf("open database %s: %w", path, cause(err))
		}
		if err := flock(f, syscall.LOCK_EX); err != nil {
			f.Close() // nothing was written
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		mine, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return f, nil
		}
		f.Close() // it was replaced while we waited
		if err1 != nil {
			return nil, fmt.Errorf("stat %s: %w", path, cause(err1))
		}
	}
}

// load takes over what the file holds.
func (b *Builder) load() error {
	if b.old == nil && b.o.Contents == Existing {
		return fmt.Errorf("open database %s: %w", b.path, fs.ErrNotExist)
	}
	if b.old == nil {
		return nil
	}
	if fi, err := b.old.Stat(); err != nil || fi.Size() == 0 {
		return err
	}
	magic := uint32(hashMagic)
	if strings.HasPrefix(b.name, "btree:") {
		magic = btreeMagic
	}
	db := &bdb{name: b.path, magic: magic, f: b.old, r: b.old, raw: true}
	if err := db.readMeta(); err != nil {
		return fmt.Errorf("open database %s: %w", b.path, err)
	}
	take := func(key, value string) error {
		if b.o.Null == NullByType {
			b.o.Null = NullOmit
			if strings.HasSuffix(key, "\x00") {
				b.o.Null = NullAppend
			}
		}
		b.put(cutNull(key), cutNull(value))
		return nil
	}
	return db.each(take)
}

func (b *Builder) put(key, value string) {
	b.index[key] = len(b.entries)
	b.entries = append(b.entries, entry{key: key, value: value})
	b.live++
}

// warn is where to complain.
func (b *Builder) warn() Logger {
	if b.o.Log == nil {
		return quiet{}
	}
	return b.o.Log
}

// fold makes the stored form of a key, or says that there is none.
func (b *Builder) fold(key string) (string, bool) {
	if b.o.UTF8 && !addr.IsASCII(key) && !utf8.ValidString(key) {
		b.warn().Warning("%s: non-UTF-8 key \"%s\": malformed UTF-8 or invalid codepoint", b.name, key)
		return "", false
	}
	if b.o.Fold != FoldNone {
		key = fold(key, b.o.UTF8)
	}
	return key, true
}

// Add adds an entry. What happens to a key that is there already says
// Options.Duplicates; its error is the only one.
func (b *Builder) Add(key, value string) error {
	key, ok := b.fold(key)
	if !ok {
		return nil
	}
	if b.o.UTF8 && !addr.IsASCII(value) && !utf8.ValidString(value) {
		b.warn().Warning("%s: key \"%s\": non-UTF-8 value \"%s\": malformed UTF-8 or invalid codepoint", b.name, key, value)
		return nil
	}
	i, have := b.index[key]
	if !have {
		b.put(key, value)
		return nil
	}
	switch b.o.Duplicates {
	case DupReplace:
		b.entries[i].value = value
	case DupWarn:
		b.warn().Warning("%s: duplicate entry: \"%s\"", b.blam, key)
	case DupError:
		return fmt.Errorf("%s: %w", b.blam, duplicate(key))
	case DupIgnore:
	}
	return nil
}

// Set adds an entry, or replaces the value that its key has.
func (b *Builder) Set(key, value string) error {
	before := b.o.Duplicates
	b.o.Duplicates = DupReplace
	defer func() { b.o.Duplicates = before }()
	return b.Add(key, value)
}

// Delete takes an entry out and reports whether it was there.
func (b *Builder) Delete(key string) bool {
	key, ok := b.fold(key)
	i, have := b.index[key]
	if !ok || !have {
		return false
	}
	b.entries[i].dead = true
	delete(b.index, key)
	b.live--
	return true
}

// Commit writes the file: contents synced, then renamed, then the folder
// synced. After an error the old file is still in place.
func (b *Builder) Commit() error {
	defer b.Abort()
	if err := b.write(); err != nil {
		return fmt.Errorf("write database %s.tmp: %w", b.path, err)
	}
	if err := os.Rename(b.path+".tmp", b.path); err != nil {
		return fmt.Errorf("rename database from %s.tmp: %w", b.path, err)
	}
	err := b.tmp.Close()
	b.tmp = nil
	if err == nil {
		err = syncDir(filepath.Dir(b.path))
	}
	if err != nil {
		return fmt.Errorf("close database %s: %w", b.path, err)
	}
	return nil
}

// write fills the new file.
func (b *Builder) write() error {
	live := make([]entry, 0, b.live)
	end := ""
	if b.o.Null == NullAppend || b.o.Null == NullByType && !strings.HasPrefix(b.name, "cdb:") {
		end = "\x00"
	}
	for _, e := range b.entries {
		if !e.dead {
			live = append(live, entry{key: e.key + end, value: e.value + end})
		}
	}
	if err := b.tmp.Truncate(0); err != nil {
		return err
	}
	if err := b.mk.write(b.tmp, live); err != nil {
		return err
	}
	mode := b.o.Mode.Perm()
	if mode == 0 {
		mode = 0o644
	}
	if b.old != nil && !strings.HasPrefix(b.name, "cdb:") {
		fi, err := b.old.Stat()
		if err != nil {
			return err
		}
		mode = fi.Mode().Perm()
		if os.Geteuid() == 0 { // an ordinary user makes files of his own only
			if err := b.tmp.Chown(int(uidOf(fi)), int(gidOf(fi))); err != nil {
				return err
			}
		}
	}
	if err := b.tmp.Chmod(mode); err != nil {
		return err
	}
	return b.tmp.Sync()
}

func gidOf(fi fs.FileInfo) uint32 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Gid
	}
	return 0
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() // it was only synced
	return d.Sync()
}

// Abort gives the work up; the old file stays. After Commit it does nothing.
func (b *Builder) Abort() {
	if b.tmp != nil {
		// Whoever waits for the lock sees that the file is gone and makes
		// his own; errors leave an empty file behind that does no harm.
		_ = os.Remove(b.path + ".tmp")
		_ = b.tmp.Close()
		b.tmp = nil
	}
	if b.old != nil {
		_ = b.old.Close() // it was only read
		b.old = nil
	}
}
