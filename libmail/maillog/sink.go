package maillog

import (
	"fmt"
	"io"
	"log/syslog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// writeLimit bounds how long one line may wait for its reader.
const writeLimit = 100 * time.Millisecond

// Stamp is the time of a log line (RFC 3164 §4.1.2): "Nov 22 07:40:50", the
// day padded with a blank.
const Stamp = "Jan _2 15:04:05"

// Line is a whole line of a log file, without line end.
func Line(now time.Time, host, tag string, pid int, text string) string {
	return now.Format(Stamp) + " " + host + " " + tag + "[" + strconv.Itoa(pid) + "]: " + text
}

// Stream is a sink that writes whole lines to w, each in one write.
func Stream(w io.Writer, host string) Sink { return &stream{w: w, host: host} }

type stream struct {
	mu   sync.Mutex
	w    io.Writer
	host string
}

func (s *stream) Write(_ Level, tag, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A log that can't be written has nobody left to tell.
	_, _ = io.WriteString(s.w, Line(time.Now(), s.host, tag, os.Getpid(), text)+"\n")
}

// Terminal is the sink of commands: "PROGRAM: text" on standard error.
func Terminal(w io.Writer) Sink { return &terminal{w: w} }

type terminal struct {
	mu sync.Mutex
	w  io.Writer
}

func (t *terminal) Write(_ Level, tag, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = fmt.Fprintf(t.w, "%s: %s\n", tag[strings.LastIndexByte(tag, '/')+1:], text)
}

// Tee is a sink that writes to both.
func Tee(a, b Sink) Sink { return tee{a, b} }

type tee struct{ a, b Sink }

func (t tee) Write(level Level, tag, text string) {
	t.a.Write(level, tag, text)
	t.b.Write(level, tag, text)
}

// A Datagram is a sink that sends each line to a unix datagram socket. It
// drops lines when nobody reads, counts them, and says so with the next line
// that gets through.
type Datagram struct {
	path   string
	format func(level Level, tag, text string) string
	mu     sync.Mutex
	conn   *net.UnixConn
	next   time.Time // earliest next attempt to connect
	lost   atomic.Int64
	backup Sink // gets lines while the socket can't be reached, or nil
}

// Postlog is a sink that sends to postlogd at path, which adds nothing but
// the line end. The backup, which may be nil, takes over while postlogd can't
// be reached.
func Postlog(path, host string, backup Sink) *Datagram {
	pid := os.Getpid()
	return &Datagram{path: path, backup: backup, format: func(_ Level, tag, text string) string {
		return Line(time.Now(), host, tag, pid, text)
	}}
}

// Syslog is a sink that sends to the system logger at path ("/dev/log") under
// a facility (RFC 3164 §4.1.1).
func Syslog(path string, facility syslog.Priority, backup Sink) *Datagram {
	severity := [...]syslog.Priority{syslog.LOG_INFO, syslog.LOG_WARNING, syslog.LOG_ERR, syslog.LOG_CRIT, syslog.LOG_CRIT}
	pid := os.Getpid()
	return &Datagram{path: path, backup: backup, format: func(level Level, tag, text string) string {
		return fmt.Sprintf("<%d>%s %s[%d]: %s", facility|severity[level], time.Now().Format(Stamp), tag, pid, text)
	}}
}

// Open connects now, for a program that is about to lose sight of the path.
func (d *Datagram) Open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.connect()
}

func (d *Datagram) connect() error {
	if d.conn != nil {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: d.path, Net: "unixgram"})
	if err == nil {
		d.conn = conn
	}
	return err
}

func (d *Datagram) Write(level Level, tag, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.lost.Load(); n > 0 && d.send(d.format(Warning, tag, fmt.Sprintf("warning: %d log lines lost", n))) {
		d.lost.Add(-n)
	}
	if d.send(d.format(level, tag, text)) {
		return
	}
	if d.backup != nil {
		d.backup.Write(level, tag, text)
		return
	}
	d.lost.Add(1)
}

// put sends one datagram. The descriptor does not block, so the call is made
// without telling the runtime, which would keep a thread awake for it.
func (d *Datagram) put(line []byte) error {
	raw, err := d.conn.SyscallConn()
	if err != nil || len(line) == 0 {
		return err
	}
	var errno syscall.Errno
	err = raw.Write(func(fd uintptr) bool {
		for {
			_, _, errno = syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&line[0])), uintptr(len(line)),
				syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
			if errno != syscall.EINTR {
				return errno != syscall.EAGAIN
			}
		}
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}

// send tries the socket, once anew after the reader was replaced.
func (d *Datagram) send(line string) bool {
	for range 2 {
		if d.conn == nil {
			if time.Now().Before(d.next) {
				return false
			}
			if d.connect() != nil {
				d.next = time.Now().Add(writeLimit)
				return false
			}
		}
		_ = d.conn.SetWriteDeadline(time.Now().Add(writeLimit)) // never fails on an open socket
		if d.put([]byte(line)) == nil {
			return true
		}
		_ = d.conn.Close() // nothing is buffered in it
		d.conn = nil
	}
	d.next = time.Now().Add(writeLimit)
	return false
}
