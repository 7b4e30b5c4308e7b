// Package peers compares postroad with software that nobody here wrote: the
// same configuration and the same dialogs for Debian's Postfix and for
// postroad, both as root with separated privileges, must give the same
// replies, the same mailboxes and the same log; and Debian's tools must be
// able to use our queue and our programs. It runs with POSTROAD_PEERS=1 as
// root (make peers).
package peers

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/libmail/mailtest"
)

func TestMain(m *testing.M) {
	status := m.Run()
	mailtest.Cleanup()
	os.Exit(status)
}

// A house is a private mail system, Postfix's or ours, in a directory:
//
//	etc/ queue/ data/ maillog   as usual
//	spool/   mailboxes          out/    what commands and aliases write
type house struct {
	t        *testing.T
	dir      string
	port     int
	commands string // where its programs for people are
	daemons  string
	control  string // the name of the control command
}

const mainCF = `
compatibility_level = 3.6
queue_directory = DIR/queue
data_directory = DIR/data
command_directory = COMMANDS
daemon_directory = DAEMONS
maillog_file = DIR/maillog
maillog_file_prefixes = DIR
mail_owner = postfix
setgid_group = postdrop
multi_instance_name = postfix-NAME
multi_instance_enable = yes
syslog_name = postfix
mail_name = Postfix
myhostname = mx.example.com
mydomain = example.com
myorigin = $mydomain
mydestination = $myhostname, localhost, example.com
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
disable_dns_lookups = yes
alias_maps = hash:DIR/etc/aliases
alias_database = hash:DIR/etc/aliases
mail_spool_directory = DIR/spool
forward_path = DIR/etc/forward/$user
recipient_delimiter = +
in_flow_delay = 0
notify_classes =
smtpd_error_sleep_time = 0
compatibility_level = 3.6
`

const masterCF = `
127.0.0.1:PORT inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
archive unix - n n - 10 pipe flags=DRq user=nobody argv=/bin/sh -c cat${space}>>DIR/out/$1 sh ${recipient}
`

// needed ends a test that has not what it takes.
func needed(t *testing.T) {
	mailtest.Peers(t)
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	for _, program := range []string{"postfix", "smtp-source", "swaks"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
}

func newPostfix(t *testing.T, settings string, files map[string]string) *house {
	h := &house{t: t, commands: "/usr/sbin", daemons: "/usr/lib/postfix/sbin", control: "postfix"}
	h.begin(settings, files)
	return h
}

func newPostroad(t *testing.T, settings string, files map[string]string) *house {
	bin := mailtest.Programs(t)
	h := &house{t: t, commands: bin, daemons: bin, control: "postroad"}
	h.begin(settings, files)
	return h
}

// begin lays the house out and starts it.
func (h *house) begin(settings string, files map[string]string) {
	h.t.Helper()
	var err error
	if h.dir, err = os.MkdirTemp("", "peer"); err != nil {
		h.t.Fatal(err)
	}
	h.port = mailtest.FreePort(h.t)
	h.t.Cleanup(h.end)
	all := map[string]string{"etc/main.cf": mainCF + settings + "\n", "etc/master.cf": masterCF, "etc/aliases": "postmaster: games\n", "data/.keep": "", "queue/.keep": "", "spool/.keep": "", "out/.keep": "", "etc/forward/.keep": ""}
	for name, text := range files {
		all[name] = text
	}
	fill := strings.NewReplacer("DIR", h.dir, "COMMANDS", h.commands, "DAEMONS", h.daemons, "NAME", filepath.Base(h.dir), "PORT", fmt.Sprint(h.port))
	for name, text := range all {
		path := filepath.Join(h.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(fill.Replace(text)), 0o644); err != nil {
			h.t.Fatal(err)
		}
	}
	for _, q := range []string{"incoming", "active", "deferred", "hold", "bounce", "defer", "trace", "corrupt", "flush", "saved"} {
		if err := os.MkdirAll(filepath.Join(h.dir, "queue", q), 0o700); err != nil {
			h.t.Fatal(err)
		}
	}
	h.sh(`chmod 755 "$1"; cd "$1"; rm */.keep etc/forward/.keep; mkdir queue/maildrop queue/public queue/private queue/pid
		chown postfix data queue/[a-z]*; chown root queue/pid; chgrp postdrop queue/maildrop queue/public; chmod 1730 queue/maildrop; chmod 710 queue/public
		chmod 700 queue/private; chmod 700 data; chmod 1777 spool out`)
	for _, f := range []string{"games", "news"} {
		h.sh(`test ! -e "$1/etc/forward/` + f + `" || chown ` + f + ` "$1/etc/forward/` + f + `"`)
	}
	h.run("postalias", "hash:"+filepath.Join(h.dir, "etc/aliases"))
	h.run(h.control, "-c", filepath.Join(h.dir, "etc"), "start")
	h.until("a greeting", func() bool {
		c, err := net.DialTimeout("tcp", h.addr(), time.Second)
		if err != nil {
			return false
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second)) // an open socket takes it
		_, err = bufio.NewReader(c).ReadString('\n')
		return err == nil
	})
}

