package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/libmail/mailbox"
	"postroad/libmail/maillog"
)

// start serves a Maildir with the given files to a client.
func start(t *testing.T, dir string) *bufio.ReadWriter {
	t.Helper()
	ours, theirs := net.Pipe()
	s := &session{log: maillog.Discard(), user: "alice", format: "%08Xu%08Xv", conn: theirs}
	s.in.Reset(theirs)
	s.out.Reset(theirs)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		s.serve(dir, "+OK Logged in.")
	}()
	t.Cleanup(func() { ours.Close(); <-done })
	ours.SetDeadline(time.Now().Add(20 * time.Second))
	c := bufio.NewReadWriter(bufio.NewReader(ours), bufio.NewWriter(ours))
	expect(t, c, "+OK Logged in.")
	return c
}

func expect(t *testing.T, c *bufio.ReadWriter, want ...string) {
	t.Helper()
	for _, w := range want {
		got, err := c.ReadString('\n')
		if got != w+"\r\n" {
			t.Fatalf("got %q, %v, want %q", got, err, w)
		}
	}
}

func say(t *testing.T, c *bufio.ReadWriter, line string, want ...string) {
	t.Helper()
	c.WriteString(line + "\r\n")
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	expect(t, c, want...)
}

func maildir(t *testing.T, messages ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "Maildir")
	for _, sub := range []string{"new", "cur", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range messages {
		if err := os.WriteFile(filepath.Join(dir, "new", fmt.Sprintf("%d.M1P1.host", i+1)), []byte(m), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSession(t *testing.T) {
	dir := maildir(t, "Subject: one\n\n.dot\nlast", "Subject: two\r\n\r\nbody\r\n", "Subject: three\n\na\nb\nc\n")
	c := start(t, dir)
	say(t, c, "STAT", "+OK 3 77")
	say(t, c, "LIST", "+OK 3 messages:", "1 28", "2 22", "3 27", ".")
	say(t, c, "LIST 2", "+OK 2 22")
	say(t, c, "LIST 4", "-ERR There's no message 4.")
	say(t, c, "RETR 1", "+OK 28 octets", "Subject: one", "", "..dot", "last", ".")
	say(t, c, "TOP 3 1", "+OK", "Subject: three", "", "a", ".")
	say(t, c, "TOP 3 0", "+OK", "Subject: three", "", ".")
	say(t, c, "TOP 3 x", "-ERR Bad number of lines.")
	say(t, c, "DELE 2", "+OK Marked to be deleted.")
	say(t, c, "RETR 2", "-ERR Message is deleted.")
	say(t, c, "STAT", "+OK 2 55")
	say(t, c, "LIST", "+OK 2 messages:", "1 28", "3 27", ".")
	say(t, c, "RSET", "+OK")
	say(t, c, "STAT", "+OK 3 77")
	say(t, c, "XYZZY", "-ERR Unknown command: XYZZY")
	say(t, c, "DELE 3\r\nRETR 1\r\nNOOP", "+OK Marked to be deleted.", "+OK 28 octets", "Subject: one", "", "..dot", "last", ".", "+OK")
	say(t, c, "QUIT", "+OK Logging out, messages deleted.")
	if _, err := c.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after QUIT: %v", err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*.host*"))
	if got := strings.Join(files, " "); got != filepath.Join(dir, "cur/1.M1P1.host:2,S")+" "+filepath.Join(dir, "new/2.M1P1.host") {
		t.Errorf("left: %s", got)
	}
}

func TestOnlyQuitDeletes(t *testing.T) {
	dir := maildir(t, "Subject: one\n\n")
	c := start(t, dir)
	say(t, c, "DELE 1", "+OK Marked to be deleted.")
	c = start(t, dir) // another session sees it, and the first one ends without QUIT
	say(t, c, "STAT", "+OK 1 16")
}

func TestUniqueIDs(t *testing.T) {
	dir := maildir(t, "Subject: one\n\n", "Subject: two\n\n")
	b, err := mailbox.Open(dir)
	if err == nil {
		err = b.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
	v := b.UIDValidity()
	c := start(t, dir)
	say(t, c, "UIDL", "+OK 2 messages:", fmt.Sprintf("1 00000001%08x", v), fmt.Sprintf("2 00000002%08x", v), ".")
	for format, want := range map[string]string{"UID%u-%v": fmt.Sprintf("UID1-%d", v), "%f": "1.M1P1.host", "%%": "%", "%v.%u": fmt.Sprintf("%d.1", v)} {
		s := &session{format: format, box: b}
		if got := s.uniqueID(b.Items()[0]); got != want {
			t.Errorf("%s: %s, want %s", format, got, want)
		}
	}
}

func TestMissingMailboxIsMade(t *testing.T) {
	c := start(t, filepath.Join(t.TempDir(), "a/Maildir"))
	say(t, c, "STAT", "+OK 0 0")
	say(t, c, "QUIT", "+OK Logging out.")
}

func TestMessageThatIsGone(t *testing.T) {
	dir := maildir(t, "Subject: one\n\n", "Subject: two\n\n")
	c := start(t, dir)
	if err := os.Remove(filepath.Join(dir, "new/1.M1P1.host")); err != nil {
		t.Fatal(err)
	}
	say(t, c, "RETR 1", "-ERR [SYS/TEMP] The message can't be read: it may be gone.")
	say(t, c, "DELE 1", "+OK Marked to be deleted.")
	say(t, c, "QUIT", "+OK Logging out, messages deleted.")
}

func FuzzEachLine(f *testing.F) {
	f.Add([]byte("a\r\nb\n\nc"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := eachLine(strings.NewReader(string(data)), func(line []byte) error {
			if strings.ContainsRune(string(line), '\n') {
				t.Errorf("line %q", line)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}
