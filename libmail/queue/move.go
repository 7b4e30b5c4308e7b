package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Move takes a complete message from one queue to another. A power cut leaves
// it in one of them, or in both.
//
// Where renaming between directories is one transaction of the file system,
// that is all it takes. Elsewhere the old name might be durably gone before
// the new one is durable, so there the new name is made and synced first.
func (s *Spool) Move(id, from, to string) error {
	if !ValidName(from) || !ValidName(to) || !ValidID(id) {
		return fmt.Errorf("%.100q from %.100q to %.100q: %w", id, from, to, ErrName)
	}
	return s.MovePath(s.Path(from, id), s.Path(to, id))
}

// MovePath is Move for a file with any name, such as one at the wrong depth.
// Both paths are relative to the spool. Missing directories are made.
func (s *Spool) MovePath(from, to string) error {
	src, dst := s.path(from), s.path(to)
	move := s.fs.Rename
	if s.linkMove {
		move = s.linkAndRemove
	}
	err := move(src, dst)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := s.fs.Lstat(src); err != nil {
			return err
		}
		changed, errDirs := s.mkdirs(dst)
		if errDirs != nil {
			return errDirs
		}
		for _, dir := range changed {
			if err := s.dirs.wait(s.dirs.take(dir)); err != nil {
				return err
			}
		}
		err = move(src, dst)
	}
	if errors.Is(err, fs.ErrExist) {
		err = s.finishMove(src, dst, err)
	}
	return err
}

// linkAndRemove moves a file so that at each moment one name is durable.
func (s *Spool) linkAndRemove(src, dst string) error {
	if err := s.fs.Link(src, dst); err != nil {
		return err
	}
	if err := s.dirs.wait(s.dirs.take(filepath.Dir(dst))); err != nil {
		return fmt.Errorf("sync directory of %s: %w", dst, err)
	}
	return s.fs.Remove(src)
}

// finishMove ends a move that a crash cut after its first half: both names
// are the same file. Another file of that name is left alone.
func (s *Spool) finishMove(src, dst string, exists error) error {
	a, errA := s.fs.Lstat(src)
	b, errB := s.fs.Lstat(dst)
	if errA != nil || errB != nil || a.Inode != b.Inode || a.Device != b.Device {
		return exists
	}
	if err := s.dirs.wait(s.dirs.take(filepath.Dir(dst))); err != nil {
		return fmt.Errorf("sync directory of %s: %w", dst, err)
	}
	return s.fs.Remove(src)
}

// renameIsAtomic reports whether a power cut leaves a file that is renamed
// from one directory to another with at least one of its names, as on file
// systems that commit a rename as one transaction (and on tmpfs, which
// survives no power cut). A path that cannot be looked at counts as unknown.
func renameIsAtomic(path string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false
	}
	switch int64(st.Type) & 0xffffffff {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC,
		unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, 0x2fc12fc1 /* zfs */, 0x3153464a /* jfs */ :
		return true
	}
	return false
}

// LockActive makes the caller the one queue manager of this spool, until the
// result is closed. It is ErrBusy while there is another one.
func (s *Spool) LockActive() (io.Closer, error) {
	h, err := s.fs.Open(s.path(Active), os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := h.Lock(Exclusive); err != nil {
		h.Close() // nothing was written
		return nil, fmt.Errorf("%s: %w", s.path(Active), err)
	}
	return h, nil
}

// Room reports whether the spool has space for another message, by the rule
// of queue_minfree (bytes): more than that must be free, and more than one
// and a half times message_size_limit (bytes). The error says what is free.
func (s *Spool) Room(minFree, messageLimit int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.path("."), &st); err != nil {
		return fmt.Errorf("statfs %s: %w", s.path("."), err)
	}
	return room(uint64(st.Bavail), uint64(st.Bsize), minFree, messageLimit)
}

// ErrNoRoom says that the spool is too full for another message.
var ErrNoRoom = errors.New("not enough free space in mail queue")

func room(free, block uint64, minFree, messageLimit int64) error {
	if uint64(minFree)/block >= free || float64(uint64(messageLimit)/block) >= float64(free)/1.5 {
		return fmt.Errorf("%w: %d bytes < 1.5*message size limit", ErrNoRoom, free*block)
	}
	return nil
}
