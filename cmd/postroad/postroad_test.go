package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
)

// TestMain plays master and postqueue when the test is run under these names.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "master":
		playMaster()
	case "postqueue":
		fmt.Println("postqueue", strings.Join(os.Args[3:], " "), os.Getenv("MAIL_CONFIG") != "")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// playMaster holds the lock on the pid file until SIGTERM. SIGHUP leaves a file
// "reloaded", a file "stubborn" makes it ignore SIGTERM.
func playMaster() {
	c, err := conf.Read(os.Args[2])
	if err == nil {
		err = os.Chdir(c.String("queue_directory"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if os.Args[3] == "-w" {
		startPlayer()
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM)
	f, err := os.OpenFile(pidFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%32d\n", os.Getpid())
	}
	if err != nil {
		os.Exit(1)
	}
	for {
		select {
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				os.WriteFile("reloaded", nil, 0o600)
			case exists("stubborn"):
			default:
				os.Exit(0)
			}
		case <-time.After(time.Minute): // nobody stopped us
			os.Exit(1)
		}
	}
}

// startPlayer starts the player in the background and waits for its lock.
func startPlayer() {
	if exists("broken") {
		os.Exit(1)
	}
	cmd := exec.Command(os.Args[0], "-c", os.Args[2], "-s")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cmd.Start() != nil {
		os.Exit(1)
	}
	dir, _ := os.Getwd()
	s := &system{queueDir: dir}
	for range 500 {
		if pid, err := s.running(); err == nil && pid == cmd.Process.Pid {
			os.Exit(0)
		}
		time.Sleep(10 * time.Millisecond)
	}
	os.Exit(1)
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

const logService = "postlog unix-dgram n - n - 1 master\n"

// A trial is a mail system in a directory of its own. All rights are ours.
type trial struct {
	t   *testing.T
	dir string
	log bytes.Buffer
	out bytes.Buffer
}

func newTrial(t *testing.T, settings ...string) *trial {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Chdir(here); err != nil {
			t.Error(err)
		}
	})
	y := &trial{t: t, dir: t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bin/master", "bin/postqueue"} {
		y.must(os.MkdirAll(filepath.Join(y.dir, "bin"), 0o755))
		y.must(os.Link(self, filepath.Join(y.dir, name)))
	}
	base := []string{"compatibility_level = 3.11", "queue_directory = " + y.dir + "/spool/queue", "data_directory = " + y.dir + "/data",
		"daemon_directory = " + y.dir + "/bin", "command_directory = " + y.dir + "/bin",
		"maillog_file = " + y.dir + "/log", "maillog_file_prefixes = " + y.dir}
	y.write("etc/main.cf", strings.Join(append(base, settings...), "\n")+"\n")
	y.write("etc/master.cf", logService+"x unix - - n - - master\n")
	return y
}

func (y *trial) must(err error) {
	y.t.Helper()
	if err != nil {
		y.t.Fatal(err)
	}
}

func (y *trial) write(name, text string) {
	y.t.Helper()
	path := filepath.Join(y.dir, name)
	y.must(os.MkdirAll(filepath.Dir(path), 0o755))
	y.must(os.WriteFile(path, []byte(text), 0o644))
}

// sink collects the log.
type sink struct{ b *bytes.Buffer }

func (s sink) Write(_ maillog.Level, _, text string) { fmt.Fprintln(s.b, text) }

// run carries out a command and returns its error text; the log and the output
// are in y.
func (y *trial) run(args ...string) string {
	y.t.Helper()
	y.log.Reset()
	y.out.Reset()
	s := &system{program: "postroad", out: &y.out, log: maillog.New("t", sink{&y.log}), sink: sink{&y.log}}
	err := s.execute(append([]string{"-c", filepath.Join(y.dir, "etc")}, args...))
	if err != nil {
		return strings.ReplaceAll(err.Error(), y.dir, "DIR")
	}
	return ""
}

func (y *trial) logged(text string) bool {
	return strings.Contains(strings.ReplaceAll(y.log.String(), y.dir, "DIR"), text)
}

func TestLifeOfTheMailSystem(t *testing.T) {
	y := newTrial(t, "nosuch = 1")
	steps := []struct{ rule, command, err, log string }{
		{"nothing runs at first", "status", "exit status 1", "the Postfix mail system is not running"},
		{"what does not run cannot be stopped", "stop", "the Postfix mail system is not running", ""},
		{"what does not run cannot be reloaded", "reload", "the Postfix mail system is not running", ""},
		{"start makes the queue and starts master", "start", "", "starting the Postfix mail system"},
		{"what runs has a process id", "status", "", "the Postfix mail system is running: PID: "},
		{"what runs is not started again", "start", "the Postfix mail system is already running", ""},
		{"reload sends a signal", "reload", "", "refreshing the Postfix mail system"},
		{"reload warns of settings without effect", "reload", "", "DIR/etc/main.cf:8: parameter nosuch: has no effect"},
		{"stop waits for the end", "stop", "", "stopping the Postfix mail system"},
		{"then nothing runs", "status", "exit status 1", "the Postfix mail system is not running"},
		{"start works again", "start", "", "DIR/etc/main.cf:8: parameter nosuch: has no effect"},
		{"abort kills", "abort", "", "aborting the Postfix mail system"},
		{"nothing runs after abort", "status", "exit status 1", ""},
	}
	for _, step := range steps {
		if err := y.run(step.command); err != step.err || !y.logged(step.log) {
			t.Errorf("%s: %s: error %q, want %q; log %q", step.rule, step.command, err, step.err, y.log.String())
		}
	}
	if !exists(filepath.Join(y.dir, "spool/queue/reloaded")) {
		t.Error("master got no SIGHUP")
	}
	text, err := os.ReadFile(filepath.Join(y.dir, "log"))
	if err != nil || !strings.Contains(string(text), fmt.Sprintf(" postfix/postfix-script[%d]: starting the Postfix mail system\n", os.Getpid())) {
		t.Errorf("the log file has %q, %v", text, err)
	}
}

func TestAbortEndsAStubbornMaster(t *testing.T) {
	y := newTrial(t)
	if err := y.run("start"); err != "" {
		t.Fatal(err)
	}
	y.write("spool/queue/stubborn", "")
	if err := y.run("abort"); err != "" {
		t.Error(err)
	}
	if err := y.run("status"); err != "exit status 1" {
		t.Error("it runs on")
	}
}

func TestStopAndStatusWorkWhateverMainCFSays(t *testing.T) {
	y := newTrial(t)
	if err := y.run("start"); err != "" {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(y.dir, "etc/main.cf"))
	y.must(err)
	y.write("etc/main.cf", string(text)+"default_process_limit = many\nline_length_limit = 1\n")
	if err := y.run("reload"); !strings.Contains(err, "main.cf:9: parameter line_length_limit") || !y.logged("main.cf:8: parameter default_process_limit") {
		t.Errorf("reload reads a bad value: %q, log %q", err, y.log.String())
	}
	if err := y.run("status"); err != "" {
		t.Errorf("status: %q", err)
	}
	if err := y.run("stop"); err != "" {
		t.Errorf("stop: %q", err)
	}
}

func TestStartSaysWhyNot(t *testing.T) {
	cases := []struct {
		rule  string
		setup func(y *trial)
		err   string // of start
		log   string
	}{
		{"master fails", func(y *trial) { y.write("spool/queue/broken", "") }, "mail system startup failed", ""},
		{"no main.cf", func(y *trial) { y.must(os.Remove(filepath.Join(y.dir, "etc/main.cf"))) }, "no such file", ""},
		{"no master.cf", func(y *trial) { y.must(os.Remove(filepath.Join(y.dir, "etc/master.cf"))) }, "integrity check failed", "no DIR/etc/master.cf file found"},
		{"bad master.cf", func(y *trial) { y.write("etc/master.cf", "x\n") }, "integrity check failed", "master.cf:1: 1 fields"},
		{"queue_directory is a file", func(y *trial) { y.write("spool/queue", "") }, "not a directory", ""},
		{"part of the queue is a file", func(y *trial) { y.write("spool/queue/active", "") }, "integrity check failed", "active is not a directory"},
		{"no log service", func(y *trial) { y.write("etc/master.cf", "x unix - - n - - master\n") }, "integrity check failed", "missing 'postlog' service"},
		{"relative queue_directory", func(y *trial) { y.append("queue_directory = spool") }, "not an absolute path", ""},
	}
	for _, tc := range cases {
		y := newTrial(t)
		tc.setup(y)
		if err := y.run("start"); !strings.Contains(err, tc.err) || !y.logged(tc.log) || tc.err == "" {
			t.Errorf("%s: error %q, want %q; log %q", tc.rule, err, tc.err, y.log.String())
		}
	}
}

func (y *trial) append(text string) {
	f, err := os.OpenFile(filepath.Join(y.dir, "etc/main.cf"), os.O_APPEND|os.O_WRONLY, 0)
	y.must(err)
	_, err = f.WriteString(text + "\n")
	y.must(errors.Join(err, f.Close()))
}

func TestMissingDirectoriesAreMade(t *testing.T) {
	y := newTrial(t)
	y.must(os.MkdirAll(filepath.Join(y.dir, "spool/queue/maildrop"), 0o755))
	y.must(os.Chmod(filepath.Join(y.dir, "spool/queue/maildrop"), 0o730|os.ModeSticky)) // as on Debian
	if err := y.run("check"); err != "" {
		t.Fatal(err)
	}
	for _, d := range layout {
		info, err := os.Stat(filepath.Join(y.dir, "spool/queue", d.name))
		want := d.mode | os.ModeDir
		if d.name == "maildrop" {
			want |= os.ModeSticky
		}
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", d.name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(filepath.Join(y.dir, "data")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data_directory: %v", err)
	}
}

