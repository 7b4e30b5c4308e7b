package server

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseArgs(t *testing.T) {
	t.Setenv("MAIL_CONFIG", "/conf")
	t.Setenv("MAIL_VERBOSE", "")
	base := func(change func(*options)) options {
		o := options{configDir: "/conf", service: "smtpd", kind: "unix", sockets: 1, maxProc: -1}
		if change != nil {
			change(&o)
		}
		return o
	}
	for _, c := range []struct {
		rule string
		argv string
		want options
		err  string
	}{
		{"no option", "smtpd", base(nil), ""},
		{"what master says", "smtpd -l -n submission -t inet -u -c -s 2", base(func(o *options) {
			o.maxProc, o.service, o.kind, o.unprivileged, o.chroot, o.sockets = 1, "submission", "inet", true, true, 2
		}), ""},
		{"-z is no limit", "smtpd -z", base(func(o *options) { o.maxProc = 0 }), ""},
		{"-m is a limit", "smtpd -m 20", base(func(o *options) { o.maxProc = 20 }), ""},
		{"letters may stand together", "smtpd -uvvn name", base(func(o *options) { o.unprivileged, o.verbose, o.service = true, 2, "name" }), ""},
		{"and their value with them", "smtpd -nname", base(func(o *options) { o.service = "name" }), ""},
		{"-o collects settings", "smtpd -o a=b -oc = d", base(func(o *options) { o.overrides, o.args = []string{"a=b"}, nil }), "-o c: name=value expected"},
		{"blanks around them go", "smtpd -o a=b -o c=", base(func(o *options) { o.overrides = []string{"a=b", "c="} }), ""},
		{"the first argument ends the options", "smtpd -v user=x -S", base(func(o *options) { o.verbose, o.args = 1, []string{"user=x", "-S"} }), ""},
		{"so does --", "smtpd -- -S", base(func(o *options) { o.args = []string{"-S"} }), ""},
		{"-S is standard input", "smtpd -S", base(func(o *options) { o.stdio = true }), ""},
		{"Postfix's others are taken", "smtpd -d -D -V -i 1 -r 2 -e 3", base(nil), ""},
		{"unknown ones are refused", "smtpd -X", options{}, "-X: no such option"},
		{"a value must be there", "smtpd -n", options{}, "-n: value missing"},
		{"and be a number", "smtpd -s two", options{}, "-s two: not a number"},
		{"of sockets that there can be", "smtpd -s 100000", options{}, "-s 100000: not a number of sockets"},
	} {
		got, err := parseArgs("smtpd", strings.Split(c.argv, " "))
		switch {
		case c.err != "":
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: error %v, want %s", c.rule, err, c.err)
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", c.rule, err)
			continue
		}
		if len(got.args) == 0 {
			got.args = nil
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.rule, got, c.want)
		}
	}
}

func FuzzParseArgs(f *testing.F) {
	f.Add("-l -n x -o a=b rest")
	f.Add("-ovalue -")
	f.Fuzz(func(t *testing.T, line string) {
		o, err := parseArgs("smtpd", append([]string{"smtpd"}, strings.Fields(line)...))
		if err == nil && (o.sockets < 0 || o.maxProc < -1) {
			t.Errorf("%+v", o)
		}
	})
}

func TestSlots(t *testing.T) {
	full, empty := 0, 0
	s := newSlots(5)
	s.onFull = func(limit int) { full += limit }
	s.onEmpty = func() { empty++ }
	for i := range 5 {
		if want := i >= 4; s.stressed() != want {
			t.Errorf("%d of 5: stress %v", i, !want)
		}
		if !s.acquire() {
			t.Fatal("refused")
		}
	}
	if !s.stressed() || s.count() != 5 || full != 0 {
		t.Errorf("5 of 5: %v, %d, told %d", s.stressed(), s.count(), full)
	}
	got := make(chan bool)
	go func() { got <- s.acquire() }()
	select {
	case <-got:
		t.Fatal("a sixth session")
	case <-time.After(10 * time.Millisecond):
	}
	s.release()
	if !<-got || full != 5 {
		t.Errorf("when one ends the next begins, and the limit was told: %d", full)
	}
	go func() { got <- s.acquire() }()
	s.close()
	if <-got {
		t.Error("none begins after close")
	}
	for range 5 {
		s.release()
	}
	if empty != 1 {
		t.Errorf("told %d times that none is left", empty)
	}
	one := newSlots(1)
	one.add()
	if one.stressed() {
		t.Error("a service of one session is always full: that is no stress")
	}
	if n := newSlots(0).limit; n < 1 || n > maxSessions {
		t.Errorf("without a wish the limit is %d", n)
	}
}

