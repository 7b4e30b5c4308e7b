package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postroad/libmail/conf"
)

// Lock files below the queue directory.
const (
	pidFile      = "pid/master.pid"
	childrenFile = "pid/master.children"
)

// orphanWait bounds how long a new master waits for the programs of one that
// was killed; they end within five seconds.
const orphanWait = 8 * time.Second

// locks are held while master runs.
type locks struct {
	pid, data *os.File
	// children is locked by every program too, as they inherit it: while one
	// of them lives, no new master starts.
	children *os.File
}

// takeLocks makes sure that no other master uses the queue directory (the
// working directory) or the data directory.
func takeLocks(p params, owner credentials) (*locks, error) {
	l := &locks{}
	var err error
	if l.pid, err = lockFile(pidFile); err != nil {
		return nil, err
	}
	if err := writePid(l.pid); err != nil {
		return nil, err
	}
	path := filepath.Join(p.dataDir, "master.lock")
	if err := owner.do(func() error { l.data, err = lockFile(path); return err }); err != nil {
		return nil, err
	}
	if err := writePid(l.data); err != nil {
		return nil, err
	}
	l.children, err = lockChildren()
	return l, err
}

// lockFile opens and locks a file; the error says who has the lock.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close() // not ours
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		text, _ := io.ReadAll(io.LimitReader(f, 40)) // for the message only
		return nil, fmt.Errorf("lock %s: the mail system is already running (process %s)", path, strings.TrimSpace(string(text)))
	}
	return f, nil
}

// writePid writes our process id as Postfix does, padded to a fixed width.
func writePid(f *os.File) error {
	if _, err := f.WriteAt(fmt.Appendf(nil, "%32d\n", os.Getpid()), 0); err != nil {
		return fmt.Errorf("lock file %s: %w", f.Name(), err)
	}
	return nil
}

// lockChildren waits until the programs of an earlier master are gone, and
// takes the lock that ours will inherit.
func lockChildren() (*os.File, error) {
	f, err := os.OpenFile(childrenFile, os.O_RDONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	deadline := time.Now().Add(orphanWait)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			f.Close() // not ours
			return nil, fmt.Errorf("lock %s: %w", childrenFile, err)
		case time.Now().After(deadline):
			f.Close() // not ours
			return nil, fmt.Errorf("lock %s: programs of an earlier master still run", childrenFile)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// testLock is the -t option: 0 when no master runs, else 1.
func testLock(o options) int {
	c, err := conf.Load(o.configDir)
	if err != nil {
		fail(err)
	}
	f, err := os.Open(filepath.Join(c.String("queue_directory"), pidFile))
	if err != nil {
		return 0 // no file: no master
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return 1
	}
	return 0
}

// credentials are mail_owner's, for files that must be its own from the
// beginning: the directories they are in belong to it, so root must not touch
// names there that it could have replaced.
type credentials struct {
	uid, gid int
	change   bool // we are root and they are not ours
}

// do runs f on a thread that makes files as these credentials, and on no
// other.
func (c credentials) do(f func() error) error {
	if !c.change {
		return f()
	}
	done := make(chan error)
	go func() {
		// The thread is not unlocked: it ends with the goroutine, and with it
		// the credentials.
		runtime.LockOSThread()
		if err := c.become(); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// become sets the file system credentials of this thread and checks them, as
// the system calls report no error.
func (c credentials) become() error {
	syscall.RawSyscall(syscall.SYS_SETFSGID, uintptr(c.gid), 0, 0)
	syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(c.uid), 0, 0)
	const none = ^uintptr(0)
	gid, _, _ := syscall.RawSyscall(syscall.SYS_SETFSGID, none, 0, 0)
	uid, _, _ := syscall.RawSyscall(syscall.SYS_SETFSUID, none, 0, 0)
	if int(uid) != c.uid || int(gid) != c.gid {
		return fmt.Errorf("make files as uid %d gid %d: refused", c.uid, c.gid)
	}
	return nil
}
