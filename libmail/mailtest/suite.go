package mailtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of a suite. It is long because test machines
// are slow at times; nothing waits that long when all is well.
const patience = 30 * time.Second

// A Suite is the whole mail system in a directory of its own: the shipped
// etc/main.cf and etc/master.cf with a few settings changed, on free ports of
// 127.0.0.1, without privileges. Its users are in etc/passwd below Dir.
//
//	DIR/etc/    main.cf master.cf aliases passwd ...
//	DIR/queue/  DIR/data/  DIR/maillog  DIR/home/USER/  DIR/clock
type Suite struct {
	Dir   string
	Port  int            // of smtpd
	Ports map[string]int // of all services of the network, as master.cf calls them

	t     testing.TB
	bin   string
	owner *syscall.Credential // nil: we are not root
	up    bool
}

// bins holds the directory of the programs, built once for a test process.
var bins struct {
	once sync.Once
	dir  string
	err  error
}

// Programs is a directory with all programs, built from the tree that the
// test runs in. POSTROAD_BUILD may name one that is already built.
func Programs(t testing.TB) string {
	t.Helper()
	bins.once.Do(func() { bins.dir, bins.err = build() })
	if bins.err != nil {
		t.Fatal(bins.err)
	}
	return bins.dir
}

// aliases are the programs that answer to more than one name.
var aliases = map[string]string{"mailq": "sendmail", "newaliases": "sendmail", "postfix": "postroad", "lmtp": "smtp"}

func build() (string, error) {
	dir := os.Getenv("POSTROAD_BUILD")
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "postroad-bin"); err != nil {
			return "", err
		}
		cmd := exec.Command("go", "build", "-o", dir, "./...")
		cmd.Dir = Top()
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build: %v\n%s", err, out)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			return "", err
		}
		for name, program := range aliases {
			if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
				return "", err
			}
		}
	}
	return dir, nil
}

// Cleanup removes what Programs built; call it at the end of TestMain.
func Cleanup() {
	if bins.dir != "" && os.Getenv("POSTROAD_BUILD") == "" {
		os.RemoveAll(bins.dir) // a leftover in the temporary directory harms nobody
	}
}

// Top is the top folder of the source tree.
func Top() string {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	panic("no go.mod above the test")
}

