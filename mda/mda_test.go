package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/proto"
	"postroad/libmail/record"
)

// message is a queue file that holds content alone.
func message(t *testing.T, lines ...string) *os.File {
	t.Helper()
	var b []byte
	for _, l := range lines {
		b = record.AppendString(b, record.Text, l)
	}
	b = record.Append(b, record.Extracted, nil)
	path := filepath.Join(t.TempDir(), "m")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestCommand(t *testing.T) {
	for _, c := range []struct {
		rule, command  string
		status, reason string
	}{
		{"the message is on standard input", `test "$(tail -1)" = text`, "2.0.0", "delivered to command: "},
		{"the head goes first", `head -1 | grep -qx 'From a@b'`, "2.0.0", "delivered to command: "},
		{"the environment is what was given, no more", `test "$A" = b && test -z "$HOME"`, "2.0.0", "delivered to command: "},
		{"what it does not read is no error", "exit 0", "2.0.0", "delivered to command: "},
		{"exit statuses are read", "echo no box; exit 67", "5.1.1", "user unknown. Command output: no box"},
		{"a signal waits", "kill -9 $$", "4.3.0", "Command died with signal 9: "},
		{"the time limit ends it and its children", "sleep 100 & sleep 100", "5.3.0", "Command time limit exceeded: "},
		{"output is bounded and printable", `head -c 100000 /dev/zero | tr '\0' x; printf '\033'; exit 75`, "4.3.0", "temporary failure. Command output: xxx"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			req := &proto.MDARequest{Action: proto.MDACommand, Command: c.command, Dir: "/", Head: "From a@b\n",
				Env: []string{"A=b", "PATH=/usr/bin:/bin"}, Limit: 10 * time.Second}
			if strings.HasPrefix(c.reason, "Command time") {
				req.Limit = 200 * time.Millisecond
			}
			r := (&mailman{}).do(req, message(t, "Subject: x", "", "text"))
			if r.Outcome.Status != c.status || !strings.HasPrefix(r.Outcome.Reason, c.reason) || len(r.Outcome.Reason) > 4000 {
				t.Errorf("%s %.300s", r.Outcome.Status, r.Outcome.Reason)
			}
		})
	}
}

func TestCommandInput(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	req := &proto.MDARequest{Action: proto.MDACommand, Argv: []string{"/bin/cp", "/dev/stdin", out}, Head: "From a\n", EOL: "\r\n", Quote: ".>B"}
	if r := (&mailman{}).do(req, message(t, "From: x", "", "From here", ".dot", "x")); r.Outcome.Class() != '2' {
		t.Fatalf("%+v", r)
	}
	want := "From a\r\nFrom: x\r\n\r\n>From here\r\n..dot\r\nx\r\n\r\n"
	if got, err := os.ReadFile(out); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestDeliveries(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		rule   string
		req    proto.MDARequest
		status string
		file   string // a pattern of what it makes
	}{
		{"a Maildir is made", proto.MDARequest{Action: proto.MDAMaildir, Path: dir + "/Maildir/", Host: "mx"}, "2.0.0", "Maildir/new/*.mx,S=*"},
		{"an mbox is made", proto.MDARequest{Action: proto.MDAMbox, Path: dir + "/mbox", Locks: "fcntl dotlock"}, "2.0.0", "mbox"},
		{"a full mailbox fails", proto.MDARequest{Action: proto.MDAMbox, Path: dir + "/mbox", MaxSize: 10}, "5.2.2", "mbox"},
		{"a directory is no mbox", proto.MDARequest{Action: proto.MDAMbox, Path: dir}, "5.2.0", "mbox"},
		{"an unknown lock method waits", proto.MDARequest{Action: proto.MDAMbox, Path: dir + "/mbox", Locks: "hope"}, "4.3.5", "mbox"},
		{"an unknown action waits", proto.MDARequest{Action: "burn"}, "4.3.5", "mbox"},
		{"/dev/null takes everything", proto.MDARequest{Action: proto.MDAMbox, Path: "/dev/null", Locks: "fcntl dotlock"}, "2.0.0", "mbox"},
	} {
		r := (&mailman{}).do(&c.req, message(t, "Subject: x", "", "text"))
		files, err := filepath.Glob(filepath.Join(dir, c.file))
		if r.Outcome.Status != c.status || err != nil || len(files) != 1 {
			t.Errorf("%s: %s %s, files %v", c.rule, r.Outcome.Status, r.Outcome.Reason, files)
		}
	}
}

func TestTruncatedMessageIsNotDelivered(t *testing.T) {
	f := message(t, "Subject: x")
	if err := syscall.Ftruncate(int(f.Fd()), 1); err == nil {
		t.Fatal("truncated through a read-only descriptor")
	}
	path := f.Name()
	if err := os.Truncate(path, 5); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := (&mailman{}).do(&proto.MDARequest{Action: proto.MDAMaildir, Path: dir + "/M/"}, f)
	if r.Outcome.Class() != '4' {
		t.Errorf("%s %s", r.Outcome.Status, r.Outcome.Reason)
	}
	if files, _ := filepath.Glob(dir + "/M/*/*"); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/.forward", []byte("bob\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(".forward", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rule, action, name string
		found              bool
		class              byte
	}{
		{"a file is read with its mode", proto.MDARead, ".forward", true, '2'},
		{"a missing file is not found", proto.MDARead, "none", false, '2'},
		{"a link is no .forward file", proto.MDARead, "link", false, '5'},
		{"an include may be a link", proto.MDAInclude, "link", true, '2'},
		{"a directory fails", proto.MDARead, ".", false, '5'},
	} {
		r := (&mailman{}).do(&proto.MDARequest{Action: c.action, Path: filepath.Join(dir, c.name), MaxSize: 100}, nil)
		if r.Found != c.found || r.Outcome.Class() != c.class || c.found && (string(r.Data) != "bob\n" || r.Mode != 0o640) {
			t.Errorf("%s: %+v", c.rule, r)
		}
	}
}
