package queue

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// FS is what the queue asks of the operating system. Tests put a failing one
// in its place, one call at a time.
type FS interface {
	// Open opens or creates a file; links in the last component are refused.
	Open(path string, flag int, perm fs.FileMode) (Handle, error)
	// Rename moves a file and refuses to replace another one, as far as the
	// file system can.
	Rename(from, to string) error
	Link(from, to string) error
	Remove(path string) error
	Mkdir(path string, perm fs.FileMode) error
	Lstat(path string) (Info, error)
	// SetTime sets access and modification time.
	SetTime(path string, t time.Time) error
	// SyncDir makes the names in a directory durable.
	SyncDir(path string) error
	// OpenDir starts reading a directory.
	OpenDir(path string) (DirReader, error)
}

// A Handle is an open file.
type Handle interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (Info, error)
	Chmod(mode fs.FileMode) error
	Truncate(size int64) error
	Sync() error
	// Lock takes a flock without waiting; ErrBusy if another holds it.
	Lock(l Lock) error
	// File is the descriptor, for passing it on.
	File() *os.File
}

// A DirReader reads the names of a directory in pieces.
type DirReader interface {
	// Names returns up to n names, and io.EOF after the last.
	Names(n int) ([]string, error)
	Close() error
}

// An Info is what the queue wants to know about a file.
type Info struct {
	Size    int64
	ModTime time.Time // in a queue file: next time to try
	Change  time.Time
	Access  time.Time   // last read; where reading leaves no trace, when it was set last
	Mode    fs.FileMode // type and permission bits
	UID     int
	Inode   uint64
	Device  uint64
	Links   int
}

// A Lock is how a queue file is locked while it is open.
type Lock int

// Locks, by flock(2); they hold until the file is closed.
const (
	NoLock    Lock = iota
	Shared         // delivery agents, while they deliver
	Exclusive      // qmgr, while it loads a message
)

// System is the operating system's FS.
type System struct{}

type file struct{ os *os.File }

// Open implements FS.
func (System) Open(path string, flag int, perm fs.FileMode) (Handle, error) {
	f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, perm)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// Rename implements FS.
func (System) Rename(from, to string) error {
	for {
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		switch {
		case err == nil:
			return nil
		case err == unix.EINTR:
			continue
		case err == unix.EINVAL, err == unix.ENOSYS, err == unix.ENOTSUP:
			return os.Rename(from, to) // NFS and the like have no flags
		}
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
}

// Link implements FS.
func (System) Link(from, to string) error { return os.Link(from, to) }

// Remove implements FS; it removes no directory.
func (System) Remove(path string) error {
	for {
		err := unix.Unlink(path)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &fs.PathError{Op: "remove", Path: path, Err: err}
		}
	}
}

// Mkdir implements FS.
func (System) Mkdir(path string, perm fs.FileMode) error { return os.Mkdir(path, perm) }

// Lstat implements FS.
func (System) Lstat(path string) (Info, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return Info{}, err
	}
	return info(st), nil
}

// SetTime implements FS.
func (System) SetTime(path string, t time.Time) error { return os.Chtimes(path, t, t) }

// SyncDir implements FS.
func (System) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errClose := d.Close(); err == nil {
		err = errClose
	}
	return err
}

// OpenDir implements FS.
func (System) OpenDir(path string) (DirReader, error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return dir{d}, nil
}

type dir struct{ *os.File }

func (d dir) Names(n int) ([]string, error) { return d.Readdirnames(n) }

func (f file) File() *os.File { return f.os }

func (f file) ReadAt(p []byte, off int64) (int, error)  { return f.os.ReadAt(p, off) }
func (f file) WriteAt(p []byte, off int64) (int, error) { return f.os.WriteAt(p, off) }
func (f file) Close() error                             { return f.os.Close() }
func (f file) Chmod(mode fs.FileMode) error             { return f.os.Chmod(mode) }
func (f file) Truncate(size int64) error                { return f.os.Truncate(size) }
func (f file) Sync() error                              { return f.os.Sync() }

func (f file) Stat() (Info, error) {
	st, err := f.os.Stat()
	if err != nil {
		return Info{}, err
	}
	return info(st), nil
}

func (f file) Lock(l Lock) error {
	how := unix.LOCK_SH | unix.LOCK_NB
	switch l {
	case NoLock:
		return nil
	case Exclusive:
		how = unix.LOCK_EX | unix.LOCK_NB
	}
	for {
		err := unix.Flock(int(f.os.Fd()), how)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrBusy
		case err != unix.EINTR:
			return &fs.PathError{Op: "lock", Path: f.os.Name(), Err: err}
		}
	}
}

func info(st fs.FileInfo) Info {
	i := Info{Size: st.Size(), ModTime: st.ModTime(), Mode: st.Mode()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		i.UID, i.Inode, i.Device, i.Links = int(sys.Uid), sys.Ino, uint64(sys.Dev), int(sys.Nlink)
		i.Change = time.Unix(sys.Ctim.Unix())
		i.Access = time.Unix(sys.Atim.Unix())
	}
	return i
}
