package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/ipc"
	"postroad/libmail/server"
)

func TestAProgramStartsOnDemandAndServesAllClients(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe inet")
	in.start()
	if got := in.pids("probe"); len(got) != 0 {
		t.Errorf("before the first client: processes %v", got)
	}
	a, b := dial(t, addr), dial(t, addr)
	if a.pid != b.pid {
		t.Errorf("two clients, two processes: %s and %s", a.pid, b.pid)
	}
	if got, want := a.ask("hello"), "250 "+a.pid+" hello"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	in.stop()
	if got := in.pids(""); len(got) != 0 {
		t.Errorf("after the stop: processes %v", got)
	}
	if !strings.Contains(in.log(), "terminating on signal 15") {
		t.Error("the stop is not logged")
	}
}

func TestProgramsRunAsMailOwnerInACleanEnvironment(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe -o mail_name=Probe inet")
	in.start()
	c := dial(t, addr)
	want := fmt.Sprintf("250 %d %d", os.Getuid(), os.Getgid())
	if os.Geteuid() == 0 {
		u, err := user.Lookup("nobody")
		in.must(err)
		want = "250 " + u.Uid + " " + u.Gid
	} else if !strings.Contains(in.log(), "privileges are not separated") {
		t.Error("single-uid mode is not logged")
	}
	if got := c.ask("uid"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := c.ask("param mail_name"); got != "250 Probe" {
		t.Errorf("-o name=value: %q", got)
	}
	if env := c.ask("env"); strings.Contains(env, "SECRET") || !strings.Contains(env, "LANG=C") ||
		!strings.Contains(env, "MAIL_CONFIG="+in.path("etc")) {
		t.Errorf("environment %s", env)
	}
}

func TestIdleProgramsLeaveAndNoClientIsLost(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe -o max_idle=1s inet")
	in.start()
	first := dial(t, addr)
	in.until("the idle program left", func() bool {
		first.ask("quit")
		return len(in.pids("probe")) == 0
	})
	second := dial(t, addr)
	if second.pid == first.pid {
		t.Errorf("the same process %s serves again", second.pid)
	}
	if strings.Contains(in.log(), "warning: process") {
		t.Error("a program that left is warned about")
	}
}

func TestReload(t *testing.T) {
	addr, inPlace := freePort(t), freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe inet", inPlace+" inet n - n - - probe reloads")
	in.start()
	before, kept := dial(t, addr), dial(t, inPlace)
	in.logged("service " + inPlace + " runs with") // master knows that it is ready
	third := freePort(t)
	in.main("mail_name = Changed")
	in.master(addr+" inet n - n - - probe inet", inPlace+" inet n - n - - probe reloads", third+" inet n - n - - probe inet")
	in.signal(syscall.SIGHUP)
	in.logged("reload -- version")
	in.until("new clients see the new settings", func() bool {
		c := dial(t, addr)
		defer c.Close()
		return c.pid != before.pid && c.ask("param mail_name") == "250 Changed"
	})
	if got := before.ask("param mail_name"); got != "250 Postfix" {
		t.Errorf("a session goes on with its settings: %q", got)
	}
	if got := before.ask("quit"); got != "221 bye" {
		t.Errorf("and to its end: %q", got)
	}
	c := dial(t, inPlace)
	if c.pid != kept.pid {
		t.Errorf("a program that reloads in place was replaced")
	}
	dial(t, third)
	in.until("the old process ended", func() bool { return len(in.pids("probe")) == 3 })

	// What is wrong changes nothing.
	in.master("no service")
	in.signal(syscall.SIGHUP)
	in.logged("nothing was changed")
	dial(t, addr)

	// A service that is gone is closed.
	in.master(addr + " inet n - n - - probe inet")
	in.signal(syscall.SIGHUP)
	in.until("the removed service is closed", func() bool {
		c, err := net.Dial("tcp", third)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// TestReloadUnderLoad: no client of many is refused, reset or left without
// an answer while everything is read again all the time.
func TestReloadUnderLoad(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe inet", "talk unix - - n - - probe stream")
	in.start()
	var served, asked atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := tryDial(addr)
				if err != nil {
					t.Error(err)
					return
				}
				c.t = t
				if got := c.ask("hello"); got != "250 "+c.pid+" hello" {
					t.Errorf("answer %q", got)
				}
				if got := c.ask("quit"); got != "221 bye" {
					t.Errorf("end %q", got)
				}
				c.Close()
				served.Add(1)
			}
		})
	}
	talk := &ipc.Client{Path: in.path("queue/private/talk"), Protocol: "probe", Timeout: patience}
	defer talk.Close()
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := converse(talk, "hello"); err != nil {
					t.Error(err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for range 15 {
		in.signal(syscall.SIGHUP)
		time.Sleep(100 * time.Millisecond) // the rhythm of the load, not a wait
	}
	close(stop)
	wg.Wait()
	t.Logf("%d clients served, %d requests answered", served.Load(), asked.Load())
	if served.Load() < 100 || asked.Load() < 100 {
		t.Errorf("too few to mean anything")
	}
}

// converse makes one request of the stream probe.
func converse(c *ipc.Client, text string) (pid int, err error) {
	err = c.Do(func(conn *ipc.Conn) error {
		conn.Out().Str("text", text)
		conn.Out().End()
		if err := conn.Flush(); err != nil {
			return err
		}
		got := conn.In().Str("text")
		pid = int(conn.In().Int("pid"))
		conn.In().End()
		if err := conn.In().Err(); err != nil {
			return err
		}
		if got != text {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
	return pid, err
}

func TestAPanicEndsOneSession(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe inet")
	in.start()
	good, bad := dial(t, addr), dial(t, addr)
	if got := bad.ask("panic"); got != "421 sorry" {
		t.Errorf("the client is told: %q", got)
	}
	if got := bad.hear(); got != "EOF" {
		t.Errorf("and its connection closed: %q", got)
	}
	if got := good.ask("hello"); got != "250 "+good.pid+" hello" {
		t.Errorf("other sessions go on: %q", got)
	}
	in.until("new clients get a new process", func() bool {
		c := dial(t, addr)
		defer c.Close()
		return c.pid != good.pid
	})
	in.logged("panic: session: asked for it")
	in.logged("stack: main.(*probe).talk(")
	good.ask("quit")
}

func TestAChangedTableRestartsBeforeTheNextSession(t *testing.T) {
	addr := freePort(t)
	table := "table" // below the queue directory
	in := newInstance(t, addr+" inet n - n - - probe inet "+table)
	in.start()
	if os.Geteuid() == 0 { // the probe removes the file
		in.must(os.Chmod(in.path("queue"), 0o777))
	}
	before := dial(t, addr)
	in.must(os.WriteFile(in.path("queue", table), nil, 0o644))
	after := dial(t, addr)
	if before.pid == after.pid {
		t.Error("the first client after the change is served with the old table")
	}
	in.logged("table test:" + table + " has changed -- restarting")
	if got := before.ask("hello"); got != "250 "+before.pid+" hello" {
		t.Errorf("a session under way goes on: %q", got)
	}
}

func TestLimits(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - 5 probe inet")
	in.start()
	var clients []*client
	for range 3 {
		clients = append(clients, dial(t, addr))
	}
	if got := clients[0].ask("stress"); got != "250 false" {
		t.Errorf("three of five: %q", got)
	}
	for range 2 {
		clients = append(clients, dial(t, addr))
	}
	if got := clients[0].ask("stress"); got != "250 true yes" {
		t.Errorf("five of five: %q", got)
	}
	waiting, err := net.Dial("tcp", addr)
	in.must(err)
	defer waiting.Close()
	in.logged(fmt.Sprintf(`service "%s" (%s) has reached its process limit "5": new clients may experience noticeable delays`, addr, addr))
	waiting.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	buf := make([]byte, 10)
	if n, err := waiting.Read(buf); err == nil {
		t.Errorf("a sixth client is served: %q", buf[:n])
	}
	clients[0].ask("quit")
	waiting.SetReadDeadline(time.Now().Add(patience))
	if n, err := waiting.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "220") {
		t.Errorf("when one leaves, it is: %q %v", buf[:n], err)
	}
}

func TestTwoThousandIdleSessions(t *testing.T) {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil || lim.Cur < 7000 {
		t.Skipf("%d open files are too few", lim.Cur)
	}
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe inet")
	in.start()
	var first *client
	for i := range 2000 {
		c := dial(t, addr)
		if i == 0 {
			first = c
		}
		if c.pid != first.pid {
			t.Fatalf("client %d is served by another process", i)
		}
	}
	if got := first.ask("hello"); got != "250 "+first.pid+" hello" {
		t.Errorf("got %q", got)
	}
}

func TestAServiceOfTypePassGetsConnections(t *testing.T) {
	in := newInstance(t, "passed pass - - n - - probe inet")
	in.start()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	in.must(err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if err := server.PassConn(in.path("queue/private/passed"), c, map[string]string{"client_name": "mx.example.com"}, patience); err != nil {
				t.Error(err)
			}
			c.Close()
		}
	}()
	if got := dial(t, l.Addr().String()).ask("passed"); got != "250 mx.example.com tcp" {
		t.Errorf("got %q", got)
	}
}

func TestTriggersFIFOsDatagramsAndWakeup(t *testing.T) {
	in := newInstance(t)
	out := func(name string) string { return in.path("data", name) }
	in.master(
		"waking unix n - n 1 1 probe trigger "+out("waking"),
		"used unix n - n 1? 1 probe trigger "+out("used"),
		"fifo fifo n - n - 1 probe trigger "+out("fifo"),
		"dgram unix-dgram n - n - 1 probe datagram "+out("dgram"))
	in.start()
	content := func(name string) string { text, _ := os.ReadFile(out(name)); return string(text) }
	in.until("a first wakeup at once and another in a second", func() bool { return strings.HasPrefix(content("waking"), "W\nW\n") })
	if got := content("used"); got != "" {
		t.Errorf("a service that nobody used was woken: %q", got)
	}
	in.must(ipc.Trigger(in.path("queue/public/used"), []byte("FD"), patience))
	in.until("a trigger, then wakeups", func() bool { return strings.HasPrefix(content("used"), "FD\nW\n") })

	f, err := os.OpenFile(in.path("queue/public/fifo"), os.O_WRONLY, 0)
	in.must(err)
	f.WriteString("fifo")
	f.Close()
	in.until("what the FIFO got", func() bool { return content("fifo") == "fifo\n" })

	d, err := net.Dial("unixgram", in.path("queue/public/dgram"))
	in.must(err)
	defer d.Close()
	d.Write([]byte("one"))
	d.Write([]byte("two"))
	in.until("the datagrams", func() bool { return content("dgram") == "one\ntwo\n" })
}

func TestSocketsAreWhatPostfixMakes(t *testing.T) {
	in := newInstance(t, "in unix - - n - - probe stream", "out unix n - n - - probe stream")
	in.start()
	for _, c := range []struct {
		name string
		mode os.FileMode
	}{
		{"public", os.ModeDir | 0o710}, {"private", os.ModeDir | 0o700}, {"pid", os.ModeDir | 0o755},
		{"private/in", os.ModeSocket | 0o666}, {"public/out", os.ModeSocket | 0o666},
		{"public/postlog", os.ModeSocket | 0o666}, {"pid/master.pid", 0o600},
	} {
		st, err := os.Lstat(in.path("queue", c.name))
		if err != nil || st.Mode() != c.mode {
			t.Errorf("%s: %v %v, want %v", c.name, st.Mode(), err, c.mode)
		}
	}
	text, err := os.ReadFile(in.path("queue/pid/master.pid"))
	if want := fmt.Sprintf("%32d\n", in.cmd.Process.Pid); err != nil || string(text) != want {
		t.Errorf("pid file %q %v, want %q", text, err, want)
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || pid != in.cmd.Process.Pid {
		t.Errorf("pid %d %v", pid, err)
	}
}

// TestTheLogIsRotated by renaming it; postlogd notices within a second and
// loses nothing.
func TestTheLogIsRotated(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - n - - probe inet")
	in.start()
	dial(t, addr).ask("log before")
	in.logged("before")
	in.must(os.Rename(in.path("maillog"), in.path("maillog.1")))
	n := 0
	in.until("the new file", func() bool {
		n++
		dial(t, addr).ask(fmt.Sprintf("log line %d.", n))
		_, err := os.Stat(in.path("maillog"))
		return err == nil
	})
	var old []byte
	in.until("the last line", func() bool {
		old, _ = os.ReadFile(in.path("maillog.1"))
		return strings.Contains(string(old)+in.log(), fmt.Sprintf("line %d.", n))
	})
	for i := 1; i <= n; i++ {
		if text := fmt.Sprintf("line %d.", i); strings.Count(string(old)+in.log(), text) != 1 {
			t.Errorf("%s is not there once", text)
		}
	}
	if !strings.Contains(string(old)+in.log(), "log file "+in.path("maillog")+" has changed -- restarting") {
		t.Error("the change is not logged")
	}
}

func TestChroot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("chroot needs root")
	}
	addr := freePort(t)
	in := newInstance(t, addr+" inet n - y - - probe reloads")
	in.start()
	c := dial(t, addr)
	if got := c.ask("stat /public/postlog"); got != "250 <nil>" {
		t.Errorf("the queue directory is the root: %q", got)
	}
	if got := c.ask("stat /etc/passwd"); !strings.HasSuffix(got, "no such file or directory") {
		t.Errorf("nothing else is there: %q", got)
	}
	c.ask("log from the inside")
	in.logged("from the inside")
	in.signal(syscall.SIGHUP)
	in.until("a new process after a reload", func() bool {
		d := dial(t, addr)
		defer d.Close()
		return d.pid != c.pid
	})
	if strings.Contains(in.log(), "warning") {
		t.Error("something is warned about")
	}
}

// TestStandardInput: -S serves one session without master.
func TestStandardInput(t *testing.T) {
	in := newInstance(t)
	cmd := exec.Command(filepath.Join(programs, "probe"), "-S", "-o", "mail_name=Hand", "inet")
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+in.path("etc"))
	cmd.Stdin = strings.NewReader("param mail_name\r\nquit\r\n")
	out, err := cmd.Output()
	if want := "250 Hand\r\n221 bye\r\n"; err != nil || !strings.HasSuffix(string(out), want) {
		t.Errorf("got %q %v, want %q at the end", out, err, want)
	}
	cmd = exec.Command(filepath.Join(programs, "probe"), "inet")
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+in.path("etc"))
	if err := cmd.Run(); err == nil {
		t.Error("without -S and master a program does not run")
	}
}

// TestCommandsOfAProgramGetNoSignalsIgnored: a command that is piped to
// another relies on SIGPIPE.
func TestCommandsOfAProgramGetNoSignalsIgnored(t *testing.T) {
	addr := freePort(t)
	in := newInstance(t, addr+" inet n n n - - probe inet") // no sandbox: it may run commands
	in.start()
	got := dial(t, addr).ask("signals")
	var blocked, ignored uint64
	if _, err := fmt.Sscanf(got, "250 SigBlk:%16xSigIgn:%16x <nil>", &blocked, &ignored); err != nil {
		t.Fatalf("got %q: %v", got, err)
	}
	const threads = 1<<31 | 1<<32 // the C library's own signals 32 and 33, which no program may set: whoever runs the test may ignore them
	if blocked != 0 || ignored&^threads != 0 {
		t.Errorf("blocked %x, ignored %x", blocked, ignored)
	}
}
