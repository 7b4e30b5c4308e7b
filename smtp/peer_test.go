package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postroad/libmail/mailtest"
)

// TestDialogsWithPostfix plays the dialogs with Postfix's client in our
// place and compares what it logs: the dialogs say what Postfix does. It
// needs root and Debian's Postfix, and POSTROAD_PEERS=1 asks for it.
func TestDialogsWithPostfix(t *testing.T) {
	if os.Getenv("POSTROAD_PEERS") == "" {
		t.Skip("POSTROAD_PEERS is not set")
	}
	if _, err := exec.LookPath("postfix"); err != nil || os.Getuid() != 0 {
		t.Skip("needs Postfix and root")
	}
	for _, d := range mailtest.ReadDialogs(t, "testdata/*.txt") {
		t.Run(d.Name, func(t *testing.T) {
			if why := ours[d.Name]; why != "" {
				t.Skip(why)
			}
			for _, s := range append(d.Head, d.Steps...) {
				if s.Word == "zone:" {
					t.Skip("needs a name server of its own")
				}
			}
			playPostfix(t, d)
		})
	}
}

// ours are the dialogs in which we differ from Postfix, or that need a request
// which sendmail cannot make.
var ours = map[string]string{
	"reuse":               "Postfix keeps connections when there is much mail only",
	"reuse-gone":          "Postfix keeps connections when there is much mail only",
	"early-250":           "Postfix believes an early 250",
	"tls-injection":       "Postfix forgets the injected text and goes on",
	"dsn":                 "sendmail gives no ORCPT",
	"quoting":             "the ledger of the dialogs does not quote",
	"no-such-domain":      "Postfix asks for IPv4 only here",
	"relayhost-mistake":   "Postfix asks for IPv4 only here",
	"lmtp":                "played by another program",
	"lmtp-lost":           "played by another program",
	"probe":               "sendmail makes no probes",
	"probe-data":          "sendmail makes no probes",
	"xforward":            "mail of this host has no client",
	"size":                "the size of the message is another",
	"smtputf8":            "sendmail does not ask for SMTPUTF8",
	"requiretls":          "newer than Debian's Postfix",
	"tls-handshake-plain": "the message is new",
	"flags":               "needs an argument in master.cf",
	"folding":             "the headers are folded as well",
	"8bitmime":            "sendmail gives no encoding",
	"8bit-to-7bit":        "the headers of cleanup come first",
}

// A postfix is a private Postfix whose client takes our place.
type postfix struct {
	dir  string
	read int // of the log
}

func playPostfix(t *testing.T, d *mailtest.Dialog) {
	s := newStage(t)
	if needsCert(d) {
		if err := makeCert(s.certDir); err != nil {
			t.Fatal(err)
		}
		os.Chmod(s.certDir, 0o755)
	}
	pf := &postfix{dir: t.TempDir()}
	defer pf.stop()
	inData := false
	want, got := []string{}, []string{}
	for _, step := range append(d.Head, d.Steps...) {
		var err error
		switch {
		case step.Word == "deliver:":
			if len(want) == 0 && len(got) == 0 && pf.read == 0 {
				pf.start(t, s)
			}
			err = pf.submit(step.Text, s.port, s.body)
		case step.Word == "want:":
			want = append(want, strings.ReplaceAll(step.Text, ":PORT", ":"+s.port))
			if len(got) < len(want) {
				var line string
				if line, err = pf.result(); err == nil {
					got = append(got, line)
				}
			}
		case step.Word == "hop:" || step.Word == "log:" || step.Word == "nolog:":
		case inData && step.Word == "C:":
			if step.Text == "." {
				inData, err = false, skipBody(s)
			}
		case step.Word == "C:":
			s.connected()
			err = s.expect(strings.ReplaceAll(strings.ReplaceAll(step.Text, ":PORT", ":"+s.port), "SIZE=100", "SIZE=..."))
		default:
			inData = inData || step.Word == "S:" && strings.HasPrefix(step.Text, "354")
			err = s.play(step)
		}
		if err != nil {
			t.Fatalf("%s.txt:%d: %s %s: %v\n%s", d.Name, step.Line, step.Word, step.Text, err, pf.log())
		}
	}
	tlsField := regexp.MustCompile(`, tls=[^,]*`)
	for _, w := range want {
		w = tlsField.ReplaceAllString(w, "")
		found := false
		for _, g := range got {
			found = found || mailtest.Like(g, w)
		}
		if !found {
			t.Errorf("Postfix does not say\n     %s\nbut  %s", w, strings.Join(got, "\n     "))
		}
	}
}

