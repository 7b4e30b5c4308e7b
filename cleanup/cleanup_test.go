package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/dsn"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
	"postroad/libmail/server"
)

// logLines is a sink that keeps what is logged.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(_ maillog.Level, _, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, text)
}

// A bench is a cleanup with a spool in a temporary directory. Addresses are
// rewritten by appending @example.com.
type bench struct {
	*cleanup
	root string
	log  *logLines
	mu   sync.Mutex
	told []string // queue ids
}

func (b *bench) queued(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, id)
}

func newBench(tb testing.TB, ops queue.FS, settings ...string) *bench {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.WriteFile(dir+"/main.cf", []byte("compatibility_level = 3.6\nmyhostname = mx.example.com\nmydomain = example.com\nmyorigin = $mydomain\ninet_interfaces = 127.0.0.1\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	c, err := conf.Load(dir, settings...)
	if err != nil {
		tb.Fatal(err)
	}
	for _, q := range []string{"incoming", "hold", "bounce", "defer", "trace"} {
		if err := os.Mkdir(filepath.Join(dir, q), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	b := &bench{root: dir, log: &logLines{}}
	env := &server.Env{Conf: c, Log: maillog.New("postfix/cleanup", b.log), Clock: server.RealClock()}
	b.cleanup = &cleanup{env: env, qmgr: b, flow: noFlow{}}
	if b.params, err = newParams(c); err != nil {
		tb.Fatal(err)
	}
	if b.local, err = newLocalDomains(c, env.Log); err != nil {
		tb.Fatal(err)
	}
	if b.tables, err = openTables(env, b.local); err != nil {
		tb.Fatal(err)
	}
	b.spool = queue.New(queue.Options{Root: dir, Owner: os.Getuid(), FS: ops, Warn: env.Log.Warning})
	b.rewrite = newRewriter(appendOrigin, time.Now)
	return b
}

func appendOrigin(_, address string) (string, error) {
	if address == `"temporary"` || address == "temporary" {
		return "", errors.New("no answer")
	}
	if strings.Contains(address, "@") {
		return address, nil
	}
	return address + "@example.com", nil
}

// submit puts a message through; the queue id is replaced by QID.
func (b *bench) submit(tb testing.TB, m submission) (r result) {
	tb.Helper()
	b.log.lines = nil
	s, err := b.newSession(m.flags)
	if err != nil {
		tb.Fatal(err)
	}
	for _, x := range m.records() {
		if err := s.Record(x.t, []byte(x.data)); err != nil {
			tb.Fatal(err)
		}
	}
	r.status, r.reason = s.Finish()
	r.queue = dump(b.root, s.id)
	r.log = strings.ReplaceAll(strings.Join(b.log.lines, "\n"), s.id, "QID")
	return r
}

func TestMessages(t *testing.T) {
	const head = "T 1 1\nS a@b.example\nR user\nM\nN Received: x\n"
	tests := []struct {
		rule     string
		settings []string
		m        submission
		status   int
		want     []string // in the queue file, the log or the reason
		not      []string
	}{
		{"an envelope address is completed", nil, submission{external, head + "N\nX\nE"}, 0, []string{`R "user@example.com"`, `O "user"`, `A "dsn_orig_rcpt=rfc822;user@example.com"`}, nil},
		{"a message that is queued is complete", nil, submission{external, head + "N\nX\nE"}, 0, []string{"mode 700"}, nil},
		{"a message without recipients is refused", nil, submission{external, "T 1 1\nS a\nM\nN Received: x\nN\nX\nE"}, proto.StatRcpt, []string{"(no file)"}, nil},
		{"a message without end record is refused", nil, submission{external, "T 1 1\nS a\nR b\nM\nN Received: x\nN\nX"}, proto.StatBad, []string{"(no file)"}, nil},
		{"remote mail gets no headers", nil, submission{external, "T 1 1\nA rewrite_context=remote\n" + head[6:] + "N\nX\nE"}, 0, []string{"QID: message-id=<>"}, []string{`N "Date`, `N "From`}},
		{"local mail gets the headers that it lacks", nil, submission{external, head + "N\nX\nE"}, 0, []string{`N "Message-Id: <STAMP.QID@mx.example.com>"`, `N "Date: Thu,  1 Jan 1970`, `N "From: a@b.example"`}, nil},
		{"a full name is encoded", nil, submission{external, "T 1 1\nF Jürgen (x)\n" + head[6:] + "N\nX\nE"}, 0, []string{`N "From: =?utf-8?Q?J=C3=BCrgen_=28x=29?= <a@b.example>"`}, nil},
		{"Bcc is dropped", nil, submission{external, head + "N Bcc: secret\nN\nX\nE"}, 0, nil, []string{"secret"}},
		{"a stray CR becomes a blank", nil, submission{external, head + "N A: b\\rc\nN\nN d\\ne\nX\nE"}, 0, []string{`N "A: b c"`, `N "d e"`}, nil},
		{"a stray CR may stay", []string{"cleanup_replace_stray_cr_lf=no"}, submission{external, head + "N\nN d\\re\nX\nE"}, 0, []string{`N "d\re"`}, nil},
		{"the first message id is recorded", nil, submission{external, head + "N Message-Id: <1@x> (c)\nN Message-Id: <2@x>\nN\nX\nE"}, 0, []string{`A "message_id=<1@x>"`}, []string{`message_id=<2`}},
		{"TLS-Required: no is recorded", nil, submission{external, head + "N TLS-Required: No\nN\nX\nE"}, 0, []string{"16\""}, nil},
		{"REQUIRETLS is propagated in a header", nil, submission{external | proto.CleanupReqTLS, head + "N\nX\nE"}, 0, []string{`N "Require-TLS-ESMTP: yes"`, "32\""}, nil},
		{"the header propagates REQUIRETLS", nil, submission{external, head + "N Require-TLS-ESMTP: yes\nN\nX\nE"}, 0, []string{"32\""}, nil},
		{"text may not end the headers", []string{"non_empty_end_of_header_action=reject"}, submission{external, head + "N text\nX\nE"}, proto.StatCont, []string{"5.6.0 primary header was terminated with non-empty line", "reject: mime-error"}, nil},
		{"text that ends the headers is marked", []string{"non_empty_end_of_header_action=add_header"}, submission{external, head + "N text\nX\nE"}, 0, []string{`N "MIME-Error: message header was not terminated by empty line"`}, nil},
		{"8bit content may be converted", []string{"force_mime_input_conversion=yes"}, submission{external, head + "N Content-Transfer-Encoding: 8bit\nN\nN ü\nX\nE"}, 0, []string{`N "Content-Transfer-Encoding: quoted-printable"`, `N "=C3=BC"`}, []string{"encoding=8bit"}},
		{"a message without Received header is refused", nil, submission{external, "T 1 1\nS a\nR b\nM\nN Subject: x\nN\nX\nE"}, proto.StatBad, []string{"no Received: header"}, nil},
		{"an address without answer refuses the message", nil, submission{external, "T 1 1\nS a\nR temporary\nM\nN Received: x\nN\nX\nE"}, proto.StatWrite, []string{"address rewriting problem for temporary"}, nil},
		{"a message beyond the limit is refused", []string{"message_size_limit=3000"}, submission{external, head + "N\nN x*\nX\nE"}, proto.StatSize, []string{"queue file size limit exceeded", "(no file)", "removed (canceled)"}, nil},
		{"no limit is no limit", []string{"message_size_limit=0", "mailbox_size_limit=0"}, submission{external, head + "N\nN x*\nX\nE"}, 0, nil, nil},
		{"a discarded message is gone, and nobody knows", nil, submission{external, "T 1 1\nS a\nf 8\nR b\nM\nN Received: x\nN\nX\nE"}, 0, []string{"(no file)", "removed (discarded)"}, nil},
		{"XVERP delimiters are checked", []string{"verp_delimiter_filter=+="}, submission{external, "T 1 1\nS a\nV -=\nR b\nM\nN Received: x\nN\nX\nE"}, 0, []string{`ignoring bad VERP request: "-="`}, []string{"V \"-"}},
	}
	for _, tt := range tests {
		b := newBench(t, nil, tt.settings...)
		r := b.submit(t, tt.m)
		all := r.queue + r.log + "\n" + r.reason
		if r.status != tt.status {
			t.Errorf("%s: status %d, want %d\n%s", tt.rule, r.status, tt.status, all)
		}
		for _, w := range tt.want {
			if !strings.Contains(all, w) {
				t.Errorf("%s: %q is missing in\n%s", tt.rule, w, all)
			}
		}
		for _, w := range tt.not {
			if strings.Contains(all, w) {
				t.Errorf("%s: %q must not be in\n%s", tt.rule, w, all)
			}
		}
		if told := len(b.told) == 1; told != strings.Contains(r.queue, "mode 700") {
			t.Errorf("%s: the queue manager was told of %q", tt.rule, b.told)
		}
	}
}

// faultFS fails the call with a number, counted from 1.
type faultFS struct {
	queue.FS
	at, n int
	err   error
	calls []string
}

func (f *faultFS) fail(call string) bool {
	f.n++
	f.calls = append(f.calls, call)
	return f.n == f.at
}

func (f *faultFS) Open(path string, flag int, perm fs.FileMode) (queue.Handle, error) {
	if f.fail("open") {
		return nil, f.err
	}
	h, err := f.FS.Open(path, flag, perm)
	return &faultHandle{h, f}, err
}

func (f *faultFS) Rename(from, to string) error {
	if f.fail("rename") {
		return f.err
	}
	return f.FS.Rename(from, to)
}

func (f *faultFS) SyncDir(path string) error {
	if f.fail("syncdir") {
		return f.err
	}
	return f.FS.SyncDir(path)
}

type faultHandle struct {
	queue.Handle
	f *faultFS
}

func (h *faultHandle) WriteAt(p []byte, off int64) (int, error) {
	if h.f.fail("write") {
		return 0, h.f.err
	}
	return h.Handle.WriteAt(p, off)
}

func (h *faultHandle) Chmod(mode fs.FileMode) error {
	if mode&queue.Ready == queue.Ready && h.f.fail("chmod") {
		return h.f.err
	}
	return h.Handle.Chmod(mode)
}

func (h *faultHandle) Sync() error {
	if h.f.fail("sync") {
		return h.f.err
	}
	return h.Handle.Sync()
}

func (h *faultHandle) Close() error {
	if h.f.fail("close") {
		return errors.Join(h.Handle.Close(), h.f.err)
	}
	return h.Handle.Close()
}

// TestNoFaultIsAcknowledged fails each call of the accept path in turn: the
// client must hear of it, and no complete file may stay.
func TestNoFaultIsAcknowledged(t *testing.T) {
	m := submission{external, "T 1 1\nS a\nR b\nM\nN Received: x\nN\n" + strings.Repeat("N x*\n", 40) + "X\nE"}
	for _, flags := range []int{external, external | proto.CleanupHold} {
		m.flags = flags
		clean := &faultFS{FS: queue.System{}}
		if r := newBench(t, clean).submit(t, m); r.status != 0 {
			t.Fatalf("without faults: status %d\n%s", r.status, r.log)
		}
		if len(clean.calls) < 7 {
			t.Fatalf("calls %v", clean.calls)
		}
		for i := range clean.calls {
			for _, errno := range []error{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT} {
				ops := &faultFS{FS: queue.System{}, at: i + 1, err: &fs.PathError{Op: clean.calls[i], Err: errno}}
				b := newBench(t, ops)
				s, err := b.newSession(m.flags)
				if err != nil {
					continue // the client hears of it at once
				}
				for _, x := range m.records() {
					s.Record(x.t, []byte(x.data))
				}
				status, _ := s.Finish()
				if status == 0 {
					t.Errorf("%s (call %d) fails with %v: status 0", clean.calls[i], i+1, errno)
				}
				for _, q := range []string{"incoming", "hold"} {
					if _, err := b.spool.Check(q, s.id); err == nil {
						t.Errorf("%s (call %d) fails with %v: a complete file stays in %s", clean.calls[i], i+1, errno, q)
					}
				}
			}
		}
	}
}

// bounceLog is a bounce service that keeps what it gets.
type bounceLog struct {
	entries []string
	fail    bool
}

func (b *bounceLog) Append(_ int, _ string, r proto.Rcpt, o dsn.Outcome) error {
	b.entries = append(b.entries, fmt.Sprintf("%s %s %s", r.Address, o.Status, o.Reason))
	return nil
}

func (b *bounceLog) Flush(_ int, m proto.BounceMessage) error {
	b.entries = append(b.entries, fmt.Sprintf("flush %s ret=%d", m.Sender, m.RetFlags))
	if b.fail {
		return errors.New("no")
	}
	return nil
}

func (b *bounceLog) Warn(int, proto.BounceMessage) error                         { return nil }
func (b *bounceLog) VERP(int, proto.BounceMessage, string) error                 { return nil }
func (b *bounceLog) One(int, proto.BounceMessage, proto.Rcpt, dsn.Outcome) error { return nil }
func (b *bounceLog) Trace(int, proto.BounceMessage) error                        { return nil }

// serveBounce makes a bounce service of s.
func serveBounce(t *testing.T, s proto.BounceService) *proto.BounceClient {
	path := filepath.Join(t.TempDir(), "bounce")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go proto.ServeBounce(ipc.NewConn(c, 0), s)
		}
	}()
	return proto.NewBounceClient(path, 10*time.Second)
}

func TestReturnToSender(t *testing.T) {
	const hops = "N Received: x\nN Received: y\nN\nX\nE"
	tests := []struct {
		rule    string
		m       submission
		fail    bool
		status  int
		entries []string
	}{
		{"each recipient gets an entry, and the sender a notice", submission{internal, "T 1 1\nS a@b\nR x\nR y\nM\n" + hops}, false, 0,
			[]string{"x@example.com 5.4.0 too many hops", "y@example.com 5.4.0 too many hops", "flush a@b ret=0"}},
		{"refused content is not returned", submission{internal, "T 1 1\nS a@b\nR x\nM\nN Received: x\nN Subject: bad\nN\nX\nE"}, false, 0,
			[]string{"x@example.com 5.7.1 message content rejected", "flush a@b ret=2"}},
		{"a notice that cannot be queued leaves the message with its client", submission{internal, "T 1 1\nS a@b\nR x\nM\n" + hops}, true, proto.StatWrite,
			[]string{"x@example.com 5.4.0 too many hops", "flush a@b ret=0"}},
		{"an SMTP client is told itself", submission{external, "T 1 1\nS a@b\nR x\nM\n" + hops}, false, proto.StatHops, nil},
	}
	for _, tt := range tests {
		b := newBench(t, nil, "hopcount_limit=2", "header_checks=regexp:{{/^Subject: bad/ REJECT}}")
		log := &bounceLog{fail: tt.fail}
		b.bounce = serveBounce(t, log)
		r := b.submit(t, tt.m)
		if r.status != tt.status || strings.Join(log.entries, ";") != strings.Join(tt.entries, ";") {
			t.Errorf("%s: status %d, %q", tt.rule, r.status, log.entries)
		}
		if r.queue != "(no file)\n" && r.queue != "(no file)" {
			t.Errorf("%s: queue file stays: %s", tt.rule, r.queue)
		}
	}
}

func TestRewriterRemembers(t *testing.T) {
	now, asked := time.Unix(1000, 0), 0
	r := newRewriter(func(_, a string) (string, error) { asked++; return a + "!", nil }, func() time.Time { return now })
	for _, step := range []struct {
		rule, address string
		later         time.Duration
		asked         int
	}{
		{"local", "a", 0, 1}, {"local", "a", 29 * time.Second, 1}, {"remote", "a", 0, 2},
		{"local", "a", time.Second, 3}, {"local", "a", -time.Hour, 4},
	} {
		now = now.Add(step.later)
		if got, err := r.do(step.rule, step.address); got != "a!" || err != nil || asked != step.asked {
			t.Errorf("%+v: %q, %v, asked %d times", step, got, err, asked)
		}
	}
	for i := range 2 * rewriteMax {
		r.do("local", fmt.Sprint(i))
	}
	if len(r.known) > rewriteMax {
		t.Errorf("%d answers are remembered", len(r.known))
	}
}

func TestNotifierGathersIDs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qmgr")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := newNotifier(path, maillog.Discard())
	for i := range notifyQueue + 5 {
		n.queued(fmt.Sprintf("ID%04d", i))
	}
	go n.run()
	done := make(chan string)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		var all strings.Builder
		buf := make([]byte, 2*notifyBatch)
		for err == nil && !strings.Contains(all.String(), "ID0999") {
			var k int
			k, err = c.Read(buf)
			all.Write(buf[:k])
		}
		done <- all.String()
		c.Close() // what came last may not have been understood
		again, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		done <- ""
		text, _ := io.ReadAll(again) // ends with stop
		done <- string(text)
	}()
	if got := <-done; got[0] != proto.TriggerIncoming || !strings.Contains(got, "NID0000\nNID0001\n") || strings.Count(got, "I\n")+strings.Count(got, "\nI") < 1 {
		t.Errorf("requests %.100q...", got)
	}
	<-done // connected again
	n.stop(context.Background())
	if got := <-done; !strings.HasPrefix(got, string(proto.TriggerIncoming)) {
		t.Errorf("after the end of the connection: %q", got)
	}
}

