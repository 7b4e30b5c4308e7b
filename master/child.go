package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postroad/libmail/server"
)

// A child is one process of a service.
type child struct {
	service *service
	path    string
	pid     int
	control *server.Control
	began   time.Time
	ready   bool
	limit   *time.Timer // on the time until it is ready
	told    bool        // to drain or stop: it need not serve before it ends
	killed  bool        // by us
}

// maxErrorLine bounds a line of a program's standard error.
const maxErrorLine = 2000

// spawn starts a service's program.
func (m *master) spawn(s *service) (*child, error) {
	path, err := m.findProgram(s.Command)
	if err != nil {
		return nil, err
	}
	control, theirs, err := server.ControlPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close() // the child has a copy
	var stderr [2]int
	if err := unix.Pipe2(stderr[:], unix.O_CLOEXEC); err != nil {
		control.Close() // unused
		return nil, fmt.Errorf("pipe: %w", err)
	}
	defer unix.Close(stderr[1]) // the child has a copy
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		null = stderr[1] // nothing to read from it either
	} else {
		defer unix.Close(null) // the child has a copy
	}
	files := []uintptr{uintptr(null), 1, uintptr(stderr[1]), theirs.Fd(), uintptr(m.flow[0]), uintptr(m.flow[1])}
	for _, sock := range s.sockets {
		files = append(files, uintptr(sock.fd))
	}
	files = append(files, m.locks.children.Fd())
	pid, err := syscall.ForkExec(path, m.arguments(s, path), &syscall.ProcAttr{Env: m.params.environ, Files: files})
	if err != nil {
		control.Close() // unused
		unix.Close(stderr[0])
		return nil, err
	}
	c := &child{service: s, path: path, pid: pid, control: control, began: time.Now()}
	m.children[pid] = c
	m.log.Debug("service %s: process %s pid %d", s.Name, path, pid)
	go c.listen()
	go c.relay(os.NewFile(uintptr(stderr[0]), "standard error"))
	return c, nil
}

// findProgram looks for a program where they are kept.
func (m *master) findProgram(name string) (string, error) {
	var first error
	for _, dir := range m.params.daemonDirs {
		path := filepath.Join(dir, name)
		st, err := os.Stat(path)
		if err == nil && (st.IsDir() || st.Mode()&0o111 == 0) {
			err = fmt.Errorf("%s: not a program", path)
		}
		if err == nil {
			return path, nil
		}
		if first == nil {
			first = err
		}
	}
	return "", first
}

// arguments is a program's command line, Postfix's but for -m.
func (m *master) arguments(s *service, path string) []string {
	argv := []string{filepath.Base(path)}
	switch limit := m.limit(s); limit {
	case 0:
		argv = append(argv, "-z")
	case 1:
		argv = append(argv, "-l")
	default:
		argv = append(argv, "-m", strconv.Itoa(limit))
	}
	argv = append(argv, "-n", s.Name, "-t", s.Type)
	for range m.opts.verbose {
		argv = append(argv, "-v")
	}
	if s.Unprivileged {
		argv = append(argv, "-u")
	}
	if s.Chroot {
		argv = append(argv, "-c")
	}
	argv = append(argv, "-s", strconv.Itoa(len(s.sockets)))
	return append(argv, s.Args...)
}

// limit is how many sessions a service may have; 0 is as many as descriptors
// allow. A dash in the maxproc column of a network service that nobody set
// default_process_limit for means that: a hundred is the number of processes
// that a machine bears, and our sessions are no processes.
func (m *master) limit(s *service) int {
	network := s.Type == "inet" || s.Type == "pass"
	if network && s.MaxProcUnset && !m.params.limitWished {
		return 0
	}
	return s.MaxProc
}

// listen passes on what the program says, until it ends.
func (c *child) listen() {
	m := c.service.m
	for {
		word, rest, err := c.control.Receive()
		if err != nil {
			return // reap tells the end
		}
		m.events <- func() { c.service.heard(c, word, rest) }
	}
}

// relay logs what the program writes to standard error: the Go runtime's last
// words, if any.
func (c *child) relay(f *os.File) {
	defer f.Close()
	r := bufio.NewReaderSize(f, maxErrorLine)
	own := fmt.Sprintf("[%d]: ", c.pid)
	for {
		line, err := r.ReadSlice('\n')
		switch text := strings.TrimSpace(string(line)); {
		case text == "":
		case strings.Contains(text, own):
			// A line of its log that it could not send to the system logger.
			// Neither can we; standard error is the last resort.
			_, _ = os.Stderr.WriteString(text + "\n")
		default:
			c.service.m.log.Warning("%s[%d]: %s", filepath.Base(c.path), c.pid, text)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// send tells the program something. An error means that it has ended, or
// does not listen and will be found out by its silence.
func (c *child) send(word string) {
	if word != server.WordWake && word != server.WordReload {
		c.told = true
	}
	_ = c.control.Send(word, "")
}

// exited takes the program's end.
func (c *child) exited(status syscall.WaitStatus) {
	c.control.Close() // nobody is at the other end
	if c.limit != nil {
		c.limit.Stop()
	}
	c.service.ended(c, status)
	c.service.m.childGone(c)
}

// kill ends the program at once.
func (c *child) kill() {
	c.killed = true
	// It was not reaped yet, so the number is its own.
	_ = syscall.Kill(c.pid, syscall.SIGKILL)
}
