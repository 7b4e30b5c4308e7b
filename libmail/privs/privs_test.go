package privs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test program play the processes that the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[0] == "role" {
		if f := roles[os.Args[1]]; f != nil {
			f(os.Args[2:])
			os.Exit(0)
		}
		os.Exit(3)
	}
	os.Exit(m.Run())
}

var roles map[string]func(args []string)

func init() {
	roles = map[string]func([]string){
		"echo":    roleEcho,
		"drop":    roleDrop,
		"sandbox": roleSandbox,
		"show":    roleShow,
	}
}

// role is a command that plays one of the roles.
func role(u *User, args ...string) *Command {
	return &Command{User: u, Path: SelfPath, Args: append([]string{"role"}, args...), Dir: "/"}
}

// output runs a command and returns what it printed.
func output(t *testing.T, c *Command) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout, c.Stderr = w, w
	p, err := c.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := p.Wait(context.Background()); err != nil || !st.Success() {
		t.Fatalf("role ended with %v %v: %s", st, err, text)
	}
	return string(text)
}

// nobody is an account without rights; the test is skipped when we cannot
// become it.
func nobody(t *testing.T) *User {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	u, err := LookupUser("nobody")
	if err != nil {
		t.Skip(err)
	}
	return u
}

func roleShow([]string) {
	groups, err := os.Getgroups()
	fmt.Println("uid", os.Getuid(), os.Geteuid(), "gid", os.Getgid(), os.Getegid(), "groups", groups, err)
	fmt.Println("env", os.Environ())
	fds, err := os.ReadDir("/proc/self/fd")
	for _, e := range fds {
		link, lerr := os.Readlink("/proc/self/fd/" + e.Name())
		if lerr == nil && !strings.HasPrefix(link, "anon_inode:") && !strings.HasPrefix(link, "/proc/") &&
			!strings.HasPrefix(link, "/sys/fs/cgroup/") { // these two are the Go runtime's own
			fmt.Println("fd", e.Name())
		}
	}
	sid, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, 0, 0, 0)
	fmt.Println("leader", int(sid) == os.Getpid(), err)
}

func TestCommandIsTheUserAndNothingElse(t *testing.T) {
	u := nobody(t)
	t.Setenv("SECRET", "of the parent")
	c := role(u, "show")
	c.Env = []string{"HOME=/nowhere"}
	extra, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	c.Files = []*os.File{extra}
	want := fmt.Sprintf("uid %d %d gid %d %d groups [%d] <nil>\nenv [HOME=/nowhere]\nfd 0\nfd 1\nfd 2\nfd 3\nleader true <nil>\n",
		u.UID, u.UID, u.GID, u.GID, u.GID)
	if got := output(t, c); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func roleDrop(args []string) {
	u, err := LookupUser(args[0])
	if err == nil {
		err = Drop(u)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	// Every thread must have lost root, not only the one that asked.
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := os.ReadFile("/etc/shadow"); !errors.Is(err, os.ErrPermission) {
				fmt.Println("shadow:", err)
			}
		})
	}
	wg.Wait()
	fmt.Println("dropped", syscall.Setuid(0), syscall.Setgid(0))
}

func TestDropIsForAllThreadsAndForGood(t *testing.T) {
	nobody(t)
	want := "dropped operation not permitted operation not permitted\n"
	if got := output(t, role(nil, "drop", "nobody")); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := output(t, role(nil, "drop", "root")); got != "become user root: that drops nothing\n" {
		t.Errorf("root: got %q", got)
	}
	if got := output(t, role(nil, "drop", "no-such-user")); !strings.HasPrefix(got, "user no-such-user: ") {
		t.Errorf("missing user: got %q", got)
	}
}

func roleSandbox(args []string) {
	inside, outside := args[0], args[1]
	text, err := Sandbox{Read: []string{"/proc", outside + "/readable"}, Write: []string{inside}, NoTCP: true, FileSize: 100}.Enforce()
	fmt.Println(Describe()+":", text, err)
	attempts := []struct {
		name string
		try  func() error
	}{
		{"write inside", func() error { return os.WriteFile(inside+"/a", nil, 0o600) }},
		{"rename to another directory inside", func() error {
			if err := os.Mkdir(inside+"/d", 0o700); err != nil {
				return err
			}
			return os.Rename(inside+"/a", inside+"/d/a")
		}},
		{"listen inside", func() error { _, err := net.Listen("unix", inside+"/s"); return err }},
		{"connect inside", func() error { _, err := net.Dial("unix", inside+"/s"); return err }},
		{"read what is listed", func() error { _, err := os.ReadFile(outside + "/readable"); return err }},
		{"write what may be read", func() error { return os.WriteFile(outside+"/readable", nil, 0o600) }},
		{"read outside", func() error { _, err := os.ReadFile(outside + "/secret"); return err }},
		{"make outside", func() error { return os.WriteFile(outside+"/new", nil, 0o600) }},
		{"remove outside", func() error { return os.Remove(outside + "/secret") }},
		{"run a program", func() error {
			_, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
			return err
		}},
		{"connect with TCP", func() error { _, err := net.Dial("tcp", "127.0.0.1:9"); return err }},
		{"signal outside", func() error { return syscall.Kill(os.Getppid(), 0) }},
		{"long file", func() error { return os.WriteFile(inside+"/long", make([]byte, 200), 0o600) }},
	}
	for _, a := range attempts {
		err := a.try()
		verdict := "yes"
		switch {
		case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EFBIG):
			verdict = "no"
		case err != nil:
			verdict = err.Error()
		}
		fmt.Println(a.name+":", verdict)
	}
}

