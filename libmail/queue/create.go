package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"postroad/libmail/record"
)

// writeSize is how much File collects before it writes.
const writeSize = 64 << 10

// A File is a message that is being written. It keeps the first error; Commit
// returns it. A File that is not committed must be aborted.
type File struct {
	ID      string
	Queue   string    // where it will be found: incoming, hold, maildrop
	Created time.Time // when the id was made; the time in the Message-ID

	s       *Spool
	h       Handle
	path    string // as seen from the current directory
	buf     *[]byte
	written int64 // bytes in the file; those in buf follow
	tickets []ticket
	err     error
}

// Create makes a new file in a queue, with a name that no other message on
// this spool has. bits are added to the mode 0600 until Commit, as maildrop
// needs (0044 there, else 0).
func (s *Spool) Create(queue string, bits fs.FileMode) (*File, error) {
	if !ValidName(queue) {
		return nil, fmt.Errorf("%.100q: %w", queue, ErrName)
	}
	temp, h, err := s.createTemp(queue, Writing|bits)
	if err != nil {
		return nil, fmt.Errorf("create queue file: %w", err)
	}
	f := &File{Queue: queue, s: s, h: h, path: temp}
	st, err := h.Stat()
	if err == nil {
		err = f.name(st.Inode)
	}
	if err != nil {
		f.Abort()
		return nil, fmt.Errorf("create queue file: %w", err)
	}
	f.buf, _ = s.bufs.Get().(*[]byte)
	if f.buf == nil {
		f.buf = new([]byte)
	}
	return f, nil
}

// createTemp makes the file under a temporary name, microseconds.pid.
func (s *Spool) createTemp(queue string, mode fs.FileMode) (string, Handle, error) {
	for try := 0; ; try++ {
		usec := s.o.Now().Nanosecond() / 1000
		temp := s.path(fmt.Sprintf("%s/%d.%d", queue, (usec+try)%1000000, os.Getpid()))
		h, err := s.fs.Open(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if err == nil || !isErrno(err, syscall.EEXIST, syscall.EISDIR) || try > 1000 {
			return temp, h, err
		}
	}
}

// name gives the file its id. The inode number makes it unique among the
// messages of this spool, the time among all that ever were.
func (f *File) name(inode uint64) error {
	s := f.s
	for try := 0; ; try++ {
		f.Created = s.o.Now()
		if s.o.LongIDs {
			f.ID = LongID(f.Created, inode)
		} else {
			f.ID = ShortID(f.Created, inode)
		}
		to := s.path(s.Path(f.Queue, f.ID))
		err := s.fs.Rename(f.path, to)
		if errors.Is(err, fs.ErrNotExist) {
			if err = f.mkdirs(to); err == nil {
				err = s.fs.Rename(f.path, to)
			}
		}
		switch {
		case err == nil:
			f.path = to
			f.tickets = append(f.tickets, s.dirs.take(filepath.Dir(to)))
			return nil
		case try > 1000:
			return err
		case isErrno(err, syscall.EPERM, syscall.EISDIR, syscall.EEXIST):
			// a file of that name is in the way: another microsecond
		default:
			return err
		}
	}
}

// mkdirs makes the directories above path and has Commit make them durable.
func (f *File) mkdirs(path string) error {
	changed, err := f.s.mkdirs(path)
	for _, dir := range changed {
		f.tickets = append(f.tickets, f.s.dirs.take(dir))
	}
	return err
}

// Path is the file's name relative to the spool.
func (f *File) Path() string { return f.s.Path(f.Queue, f.ID) }

// Err is the first error so far.
func (f *File) Err() error { return f.err }

// Offset is where the next record will begin.
func (f *File) Offset() int64 { return f.written + int64(len(*f.buf)) }

// Record appends a record.
func (f *File) Record(t record.Type, data []byte) error {
	if f.err == nil {
		*f.buf = record.Append(*f.buf, t, data)
		f.full()
	}
	return f.err
}

// RecordString is Record for a string.
func (f *File) RecordString(t record.Type, data string) error {
	if f.err == nil {
		*f.buf = record.AppendString(*f.buf, t, data)
		f.full()
	}
	return f.err
}

// full writes the buffer when it holds enough.
func (f *File) full() {
	if len(*f.buf) >= writeSize {
		f.flush()
	}
}

// flush writes the buffer.
func (f *File) flush() {
	if f.err != nil || len(*f.buf) == 0 {
		return
	}
	n, err := f.h.WriteAt(*f.buf, f.written)
	if err == nil && n < len(*f.buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		f.err = fmt.Errorf("write queue file %s: %w", f.ID, err)
		return
	}
	f.written += int64(n)
	*f.buf = (*f.buf)[:0]
}

// WriteAt overwrites bytes that were appended before, without changing what
// follows them. It is how sizes, pointers and milters' edits get in.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if f.err == nil && (off < 0 || off+int64(len(p)) > f.Offset()) {
		f.err = fmt.Errorf("write queue file %s: %d bytes at %d: beyond the end", f.ID, len(p), off)
	}
	if f.err == nil && off >= f.written {
		return copy((*f.buf)[off-f.written:], p), nil
	}
	if off+int64(len(p)) > f.written {
		f.flush()
	}
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.h.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		f.err = fmt.Errorf("write queue file %s: %w", f.ID, err)
	}
	return n, f.err
}

