package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/attr"
	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
	"postroad/libmail/server"
)

// A peer is a private Postfix without queue manager: messages stay where its
// cleanup puts them. Our cleanup runs in the test, with the same main.cf, and
// asks Postfix's own trivial-rewrite.
type peer struct {
	t       *testing.T
	dir     string // of all that is ours
	postfix string // queue_directory of Postfix
	lines   []string
	logged  int // bytes of the log that were looked at
}

const peerMaster = `
cleanup unix n - n - 0 cleanup
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
`

const peerMain = `
compatibility_level = 3.6
queue_directory = DIR/queue
data_directory = DIR/data
maillog_file = DIR/maillog
maillog_file_prefixes = DIR
mail_owner = postfix
setgid_group = postdrop
multi_instance_name = postfix-DIRNAME
multi_instance_enable = yes
myhostname = mx.example.com
mydomain = example.com
myorigin = $mydomain
mydestination = $myhostname, localhost, example.com
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
in_flow_delay = 0
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ XAUTHORITY DISPLAY LANG=C
`

// startPeer starts a Postfix with more lines in main.cf. It needs root and
// POSTROAD_PEERS.
func startPeer(t *testing.T, settings string) *peer {
	t.Helper()
	if os.Getenv("POSTROAD_PEERS") == "" {
		t.Skip("set POSTROAD_PEERS to compare with the installed Postfix")
	}
	if _, err := exec.LookPath("postfix"); err != nil || os.Getuid() != 0 {
		t.Skip("needs Postfix and root")
	}
	dir, err := os.MkdirTemp("", "postroad-peer")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, dir: dir, postfix: dir + "/queue"}
	t.Cleanup(func() { os.RemoveAll(dir) })
	fill := strings.NewReplacer("DIRNAME", filepath.Base(dir), "DIR", dir)
	for name, text := range map[string]string{"main.cf": fill.Replace(peerMain + settings), "master.cf": peerMaster} {
		if err := os.MkdirAll(dir+"/etc", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/etc/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []string{"", "/incoming", "/active", "/deferred", "/hold", "/bounce", "/defer", "/trace", "/maildrop", "/corrupt", "/flush", "/saved"} {
		if err := os.Mkdir(dir+"/queue"+q, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir+"/data", 0o755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o755)
	p.run("sh", "-c", "chown postfix "+dir+"/data "+dir+"/queue/*")
	p.run("postfix", "-c", dir+"/etc", "start")
	t.Cleanup(func() { exec.Command("postfix", "-c", dir+"/etc", "stop").Run() })
	// Our files must belong to mail_owner, for Postfix's bounce to read them.
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	if err := syscall.Seteuid(uid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Seteuid(0); err != nil {
			t.Fatal(err)
		}
	})
	return p
}

func (p *peer) run(name string, args ...string) {
	p.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// ours makes our cleanup with the peer's main.cf.
func (p *peer) ours() *cleanup {
	p.t.Helper()
	c, err := conf.Load(p.dir + "/etc")
	if err != nil {
		p.t.Fatal(err)
	}
	p.lines = nil
	env := &server.Env{Conf: c, Log: maillog.New("postfix/cleanup", p), Clock: server.RealClock()}
	u := &cleanup{env: env}
	if u.params, err = newParams(c); err != nil {
		p.t.Fatal(err)
	}
	if u.local, err = newLocalDomains(c, env.Log); err != nil {
		p.t.Fatal(err)
	}
	if u.tables, err = openTables(env, u.local); err != nil {
		p.t.Fatal(err)
	}
	u.spool = queue.New(queue.Options{Root: p.postfix, Owner: 0, Warn: env.Log.Warning, LongIDs: c.Bool("enable_long_queue_ids")})
	ask := proto.NewRewriteClient(p.postfix+"/private/rewrite", 10*time.Second)
	u.rewrite = newRewriter(ask.Rewrite, time.Now)
	u.bounce = p.bounceRelay()
	u.trace = proto.NewBounceClient(p.postfix+"/private/trace", 10*time.Second)
	u.verify = proto.NewVerifyClient(p.postfix+"/private/verify", 10*time.Second)
	u.qmgr, u.flow = deafQmgr{}, noFlow{}
	return u
}

// bounceRelay passes on what goes into the bounce log. Postfix 3.7 has other
// names for the request that sends the log.
func (p *peer) bounceRelay() *proto.BounceClient {
	l, err := net.Listen("unix", p.dir+"/data/relay")
	if err != nil {
		p.t.Fatal(err)
	}
	os.Chmod(p.dir+"/data/relay", 0o666)
	p.t.Cleanup(func() { l.Close() })
	to := relay{proto.NewBounceClient(p.postfix+"/private/bounce", 10*time.Second)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go proto.ServeBounce(ipc.NewConn(c, 0), to)
		}
	}()
	return proto.NewBounceClient(p.dir+"/data/relay", 10*time.Second)
}

type relay struct{ *proto.BounceClient }

func (relay) Flush(int, proto.BounceMessage) error        { return nil }
func (relay) VERP(int, proto.BounceMessage, string) error { return nil }

type deafQmgr struct{}

func (deafQmgr) queued(string) {}

type noFlow struct{}

func (noFlow) Take(context.Context) {}
func (noFlow) Give(int)             {}

// Write makes a peer the sink of our log.
func (p *peer) Write(_ maillog.Level, _, text string) { p.lines = append(p.lines, text) }

// A line of a submission: record type, blank, data.
type submission struct {
	flags int
	text  string
}

func (m submission) records() (list []rec) {
	for _, line := range strings.Split(strings.TrimLeft(m.text, "\n"), "\n") {
		if line = strings.TrimLeft(line, "\t"); line == "" {
			continue
		}
		t, data, _ := strings.Cut(line, " ")
		if data == "x*" {
			data = strings.Repeat("x", 5000)
		}
		list = append(list, rec{record.Type(t[0]), strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\t`, "\t", `\0`, "\x00").Replace(data)})
	}
	return list
}

type rec struct {
	t    record.Type
	data string
}

// result is what there is to compare.
type result struct {
	status int
	reason string
	queue  string // file contents, a record a line
	log    string
}

// submitOurs puts a message through our cleanup.
func (p *peer) submitOurs(u *cleanup, m submission) (r result) {
	p.lines = nil
	s, err := u.newSession(m.flags)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, x := range m.records() {
		if err := s.Record(x.t, []byte(x.data)); err != nil {
			p.t.Fatal(err)
		}
	}
	r.status, r.reason = s.Finish()
	r.queue = dump(p.postfix, s.id)
	r.log = strings.ReplaceAll(strings.Join(p.lines, "\n"), s.id, "QID")
	r.reason = strings.ReplaceAll(r.reason, s.id, "QID")
	return r
}

// submitPostfix puts a message through Postfix's cleanup.
func (p *peer) submitPostfix(m submission) (r result) {
	c, err := net.Dial("unix", p.postfix+"/public/cleanup")
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	in, w := attr.NewReader(bufio.NewReader(c)), bufio.NewWriter(c)
	out := attr.NewWriter(w)
	in.Str("protocol")
	id := in.Str("queue_id")
	in.End()
	out.Int("flags", int64(m.flags))
	out.End()
	out.Flush()
	for _, x := range m.records() {
		w.Write(record.AppendString(nil, x.t, x.data))
	}
	w.Flush()
	r.status = int(in.Int("status"))
	r.reason = in.Str("reason")
	if in.Err() != nil {
		p.t.Fatal(in.Err())
	}
	r.queue = dump(p.postfix, id)
	r.log = p.logOf(id)
	return r
}

// logOf is what Postfix's cleanup logged about its last message. A mark of
// ours goes the same way, so that all is in the file once the mark is.
func (p *peer) logOf(id string) string {
	c, err := net.Dial("unixgram", p.postfix+"/public/postlog")
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Close()
	mark := "mark " + id
	if _, err := c.Write([]byte(mark)); err != nil {
		p.t.Fatal(err)
	}
	var text string
	for try := 0; !strings.Contains(text, mark); try++ {
		if try == 1000 {
			p.t.Fatal("no mark in the log")
		}
		time.Sleep(2 * time.Millisecond)
		data, err := os.ReadFile(p.dir + "/maillog")
		if err != nil {
			continue
		}
		text = string(data[p.logged:])
	}
	text, _, _ = strings.Cut(text, mark)
	p.logged += len(text) + len(mark)
	marker := regexp.MustCompile(`postfix\S*/cleanup\[\d+\]: `)
	var lines []string
	for _, l := range strings.Split(text, "\n") {
		if i := marker.FindStringIndex(l); i != nil {
			if l = l[i[1]:]; !ofOther.MatchString(l) || strings.HasPrefix(l, id) {
				lines = append(lines, l)
			}
		}
	}
	return strings.ReplaceAll(strings.Join(lines, "\n"), id, "QID")
}

var (
	ofOther    = regexp.MustCompile(`^[0-9A-Za-z]{8,}: `) // a notice that Postfix's bounce sent
	createTime = regexp.MustCompile(`create_time=\d+`)
	messageID  = regexp.MustCompile(`<\d{14}\.QID@`)
	delays     = regexp.MustCompile(`delay=[^,]*, delays=[^,]*`)
	sizes      = regexp.MustCompile(`(?m)^(0 C +\d+ +)\d+`) // data_offset depends on the length of the id
)

// dump prints the records of a queue file.
func dump(root, id string) string {
	path := root + "/incoming/" + id
	if _, err := os.Stat(path); err != nil {
		path = root + "/hold/" + id
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "(no file)"
	}
	var b strings.Builder
	if strings.Contains(path, "/hold/") {
		b.WriteString("hold\n")
	}
	if st, err := os.Stat(path); err == nil {
		fmt.Fprintf(&b, "mode %o\n", st.Mode().Perm())
	}
	w := record.NewWalker(bytes.NewReader(data), queue.MaxRecord)
	for {
		t, d, err := w.NextRaw()
		if err != nil {
			break
		}
		fmt.Fprintf(&b, "%c %q\n", t, d)
		if t == record.End {
			break
		}
	}
	s := strings.ReplaceAll(b.String(), id, "QID")
	s = createTime.ReplaceAllString(s, "create_time=NOW")
	return messageID.ReplaceAllString(s, "<STAMP.QID@")
}

// compare puts a message through both and reports differences. drop are
// expressions of lines that one side may have alone.
func (p *peer) compare(u *cleanup, name string, m submission) {
	p.t.Helper()
	want, got := p.submitPostfix(m), p.submitOurs(u, m)
	if got.status != want.status || got.reason != want.reason {
		p.t.Errorf("%s: status %d %q, Postfix %d %q", name, got.status, got.reason, want.status, want.reason)
	}
	if g, w := known(got.queue), known(want.queue); g != w {
		p.t.Errorf("%s: queue files differ\n%s", name, difference(g, w))
	}
	if g, w := knownLog(got.log), knownLog(want.log); g != w {
		p.t.Errorf("%s: logs differ\n%s", name, difference(g, w))
	}
}

// known takes out what Postfix 3.7 does not have.
func known(s string) string {
	s = regexp.MustCompile(`(?m)^A "message_id=.*\n`).ReplaceAllString(s, "")
	return s
}

func knownLog(s string) string {
	s = oddLines.ReplaceAllString(s, "")
	s = strings.NewReplacer("cleanup_message_headerbody: ", "QID: ", "missing attribute name: ", "", "<notify_flags=3>", "<3>").Replace(s)
	s = delays.ReplaceAllString(s, "delay=D")
	s = regexp.MustCompile(`<\d{14}\.QID@`).ReplaceAllString(s, "<STAMP.QID@")
	s = regexp.MustCompile(`(?m)^warning: .* lookup error for .*\n?`).ReplaceAllString(s, "")
	s = regexp.MustCompile(`(?m)^(warning|error): \S+ (is unavailable|lookup).*\n?`).ReplaceAllString(s, "")
	return strings.TrimRight(s, "\n")
}

// oddLines are log lines that only one side has, on purpose: Postfix 3.7 does
// not log removals, and misses its queue manager here.
var oddLines = regexp.MustCompile(`(?m)^(QID: removed \(.*\)|warning: unable to look up public/qmgr.*)(\n|$)`)

func difference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	var b strings.Builder
	for i := 0; i < max(len(g), len(w)); i++ {
		a, c := "(end)", "(end)"
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			c = w[i]
		}
		if a != c {
			fmt.Fprintf(&b, "  ours    %s\n  Postfix %s\n", a, c)
		}
	}
	return b.String()
}
