package privs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Command is a program that runs as a user: a delivery helper or what a
// user's .forward file names. It has a session of its own, sees only the
// descriptors and the environment that are listed, and dies with us.
type Command struct {
	User   *User    // nil: as we are
	Path   string   // file name of the program
	Args   []string // beginning with the program's name
	Env    []string // the whole environment, "NAME=value"
	Dir    string   // working directory, entered as the user; "" means ours
	Chroot string   // root directory, entered before becoming the user; "" means ours

	Stdin, Stdout, Stderr *os.File   // nil: /dev/null
	Files                 []*os.File // descriptors 3, 4, ...
}

// A Process is a Command that was started.
type Process struct {
	proc *os.Process
	done chan struct{}
	end  *os.ProcessState
	err  error
}

// Start starts the command. A process without root's rights can start
// commands only as itself.
func (c *Command) Start() (*Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close() // nothing was written
	files := []*os.File{null, null, null}
	for i, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		if f != nil {
			files[i] = f
		}
	}
	sys := &syscall.SysProcAttr{Setsid: true, Chroot: c.Chroot}
	// The signal comes when the thread that started the process ends, which
	// for Go's threads is when we do.
	sys.Pdeathsig = syscall.SIGKILL
	if sys.Credential, err = c.credential(); err != nil {
		return nil, err
	}
	// What somebody left open for us must not reach a user's command. An
	// error means an old kernel; our own files never leak.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	proc, err := os.StartProcess(c.Path, c.Args, &os.ProcAttr{
		Dir:   c.Dir,
		Env:   append([]string{}, c.Env...), // not nil, which would mean ours
		Files: append(files, c.Files...),
		Sys:   sys,
	})
	if err != nil {
		return nil, fmt.Errorf("start command: %w", err)
	}
	p := &Process{proc: proc, done: make(chan struct{})}
	go func() {
		p.end, p.err = proc.Wait()
		close(p.done)
	}()
	return p, nil
}

// credential is the user to become, or nil when we are that user.
func (c *Command) credential() (*syscall.Credential, error) {
	if c.User == nil {
		return nil, nil
	}
	if os.Geteuid() != 0 {
		if os.Geteuid() == c.User.UID {
			return nil, nil
		}
		return nil, fmt.Errorf("start command as user %s: not running as root", c.User.Name)
	}
	cred := &syscall.Credential{Uid: uint32(c.User.UID), Gid: uint32(c.User.GID)}
	for _, g := range c.User.Groups {
		cred.Groups = append(cred.Groups, uint32(g))
	}
	return cred, nil
}

// Pid is the process id, which is also that of its process group.
func (p *Process) Pid() int { return p.proc.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill kills the process and all of its process group.
func (p *Process) Kill() {
	select {
	case <-p.done:
	default:
		// The process was not reaped, so the number is still its own. An
		// error means that the group is empty.
		_ = syscall.Kill(-p.proc.Pid, syscall.SIGKILL)
	}
}

// Wait waits for the end of the process; when the context ends first, its
// process group is killed and the context's error returned with the state.
func (p *Process) Wait(ctx context.Context) (*os.ProcessState, error) {
	select {
	case <-p.done:
		return p.end, p.err
	case <-ctx.Done():
	}
	p.Kill()
	<-p.done
	return p.end, errors.Join(ctx.Err(), p.err)
}

// SelfPath is the program that runs now, whatever became of its file, as the
// Path of a helper.
const SelfPath = "/proc/self/exe"

// helperFD is a helper's descriptor of the socket to who started it.
const helperFD = 3

// StartHelper starts the command with a stream socket to us as its descriptor
// 3, before Files. When we close our end, or die, the helper sees the end of
// the stream.
func (c *Command) StartHelper() (*Process, *net.UnixConn, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("helper socket: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "helper socket")
	defer theirs.Close() // the helper has a copy
	ours, err := unixConn(fds[0])
	if err != nil {
		return nil, nil, err
	}
	h := *c
	h.Files = append([]*os.File{theirs}, c.Files...)
	p, err := h.Start()
	if err != nil {
		ours.Close() // unused
		return nil, nil, err
	}
	return p, ours, nil
}

// HelperConn is, in a helper, the socket to who started it.
func HelperConn() (*net.UnixConn, error) { return unixConn(helperFD) }

// unixConn takes over a descriptor.
func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "helper socket")
	defer f.Close() // FileConn made a copy
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("helper socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close() // not ours after all
		return nil, errors.New("helper socket: not a Unix socket")
	}
	return u, nil
}