// NewSuite lays out a mail system that is not started yet. It is stopped and
// removed at the end of the test; the log is shown when the test failed.
func NewSuite(t testing.TB) *Suite {
	t.Helper()
	dir, err := os.MkdirTemp("", "pr")
	if err != nil {
		t.Fatal(err)
	}
	s := &Suite{Dir: dir, t: t, bin: Programs(t), Ports: map[string]int{}}
	if os.Geteuid() == 0 { // no test needs root, so none gets it
		s.owner = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	t.Cleanup(s.remove)
	for _, d := range []string{"etc", "queue", "data", "home", "tmp"} {
		s.must(os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	s.must(os.Chmod(dir, 0o755))
	s.configure()
	for _, u := range []string{"alice", "bob"} {
		s.AddUser(u)
	}
	s.append("clock", "0\n") // before the programs look for it
	s.give(dir)
	return s
}

func (s *Suite) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// configure copies the shipped configuration and adapts it.
func (s *Suite) configure() {
	etc := filepath.Join(Top(), "etc")
	entries, err := os.ReadDir(etc)
	s.must(err)
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(etc, e.Name()))
		s.must(err)
		s.must(os.WriteFile(s.path("etc", e.Name()), text, 0o644))
	}
	owner, group := s.names()
	s.Main(
		"queue_directory = "+s.path("queue"), "data_directory = "+s.path("data"),
		"command_directory = "+s.bin, "daemon_directory = "+s.bin,
		"mail_owner = "+owner, "setgid_group = "+group, "default_privs = "+owner,
		"maillog_file = "+s.path("maillog"), "maillog_file_prefixes = "+s.Dir,
		"myhostname = mx.example.com", "mydomain = example.com", "myorigin = $mydomain",
		"mydestination = $mydomain, $myhostname, localhost",
		"mynetworks = 127.0.0.0/8", "inet_interfaces = 127.0.0.1", "inet_protocols = ipv4",
		"virtual_mailbox_base = "+s.path("vhosts"), "virtual_minimum_uid = 1",
		"smtpd_peername_lookup = no", "disable_dns_lookups = yes", "smtp_tls_security_level =",
		"local_passwd_file = "+s.path("etc", "passwd"),
		"local_recipient_maps = texthash:"+s.path("etc", "users")+" $alias_maps",
		"alias_maps = hash:"+s.path("etc", "aliases"), "alias_database = hash:"+s.path("etc", "aliases"),
		"home_mailbox = Maildir/", "recipient_delimiter = +",
		"import_environment = MAIL_CONFIG MAIL_DEBUG TZ LANG=C POSTROAD_CLOCK_FILE",
	)
	s.services()
}

// services puts the services of the network on free ports of 127.0.0.1.
func (s *Suite) services() {
	text, err := os.ReadFile(s.path("etc", "master.cf"))
	s.must(err)
	text = regexp.MustCompile(`(?m)^(\w+)(\s+inet\s)`).ReplaceAllFunc(text, func(line []byte) []byte {
		name, rest, _ := strings.Cut(string(line), " ")
		s.Ports[name] = FreePort(s.t)
		return fmt.Appendf(nil, "127.0.0.1:%d %s", s.Ports[name], rest)
	})
	s.Port = s.Ports["smtp"]
	s.must(os.WriteFile(s.path("etc", "master.cf"), text, 0o644))
}

// names are the account and group that run the suite.
func (s *Suite) names() (owner, group string) {
	uid, gid := strconv.Itoa(os.Geteuid()), strconv.Itoa(os.Getegid())
	if s.owner != nil {
		uid, gid = fmt.Sprint(s.owner.Uid), fmt.Sprint(s.owner.Gid)
	}
	u, err := user.LookupId(uid)
	s.must(err)
	g, err := user.LookupGroupId(gid)
	s.must(err)
	return u.Username, g.Name
}

func (s *Suite) path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

// Main adds lines to main.cf; later ones win.
func (s *Suite) Main(lines ...string) {
	s.t.Helper()
	s.append("etc/main.cf", strings.Join(lines, "\n")+"\n")
}

// Master adds lines to master.cf.
func (s *Suite) Master(lines ...string) {
	s.t.Helper()
	s.append("etc/master.cf", strings.Join(lines, "\n")+"\n")
}

func (s *Suite) append(name, text string) {
	s.t.Helper()
	f, err := os.OpenFile(s.path(name), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	s.must(err)
	_, err = f.WriteString(text)
	s.must(errors.Join(err, f.Close()))
}

// File writes a file below Dir, owned by the suite.
func (s *Suite) File(name, text string) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(s.path(name)), 0o755))
	s.must(os.WriteFile(s.path(name), []byte(text), 0o644))
	top, _, below := strings.Cut(name, "/")
	if !below || top == "etc" || top == "queue" || top == "home" {
		s.give(s.path(name))
		return
	}
	s.give(s.path(top)) // a directory of the story's own
}

// AddUser makes a user with a home directory.
func (s *Suite) AddUser(name string) {
	s.t.Helper()
	uid, gid := os.Geteuid(), os.Getegid()
	if s.owner != nil {
		uid, gid = int(s.owner.Uid), int(s.owner.Gid)
	}
	home := s.path("home", name)
	s.must(os.MkdirAll(home, 0o755))
	s.give(home)
	s.append("etc/passwd", fmt.Sprintf("%s:x:%d:%d:%s:%s:/bin/sh\n", name, uid, gid, name, home))
	s.append("etc/users", name+" x\n")
}

// give hands files over to the account that runs the suite.
func (s *Suite) give(path string) {
	if s.owner == nil {
		return
	}
	s.must(filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, int(s.owner.Uid), int(s.owner.Gid))
	}))
}

// Command prepares one of the suite's commands, as the account that runs it.
func (s *Suite) Command(name string, args ...string) *exec.Cmd {
	path := name
	if _, err := os.Stat(filepath.Join(s.bin, name)); err == nil {
		path = filepath.Join(s.bin, name)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = s.Dir
	cmd.Env = []string{"PATH=" + s.bin + ":/usr/sbin:/usr/bin:/sbin:/bin", "MAIL_CONFIG=" + s.path("etc"),
		"HOME=" + s.path("home", "alice"), "POSTROAD_CLOCK_FILE=" + s.path("clock"), "LANG=C", "TZ=UTC"}
	if s.owner != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	}
	return cmd
}