func TestCheckWarns(t *testing.T) {
	y := newTrial(t, "virtual_alias_maps = texthash:$config_directory/virtual, hash:$config_directory/nowhere",
		"smtpd_client_restrictions = check_client_access cidr:$config_directory/gone, check_policy_service unix:private/policy",
		"smtpd_tls_cert_file = $config_directory/cert.pem", "mydestination = a\nmydestination = b")
	y.write("etc/virtual", "a b\n")
	y.write("etc/master.cf", logService+"a unix - - n - - nosuch\nb unix - - n - - nosuch\nx unix - - n - - master\nx unix - - n - - master\n"+
		"y unix - - n - - master -o default_process_limit=many\n")
	if err := y.run("check"); err != "" {
		t.Fatal(err)
	}
	y.write("spool/queue/corrupt/4A1B2", "")
	y.write("spool/queue/etc/hosts", "not the system's")
	y.must(os.Chmod(filepath.Join(y.dir, "etc/virtual"), 0o666))
	y.must(os.Chmod(filepath.Join(y.dir, "data"), 0o777))
	if err := y.run("check"); err != "" {
		t.Fatal(err)
	}
	for _, want := range []string{
		"warning: there is no program DIR/bin/nosuch: clients of a/unix, b/unix will wait",
		"warning: DIR/etc/main.cf:8: parameter virtual_alias_maps: table hash:DIR/etc/nowhere: ",
		"warning: DIR/etc/main.cf:9: parameter smtpd_client_restrictions: table cidr:DIR/etc/gone: ",
		"warning: DIR/etc/main.cf:12: parameter mydestination: overriding earlier entry in main.cf:11: mydestination=a",
		"warning: DIR/etc/master.cf:5: duplicate entry for x/unix replaces the one in line 4",
		"warning: DIR/etc/master.cf:6: service y/unix will not work: -o: parameter default_process_limit: bad numerical value",
		"warning: group or other writable: DIR/etc/virtual",
		"warning: group or other writable: DIR/data",
		"warning: damaged message: DIR/spool/queue/corrupt/4A1B2",
		"warning: DIR/spool/queue/etc/hosts and /etc/hosts differ",
	} {
		if !y.logged(want) {
			t.Errorf("%q is not in the log", want)
		}
	}
	if conf.Used("smtpd_tls_cert_file") && !y.logged("main.cf:10: parameter smtpd_tls_cert_file: stat DIR/etc/cert.pem: no such file") {
		t.Error("a missing certificate is not noticed")
	}
	if y.logged("policy") || y.logged("texthash") {
		t.Errorf("what is right is reported:\n%s", y.log.String())
	}
}

