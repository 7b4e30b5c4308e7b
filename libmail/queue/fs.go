package queue

import (
	"errors"
	"io"
	"io/fs"
	"os"
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

// A file is a descriptor without the runtime's poller, which can do nothing
// for a regular file and would be asked at each open.
type file struct {
	fd   int
	path string
	os   *os.File // once somebody asked for it: it owns the descriptor
}

// Open implements FS.
func (System) Open(path string, flag int, perm fs.FileMode) (Handle, error) {
	flag |= unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_LARGEFILE
	for {
		fd, err := unix.Open(path, flag, uint32(perm.Perm()))
		if err == nil {
			return &file{fd: fd, path: path}, nil
		}
		if err != unix.EINTR {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
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
	var st unix.Stat_t
	for {
		err := unix.Lstat(path, &st)
		if err == nil {
			return info(&st), nil
		}
		if err != unix.EINTR {
			return Info{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
		}
	}
}

// SetTime implements FS.
func (System) SetTime(path string, t time.Time) error { return os.Chtimes(path, t, t) }

// SyncDir implements FS.
func (s System) SyncDir(path string) error {
	d, err := s.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
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

func (f *file) File() *os.File {
	if f.os == nil {
		f.os = os.NewFile(uintptr(f.fd), f.path)
	}
	return f.os
}

func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		err = f.try("read", func() (err error) { m, err = unix.Pread(f.fd, p[n:], off+int64(n)); return err })
		if n += max(m, 0); err == nil && m == 0 {
			err = io.EOF
		}
	}
	return n, err
}

func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		err = f.try("write", func() (err error) { m, err = unix.Pwrite(f.fd, p[n:], off+int64(n)); return err })
		if n += max(m, 0); err == nil && m == 0 {
			err = io.ErrShortWrite
		}
	}
	return n, err
}

func (f *file) Chmod(mode fs.FileMode) error {
	return f.try("chmod", func() error { return unix.Fchmod(f.fd, uint32(mode.Perm())) })
}

func (f *file) Truncate(size int64) error {
	return f.try("truncate", func() error { return unix.Ftruncate(f.fd, size) })
}

func (f *file) Sync() error {
	return f.try("sync", func() error { return unix.Fsync(f.fd) })
}

// Close gives the descriptor back; close(2) is never tried again.
func (f *file) Close() error {
	if f.os != nil {
		return f.os.Close()
	}
	if f.fd < 0 {
		return &fs.PathError{Op: "close", Path: f.path, Err: fs.ErrClosed}
	}
	fd := f.fd
	f.fd = -1
	if err := unix.Close(fd); err != nil {
		return &fs.PathError{Op: "close", Path: f.path, Err: err}
	}
	return nil
}

// try makes a system call until no signal interrupts it.
func (f *file) try(op string, call func() error) error {
	for {
		err := call()
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &fs.PathError{Op: op, Path: f.path, Err: err}
		}
	}
}

func (f *file) Stat() (Info, error) {
	var st unix.Stat_t
	if err := f.try("stat", func() error { return unix.Fstat(f.fd, &st) }); err != nil {
		return Info{}, err
	}
	return info(&st), nil
}

func (f *file) Lock(l Lock) error {
	how := unix.LOCK_SH | unix.LOCK_NB
	switch l {
	case NoLock:
		return nil
	case Exclusive:
		how = unix.LOCK_EX | unix.LOCK_NB
	}
	err := f.try("lock", func() error { return unix.Flock(f.fd, how) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrBusy
	}
	return err
}

func info(st *unix.Stat_t) Info {
	return Info{
		Size:    st.Size,
		ModTime: time.Unix(st.Mtim.Unix()),
		Change:  time.Unix(st.Ctim.Unix()),
		Access:  time.Unix(st.Atim.Unix()),
		Mode:    mode(st.Mode),
		UID:     int(st.Uid),
		Inode:   st.Ino,
		Device:  uint64(st.Dev),
		Links:   int(st.Nlink),
	}
}

// mode is a file's type and permission bits as io/fs has them.
func mode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	default:
		mode |= fs.ModeDevice
	}
	return mode
}
