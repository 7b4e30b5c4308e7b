package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/ipc"
)

func TestAProgramThatIsKilledIsStartedAgain(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe inet", "res unix n - n - 1 probe resident RES")
	res := in.path("data/res")
	in.master(addr+" inet n - n - - probe inet", "res unix n - n 1000 1 probe resident "+res)
	in.start()
	last := ""
	for i := range 4 {
		c := dial(t, addr)
		if c.pid == last {
			t.Fatalf("kill %d: process %s lives", i, last)
		}
		last = c.pid
		for _, pid := range in.pids("-n\x00" + addr) {
			in.must(syscall.Kill(pid, syscall.SIGKILL))
		}
		if got := c.hear(); got != "EOF" && !strings.Contains(got, "reset") {
			t.Errorf("kill %d: %q", i, got)
		}
	}
	in.logged("killed by signal 9")

	starts := func() int { text, _ := os.ReadFile(res); return strings.Count(string(text), "start") }
	in.until("a resident program runs", func() bool { return starts() == 1 })
	for _, pid := range in.pids("resident") {
		in.must(syscall.Kill(pid, syscall.SIGKILL))
	}
	in.until("and runs again without being asked", func() bool { return starts() == 2 })
	in.stop()
	if text, _ := os.ReadFile(res); !strings.HasSuffix(string(text), "stop\n") {
		t.Errorf("it was not told to stop: %q", text)
	}
}

func TestAProgramThatDoesNotComeUpIsThrottled(t *testing.T) {
	for _, role := range []string{"fails", "dies", "unknown"} {
		t.Run(role, func(t *testing.T) {
			addr := freePort(t)
			in := newInstance(t, addr+" inet n - n - - probe "+role)
			in.main("service_throttle_time = 1000s")
			in.start()
			c, err := net.Dial("tcp", addr)
			in.must(err)
			defer c.Close()
			in.logged("probe: bad command startup -- throttling")
			if role == "fails" {
				in.logged("fatal: refusing to start")
			}
			time.Sleep(50 * time.Millisecond) // a loop would show in the log
			if n := strings.Count(in.log(), "exit status"); n != 1 {
				t.Errorf("started %d times", n)
			}
			in.master(addr + " inet n - n - - probe inet")
			in.signal(syscall.SIGHUP)
			c.SetReadDeadline(time.Now().Add(patience))
			buf := make([]byte, 4)
			if _, err := c.Read(buf); err != nil || string(buf) != "220 " {
				t.Errorf("after a reload the client that waited is served: %q %v", buf, err)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		addr := freePort(t)
		in := newInstance(t, addr+" inet n - n - - no-such-program")
		in.start()
		c, err := net.Dial("tcp", addr)
		in.must(err)
		defer c.Close()
		in.logged("no-such-program: no such file or directory -- throttling")
	})
}

func TestPauseAfter(t *testing.T) {
	for _, c := range []struct {
		rule    string
		strikes int
		killed  bool
		want    time.Duration
	}{
		{"the first crash costs nothing", 1, false, 0},
		{"the second a second", 2, false, time.Second},
		{"then twice as long", 4, false, 4 * time.Second},
		{"up to a minute", 9, false, time.Minute},
		{"and never more", 1000, false, time.Minute},
		{"a program that is killed waits less", 1000, true, time.Second},
	} {
		if got := pauseAfter(c.strikes, c.killed); got != c.want {
			t.Errorf("%s: %v, want %v", c.rule, got, c.want)
		}
	}
}

// TestStopLetsSessionsFinish: those that work finish, those that wait hear
// about it, and no client connects any more.
func TestStopLetsSessionsFinish(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe inet", "talk unix - - n - - probe stream")
	in.start()
	idle := dial(t, addr)
	talk := &ipc.Client{Path: in.path("queue/private/talk"), Protocol: "probe", Timeout: patience}
	defer talk.Close()
	if _, err := converse(talk, "warm up"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := converse(talk, "slow")
		done <- err
	}()
	in.until("the request is under way", func() bool { return len(in.pids("stream")) == 1 })
	time.Sleep(20 * time.Millisecond) // within the 100 ms that it takes
	in.signal(syscall.SIGTERM)
	if err := <-done; err != nil {
		t.Errorf("a request under way: %v", err)
	}
	if got := idle.hear(); got != "421 going down" {
		t.Errorf("an idle session: %q", got)
	}
	in.gone()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("the service is still open")
	}
	if strings.Contains(in.log(), "did not finish in time") {
		t.Error("a program had to be killed")
	}
}

// TestStopUnderLoad: every client is served, refused before its greeting, or
// told with 421.
func TestStopUnderLoad(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe inet")
	in.start()
	var served atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				c, err := tryDial(addr)
				if err != nil {
					return // closed
				}
				c.t = t
				got := c.ask("hello")
				if got != "250 "+c.pid+" hello" && got != "421 going down" {
					t.Errorf("a session was cut: %q", got)
				}
				c.Close()
				served.Add(1)
			}
		})
	}
	in.until("load", func() bool { return served.Load() > 200 })
	in.stop()
	wg.Wait()
}

// TestTheProgramsOfAKilledMasterEnd within five seconds, and another master
// does not start before.
func TestTheProgramsOfAKilledMasterEnd(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe inet")
	in.start()
	c := dial(t, addr)
	killed := time.Now()
	in.signal(syscall.SIGKILL)
	in.gone()
	in.start()
	if took := time.Since(killed); took > 7*time.Second {
		t.Errorf("the next master needed %v", took)
	}
	if text, _ := os.ReadFile("/proc/" + c.pid + "/cmdline"); len(text) > 0 { // empty: not reaped yet
		t.Errorf("process %s of the first master lives beside the second", c.pid)
	}
	if got := c.hear(); got != "421 going down" {
		t.Errorf("the session: %q", got)
	}
	if next := dial(t, addr); next.pid == c.pid {
		t.Error("the old program serves")
	}
}

