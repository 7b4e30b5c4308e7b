package mailbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postroad/libmail/privs"
)

// A Lock is a way to lock an mbox against other programs
// (mailbox_delivery_lock, postconf(5)).
type Lock int

// The kinds of Lock. Several are taken in the order given.
const (
	LockFcntl   Lock = iota // fcntl(2) record lock
	LockFlock               // flock(2)
	LockDotfile             // FILE.lock, where the directory allows it
)

// ParseLocks reads a list such as "fcntl, dotlock".
func ParseLocks(names []string) ([]Lock, error) {
	known := map[string]Lock{"fcntl": LockFcntl, "flock": LockFlock, "dotlock": LockDotfile}
	var locks []Lock
	for _, n := range names {
		l, ok := known[n]
		if !ok {
			return nil, fmt.Errorf("lock method %q: not one of fcntl, flock, dotlock", n)
		}
		locks = append(locks, l)
	}
	return locks, nil
}

// Mbox says how an mbox file is delivered to.
type Mbox struct {
	Sender   string // for the From_ line, external form; "" is MAILER-DAEMON
	Locks    []Lock
	Attempts int           // deliver_lock_attempts
	Delay    time.Duration // deliver_lock_delay
	Stale    time.Duration // stale_lock_time: a dotlock this old is broken
	MaxSize  int64         // bytes the file may have afterwards; 0: no limit
	Now      func() time.Time
}

// AppendMbox adds a message to the mbox file path, which is made where it is
// missing. The file must be regular, with one name, not reached by a link;
// a device such as /dev/null is written to and not synced. When it returns nil
// the message is on stable storage. On error the file has its old length.
func AppendMbox(path string, o Mbox, m Message) (err error) {
	unlock, err := dotlock(path, o)
	if err != nil {
		return err
	}
	defer unlock()
	f, err := openSafely(path)
	if err != nil {
		return fmt.Errorf("open mailbox: %w", err)
	}
	defer func() {
		if e := f.Close(); err == nil && e != nil {
			err = fmt.Errorf("close mailbox: %w", e)
		}
	}()
	st, err := checkMbox(f, path)
	if err != nil {
		return err
	}
	if st.Mode()&fs.ModeCharDevice != 0 {
		return writeMbox(f, o, m)
	}
	if err := lockFile(f, o); err != nil {
		return err
	}
	return appendMbox(f, path, o, m)
}

// openSafely opens the file where others may write to its directory: neither
// links nor renames lead it elsewhere. A device is opened as it is.
func openSafely(path string) (*os.File, error) {
	if st, err := os.Stat(path); err == nil && st.Mode()&fs.ModeCharDevice != 0 {
		f, _, err := openMbox(path)
		return f, err
	}
	f, err := privs.SafeOpen(dirOf(path), filepath.Base(path), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600, privs.Demand{Owner: -1})
	if errors.Is(err, privs.ErrUnsafe) {
		err = fmt.Errorf("%w: %w", ErrUnsafe, err)
	}
	return f, err
}

// openMbox opens the file for appending; made is true when it was missing.
func openMbox(path string) (f *os.File, made bool, err error) {
	const flags = os.O_RDWR | os.O_APPEND | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	for range 3 {
		f, err = os.OpenFile(path, flags, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, false, err
		}
		f, err = os.OpenFile(path, flags|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return f, true, err
		}
	}
	return nil, false, err
}

// checkMbox refuses a file that may be somebody's trick.
func checkMbox(f *os.File, path string) (fs.FileInfo, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Mode()&fs.ModeCharDevice != 0 {
		return st, nil
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file: %w", path, ErrUnsafe)
	case ok && sys.Nlink != 1:
		return nil, fmt.Errorf("%s: file has %d links: %w", path, sys.Nlink, ErrUnsafe)
	case ok && int(sys.Uid) != os.Geteuid():
		return nil, fmt.Errorf("%s: owned by uid %d: %w", path, sys.Uid, ErrOwner)
	}
	return st, nil
}

