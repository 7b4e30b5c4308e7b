package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"postroad/libmail/maillog"
	"postroad/libmail/server"
)

// A file is the log file.
type file struct {
	path  string
	tag   string // of our own lines
	out   writer
	plain *os.File // the same when it is a regular file, else nil
	lines []byte   // to be written, with their ends
	lost  int      // lines since the last one that was written
	torn  bool     // the last line was written in part
}

// writer is what a test may replace by a full disk.
type writer interface {
	Write(p []byte) (int, error)
}

// stdoutPath is the one value of maillog_file that is no file.
const stdoutPath = "/dev/stdout"

// open opens the file for appending, and makes it when it is missing.
func open(path string, mode os.FileMode, tag string) (*file, error) {
	if path == stdoutPath {
		return &file{path: path, tag: tag, out: os.Stdout}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, mode)
		if err == nil {
			err = f.Chmod(mode) // whatever the umask
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close() // nothing was written
		return nil, fmt.Errorf("open log file %s: %w", path, err)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close() // as above
		return nil, fmt.Errorf("open log file %s: %w", path, err)
	}
	return &file{path: path, tag: tag, out: appender{raw}, plain: f}, nil
}

// An appender writes to a regular file without telling the runtime, which
// would keep a thread awake to go on with other work meanwhile: there is none.
type appender struct{ raw syscall.RawConn }

func (a appender) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		cerr := a.raw.Control(func(fd uintptr) {
			m, _, errno := unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&p[n])), uintptr(len(p)-n))
			switch {
			case errno == 0 && m == 0:
				err = io.ErrShortWrite
			case errno == 0:
				n += int(m)
			case errno != unix.EINTR:
				err = os.NewSyscallError("write", errno)
			}
		})
		if cerr != nil {
			return n, cerr
		}
	}
	return n, err
}

// rotated says, for the log, that our file has lost its name; "" when it has
// it still.
func (f *file) rotated() string {
	if f.plain == nil {
		return ""
	}
	ours, err := f.plain.Stat()
	if err != nil {
		return "log file " + f.path
	}
	named, err := os.Lstat(f.path)
	switch {
	case err == nil && os.SameFile(ours, named):
		return ""
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return "" // it cannot be looked at: a new process would not see more
	}
	return "log file " + f.path
}

// flushSize is how much a file collects before it writes, in bytes.
const flushSize = 64 << 10

// add takes a line. It is in the file after flush.
func (f *file) add(line []byte) {
	f.lines = append(append(f.lines, maillog.Printable(string(line))...), '\n')
	if len(f.lines) >= flushSize {
		f.flush()
	}
}

// flush appends the lines in one write, and before them what became of those
// that could not be written.
func (f *file) flush() {
	if len(f.lines) == 0 {
		return
	}
	lines := f.lines
	f.lines = f.lines[:0]
	var head []byte
	if f.torn {
		head = append(head, '\n')
	}
	if f.lost > 0 {
		text := fmt.Sprintf("warning: %d log lines lost", f.lost)
		head = append(append(head, maillog.Line(time.Now(), server.LogHost(), f.tag, os.Getpid(), text)...), '\n')
	}
	if len(head) > 0 {
		lines = append(head, lines...)
	}
	n, err := f.out.Write(lines)
	if n > 0 {
		f.torn = lines[n-1] != '\n'
	}
	switch {
	case err == nil:
		f.lost = 0
	case n < len(head):
		f.lost += bytes.Count(lines[len(head):], []byte("\n"))
	default:
		f.lost = bytes.Count(lines[n:], []byte("\n"))
	}
}