// TestBodyLinesAllocateNothing guards the path that most bytes take.
func TestBodyLinesAllocateNothing(t *testing.T) {
	b := newBench(t, nil)
	s, err := b.newSession(external)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	for _, x := range (submission{0, "T 1 1\nS a\nR b\nM\nN Received: x\nN\nN x"}).records() {
		s.Record(x.t, []byte(x.data))
	}
	line := []byte("a line of the body of a message, as long as most of them")
	if n := testing.AllocsPerRun(500, func() { s.Record(record.Text, line) }); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}

// FuzzSession: whatever records come, status 0 means a message that the queue
// manager can read.
func FuzzSession(f *testing.F) {
	for _, c := range peerCases[0].messages {
		var b []byte
		for _, x := range c.records() {
			b = record.AppendString(b, x.t, x.data)
		}
		f.Add(b)
	}
	b := newBench(f, nil, "virtual_alias_maps=inline:{{a=b c} {b=a}}", "always_bcc=x", "header_checks=regexp:{{/A: b/ HOLD} {/B:/ REPLACE C: d}}")
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := b.newSession(external)
		if err != nil {
			t.Fatal(err)
		}
		w := record.NewWalker(strings.NewReader(string(data)), 1<<16)
		for {
			rt, d, err := w.NextRaw()
			if err != nil {
				break
			}
			s.Record(rt, d)
		}
		status, _ := s.Finish()
		if status != 0 || s.flags&proto.CleanupDiscard != 0 {
			if _, err := b.spool.Check(s.file.Queue, s.id); err == nil {
				t.Fatalf("status %d, but there is a message", status)
			}
			return
		}
		m, err := b.spool.Open(s.file.Queue, s.id, queue.NoLock)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if _, err := m.Envelope(0); err != nil {
			t.Fatal(err)
		}
		b.spool.Remove(s.file.Queue, s.id)
	})
}