// appendMbox writes at the end of the locked file, or restores it.
func appendMbox(f *os.File, path string, o Mbox, m Message) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	old := st.Size()
	if o.MaxSize > 0 && old >= o.MaxSize {
		return fmt.Errorf("%s: %w", path, ErrTooLarge)
	}
	limited := o
	if o.MaxSize > 0 {
		limited.MaxSize = o.MaxSize - old
	}
	err = writeMbox(f, limited, m)
	if err == nil {
		err = f.Sync()
	}
	if err == nil && old == 0 { // the name may be new
		err = syncDir(dirOf(path))
	}
	if err == nil {
		return nil
	}
	if e := f.Truncate(old); e != nil {
		return fmt.Errorf("append to mailbox: %w; half a message stays: %v", err, e)
	}
	return fmt.Errorf("append to mailbox: %w", err)
}

func dirOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "."
}

// writeMbox writes From_ line, message and the empty line behind it.
func writeMbox(f io.Writer, o Mbox, m Message) error {
	now := time.Now
	if o.Now != nil {
		now = o.Now
	}
	w := &limitWriter{w: f, left: o.MaxSize, limited: o.MaxSize > 0}
	out := bufio.NewWriterSize(w, copyBuffer)
	sender := o.Sender
	if sender == "" {
		sender = "MAILER-DAEMON"
	}
	fmt.Fprintf(out, "From %s  %s\n%s", sender, now().Format(time.ANSIC), m.Head) // out keeps its error
	in := bufio.NewReaderSize(m.Body, copyBuffer)
	start := true // of a line
	for {
		line, err := in.ReadSlice('\n')
		if start && bytes.HasPrefix(line, []byte("From ")) {
			out.WriteByte('>') // out keeps its error
		}
		if _, e := out.Write(line); e != nil {
			return e
		}
		if errors.Is(err, io.EOF) {
			start = start && len(line) == 0
			break
		}
		start = err == nil
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
	if !start {
		out.WriteByte('\n') // out keeps its error
	}
	out.WriteByte('\n') // as above
	return out.Flush()
}

// limitWriter refuses to write more than is left.
type limitWriter struct {
	w       io.Writer
	left    int64
	limited bool
}

func (l *limitWriter) Write(p []byte) (int, error) {
	if l.limited && int64(len(p)) > l.left {
		return 0, ErrTooLarge
	}
	n, err := l.w.Write(p)
	l.left -= int64(n)
	return n, err
}

// lockFile takes the kernel's locks, with the attempts that o allows.
func lockFile(f *os.File, o Mbox) error {
	for _, l := range o.Locks {
		var try func() error
		switch l {
		case LockFcntl:
			try = func() error {
				return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
			}
		case LockFlock:
			try = func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
		default:
			continue
		}
		if err := attempt(o, try, unix.EAGAIN, unix.EACCES); err != nil {
			return fmt.Errorf("%s: %w: %v", f.Name(), ErrLocked, err)
		}
	}
	return nil
}

// attempt calls try until it succeeds, fails otherwise than by busy, or the
// attempts are used up.
func attempt(o Mbox, try func() error, busy ...error) error {
	for n := 1; ; n++ {
		err := try()
		if err == nil || n >= max(o.Attempts, 1) {
			return err
		}
		wait := false
		for _, b := range busy {
			wait = wait || errors.Is(err, b)
		}
		if !wait {
			return err
		}
		time.Sleep(o.Delay)
	}
}

// dotlock makes path.lock, when o asks for it. Where the directory may not be
// written to, the other locks have to do.
func dotlock(path string, o Mbox) (unlock func(), err error) {
	wanted := false
	for _, l := range o.Locks {
		wanted = wanted || l == LockDotfile
	}
	if !wanted || strings.HasPrefix(path, "/dev/") {
		return func() {}, nil
	}
	lock := path + ".lock"
	err = attempt(o, func() error {
		f, err := os.OpenFile(lock, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0)
		if err == nil {
			return f.Close()
		}
		if st, e := os.Lstat(lock); e == nil && o.Stale > 0 && time.Since(st.ModTime()) > o.Stale {
			_ = os.Remove(lock) // if it can't be removed the next attempt fails
		}
		return err
	}, fs.ErrExist)
	switch {
	case err == nil:
		return func() { _ = os.Remove(lock) }, nil // a leftover is broken when it is stale
	case errors.Is(err, fs.ErrPermission) && len(o.Locks) > 1:
		return func() {}, nil
	}
	return nil, fmt.Errorf("%s: %w: %v", path, ErrLocked, err)
}
