package mailbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Maildirs delivers to Maildirs. It may be used by many goroutines.
type Maildirs struct {
	Host string // for file names, usually myhostname

	made atomic.Uint64 // names made: keeps them apart within a microsecond
}

// Deliver adds a message to the Maildir dir, which is made where it is
// missing. When it returns nil the message is on stable storage: contents
// synced, then renamed into new, then new synced. On error nothing is left.
func (d *Maildirs) Deliver(dir string, m Message) (name string, err error) {
	temp, f, err := d.createTemp(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeMaildir(dir); err == nil {
			temp, f, err = d.createTemp(dir)
		}
	}
	if err != nil {
		return "", fmt.Errorf("create maildir file: %w", err)
	}
	name, err = fill(f, d.Host, m)
	if err == nil {
		err = f.Close()
	} else {
		f.Close() // the first error says more
	}
	target := filepath.Join(dir, "new", name)
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, target, unix.RENAME_NOREPLACE)
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSYS) {
			err = linkAndRemove(temp, target) // a file system without RENAME_NOREPLACE
		}
	}
	if err != nil {
		// The file in tmp is of no use to anybody; if it can't be removed it
		// is cleaned up like every old file there.
		_ = os.Remove(temp)
		return "", fmt.Errorf("deliver to maildir: %w", err)
	}
	if err := syncDir(filepath.Join(dir, "new")); err != nil {
		// The name may or may not survive: deliver again.
		_ = os.Remove(target) // what stays is a second copy, not a loss
		return "", fmt.Errorf("deliver to maildir: %w", err)
	}
	return name, nil
}

// createTemp opens a new file in tmp.
func (d *Maildirs) createTemp(dir string) (path string, f *os.File, err error) {
	now := time.Now()
	path = filepath.Join(dir, "tmp", fmt.Sprintf("%d.M%06dP%dQ%d.%s", now.Unix(), now.Nanosecond()/1000,
		os.Getpid(), d.made.Add(1), hostPart(d.Host)))
	f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	return path, f, err
}

// hostPart makes a host name fit for a file name.
func hostPart(host string) string {
	return strings.NewReplacer("/", `\057`, ":", `\072`).Replace(host)
}

// fill writes the message, syncs it, and makes its name.
func fill(f *os.File, host string, m Message) (string, error) {
	count := &sizes{w: f}
	if _, err := io.WriteString(count, m.Head); err != nil {
		return "", err
	}
	if _, err := io.CopyBuffer(count, onlyReader{m.Body}, make([]byte, copyBuffer)); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", err
	}
	now := time.Now()
	return fmt.Sprintf("%d.V%xI%xM%d.%s,S=%d,W=%d", now.Unix(), st.Dev, st.Ino, now.Nanosecond()/1000,
		hostPart(host), count.size, count.size+count.lines), nil
}

// onlyReader hides what else the body can do, so that the buffer is used.
type onlyReader struct{ io.Reader }

// sizes counts bytes and line ends on their way to w.
type sizes struct {
	w           io.Writer
	size, lines int64
}

func (s *sizes) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.size += int64(n)
	for _, c := range p[:n] {
		if c == '\n' {
			s.lines++
		}
	}
	return n, err
}

// makeMaildir makes the directory and its three parts, and syncs the names.
func makeMaildir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(filepath.Clean(dir)))
}

func linkAndRemove(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