func TestSetPermissionsRepairs(t *testing.T) {
	y := newTrial(t)
	if err := y.run("check"); err != "" {
		t.Fatal(err)
	}
	active := filepath.Join(y.dir, "spool/queue/active")
	public := filepath.Join(y.dir, "spool/queue/public")
	y.must(os.Chmod(active, 0o755))
	y.must(os.Chmod(public, 0o755|os.ModeSetgid))
	if err := y.run("set-permissions"); err != "" {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{active: 0o700, public: 0o710 | os.ModeSetgid} {
		if info, err := os.Stat(path); err != nil || info.Mode()&^os.ModeDir != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestAQueueOfOthersIsRefused(t *testing.T) {
	y := newTrial(t)
	if err := y.run("check"); err != "" {
		t.Fatal(err)
	}
	s := &system{queueDir: filepath.Join(y.dir, "spool/queue"), owner: account{name: "somebody", uid: os.Geteuid() + 1}}
	if err := s.mustOwn(s.queueDir); err == nil || !strings.Contains(err.Error(), "is not owned by somebody") {
		t.Errorf("%v", err)
	}
}

func TestFlushAsksPostqueue(t *testing.T) {
	y := newTrial(t)
	if err := y.run("check"); err != "" {
		t.Fatal(err)
	}
	s := &system{root: false, out: &y.out, log: maillog.New("t", sink{&y.log}), sink: sink{&y.log}}
	if err := s.open(filepath.Join(y.dir, "etc"), validConfiguration); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(s.conf.CommandDirectory(), "postqueue"), "-c", y.dir, "-f").Output()
	if err != nil || !strings.HasPrefix(string(out), "postqueue -f") {
		t.Fatalf("%q, %v", out, err)
	}
	if err := y.run("flush"); err != "" {
		t.Error(err)
	}
}

func TestCommandLine(t *testing.T) {
	y := newTrial(t)
	cases := []struct{ rule, args, err, out string }{
		{"help lists the commands", "help", "", "  set-permissions  make owners"},
		{"version tells whose behaviour", "version", "", "behaves as Postfix 3."},
		{"no command", "", "usage: postroad", ""},
		{"unknown option", "-x status", "usage: postroad", ""},
		{"unknown command", "explode", "unknown command: 'explode'. Usage: postroad start (or start-fg, stop", ""},
		{"too many arguments", "status now", "usage: postroad status (no arguments)", ""},
		{"postfix's options", "-v -D help", "", "usage: postroad"},
	}
	for _, tc := range cases {
		if err := y.run(strings.Fields(tc.args)...); !strings.Contains(err, tc.err) || (tc.err == "") != (err == "") || !strings.Contains(y.out.String(), tc.out) {
			t.Errorf("%s: %q, output %q", tc.rule, err, y.out.String())
		}
	}
	s := &system{out: &y.out}
	y.out.Reset()
	if err := s.execute([]string{"--help"}); err != nil || !strings.Contains(y.out.String(), "start-fg") {
		t.Errorf("--help: %v, %q", err, y.out.String())
	}
}

// The configuration that we ship must be without fault, and every service in it
// must have a program in this tree.
func TestShippedConfiguration(t *testing.T) {
	const etc = "../../etc"
	c, err := conf.Load(etc)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range append(c.Warnings(), c.Unsupported()...) {
		t.Errorf("%s", w)
	}
	services, err := conf.LoadMaster(etc, c)
	if err != nil || len(services) == 0 {
		t.Fatal(err)
	}
	for _, s := range services {
		program := s.Command
		if other, ok := map[string]string{"lmtp": "smtp"}[program]; ok {
			program = other
		}
		if !exists(filepath.Join("../..", program, "main.go")) {
			t.Errorf("%s: the tree has no program %s", s.Where(), program)
		}
	}
}

func TestAccountsMustBeSeparate(t *testing.T) {
	c, err := conf.Defaults(t.TempDir()).Overlay("default_privs=root")
	if err != nil {
		t.Fatal(err)
	}
	owner := account{name: "o", uid: 70001, gid: 70001, group: "g", groupGID: 70002}
	cases := []struct {
		rule  string
		owner account
		want  string
	}{
		{"mail_owner is not root", account{name: "o", uid: 0, gid: 1, groupGID: 2}, "parameter mail_owner: user o has privileged"},
		{"nor in root's group", account{name: "o", uid: 1, gid: 0, groupGID: 2}, "parameter mail_owner: user o has privileged"},
		{"setgid_group is not root's", account{name: "o", uid: 1, gid: 1, group: "g"}, "parameter setgid_group: group g has privileged"},
		{"default_privs is not root", owner, "parameter default_privs: user root has privileged"},
	}
	for _, tc := range cases {
		s := &system{conf: c, owner: tc.owner}
		if err := s.checkAccounts(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.rule, err)
		}
	}
	if s := (&system{conf: conf.Defaults("x"), owner: account{uid: 1, gid: 70003, groupGID: 70003}}); s.checkAccounts() == nil {
		t.Error("mail_owner may be in setgid_group")
	}
}