func TestMasquerade(t *testing.T) {
	tests := []struct{ rules, except, in, want string }{
		{"", "", "xx@aa.bb.com", "xx@aa.bb.com"},
		{"bb.com", "", "xx@aa.bb.com", "xx@bb.com"},
		{"xx.com", "", "xx@aa.bb.com", "xx@aa.bb.com"},
		{"bb.com", "", "xx@bb.com", "xx@bb.com"},
		{"!aa.bb.com bb.com", "", "xx@cc.aa.bb.com", "xx@cc.aa.bb.com"},
		{"!aa.bb.com bb.com", "", "xx@dd.bb.com", "xx@bb.com"},
		{"!!bb.com", "", "xx@aa.bb.com", "xx@bb.com"},
		{"BB.com", "", "xx@aa.bb.COM", "xx@bb.com"},
		{"bb.com", "xx", "xx@aa.bb.com", "xx@aa.bb.com"},
		{"bb.com", "yy, !xx, xx", "xx@aa.bb.com", "xx@bb.com"},
		{"b.com", "", "xx@aa.bb.com", "xx@aa.bb.com"},
	}
	for _, tt := range tests {
		b := newBench(t, nil, "masquerade_domains="+tt.rules, "masquerade_exceptions="+tt.except)
		s := &session{cleanup: b.cleanup, log: b.env.Log}
		if got := s.masqueraded(tt.in); got != tt.want {
			t.Errorf("%q except %q: %s, want %s", tt.rules, tt.except, got, tt.want)
		}
	}
}

