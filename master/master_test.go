package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds waits that should be short.
const patience = 20 * time.Second

var programs string // directory of the programs under test

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	if programs, err = os.MkdirTemp("", "master-test"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(programs)
	if err := os.Chmod(programs, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	out, err := exec.Command("go", "build", "-o", programs+"/", ".", "./testdata/probe", "../postlogd").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// An instance is a mail system of probes in a directory of its own.
type instance struct {
	t   *testing.T
	dir string
	cmd *exec.Cmd
	end chan struct{}
}

// newInstance writes its configuration; the lines are master.cf's.
func newInstance(t *testing.T, services ...string) *instance {
	t.Helper()
	t.Parallel() // most of a test is waiting
	dir, err := os.MkdirTemp("", "mt")
	if err != nil {
		t.Fatal(err)
	}
	in := &instance{t: t, dir: dir}
	t.Cleanup(in.cleanup)
	for _, d := range []string{"etc", "queue", "data"} {
		in.must(os.Mkdir(in.path(d), 0o755))
	}
	in.must(os.Chmod(dir, 0o755))
	owner, group := "nobody", "nogroup"
	if os.Geteuid() == 0 {
		u, err := user.Lookup(owner)
		if err != nil {
			t.Skip(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		in.must(os.Chown(in.path("data"), uid, -1))
		if _, err := user.LookupGroup(group); err != nil {
			g, err := user.LookupGroupId(u.Gid)
			in.must(err)
			group = g.Name
		}
	}
	in.main("queue_directory = "+in.path("queue"), "data_directory = "+in.path("data"),
		"mail_owner = "+owner, "setgid_group = "+group, "compatibility_level = 3.6",
		"maillog_file = "+in.path("maillog"), "maillog_file_prefixes = "+dir,
		"inet_protocols = ipv4", "max_idle = 1000s", "service_throttle_time = 1s")
	in.master(services...)
	return in
}

func (in *instance) path(parts ...string) string {
	return filepath.Join(append([]string{in.dir}, parts...)...)
}

func (in *instance) must(err error) {
	in.t.Helper()
	if err != nil {
		in.t.Fatal(err)
	}
}

// main adds lines to main.cf.
func (in *instance) main(lines ...string) {
	in.t.Helper()
	f, err := os.OpenFile(in.path("etc", "main.cf"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	in.must(err)
	fmt.Fprintln(f, strings.Join(lines, "\n"))
	in.must(f.Close())
}

// master replaces master.cf.
func (in *instance) master(services ...string) {
	in.t.Helper()
	text := "postlog unix-dgram n - n - 1 postlogd\n" + strings.Join(services, "\n") + "\n"
	in.must(os.WriteFile(in.path("etc", "master.cf"), []byte(text), 0o644))
}

// command prepares a master.
func (in *instance) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(programs, "master"), append([]string{"-c", in.path("etc")}, args...)...)
	cmd.Env = append(os.Environ(), "SECRET=of the administrator")
	return cmd
}

// start runs master and waits until it is ready.
func (in *instance) start() {
	in.t.Helper()
	cmd := in.command()
	cmd.Stderr = os.Stderr
	in.must(cmd.Start())
	end := make(chan struct{})
	in.cmd, in.end = cmd, end
	go func() { cmd.Wait(); close(end) }()
	in.until("daemon started", func() bool {
		return strings.Contains(in.log(), fmt.Sprintf("master[%d]: daemon started", cmd.Process.Pid))
	})
}

func (in *instance) signal(sig os.Signal) {
	in.t.Helper()
	in.must(in.cmd.Process.Signal(sig))
}

// stop stops master and waits for its end.
func (in *instance) stop() {
	in.t.Helper()
	in.signal(syscall.SIGTERM)
	in.gone()
}

func (in *instance) gone() {
	in.t.Helper()
	select {
	case <-in.end:
	case <-time.After(patience):
		in.t.Fatal("master does not end")
	}
	in.cmd = nil
}

func (in *instance) cleanup() {
	if in.cmd != nil {
		in.cmd.Process.Kill()
		<-in.end
		in.until("the programs are gone", func() bool { return len(in.pids("")) == 0 })
	}
	if in.t.Failed() {
		old, _ := os.ReadFile(in.path("maillog.1"))
		in.t.Logf("log:\n%s%s", old, in.log())
	}
	os.RemoveAll(in.dir)
}

func (in *instance) log() string {
	text, _ := os.ReadFile(in.path("maillog"))
	return string(text)
}

func (in *instance) until(what string, holds func() bool) {
	in.t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			in.t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (in *instance) logged(text string) {
	in.t.Helper()
	in.until("log line "+text, func() bool { return strings.Contains(in.log(), text) })
}

// pids are the processes of the instance whose command line contains text.
func (in *instance) pids(text string) []int {
	var pids []int
	procs, err := os.ReadDir("/proc")
	in.must(err)
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		env, _ := os.ReadFile("/proc/" + p.Name() + "/cmdline")
		cwd, _ := os.Readlink("/proc/" + p.Name() + "/cwd")
		if strings.HasPrefix(cwd, in.dir) && bytes.Contains(env, []byte(text)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// freePort is a port that nobody uses now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A client talks to a probe.
type client struct {
	t *testing.T
	net.Conn
	r   *bufio.Reader
	pid string // who greeted
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	c, err := tryDial(addr)
	if err != nil {
		t.Fatal(err)
	}
	c.t = t
	t.Cleanup(func() { c.Close() })
	return c
}

// tryDial connects and waits for the greeting.
func tryDial(addr string) (*client, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	c := &client{Conn: conn, r: bufio.NewReader(conn)}
	line, err := c.r.ReadString('\n')
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greeting: %w", err)
	}
	if f := strings.Fields(line); len(f) > 1 && f[0] == "220" {
		c.pid = f[1]
		return c, nil
	}
	conn.Close()
	return nil, fmt.Errorf("greeting %q", line)
}

// ask sends a line and returns the answer without its line end.
func (c *client) ask(line string) string {
	c.t.Helper()
	fmt.Fprintf(c, "%s\r\n", line)
	return c.hear()
}

func (c *client) hear() string {
	c.t.Helper()
	answer, err := c.r.ReadString('\n')
	if err == io.EOF {
		return "EOF"
	}
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(answer)
}