// ReadAt reads what was appended before.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	f.flush()
	if f.err != nil {
		return 0, f.err
	}
	return f.h.ReadAt(p, off)
}

// SetSizes overwrites the size record, which must be the first of the file.
func (f *File) SetSizes(z Sizes) error {
	_, err := f.WriteAt(record.AppendString(nil, record.Size, z.Data()), 0)
	return err
}

// Move renames the file to another queue before Commit, as hold does.
func (f *File) Move(queue string) error {
	if f.err != nil {
		return f.err
	}
	to := f.s.path(f.s.Path(queue, f.ID))
	err := f.s.fs.Rename(f.path, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err = f.mkdirs(to); err == nil {
			err = f.s.fs.Rename(f.path, to)
		}
	}
	if err != nil {
		f.err = fmt.Errorf("move queue file %s to %s: %w", f.ID, queue, err)
		return f.err
	}
	f.path, f.Queue = to, queue
	f.tickets = append(f.tickets, f.s.dirs.take(filepath.Dir(to)))
	return nil
}

// Commit makes the message ours: all written, marked complete, contents
// synced, closed, then the directory of its name synced. bits are added to the mode
// 0700. Before Commit returns nil nobody may be told that we have the
// message. After an error the file is gone; a sync that failed is not tried
// again, because the kernel may have dropped what it could not write.
func (f *File) Commit(bits fs.FileMode) error {
	f.flush()
	f.step("complete", func() error { return f.h.Chmod(Ready | bits) })
	f.step("sync", f.h.Sync)
	f.step("check the clock of", f.checkClock)
	f.step("close", f.close)
	for len(f.tickets) > 0 && f.err == nil {
		t := f.tickets[0]
		f.tickets = f.tickets[1:]
		f.step("sync directory of", func() error { return f.s.dirs.wait(t) })
	}
	if f.err != nil {
		f.Abort()
		return f.err
	}
	f.release()
	return nil
}

// step does one part of Commit unless an earlier one failed.
func (f *File) step(verb string, do func() error) {
	if f.err != nil {
		return
	}
	if err := do(); err != nil {
		f.err = fmt.Errorf("%s queue file %s: %w", verb, f.ID, err)
	}
}

func (f *File) close() error {
	h := f.h
	f.h = nil
	return h.Close()
}

// Abort removes the file. It is harmless after Commit.
func (f *File) Abort() {
	if f.path == "" {
		return
	}
	if f.h != nil {
		// Not complete any more: should the removal fail, nobody takes it.
		if err := f.h.Chmod(Writing); err != nil {
			f.s.o.Warn("abort queue file %s: %v", f.ID, err)
		}
	}
	if err := f.s.fs.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.s.o.Warn("remove queue file: %v", err)
	}
	if f.h != nil {
		if err := f.close(); err != nil {
			f.s.o.Warn("close queue file: %v", err)
		}
	}
	for _, t := range f.tickets {
		f.s.dirs.drop(t)
	}
	f.tickets = nil
	f.release()
}

// release gives the buffer back; the file is not ours any more.
func (f *File) release() {
	f.path = ""
	if f.buf != nil {
		*f.buf = (*f.buf)[:0]
		f.s.bufs.Put(f.buf)
		f.buf = &[]byte{}
	}
}

// clockState remembers whether the file system's clock was found right.
type clockState struct {
	mu     sync.Mutex
	good   bool
	warned bool
}

// checkClock compares the file system's clock with ours until they agree
// once. A file of the future would wait in incoming until then.
func (f *File) checkClock() error {
	c := &f.s.clockState
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.good || f.Queue != Incoming {
		return nil
	}
	st, err := f.h.Stat()
	if err != nil {
		return err
	}
	now := f.s.o.Now()
	ahead := st.ModTime.Unix() - now.Unix()
	if ahead <= 0 {
		if ahead < -100 {
			f.s.o.Warn("file system clock is %d seconds behind local clock", -ahead)
		}
		c.good = true
		return nil
	}
	if !c.warned {
		f.s.o.Warn("file system clock is %d seconds ahead of local clock", ahead)
		f.s.o.Warn("resetting file time stamps - this hurts performance")
		c.warned = true
	}
	return f.s.fs.SetTime(f.path, now)
}