func TestHeaderName(t *testing.T) {
	long := strings.Repeat("ü", 60)
	tests := []struct {
		rule, format, in, want string
	}{
		{"plain words stay", "standard", "Real Name", "Real Name"},
		{"specials are quoted", "standard", `Real "N." Name`, `"Real \"N.\" Name"`},
		{"controls and blanks become one blank", "standard", " a\t\x01 b ", "a b"},
		{"nothing is nothing", "standard", " \t", ""},
		{"parentheses of a comment balance", "obsolete", ")a(b", "a(b)"},
		{"a backslash at the end goes", "obsolete", `a\`, "a"},
		{"a short name in Q", "standard", "Jörg", "=?utf-8?Q?J=C3=B6rg?="},
		{"a comment hides parentheses", "obsolete", "Jörg (x)", "=?utf-8?Q?J=C3=B6rg_=28x=29?="},
	}
	for _, tt := range tests {
		b := newBench(t, nil, "header_from_format="+tt.format)
		s := &session{cleanup: b.cleanup}
		if got := s.headerName(tt.in); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
	}
	s := &session{cleanup: newBench(t, nil).cleanup}
	for _, w := range strings.Split(s.headerName(long), "\n") {
		if len(w) > maxWord || !strings.HasPrefix(w, "=?utf-8?B?") {
			t.Errorf("RFC 2047 §2: word %q", w)
		}
	}
}

func TestByteSet(t *testing.T) {
	c, err := conf.Load(newBench(t, nil).root, `message_strip_characters=\0\177\\x\q`)
	if err != nil {
		t.Fatal(err)
	}
	set, err := newByteSet(c, "message_strip_characters")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(set.without(nil, []byte("a\x00b\x7fc\\dxeqf"))); got != "abcdef" {
		t.Errorf("stripped %q", got)
	}
}

// TestLocalDomains: the domains whose users stand in tables without domain.
func TestLocalDomains(t *testing.T) {
	b := newBench(t, nil, "mydestination=$myhostname, other.example", "proxy_interfaces=192.0.2.9")
	for domain, want := range map[string]bool{
		"example.com": true, "mx.example.com": true, "Other.Example.": true, "other.example..": false,
		"[127.0.0.1]": true, "[192.0.2.9]": true, "[192.0.2.1]": false, "": false, "example.net": false,
	} {
		if got, err := b.local.match(domain); got != want || err != nil {
			t.Errorf("%q: %v, %v", domain, got, err)
		}
	}
}

var _ message.Handler = content{}
