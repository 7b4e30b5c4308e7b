package mailbox

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The list of UIDs is dovecot-uidlist, version 3:
//
//	3 V1700000000 N8 G0123456789abcdef0123456789abcdef
//	5 :1700000000.M1P2.host,S=10,W=12
//	7 P0000000700000001 :1700000001.M2P3.host
//
// V is UIDVALIDITY, N the next UID at the last rewrite, G the mailbox's GUID.
// A line is a UID, keys that are kept, and the base name of a file. New lines
// are appended under dovecot-uidlist.lock; the list is rewritten when most of
// its lines are of messages that are gone.
const (
	uidlistName  = "dovecot-uidlist"
	uidlistLimit = 64 << 10 // one line
)

// A listed is one line of the uidlist.
type listed struct {
	uid  uint32
	keys string // "P..." and others, separated by blanks, as they were read
	base string
}

// key is the value of a key of the line, "P" for example.
func (l *listed) key(name byte) (string, bool) {
	for _, k := range strings.Fields(l.keys) {
		if k[0] == name {
			return k[1:], true
		}
	}
	return "", false
}

// A uidlist is the file as it was read last.
type uidlist struct {
	dir      string
	validity uint32
	next     uint32
	guid     string
	keys     string // other header keys, kept
	byBase   map[string]listed
	lines    int
	inode    uint64
	size     int64
	damaged  bool // some line was no good: rewrite
}

// errDamaged means that the list's header can't be understood.
var errDamaged = errors.New("damaged uidlist")

// load brings the list up to date with the file: new lines are read, a new
// file is read whole. A missing file gives an empty list.
func (u *uidlist) load() error {
	f, err := os.OpenFile(filepath.Join(u.dir, uidlistName), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if u.byBase == nil || u.inode != 0 {
			*u = uidlist{dir: u.dir, byBase: map[string]listed{}}
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() // it is only read
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if u.byBase != nil && st.Ino == u.inode && st.Size == u.size {
		return nil
	}
	if u.byBase != nil && st.Ino == u.inode && st.Size > u.size {
		if _, err := f.Seek(u.size, io.SeekStart); err != nil {
			return err
		}
		return u.read(f, st.Ino, u.size)
	}
	fresh := uidlist{dir: u.dir, byBase: map[string]listed{}}
	if err := fresh.read(f, st.Ino, 0); err != nil {
		return err
	}
	*u = fresh
	return nil
}

// read reads lines from an offset on; half a line at the end is left for the
// next time.
func (u *uidlist) read(f io.Reader, inode uint64, offset int64) error {
	in := bufio.NewReaderSize(f, uidlistLimit)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, bufio.ErrBufferFull) {
				return fmt.Errorf("%w: line of more than %d bytes", errDamaged, uidlistLimit)
			}
			break // io.EOF: the rest is no whole line
		}
		text := string(bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}))
		if offset == 0 {
			if err := u.header(text); err != nil {
				return err
			}
		} else if !u.line(text) {
			u.damaged = true
		}
		offset += int64(len(line))
	}
	u.inode, u.size = inode, offset
	return nil
}

// header reads the first line, of version 3 or 1.
func (u *uidlist) header(line string) error {
	f := strings.Fields(line)
	if len(f) == 3 && f[0] == "1" {
		v, err1 := strconv.ParseUint(f[1], 10, 32)
		n, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 != nil || err2 != nil || v == 0 {
			return fmt.Errorf("%w: header %.60q", errDamaged, line)
		}
		u.validity, u.next, u.damaged = uint32(v), uint32(n), true // rewritten as version 3
		return nil
	}
	if len(f) < 2 || f[0] != "3" {
		return fmt.Errorf("%w: header %.60q", errDamaged, line)
	}
	for _, k := range f[1:] {
		n, err := strconv.ParseUint(k[1:], 10, 32)
		switch k[0] {
		case 'V':
			u.validity = uint32(n)
		case 'N':
			u.next = uint32(n)
		case 'G':
			u.guid, err = k[1:], nil
		default:
			u.keys, err = strings.TrimLeft(u.keys+" "+k, " "), nil
		}
		if err != nil {
			return fmt.Errorf("%w: header %.60q", errDamaged, line)
		}
	}
	if u.validity == 0 {
		return fmt.Errorf("%w: header %.60q has no UIDVALIDITY", errDamaged, line)
	}
	return nil
}

// line reads one message; false means that it is no good and left out.
func (u *uidlist) line(text string) bool {
	u.lines++
	head, base, ok := strings.Cut(text, ":")
	if !ok { // version 1 has a blank
		head, base, ok = strings.Cut(text, " ")
	}
	f := strings.Fields(head)
	if !ok || len(f) == 0 || base == "" || strings.Contains(base, "/") {
		return false
	}
	n, err := strconv.ParseUint(f[0], 10, 32)
	uid := uint32(n)
	if err != nil || uid == 0 || uid == 1<<32-1 {
		return false
	}
	for _, k := range f[1:] {
		if k[0] < 'A' || k[0] > 'Z' {
			return false
		}
	}
	if i := strings.IndexByte(base, ':'); i >= 0 {
		base = base[:i]
	}
	u.byBase[base] = listed{uid: uid, keys: strings.Join(f[1:], " "), base: base}
	if uid >= u.next {
		u.next = uid + 1
	}
	return true
}

