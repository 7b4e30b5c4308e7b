package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// A posted message is what the cleanup of the tests received.
type posted struct {
	flags      int
	from, rcpt string
	text       string
	after      string // what lay in the log directory when the message was accepted
}

// fakeCleanup takes messages, or refuses them with a status.
type fakeCleanup struct {
	mu     sync.Mutex
	got    []posted
	status int
	fail   int // number of the message, counted from 1, that is refused with status; 0: all
	begun  int
	logs   func() string
}

type fakeSession struct {
	c *fakeCleanup
	p posted
	n int
	b strings.Builder
}

func (s *fakeSession) ID() string { return fmt.Sprintf("NEW%d", s.n) }

func (s *fakeSession) Record(t record.Type, data []byte) error {
	switch t {
	case record.Sender:
		s.p.from = string(data)
	case record.Rcpt:
		s.p.rcpt = string(data)
	case record.Text:
		s.b.Write(data)
		s.b.WriteByte('\n')
	case record.Continued:
		s.b.Write(data)
	}
	return nil
}

func (s *fakeSession) Finish() (int, string) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.status != 0 && (s.c.fail == 0 || s.c.fail == s.n) {
		return s.c.status, "refused"
	}
	s.p.text = s.b.String()
	s.p.after = s.c.logs()
	s.c.got = append(s.c.got, s.p)
	return 0, ""
}

func (s *fakeSession) Abort() {}

func (c *fakeCleanup) open(flags int) (proto.CleanupSession, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun++
	return &fakeSession{c: c, p: posted{flags: flags}, n: c.begun}, nil
}

// lines is a log.
type lines struct {
	mu  sync.Mutex
	got []string
}

func (l *lines) Write(_ maillog.Level, _, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, text)
}

// begin is the time of the tests.
var begin = time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)

// newService is a bounce service in a spool of its own, with a cleanup that
// takes what it sends.
func newService(t *testing.T, kind, mainCF string) (*service, *fakeCleanup, *lines) {
	t.Helper()
	golden, err := filepath.Abs("../libmail/queue/testdata")
	if err != nil {
		t.Fatal(err)
	}
	notices, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	for _, dir := range []string{"active", "deferred", "bounce", "defer", "trace", "public"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"golden": golden, "golden-notices": notices, "golden-log": notices + "/log"} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("main.cf", []byte("myhostname = mx.example.com\nmydomain = example.com\n"+mainCF), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(".")
	if err != nil {
		t.Fatal(err)
	}
	cleanup := &fakeCleanup{logs: func() string { return strings.Join(logFiles(t), " ") }}
	l, err := net.Listen("unix", "public/cleanup")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				// How it ends is the client's to tell.
				_ = proto.ServeCleanup(ipc.NewConn(conn, 10*time.Second), cleanup.open)
			}()
		}
	}()
	log := &lines{}
	logger := maillog.New("bounce", log)
	tmpl, err := openTemplates(c, logger)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{
		params: newParams(c), kind: kind, spool: queue.New(queue.Options{Owner: -1, OldLogs: true}), templates: tmpl,
		post: proto.NewCleanupClient("public/cleanup", 10*time.Second), log: logger, now: func() time.Time { return begin },
	}
	t.Cleanup(s.post.IPC.Close)
	return s, cleanup, log
}

// logFiles lists the logs.
func logFiles(t *testing.T) (list []string) {
	t.Helper()
	for _, kind := range []string{"bounce", "defer", "trace"} {
		names, err := filepath.Glob(kind + "/*")
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, names...)
	}
	return list
}

// put copies a queue file that Postfix wrote into the active queue.
func put(t *testing.T, name, id string) {
	t.Helper()
	data, err := os.ReadFile("golden/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("active/"+id, data, 0o700); err != nil {
		t.Fatal(err)
	}
}
