package table

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A watched table stands in a file and is read again when the file changes:
// another inode, size or time. The file is looked at when a lookup comes and
// at most once a second.
type watched struct {
	t     *front
	path  string
	verb  string                                 // for messages: "open" or "open database"
	read  func(f *os.File) (fileContents, error) // takes f over only if it returns no error
	check atomic.Int64                           // next time to look at the file, Unix nanoseconds

	mu    sync.RWMutex // write-locked to change what follows; lookups hold it for reading
	cur   fileContents // nil: none could be read yet
	err   error        // why cur is nil
	stamp stamp        // of the file that cur was read from
	held  *os.File     // that file: after chroot, or without its rights, it can still be looked at
	uid   uint32       // owner of that file
	count uint64       // how often cur was replaced

	warned string // the last reason why the file could not be read that was logged
	stale  bool   // Options.Stale was called
}

// fileContents is contents read from a file.
type fileContents interface {
	contents
	walker
}

// A stamp tells one state of a file from another.
type stamp struct {
	dev, ino    uint64
	size, mtime int64
}

const checkInterval = time.Second

// settle is how long a file must have been left alone before it is taken for
// complete: an editor truncates first and writes then.
const settle = 50 * time.Millisecond

// openWatched opens path and reads it.
func openWatched(t *front, verb, path string, read func(*os.File) (fileContents, error)) (contents, error) {
	w := &watched{t: t, verb: verb, path: path, read: read}
	f, s, uid, err := w.open()
	for try := 0; err == nil && try < 20 && time.Since(time.Unix(0, s.mtime)).Abs() < settle; try++ {
		f.Close() // nothing was read yet
		time.Sleep(settle)
		f, s, uid, err = w.open()
	}
	var c fileContents
	if err == nil {
		c, w.held, err = w.take(f)
	}
	if err != nil && t.o.MustOpen {
		return nil, err
	}
	if w.cur, w.err, w.stamp, w.uid = c, err, s, uid; err != nil {
		w.failed(err)
	}
	w.check.Store(time.Now().Add(checkInterval).UnixNano())
	return w, nil
}

// take reads an open file and keeps a second descriptor of it.
func (w *watched) take(f *os.File) (c fileContents, held *os.File, err error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		held = os.NewFile(uintptr(fd), w.path)
		if c, err = w.read(f); err == nil {
			return c, held, nil
		}
		held.Close() // the read error is what counts
	}
	f.Close() // as above
	return nil, nil, err
}

// open opens the file and says which state of it that is.
func (w *watched) open() (*os.File, stamp, uint32, error) {
	f, err := os.Open(w.path)
	if err != nil {
		return nil, stamp{}, 0, fmt.Errorf("%s %s: %w", w.verb, w.path, cause(err))
	}
	fi, err := f.Stat()
	if err == nil && fi.IsDir() {
		err = syscall.EISDIR
	}
	if err != nil {
		f.Close() // nothing was read
		return nil, stamp{}, 0, fmt.Errorf("%s %s: %w", w.verb, w.path, cause(err))
	}
	return f, stampOf(fi), uidOf(fi), nil
}

func stampOf(fi fs.FileInfo) stamp {
	s := stamp{size: fi.Size(), mtime: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.dev, s.ino = uint64(st.Dev), st.Ino
	}
	return s
}

func uidOf(fi fs.FileInfo) uint32 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Uid
	}
	return 0
}

func (w *watched) get(key string) (string, bool, error) {
	w.refresh()
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.cur == nil {
		w.t.warn().Warning("%s is unavailable. %v", w.t.name, w.err)
		return "", false, fmt.Errorf("%w: %w", ErrUnavailable, w.err)
	}
	return w.cur.get(key)
}

func (w *watched) walk(fn func(key, value string) error) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.cur == nil {
		return w.err
	}
	return w.cur.walk(fn)
}

func (w *watched) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.cur
	w.cur, w.err = nil, os.ErrClosed
	w.check.Store(1<<63 - 1)
	if c == nil {
		return nil
	}
	return errors.Join(c.close(), w.held.Close())
}

func (w *watched) owner() Owner {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return Owner{Known: true, UID: w.uid}
}

func (w *watched) generation() uint64 {
	w.refresh()
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.count
}

// refresh reads the file again if it has changed. One caller in a second does
// the work; the others go on with what there is.
func (w *watched) refresh() {
	now, due := time.Now(), w.check.Load()
	if now.UnixNano() < due || !w.check.CompareAndSwap(due, now.Add(checkInterval).UnixNano()) {
		return
	}
	fi, err := os.Stat(w.path)
	if err != nil {
		if !w.unchanged() {
			w.failed(fmt.Errorf("%s %s: %w", w.verb, w.path, cause(err)))
		}
		return
	}
	s := stampOf(fi)
	w.mu.RLock()
	same := w.cur != nil && s == w.stamp
	w.mu.RUnlock()
	if same || now.Sub(fi.ModTime()).Abs() < settle {
		return
	}
	f, s, uid, err := w.open()
	if err != nil {
		w.failed(err)
		return
	}
	c, held, err := w.take(f)
	if err != nil {
		w.failed(err)
		return
	}
	w.replace(c, held, s, uid)
}

// unchanged looks at the file that was read where its path leads nowhere: in a
// chroot. Who replaces a file takes its last name from the old one.
func (w *watched) unchanged() bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.cur == nil {
		return false
	}
	fi, err := w.held.Stat()
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Nlink > 0 && stampOf(fi) == w.stamp
}

// replace puts new contents in force. Lookups that still use the old ones
// end first.
func (w *watched) replace(c fileContents, held *os.File, s stamp, uid uint32) {
	w.mu.Lock()
	old, oldHeld := c, held // for a table that was closed meanwhile
	if !errors.Is(w.err, os.ErrClosed) {
		old, oldHeld = w.cur, w.held
		w.cur, w.held, w.err, w.stamp, w.uid, w.warned = c, held, nil, s, uid, ""
		w.count++
	}
	w.mu.Unlock()
	if old == nil {
		return
	}
	if err := errors.Join(old.close(), oldHeld.Close()); err != nil {
		w.t.warn().Warning("close %s: %v", w.path, err)
	}
}

// failed notes that the file could not be read again. The log gets each
// reason once.
func (w *watched) failed(err error) {
	hidden := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
	w.mu.Lock()
	have := w.cur != nil
	told := w.warned == err.Error()
	w.warned = err.Error()
	if !have && !errors.Is(w.err, os.ErrClosed) {
		w.err = err
	}
	call := have && hidden && !w.stale && w.t.o.Stale != nil
	w.stale = w.stale || call
	w.mu.Unlock()
	if call {
		w.t.o.Stale(w.t.name)
	}
	switch {
	case told:
	case have:
		w.t.warn().Warning("%s has changed: %v -- using the old contents", w.t.name, err)
	default:
		w.t.warn().Error("%v", err)
	}
}
