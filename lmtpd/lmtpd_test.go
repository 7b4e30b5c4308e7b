package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
	"postroad/libmail/maillog"
	"postroad/libmail/mailtest"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/sasl"
	"postroad/libmail/server"
)

// users answers like authd.
type users map[string]sasl.Account

func (u users) Account(_ context.Context, user, _ string) (sasl.Account, error) {
	if user == "sick@example.com" {
		return sasl.Account{}, errors.New("no answer")
	}
	a, ok := u[strings.ToLower(user)]
	if !ok {
		return a, sasl.ErrUnknownUser
	}
	return a, nil
}

// mailboxes answers like mda: dora's mailbox is full, erik's disk is broken.
type mailboxes struct {
	mu   sync.Mutex
	reqs map[string]*proto.MDARequest // by path
	text map[string]string
}

func (*mailboxes) Single() bool { return true }

func (m *mailboxes) Ask(_ *privs.User, _ []string, req *proto.MDARequest, f *os.File) (r proto.MDAReply, err error) {
	text, err := io.ReadAll(queue.NewContent(f, req.Offset))
	if err != nil {
		return r, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reqs[req.Path], m.text[req.Path] = req, string(text)
	switch {
	case strings.Contains(req.Path, "dora"):
		return r, dsn.Errorf("5.2.2", "mailbox is full")
	case strings.Contains(req.Path, "erik"):
		return r, errors.New("input/output error")
	}
	r.Outcome = dsn.Outcome{Status: "2.0.0", Reason: "delivered to maildir"}
	return r, nil
}

// newTest is an lmtpd whose queue directory is the current one.
func newTest(t *testing.T) (*lmtpd, *mailboxes) {
	t.Helper()
	all := users{}
	for _, u := range []string{"alice", "bob", "dora", "erik"} {
		all[u+"@example.com"] = sasl.Account{User: u + "@example.com", UID: 5000, GID: 5000, Home: "/m/" + u,
			Mail: "maildir:/m/" + u + "/Maildir", Quota: "1K"}
	}
	m := &mailboxes{reqs: map[string]*proto.MDARequest{}, text: map[string]string{}}
	return &lmtpd{env: &server.Env{Log: maillog.Discard(), Clock: server.RealClock()}, auth: all, mda: m, params: params{
		hostname: "mx.example.com", base: "/m", sizeLimit: 1000, lineLimit: 100, rcptLimit: 5, errorLimit: 10,
		timeout: 10 * time.Second, folders: true, delimiters: addr.Delimiters{Set: "+"}}}, m
}

// spool makes a queue directory the current one.
func spool(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.Mkdir("incoming", 0o700); err != nil {
		t.Fatal(err)
	}
}

// start serves one client.
func start(t *testing.T, d *lmtpd) net.Conn {
	t.Helper()
	l, err := net.Listen("unix", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // there is one client only
	client, err := net.Dial("unix", "s")
	if err != nil {
		t.Fatal(err)
	}
	side, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		newSession(context.Background(), d, side).run()
		side.Close() // as the server does
	}()
	return client
}

func TestDialogs(t *testing.T) {
	dialogs := mailtest.ReadDialogs(t, "testdata/*.txt")
	spool(t)
	for _, dialog := range dialogs {
		d, _ := newTest(t)
		for _, s := range dialog.Head {
			switch strings.TrimSpace(s.Text) {
			case "lmtpd_quota_full_tempfail = yes":
				d.fullWaits = true
			case "no incoming":
				if err := os.Rename("incoming", "elsewhere"); err != nil {
					t.Fatal(err)
				}
			}
		}
		(&mailtest.Player{}).Play(t, dialog, start(t, d))
		_ = os.Rename("elsewhere", "incoming") // where the dialog wanted none
	}
	if left, err := os.ReadDir("incoming"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The message arrives as it was sent, with what LMTP adds.
func TestMessage(t *testing.T) {
	spool(t)
	d, m := newTest(t)
	(&mailtest.Player{}).Play(t, &mailtest.Dialog{Name: "message", Steps: []mailtest.Step{
		{Word: "S:", Text: "220 ..."}, {Word: "C:", Text: "LHLO client.example.org"}, {Word: "S:", Text: "250-..."},
		{Word: "S:", Text: "250-..."}, {Word: "S:", Text: "250-..."}, {Word: "S:", Text: "250-..."}, {Word: "S:", Text: "250-..."}, {Word: "S:", Text: "250 ..."},
		{Word: "C:", Text: "MAIL FROM:<a@example.org>"}, {Word: "S:", Text: "250 ..."},
		{Word: "C:", Text: "RCPT TO:<alice+Lists.go@example.com>"}, {Word: "S:", Text: "250 ..."},
		{Word: "C:", Text: "DATA"}, {Word: "S:", Text: "354 ..."},
		{Word: "C|", Text: `"Subject: x\r\n\r\n..dot\r\n` + strings.Repeat("y", 250) + `\r\n.\r\n"`}, {Word: "S:", Text: "250 2.0.0 <alice+Lists.go@example.com> Saved"},
	}}, start(t, d))
	req := m.reqs["/m/alice/Maildir"]
	if req == nil || req.Folder != "Lists.go" || req.Quota != 1024 || req.Action != proto.MDAMaildir {
		t.Fatalf("request %+v", req)
	}
	if want := "Return-Path: <a@example.org>\nDelivered-To: alice+Lists.go@example.com\nReceived: from client.example.org (local)\n\tby mx.example.com (postroad) with LMTP\n"; !strings.HasPrefix(req.Head, want) {
		t.Errorf("head %q", req.Head)
	}
	if got := m.text["/m/alice/Maildir"]; got != "Subject: x\n\n.dot\n"+strings.Repeat("y", 250)+"\n" {
		t.Errorf("text %q", got)
	}
}

func TestFolderName(t *testing.T) {
	for extension, want := range map[string]string{"lists": "lists", "lists.go": "lists.go", "../x": "", "a/b": "", ".": "", "": "", "a..b": "", "ä": ""} {
		if got := folderName(extension); got != want {
			t.Errorf("%q: %q, want %q", extension, got, want)
		}
	}
}

func TestQuotaBytes(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "10": 10, "2K": 2048, "3M": 3 << 20, "1G": 1 << 30, "x": 0, "-1": 0, "99999999999999T": 0} {
		if got := quotaBytes(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestOwner(t *testing.T) {
	d := &lmtpd{params: params{minUID: 100, base: "/m"}, mda: several{}}
	s := &session{lmtpd: d}
	for _, c := range []struct {
		rule, path string
		uid        int
		fails      bool
		box        string
	}{
		{"a mailbox below the base is delivered to from there", "/m/a/Maildir", 5000, false, "/m"},
		{"one elsewhere is not", "/home/a/Maildir", 5000, false, ""},
		{"a name that only begins like the base is elsewhere", "/mm/a/Maildir", 5000, false, ""},
		{"root has no mailbox", "/m/root/Maildir", 0, true, ""},
		{"a system account has none", "/m/a/Maildir", 99, true, ""},
	} {
		_, box, err := s.owner(sasl.Account{UID: c.uid, GID: c.uid}, c.path)
		if (err != nil) != c.fails || strings.Join(box, " ") != c.box {
			t.Errorf("%s: %v %v", c.rule, box, err)
		}
	}
}

// several is an mda of root, who can become several users.
type several struct{ *mailboxes }

func (several) Single() bool { return false }