func TestSandbox(t *testing.T) {
	dir := t.TempDir()
	inside, outside := dir+"/inside", dir+"/outside"
	for _, d := range []string{inside, outside} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"readable", "secret"} {
		if err := os.WriteFile(outside+"/"+f, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := output(t, role(nil, "sandbox", inside, outside))
	first, rest, _ := strings.Cut(got, "\n")
	t.Log(first)
	if strings.Contains(first, "no Landlock") {
		t.Skip("this kernel has no Landlock")
	}
	if !strings.Contains(first, "no new privileges: files up to 100 bytes, Landlock ") ||
		!strings.Contains(first, "write "+inside+", run nothing, no TCP") {
		t.Errorf("what is enforced: %q", first)
	}
	want := `write inside: yes
rename to another directory inside: yes
listen inside: yes
connect inside: yes
read what is listed: yes
write what may be read: no
read outside: no
make outside: no
remove outside: no
run a program: no
connect with TCP: no
signal outside: no
long file: no
`
	if rest != want {
		t.Errorf("got\n%swant\n%s", rest, want)
	}
}

func roleEcho([]string) {
	c, err := HelperConn()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buf := make([]byte, 100)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if bytes.Equal(buf[:n], []byte("die")) {
			os.Exit(1)
		}
		fmt.Fprintf(c, "%d %s", os.Getpid(), buf[:n])
	}
}