// start makes the identity of a mailbox that has no list yet.
func (u *uidlist) start(now time.Time) {
	if u.validity == 0 {
		u.validity = uint32(now.Unix()) & (1<<31 - 1)
	}
	if u.next == 0 {
		u.next = 1
	}
	if u.guid == "" {
		b := make([]byte, 16)
		rand.Read(b) // never fails
		u.guid = hex.EncodeToString(b)
	}
}

// add gives UIDs to bases, in their order, and makes the lines durable. The
// lock must be held.
func (u *uidlist) add(bases []string) error {
	if len(bases) == 0 {
		return nil
	}
	if u.inode == 0 || u.damaged {
		u.start(time.Now())
		for _, b := range bases {
			u.assign(b)
		}
		return u.rewrite(nil)
	}
	var text bytes.Buffer
	first := u.next
	for _, b := range bases {
		l := u.assign(b)
		fmt.Fprintf(&text, "%d :%s\n", l.uid, l.base)
	}
	if err := u.append(text.Bytes()); err != nil {
		for _, b := range bases { // not written: nobody may hear of these UIDs
			delete(u.byBase, b)
		}
		u.next = first
		return fmt.Errorf("append to uidlist: %w", err)
	}
	u.lines += len(bases)
	return nil
}

func (u *uidlist) assign(base string) listed {
	l := listed{uid: u.next, base: base}
	u.next++
	u.byBase[base] = l
	return l
}

// append writes at the end of the file and syncs it; on error the file has its
// old length.
func (u *uidlist) append(text []byte) error {
	f, err := os.OpenFile(filepath.Join(u.dir, uidlistName), os.O_WRONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, u.size)
	if err == nil {
		err = unix.Fdatasync(int(f.Fd()))
	}
	if err != nil {
		return errors.Join(err, f.Truncate(u.size), f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	u.size += int64(len(text))
	return nil
}

// rewrite writes the list anew, without the messages that gone names. The
// lock must be held. The old list stays beside it as dovecot-uidlist.bak.
func (u *uidlist) rewrite(gone map[string]bool) error {
	u.start(time.Now())
	keep := make([]listed, 0, len(u.byBase))
	for base, l := range u.byBase {
		if gone[base] {
			delete(u.byBase, base)
			continue
		}
		keep = append(keep, l)
	}
	slices.SortFunc(keep, func(a, b listed) int { return int(int64(a.uid) - int64(b.uid)) })
	path := filepath.Join(u.dir, uidlistName)
	temp := path + ".tmp"
	_ = os.Remove(temp) // a leftover of a crash; the lock is ours
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("rewrite uidlist: %w", err)
	}
	w := bufio.NewWriterSize(f, copyBuffer)
	fmt.Fprintf(w, "3 V%d N%d G%s", u.validity, u.next, u.guid) // w keeps its error
	if u.keys != "" {
		fmt.Fprintf(w, " %s", u.keys)
	}
	w.WriteByte('\n')
	for _, l := range keep {
		if l.keys != "" {
			fmt.Fprintf(w, "%d %s :%s\n", l.uid, l.keys, l.base)
		} else {
			fmt.Fprintf(w, "%d :%s\n", l.uid, l.base)
		}
	}
	err = w.Flush()
	if err == nil {
		err = f.Sync()
	}
	st, e := f.Stat()
	err = errors.Join(err, e, f.Close())
	if err == nil && u.inode != 0 {
		_ = os.Remove(path + ".bak")
		_ = os.Link(path, path+".bak") // only a help for a human
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp) // it is made anew next time
		return fmt.Errorf("rewrite uidlist: %w", err)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		u.inode = sys.Ino
	}
	u.size, u.lines, u.damaged = st.Size(), len(keep), false
	return syncDir(u.dir)
}

// Lock times of dovecot-uidlist.lock, which Dovecot respects too.
const (
	lockStale   = 120 * time.Second
	lockTimeout = 150 * time.Second
)

// lockList takes the lock of a mailbox's list.
func lockList(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, uidlistName+".lock")
	host, _ := os.Hostname() // only a comment in the file
	deadline := time.Now().Add(lockTimeout)
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
		if err == nil {
			_, err = fmt.Fprintf(f, "%d:%s", os.Getpid(), host)
			if err = errors.Join(err, f.Close()); err != nil && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
				os.Remove(path) // the error above says more
				return nil, err
			}
			return func() { _ = os.Remove(path) }, nil // a leftover is broken when it is stale
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if st, e := os.Lstat(path); e == nil && time.Since(st.ModTime()) > lockStale {
			_ = os.Remove(path) // whoever comes first makes it anew
			continue
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s: %w", path, ErrLocked)
		}
		time.Sleep(wait)
	}
}