func (h *house) end() {
	out, err := h.command(h.control, "-c", filepath.Join(h.dir, "etc"), "stop").CombinedOutput()
	if err != nil {
		h.t.Logf("stop: %v %s", err, out)
	}
	if h.t.Failed() {
		h.t.Logf("log of %s:\n%s", h.control, h.log())
	}
	os.RemoveAll(h.dir) // a leftover in the temporary directory harms nobody
}

func (h *house) addr() string { return fmt.Sprintf("127.0.0.1:%d", h.port) }

func (h *house) command(name string, args ...string) *exec.Cmd {
	if !strings.Contains(name, "/") {
		name = filepath.Join(h.commands, name)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "MAIL_CONFIG=" + filepath.Join(h.dir, "etc"), "LANG=C", "TZ=UTC"}
	cmd.Dir = "/"
	return cmd
}

// run runs one of the house's commands, or one with a path, and returns its output.
func (h *house) run(name string, args ...string) string {
	h.t.Helper()
	out, err := h.command(name, args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// sh runs a script with the directory as $1.
func (h *house) sh(script string) string {
	h.t.Helper()
	return h.run("/bin/sh", "-c", script, "sh", h.dir)
}

func (h *house) log() string {
	text, _ := os.ReadFile(filepath.Join(h.dir, "maillog")) // absent at first
	return string(text)
}

func (h *house) until(what string, holds func() bool) {
	h.t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("%s: waited in vain for %s", h.control, what)
		}
	}
}

// idle waits until nothing is under way: what is left is deferred or on hold.
func (h *house) idle() {
	h.t.Helper()
	h.until("an idle queue", func() bool {
		for _, q := range []string{"maildrop", "incoming", "active"} {
			if files, err := os.ReadDir(filepath.Join(h.dir, "queue", q)); err != nil || len(files) > 0 {
				return false
			}
		}
		return true
	})
	time.Sleep(150 * time.Millisecond) // the log line comes after the removal
}

// dialog sends each line and returns the replies; the text after a 354 is
// sent up to its dot without waiting.
func (h *house) dialog(lines []string) (replies []string) {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.addr())
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second)) // an open socket takes it
	r := bufio.NewReader(conn)
	read := func() (last string) {
		for {
			l, err := r.ReadString('\n')
			if err != nil {
				replies = append(replies, "(end)")
				return ""
			}
			replies = append(replies, strings.TrimSpace(l))
			if len(l) < 4 || l[3] != '-' {
				return l
			}
		}
	}
	read()
	data := false
	for _, l := range lines {
		if _, err := fmt.Fprintf(conn, "%s\r\n", l); err != nil {
			break // the house hung up, as its last reply says
		}
		if data && l != "." {
			continue
		}
		last := read()
		data = strings.HasPrefix(last, "354")
		if last == "" {
			break
		}
	}
	return replies
}