func TestFlow(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	ctx, cancel := context.WithCancel(context.Background())
	f := &Flow{read: p[0], write: p[1], delay: time.Hour}
	f.Give(3)
	for range 3 {
		f.Take(ctx) // an hour if it did not find a token
	}
	done := make(chan struct{})
	go func() { f.Take(ctx); close(done) }()
	select {
	case <-done:
		t.Error("a fourth token")
	case <-time.After(10 * time.Millisecond):
	}
	cancel()
	<-done
	f.Give(1 << 20) // more than the pipe holds: does not block
	f.Drain()
	if n, err := syscall.Read(p[0], make([]byte, 1)); n > 0 || err != syscall.EAGAIN {
		t.Errorf("tokens after Drain: %d %v", n, err)
	}
	(&Flow{read: -1, write: -1, delay: time.Hour}).Take(context.Background()) // no pipe: no wait
}

func TestShiftedClock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("86400\n")
	t.Setenv("POSTROAD_CLOCK_FILE", path)
	c := clockFromEnv()
	if d := time.Until(c.Now()); d < 23*time.Hour || d > 25*time.Hour {
		t.Errorf("a day ahead: %v", d)
	}
	write("-3600.5")
	time.Sleep(clockRefresh)
	if d := time.Until(c.Now()); d > -time.Hour || d < -2*time.Hour {
		t.Errorf("an hour behind: %v", d)
	}
	fired := make(chan struct{})
	c.AfterFunc(time.Millisecond, func() { close(fired) })
	<-fired // timers do not care

	t.Setenv("POSTROAD_CLOCK_FILE", path+"-missing")
	if _, real := clockFromEnv().(realClock); !real {
		t.Error("a missing file means the real clock")
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 12345, -1); err != nil {
			t.Fatal(err)
		}
		t.Setenv("POSTROAD_CLOCK_FILE", path)
		if _, real := clockFromEnv().(realClock); !real {
			t.Error("a file of another owner means the real clock")
		}
	}
}

func TestControl(t *testing.T) {
	ours, theirs, err := ControlPair()
	if err != nil {
		t.Fatal(err)
	}
	if !isControl(int(theirs.Fd())) || isControl(int(os.Stdin.Fd())) {
		t.Error("a control socket is recognized")
	}
	fd, err := unix.FcntlInt(theirs.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	child, err := newControl(fd)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range [][2]string{{WordReady, "resident sandbox none"}, {WordLeaving, ""}} {
		if err := child.Send(m[0], m[1]); err != nil {
			t.Fatal(err)
		}
	}
	// Messages stay apart even when nobody reads in between.
	var got []string
	for range 2 {
		word, rest, err := ours.Receive()
		got = append(got, fmt.Sprint(word, "|", rest, "|", err))
	}
	if want := "[ready|resident sandbox none|<nil> leaving||<nil>]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	ours.Close()
	if _, _, err := child.Receive(); err == nil {
		t.Error("the end of master is not seen")
	}
}

func TestSlotsUnderLoad(t *testing.T) {
	s := newSlots(3)
	var mu sync.Mutex
	now, most := 0, 0
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if !s.acquire() {
				t.Error("refused")
				return
			}
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Microsecond)
			mu.Lock()
			now--
			mu.Unlock()
			s.release()
		})
	}
	wg.Wait()
	if most > 3 {
		t.Errorf("%d sessions at a time", most)
	}
}

func TestCleanRanges(t *testing.T) {
	const smaps = `00400000-00600000 r-xp 00000000 fe:00 42                         /usr/sbin/smtpd
Size:               2048 kB
Anonymous:             0 kB
00600000-00700000 r-xp 00200000 fe:00 42                         /usr/sbin/smtpd
Anonymous:             4 kB
00700000-00900000 r--p 00300000 fe:00 42                         /usr/sbin/smtpd
Anonymous:             0 kB
00900000-00a00000 rw-p 00500000 fe:00 42                         /usr/sbin/smtpd
Anonymous:             0 kB
00a00000-00b00000 r--p 00000000 fe:00 43                         /etc/other
Anonymous:             0 kB
c000000000-c000400000 rw-p 00000000 00:00 0
Anonymous:             0 kB
`
	want := []addressRange{{0x400000, 0x600000}, {0x700000, 0x900000}}
	got := cleanRanges(bufio.NewScanner(strings.NewReader(smaps)), "/usr/sbin/smtpd")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("only clean pages of the program itself: got %x, want %x", got, want)
	}
	NewTrimmer().Trim() // and the process lives on
}