// skipBody reads content up to the dot.
func skipBody(s *stage) error {
	for {
		line, err := s.r.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return err
		}
	}
}

func (p *postfix) start(t *testing.T, s *stage) {
	t.Helper()
	os.Chmod(p.dir, 0o755)
	for d := p.dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	queue, data := p.dir+"/queue", p.dir+"/data"
	os.MkdirAll(queue, 0o755)
	os.MkdirAll(data, 0o700)
	if out, err := exec.Command("chown", "postfix", data).CombinedOutput(); err != nil {
		t.Skipf("%s", out)
	}
	conf := []string{"compatibility_level = 3.6", "queue_directory = " + queue, "data_directory = " + data,
		"command_directory = /usr/sbin", "daemon_directory = /usr/lib/postfix/sbin", "mail_owner = postfix", "setgid_group = postdrop",
		"myhostname = client.example.org", "myorigin = client.example.org", "mydestination =", "inet_interfaces = 127.0.0.1",
		"inet_protocols = ipv4", "alias_maps =", "maillog_file = " + p.dir + "/maillog", "maillog_file_prefixes = /",
		"transport_maps = static:{smtp:" + "NEXTHOP" + "}", "smtp_tls_session_cache_database =", "smtp_bind_address = 127.0.0.1"}
	for _, line := range s.conf {
		conf = append(conf, line)
	}
	os.WriteFile(p.dir+"/main.cf", []byte(strings.Join(conf, "\n")+"\n"), 0o644)
	os.WriteFile(p.dir+"/master.cf", []byte(`pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`), 0o644)
}

// submit starts the private Postfix with the first message.
func (p *postfix) submit(text, port, body string) error {
	nexthop := "[127.0.0.1]:" + port
	var args, rcpts []string
	for _, w := range strings.Fields(text) {
		name, value, ok := strings.Cut(w, "=")
		switch {
		case !ok && args == nil:
			args = []string{"-f", strings.Trim(w, "<>")}
			if args[1] == "" {
				args[1] = "<>"
			}
		case !ok:
			rcpts = append(rcpts, w)
		case name == "nexthop":
			nexthop = strings.ReplaceAll(strings.ReplaceAll(value, "_", " "), ":PORT", ":"+port)
		case name == "envid":
			args = append(args, "-V", value)
		case name == "encoding" || name == "waited":
		default:
			return fmt.Errorf("sendmail cannot say %s", w)
		}
	}
	main, err := os.ReadFile(p.dir + "/main.cf")
	if err != nil {
		return err
	}
	main = []byte(strings.ReplaceAll(strings.ReplaceAll(string(main), "NEXTHOP", nexthop), ":PORT", ":"+port))
	if err := os.WriteFile(p.dir+"/main.cf", main, 0o644); err != nil {
		return err
	}
	for _, command := range [][]string{
		{"postfix", "-c", p.dir, "start"},
		append(append([]string{"sendmail", "-C", p.dir, "-i"}, args...), append([]string{"--"}, rcpts...)...),
	} {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Stdin = strings.NewReader(body)
		if out, err := cmd.CombinedOutput(); err != nil && command[0] == "sendmail" {
			return fmt.Errorf("%v: %v: %s", command, err, out)
		}
	}
	return nil
}

func (p *postfix) log() string {
	text, _ := os.ReadFile(p.dir + "/maillog") // empty when there is none yet
	return string(text)
}

var resultLine = regexp.MustCompile(`: (to=<[^>]*>.*), delay=[^ ]*, delays=[^ ]*, (dsn=.*)$`)

// result waits for the next line about a recipient.
func (p *postfix) result() (string, error) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		n := 0
		for sc := bufio.NewScanner(strings.NewReader(p.log())); sc.Scan(); n++ {
			if n < p.read || !strings.Contains(sc.Text(), "/smtp[") {
				continue
			}
			if m := resultLine.FindStringSubmatch(sc.Text()); m != nil {
				p.read = n + 1
				return m[1] + ", " + m[2], nil
			}
		}
	}
	return "", errors.New("no further result")
}

func (p *postfix) stop() {
	exec.Command("postfix", "-c", p.dir, "stop").Run() // it may not run at all
}
