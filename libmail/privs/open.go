package privs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrUnsafe is wrapped in the error about a file that is not what it should
// be: a link, not regular, of another owner, outside the directory. The text
// before it says which.
var ErrUnsafe = errors.New("not safe to open")

// A Demand is what SafeOpen wants of a file.
type Demand struct {
	Owner   int  // uid that must own the file; -1: any
	OrRoot  bool // root may own it instead
	AnyLink bool // the file may have several names (hard links)
}

// openTries bounds the races that SafeOpen runs against others who make and
// remove the file.
const openTries = 5

// SafeOpen opens a regular file below dir in a place where others may write.
// No component of path below dir may be a symbolic link or lead out of dir
// (openat2(2) RESOLVE_BENEATH), and what was opened must be a regular file
// with one name and the right owner. The flags are os.O_RDONLY and so on:
// with os.O_CREATE a missing file is made, with perm and never through a link
// somebody put there; os.O_TRUNC takes place after the checks. Only dir itself
// is trusted.
func SafeOpen(dir, path string, flags int, perm os.FileMode, d Demand) (*os.File, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(root) // O_PATH: nothing to lose
	f, err := openChecked(root, path, flags, perm, d, beneath)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Join(dir, path), err)
	}
	return f, nil
}

// opener opens a path below a directory as openat2(2) with RESOLVE_BENEATH does.
type opener func(root int, path string, flags int, perm uint32) (int, error)

func openChecked(root int, path string, flags int, perm os.FileMode, d Demand, open opener) (*os.File, error) {
	const always = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY
	plain := flags&^(os.O_CREATE|os.O_EXCL|os.O_TRUNC) | always
	for range openTries {
		var fd int
		var err error
		if flags&os.O_EXCL == 0 {
			fd, err = open(root, path, plain, 0)
		} else {
			err = unix.ENOENT
		}
		if errors.Is(err, unix.ENOENT) && flags&os.O_CREATE != 0 {
			fd, err = open(root, path, plain|unix.O_CREAT|unix.O_EXCL, uint32(perm.Perm()))
			if errors.Is(err, unix.EEXIST) && flags&os.O_EXCL == 0 {
				continue // made by another in between
			}
		}
		switch {
		case errors.Is(err, unix.ELOOP):
			return nil, fmt.Errorf("symbolic link in the path: %w", ErrUnsafe)
		case errors.Is(err, unix.EXDEV):
			return nil, fmt.Errorf("path leads out of the directory: %w", ErrUnsafe)
		case errors.Is(err, unix.ENXIO):
			return nil, fmt.Errorf("not a regular file: %w", ErrUnsafe) // FIFO or socket
		case err != nil:
			return nil, err
		}
		if err := settle(fd, flags, d, func() (int, error) {
			settleDirectory(root, filepath.Dir(path), open)
			return open(root, path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		}); err != nil {
			unix.Close(fd) // the check's error says more
			return nil, err
		}
		return os.NewFile(uintptr(fd), path), nil
	}
	return nil, fmt.Errorf("made and removed again all the time: %w", ErrUnsafe)
}

// settleDirectory waits for a rename or link in the directory that is under
// way: in the middle of one, a file has lost a name already that a look-up
// still finds. Reading a directory takes the lock that these hold.
func settleDirectory(root int, dir string, open opener) {
	fd, err := open(root, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return // a directory that may not be read: the other checks remain
	}
	var buf [1024]byte
	_, _ = unix.Getdents(fd, buf[:]) // for the lock, not for the names
	unix.Close(fd)                   // nothing was written
}

// settle checks the open file, truncates it if wanted, and makes it block.
// again opens the path as O_PATH.
func settle(fd, flags int, d Demand, again func() (int, error)) error {
	st, err := fstat(fd)
	if err != nil {
		return err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("not a regular file: %w", ErrUnsafe)
	case d.Owner >= 0 && int(st.Uid) != d.Owner && !(d.OrRoot && st.Uid == 0):
		return fmt.Errorf("file is owned by uid %d: %w", st.Uid, ErrUnsafe)
	}
	if !d.AnyLink {
		if err := onlyName(fd, again); err != nil {
			return err
		}
	}
	if flags&os.O_TRUNC != 0 {
		if err := unix.Ftruncate(fd, 0); err != nil {
			return fmt.Errorf("truncate: %w", err)
		}
	}
	return unix.SetNonblock(fd, false)
}

// onlyName checks that the open file has one name, and that it is ours: a
// count of 1 alone may be the name of somebody else's file, to which our path
// was a second one until a moment ago. So the path must still lead to the
// file, and the file's change time, which every new and removed name sets,
// must stand still around that.
func onlyName(fd int, again func() (int, error)) error {
	for range openTries {
		before, err := fstat(fd)
		if err != nil {
			return err
		}
		if before.Nlink != 1 {
			return fmt.Errorf("file has %d names: %w", before.Nlink, ErrUnsafe)
		}
		named, err := again()
		if err != nil {
			return fmt.Errorf("file was replaced: %w: %w", err, ErrUnsafe)
		}
		path, err := fstat(named)
		unix.Close(named) // O_PATH: nothing to lose
		if err != nil {
			return err
		}
		if path.Ino != before.Ino || path.Dev != before.Dev {
			return fmt.Errorf("file was replaced: %w", ErrUnsafe)
		}
		after, err := fstat(fd)
		if err != nil {
			return err
		}
		if after.Nlink == 1 && after.Ctim == before.Ctim {
			return nil
		}
	}
	return fmt.Errorf("file changes all the time: %w", ErrUnsafe)
}

func fstat(fd int) (st unix.Stat_t, err error) {
	err = unix.Fstat(fd, &st)
	return st, err
}

// beneath is openat2(2), or a walk by hand where the kernel has none.
func beneath(root int, path string, flags int, perm uint32) (int, error) {
	how := &unix.OpenHow{
		Flags:   uint64(flags),
		Mode:    uint64(perm),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range openTries {
		fd, err := unix.Openat2(root, path, how)
		switch {
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
			// EPERM: a seccomp filter that does not know the call.
			return walk(root, path, flags, perm)
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			// EAGAIN: something was renamed meanwhile.
		default:
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// walk opens the components of path one after the other, none through a
// symbolic link, and never upwards.
func walk(root int, path string, flags int, perm uint32) (int, error) {
	parts := strings.Split(path, "/")
	dir := root
	defer func() {
		if dir != root {
			unix.Close(dir) // O_PATH: nothing to lose
		}
	}()
	if strings.HasPrefix(path, "/") {
		return -1, unix.EXDEV
	}
	for _, part := range parts[:len(parts)-1] {
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			return -1, unix.EXDEV
		}
		next, err := unix.Openat(dir, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, syscall.ENOTDIR) && isLink(dir, part) {
			err = unix.ELOOP
		}
		if err != nil {
			return -1, err
		}
		if dir != root {
			unix.Close(dir) // O_PATH: nothing to lose
		}
		dir = next
	}
	last := parts[len(parts)-1]
	if last == ".." {
		return -1, unix.EXDEV
	}
	return unix.Openat(dir, last, flags|unix.O_NOFOLLOW, perm)
}

func isLink(dir int, name string) bool {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}