func TestHelpers(t *testing.T) {
	h := &Helpers{Command: func(*User) *Command { return role(nil, "echo") }, Idle: time.Minute, Max: 1}
	defer h.Close()
	ask := func(text string) (pid string) {
		err := h.Do(nil, func(c *net.UnixConn) error {
			if _, err := io.WriteString(c, text); err != nil {
				return err
			}
			buf := make([]byte, 100)
			n, err := c.Read(buf)
			pid, _, _ = strings.Cut(string(buf[:n]), " ")
			return err
		})
		if err != nil {
			return err.Error()
		}
		return pid
	}
	first := ask("hello")
	if second := ask("again"); second != first {
		t.Errorf("a kept helper serves the next task: %s, then %s", first, second)
	}
	if got := ask("die"); got != "EOF" {
		t.Errorf("the death of a helper is the task's error: %q", got)
	}
	third := ask("hello")
	if third == first || third == "EOF" {
		t.Errorf("after a death a new one is started: %q", third)
	}
	if err := syscall.Kill(h.free[0].proc.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-h.free[0].proc.Done()
	if fourth := ask("hello"); fourth == third || fourth == "EOF" {
		t.Errorf("one that died while idle is not used: %q", fourth)
	}
	w := h.free[0]
	h.Close()
	<-w.proc.Done()
}

func TestWaitKillsTheProcessGroupAfterItsTime(t *testing.T) {
	sh := "/bin/sh"
	if _, err := os.Stat(sh); err != nil {
		t.Skip(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := &Command{Path: sh, Args: []string{"sh", "-c", "sleep 1000 & echo started; sleep 1000"}, Env: []string{"PATH=/bin:/usr/bin"}, Stdout: w}
	p, err := c.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if _, err := r.Read(buf); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	st, err := p.Wait(ctx)
	if !errors.Is(err, context.Canceled) || st.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("got %v, %v", st, err)
	}
	if n, err := r.Read(buf); err != io.EOF {
		t.Errorf("the child of the child lives on: %d %v", n, err)
	}
}

func TestSafeOpen(t *testing.T) {
	for _, way := range []string{"openat2", "walk"} {
		t.Run(way, func(t *testing.T) { testSafeOpen(t, way == "walk") })
	}
}

func testSafeOpen(t *testing.T, byHand bool) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(dir+"/box", 0o700))
	must(os.Mkdir(dir+"/box/sub", 0o700))
	must(os.WriteFile(dir+"/canary", []byte("canary"), 0o600))
	must(os.WriteFile(dir+"/box/mail", []byte("mail"), 0o600))
	must(os.WriteFile(dir+"/box/sub/mail", []byte("mail"), 0o600))
	must(os.WriteFile(dir+"/box/two", nil, 0o600))
	must(os.Link(dir+"/box/two", dir+"/box/names"))
	must(os.Symlink(dir+"/canary", dir+"/box/link"))
	must(os.Symlink("sub", dir+"/box/sublink"))
	must(os.Symlink(dir+"/nothing", dir+"/box/dangling"))
	must(syscall.Mkfifo(dir+"/box/fifo", 0o600))
	me := Demand{Owner: os.Geteuid()}
	for _, c := range []struct {
		rule  string
		path  string
		flags int
		d     Demand
		want  string // in the error; "" none
	}{
		{"a plain file is opened", "mail", os.O_RDWR, me, ""},
		{"and one in a directory", "sub/mail", os.O_RDWR, me, ""},
		{"a missing file is missing", "none", os.O_RDWR, me, "no such file"},
		{"a missing file is made", "made", os.O_RDWR | os.O_CREATE, me, ""},
		{"one that exists is not made", "mail", os.O_RDWR | os.O_CREATE | os.O_EXCL, me, "exists"},
		{"a symbolic link is not followed", "link", os.O_RDWR, me, "symbolic link"},
		{"nor truncated through", "link", os.O_RDWR | os.O_TRUNC, me, "symbolic link"},
		{"nor made through", "dangling", os.O_RDWR | os.O_CREATE, me, "symbolic link"},
		{"a linked directory is not entered", "sublink/mail", os.O_RDWR, me, "symbolic link"},
		{"the path does not lead out", "../canary", os.O_RDWR, me, "out of the directory"},
		{"nor back in", "sub/../../canary", os.O_RDWR, me, "out of the directory"},
		{"an absolute path leads out", dir + "/canary", os.O_RDWR, me, "out of the directory"},
		{"a file of two names is refused", "two", os.O_RDWR, me, "2 names"},
		{"unless any number will do", "two", os.O_RDWR, Demand{Owner: -1, AnyLink: true}, ""},
		{"a FIFO does not block", "fifo", os.O_RDONLY, me, "not a regular file"},
		{"nor for writing", "fifo", os.O_WRONLY, me, "not a regular file"},
		{"a directory is no file", "sub", os.O_RDONLY, me, "not a regular file"},
		{"another's file is refused", "mail", os.O_RDWR, Demand{Owner: 12345}, "owned by uid"},
	} {
		if byHand {
			c.want = strings.Replace(c.want, "out of the directory", "", 1)
		}
		f, err := open(dir+"/box", c.path, c.flags, c.d, byHand)
		switch {
		case err == nil && c.want != "":
			t.Errorf("%s: opened", c.rule)
		case err != nil && (c.want == "" && !byHand || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v", c.rule, err)
		}
		if f != nil {
			f.Close()
		}
	}
	text, err := os.ReadFile(dir + "/canary")
	if err != nil || string(text) != "canary" {
		t.Errorf("the file outside changed: %q %v", text, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "nothing")); err == nil {
		t.Errorf("a file was made through a link")
	}
}

// open is SafeOpen, or the same over the walk for kernels without openat2.
func open(dir, path string, flags int, d Demand, byHand bool) (*os.File, error) {
	if !byHand {
		return SafeOpen(dir, path, flags, 0o600, d)
	}
	root, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return openChecked(int(root.Fd()), path, flags, 0o600, d, walk)
}

// TestSafeOpenRace swaps a file with links while it is opened all the time.
func TestSafeOpenRace(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/box", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/canary", []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			os.Symlink(dir+"/canary", dir+"/box/new")
			os.Rename(dir+"/box/new", dir+"/box/mail")
			os.Link(dir+"/canary", dir+"/box/new")
			os.Rename(dir+"/box/new", dir+"/box/mail")
			os.WriteFile(dir+"/box/new", nil, 0o600)
			os.Rename(dir+"/box/new", dir+"/box/mail")
		}
	})
	opened := 0
	for range 20000 {
		f, err := SafeOpen(dir+"/box", "mail", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600, Demand{Owner: os.Geteuid()})
		if err == nil {
			opened++
			f.WriteString("overwritten")
			f.Close()
		}
	}
	close(stop)
	wg.Wait()
	if text, err := os.ReadFile(dir + "/canary"); err != nil || string(text) != "canary" {
		t.Errorf("the file outside changed: %q %v", text, err)
	}
	if opened == 0 {
		t.Errorf("the file itself was never opened")
	}
}
