package privs

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// A Sandbox is what a process may still do with the file system and the
// network, after which nothing opens what is not listed; what is open stays
// open. Enforce cannot be undone, and processes that are started later
// inherit it. No process in a sandbox gains rights by running a set-uid or
// set-gid program, and none leaves a core file.
type Sandbox struct {
	Read     []string // directories and files that may be read; a missing path is left out
	Write    []string // the same, also written, made, renamed and removed
	Exec     []string // programs, or directories of programs, that may be run
	NoTCP    bool     // no TCP connections but those that are open
	FileSize int64    // longest file that may be written, in bytes; 0: no limit
}

// Rights of Landlock, in its words. Renaming from one directory to another
// (refer) exists since its version 2, truncate since 3.
const (
	readFile  landlock.AccessFSSet = ll.AccessFSReadFile
	readDir   landlock.AccessFSSet = ll.AccessFSReadFile | ll.AccessFSReadDir
	writeFile landlock.AccessFSSet = ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate
	writeDir  landlock.AccessFSSet = readDir | writeFile | ll.AccessFSRemoveDir | ll.AccessFSRemoveFile |
		ll.AccessFSMakeDir | ll.AccessFSMakeReg | ll.AccessFSMakeSock | ll.AccessFSMakeFifo |
		ll.AccessFSMakeSym | ll.AccessFSRefer
	execFile landlock.AccessFSSet = ll.AccessFSReadFile | ll.AccessFSExecute
	execDir  landlock.AccessFSSet = readDir | ll.AccessFSExecute
	allFS    landlock.AccessFSSet = writeDir | ll.AccessFSExecute | ll.AccessFSMakeChar | ll.AccessFSMakeBlock
)

// Versions of Landlock that bring what we use.
const (
	landlockRefer = 2 // below it a rename between directories is always refused
	landlockTrunc = 3
	landlockTCP   = 4
	landlockScope = 6 // no signals to, no abstract sockets of, processes outside
)

// Enforce shuts the process in, all its threads, as far as the kernel can.
// The text says in one line what holds now. The error is for what no kernel
// should refuse. Paths are looked up now, so a process that will chroot calls
// it before; it needs proc(5), which a chroot hides.
func (s Sandbox) Enforce() (string, error) {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return "", fmt.Errorf("sandbox: limit core files: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return "", fmt.Errorf("sandbox: not dumpable: %w", err)
	}
	if s.FileSize > 0 {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGXFSZ) // the write's error tells
		lim := &syscall.Rlimit{Cur: uint64(s.FileSize), Max: uint64(s.FileSize)}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, lim); err != nil {
			return "", fmt.Errorf("sandbox: limit file size: %w", err)
		}
	}
	if err := ll.AllThreadsPrctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return "", fmt.Errorf("sandbox: no new privileges: %w", err)
	}
	locked, err := s.landlock()
	if s.FileSize > 0 {
		locked = fmt.Sprintf("files up to %d bytes, ", s.FileSize) + locked
	}
	return locked, err
}

// landlock applies the rules about files and TCP, and says which.
func (s Sandbox) landlock() (string, error) {
	version, err := ll.LandlockGetABIVersion()
	if err != nil || version < landlockRefer {
		return fmt.Sprintf("no Landlock (kernel has version %d)", max(version, 0)), nil
	}
	handled := allFS
	if version < landlockTrunc {
		handled &^= ll.AccessFSTruncate
	}
	rules, err := s.rules(handled)
	if err != nil {
		return "", err
	}
	var said []string
	said = append(said, fmt.Sprintf("Landlock %d: read %s, write %s, run %s",
		version, paths(s.Read), paths(s.Write), paths(s.Exec)))
	wanted := []any{handled}
	if s.NoTCP {
		if version >= landlockTCP {
			wanted = append(wanted, landlock.AccessNetSet(ll.AccessNetBindTCP|ll.AccessNetConnectTCP))
			said = append(said, "no TCP")
		} else {
			said = append(said, "TCP not restricted")
		}
	}
	if version >= landlockScope {
		wanted = append(wanted, landlock.ScopedSet(ll.ScopeAbstractUnixSocket|ll.ScopeSignal))
	}
	c, err := landlock.NewConfig(wanted...)
	if err != nil {
		return "", fmt.Errorf("sandbox: %w", err)
	}
	switch err := c.Restrict(rules...); {
	case errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EOPNOTSUPP):
		return "no Landlock (refused by the kernel)", nil
	case err != nil:
		return "", fmt.Errorf("sandbox: %w", err)
	}
	return strings.Join(said, ", "), nil
}

// rules turns the lists into Landlock's; a file gets a file's rights only.
func (s Sandbox) rules(handled landlock.AccessFSSet) ([]landlock.Rule, error) {
	var rules []landlock.Rule
	for _, list := range []struct {
		paths     []string
		file, dir landlock.AccessFSSet
	}{
		{s.Read, readFile, readDir},
		{s.Write, writeFile, writeDir},
		{s.Exec, execFile, execDir},
		{[]string{os.DevNull}, writeFile, 0},
	} {
		for _, path := range list.paths {
			st, err := os.Stat(path)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("sandbox: %w", err)
			}
			rights := list.file
			if st.IsDir() {
				rights = list.dir
			}
			rules = append(rules, landlock.PathAccess(rights&handled, path))
		}
	}
	return rules, nil
}

// Describe says in one line for the log as whom the process runs, and whether
// set-uid programs still give it rights.
func Describe() string {
	text := fmt.Sprintf("uid %d, gid %d", os.Geteuid(), os.Getegid())
	if nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && nnp == 1 {
		text += ", no new privileges"
	}
	return text
}

func paths(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, " ")
}