func atoi(s string) (n int) {
	fmt.Sscan(s, &n)
	return n
}

func TestASecondMasterRefuses(t *testing.T) {
	in := newInstance(t)
	run := func(args ...string) (string, int) {
		cmd := in.command(args...)
		out, err := cmd.CombinedOutput()
		if _, exited := err.(*exec.ExitError); err != nil && !exited {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, status := run("-t"); status != 0 {
		t.Errorf("-t without a master: %d %s", status, out)
	}
	in.start()
	if out, status := run("-t"); status != 1 {
		t.Errorf("-t with a master: %d %s", status, out)
	}
	want := fmt.Sprintf("master: fatal: lock pid/master.pid: the mail system is already running (process %d)\n", in.cmd.Process.Pid)
	for _, args := range [][]string{{}, {"-w"}} {
		if out, status := run(args...); status != 1 || out != want {
			t.Errorf("%v: %d %q, want %q", args, status, out, want)
		}
	}
	text, err := os.ReadFile(in.path("queue/pid/master.pid"))
	if err != nil || strings.TrimSpace(string(text)) != fmt.Sprint(in.cmd.Process.Pid) {
		t.Errorf("the pid file was changed: %q %v", text, err)
	}
}

func TestBackground(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe inet")
	if out, err := in.command("-w").CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v %s", err, out)
	}
	dial(t, addr) // the service is open when the command returns
	text, err := os.ReadFile(in.path("queue/pid/master.pid"))
	in.must(err)
	in.must(syscall.Kill(atoi(strings.TrimSpace(string(text))), syscall.SIGTERM))
	in.until("the end", func() bool { return len(in.pids("")) == 0 })

	busy, err := net.Listen("tcp", addr)
	in.must(err)
	defer busy.Close()
	out, err := in.command("-w").CombinedOutput()
	if err == nil || !strings.Contains(string(out), addr+": bind: address already in use") {
		t.Errorf("a port in use: %v %q", err, out)
	}
	in.logged("fatal: listen tcp4 " + addr)

	in.main("queue_directory = " + in.path("missing"))
	if out, err := in.command("-w").CombinedOutput(); err == nil || !strings.Contains(string(out), "fatal: queue_directory: chdir") {
		t.Errorf("a missing queue directory: %v %q", err, out)
	}
}

// TestInheritedSockets plays systemd's socket activation and readiness.
func TestInheritedSockets(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	in := newInstance(t, addr+" inet n - n - - probe inet")
	f, err := l.(*net.TCPListener).File()
	in.must(err)
	l.Close()
	bus, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: in.path("notify"), Net: "unixgram"})
	in.must(err)
	defer bus.Close()
	in.must(os.Chmod(in.path("notify"), 0o777))
	// A shell gives the process id that LISTEN_PID has to name.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`, filepath.Join(programs, "master"), "-c", in.path("etc"))
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+in.path("notify"))
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	in.must(cmd.Start())
	f.Close()
	end := make(chan struct{})
	in.cmd, in.end = cmd, end
	go func() { cmd.Wait(); close(end) }()

	heard := func(want string) {
		t.Helper()
		bus.SetReadDeadline(time.Now().Add(patience))
		buf := make([]byte, 1000)
		n, err := bus.Read(buf)
		if err != nil || !bytes.HasPrefix(buf[:max(n, 0)], []byte(want)) {
			t.Errorf("notification %q %v, want %q", buf[:max(n, 0)], err, want)
		}
	}
	heard("READY=1")
	if env := dial(t, addr).ask("env"); strings.Contains(env, "LISTEN_") || strings.Contains(env, "NOTIFY_") {
		t.Errorf("programs get %s", env)
	}
	in.signal(syscall.SIGHUP)
	heard("RELOADING=1\nMONOTONIC_USEC=")
	heard("READY=1")
	in.signal(syscall.SIGTERM)
	heard("STOPPING=1")
	in.gone()
}

// TestShortageOfDescriptors: with none left, clients wait, the process does
// not spin, and when descriptors are free again, they are served.
func TestShortageOfDescriptors(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe inet")
	in.start()
	greedy := dial(t, addr)
	if got := greedy.ask("hoard"); got != "250 ok" {
		t.Fatal(got)
	}
	c, err := net.Dial("tcp", addr)
	in.must(err)
	defer c.Close()
	in.logged("accept: too many open files -- no new clients for 1s")
	before := cpuTime(t, greedy.pid)
	time.Sleep(500 * time.Millisecond)
	if used := cpuTime(t, greedy.pid) - before; used > 100*time.Millisecond {
		t.Errorf("%v of CPU time while there is nothing to do", used)
	}
	if got := greedy.ask("free"); got != "250 ok" {
		t.Fatal(got)
	}
	c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4)
	if _, err := c.Read(buf); err != nil || string(buf) != "220 " {
		t.Errorf("the client that waited: %q %v", buf, err)
	}
	if n := strings.Count(in.log(), "too many open files"); n > 3 {
		t.Errorf("%d log lines", n)
	}
}

// cpuTime is what a process has used (proc(5), fields 14 and 15 of stat).
func cpuTime(t *testing.T, pid string) time.Duration {
	t.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	return time.Duration(atoi(fields[11])+atoi(fields[12])) * 10 * time.Millisecond
}