// Run runs a command to its end and returns its output and exit status.
func (s *Suite) Run(stdin, name string, args ...string) (output string, status int) {
	s.t.Helper()
	cmd := s.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	s.must(cmd.Start())
	timer := time.AfterFunc(2*patience, func() { cmd.Process.Kill() }) // the error is Wait's
	err := cmd.Wait()
	timer.Stop()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// Start builds the alias database, starts the suite and waits for the SMTP
// greeting.
func (s *Suite) Start() {
	s.t.Helper()
	if out, status := s.Run("", "postalias", "hash:"+s.path("etc", "aliases")); status != 0 {
		s.t.Fatalf("postalias: exit %d: %s", status, out)
	}
	if out, status := s.Run("", "postroad", "-c", s.path("etc"), "start"); status != 0 {
		s.t.Fatalf("start: exit %d: %s", status, out)
	}
	s.up = true
	s.Until("SMTP greeting", func() bool {
		c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
		if err != nil {
			return false
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second)) // an open socket takes it
		b := make([]byte, 4)
		_, err = c.Read(b)
		return err == nil && string(b) == "220 "
	})
}

// Stop stops the suite and waits for its end.
func (s *Suite) Stop() {
	s.t.Helper()
	if out, status := s.Run("", "postroad", "-c", s.path("etc"), "stop"); status != 0 {
		s.t.Errorf("stop: exit %d: %s", status, out)
	}
	s.up = false
}

// Addr is where smtpd listens.
func (s *Suite) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// Log is the mail log so far.
func (s *Suite) Log() string {
	text, err := os.ReadFile(s.path("maillog"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	return string(text)
}

// Until waits until a condition holds and ends the test when it never does.
func (s *Suite) Until(what string, holds func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for wait := 2 * time.Millisecond; !holds(); wait = min(2*wait, 100*time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain for: %s", what)
		}
		time.Sleep(wait)
	}
}

// Maildir is the messages in a user's Maildir, in any order. The name may be
// a path below Dir, as "home/alice/Maildir/.folder".
func (s *Suite) Maildir(name string) []string {
	s.t.Helper()
	if !strings.Contains(name, "/") {
		name = "home/" + name + "/Maildir"
	}
	var messages []string
	for _, sub := range []string{"new", "cur"} {
		files, err := filepath.Glob(s.path(name, sub, "*"))
		s.must(err)
		for _, f := range files {
			text, err := os.ReadFile(f)
			if errors.Is(err, fs.ErrNotExist) {
				continue // moved from new to cur just now
			}
			s.must(err)
			messages = append(messages, string(text))
		}
	}
	return messages
}

// Queue is the ids in a queue directory.
func (s *Suite) Queue(name string) []string {
	s.t.Helper()
	var ids []string
	err := filepath.WalkDir(s.path("queue", name), func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // moved on, or not made yet
		}
		if err == nil && !d.IsDir() {
			ids = append(ids, d.Name())
		}
		return err
	})
	s.must(err)
	return ids
}

// QueueIsEmpty reports whether no message is anywhere in the queue.
func (s *Suite) QueueIsEmpty() bool {
	for _, q := range []string{"maildrop", "incoming", "active", "deferred", "hold"} {
		if len(s.Queue(q)) > 0 {
			return false
		}
	}
	return true
}

// Advance moves the suite's clock.
func (s *Suite) Advance(d time.Duration) {
	s.t.Helper()
	text, err := os.ReadFile(s.path("clock"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	now, _ := strconv.ParseFloat(strings.TrimSpace(string(text)), 64) // an absent file is 0
	s.File("clock", strconv.FormatFloat(now+d.Seconds(), 'f', -1, 64)+"\n")
}

// Pids finds the suite's processes of one program.
func (s *Suite) Pids(program string) []int {
	s.t.Helper()
	entries, err := os.ReadDir("/proc")
	s.must(err)
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		if err != nil || filepath.Base(exe) != program || filepath.Dir(exe) != s.bin {
			continue
		}
		if cwd, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd")); err == nil && strings.HasPrefix(cwd, s.Dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Kill ends all processes of one program with SIGKILL.
func (s *Suite) Kill(program string) {
	s.t.Helper()
	for _, pid := range s.Pids(program) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.t.Fatal(err)
		}
	}
}

// remove stops what still runs and deletes the directory.
func (s *Suite) remove() {
	if s.up {
		s.Run("", "postroad", "-c", s.path("etc"), "abort")
	}
	if s.t.Failed() {
		s.t.Logf("mail log:\n%s", s.Log())
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		s.t.Logf("remove %s: %v", s.Dir, err)
	}
}

// ports are the ports that FreePort gave away: tests run side by side.
var ports sync.Map

// FreePort is a TCP port of 127.0.0.1 that nobody uses now. It lies below those
// that the kernel gives to clients, which come and go at any time.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 10000 + rand.IntN(22000)
		if _, taken := ports.LoadOrStore(port, true); taken {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue // somebody has it
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no free port")
	return 0
}
