package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postroad/libmail/maillog"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(dir+"/there", []byte("old\n"), 0o600))
	must(os.Symlink(dir+"/there", dir+"/link"))
	must(syscall.Mkfifo(dir+"/fifo", 0o600))
	for _, c := range []struct {
		rule, name, want string
	}{
		{"a file is appended to", "there", ""},
		{"a missing one is made", "new", ""},
		{"a link is not followed", "link", "too many levels of symbolic links"},
		{"a FIFO does not block", "fifo", "no such device or address"},
		{"a directory is no file", ".", "is a directory"},
	} {
		f, err := open(filepath.Join(dir, c.name), 0o640, "postfix/postlogd")
		if (err == nil) != (c.want == "") || err != nil && !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: %v", c.rule, err)
		}
		if f != nil {
			f.add([]byte("line\twith\x1bcontrols"))
			f.flush()
			f.plain.Close()
		}
	}
	if text, _ := os.ReadFile(dir + "/there"); string(text) != "old\nline?with?controls\n" {
		t.Errorf("content %q", text)
	}
	if st, err := os.Stat(dir + "/new"); err != nil || st.Mode() != 0o640 {
		t.Errorf("mode of a new file: %v %v", st.Mode(), err)
	}
}

func TestRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := open(path, 0o600, "postfix/postlogd")
	if err != nil {
		t.Fatal(err)
	}
	defer f.plain.Close()
	if got := f.rotated(); got != "" {
		t.Errorf("nothing happened: %q", got)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if got := f.rotated(); got != "log file "+path {
		t.Errorf("renamed: %q", got)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := f.rotated(); got != "log file "+path {
		t.Errorf("replaced: %q", got)
	}
	if got := (&file{path: stdoutPath, out: io.Discard}).rotated(); got != "" {
		t.Errorf("standard output is never rotated: %q", got)
	}
}

// A disk takes so many bytes.
type disk struct {
	room int
	text strings.Builder
}

func (d *disk) Write(p []byte) (int, error) {
	n := min(d.room, len(p))
	d.room -= n
	d.text.Write(p[:n])
	if n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

// TestFullDisk: nothing blocks; what is lost is counted, and a line that was
// cut does not spoil the next.
func TestFullDisk(t *testing.T) {
	d := &disk{room: 9}
	f := &file{path: "log", tag: "postfix/postlogd", out: d}
	for _, line := range []string{"first", "second", "third", "fourth"} {
		f.add([]byte(line))
		f.flush()
	}
	d.room = 1000
	f.add([]byte("fifth"))
	f.add([]byte("sixth"))
	f.flush()
	lines := strings.Split(d.text.String(), "\n")
	if len(lines) != 6 || lines[0] != "first" || lines[1] != "sec" || !strings.HasSuffix(lines[2], ": warning: 3 log lines lost") ||
		lines[3] != "fifth" || lines[4] != "sixth" {
		t.Errorf("got %q", lines)
	}
}

// TestFullDiskInABatch: the lines behind the cut are lost, and no others.
func TestFullDiskInABatch(t *testing.T) {
	d := &disk{room: 9}
	f := &file{path: "log", tag: "postfix/postlogd", out: d}
	for _, line := range []string{"first", "second", "third"} {
		f.add([]byte(line))
	}
	f.flush()
	d.room = 20 // not enough for the word about the loss
	f.add([]byte("fourth"))
	f.flush()
	d.room = 1000
	f.add([]byte("fifth"))
	f.flush()
	lines := strings.Split(d.text.String(), "\n")
	if n := len(lines); n != 6 || lines[0] != "first" || lines[1] != "sec" || len(lines[2]) != 19 ||
		!strings.HasSuffix(lines[3], ": warning: 3 log lines lost") || lines[4] != "fifth" {
		t.Errorf("got %q", lines)
	}
}

func TestForward(t *testing.T) {
	var got sink
	l := maillog.New("postfix/postlogd", &got)
	forward(l, "Nov  2 07:40:50 mx postfix/smtpd[4711]: connect from unknown[192.0.2.1]")
	forward(l, "short")
	if want := "postfix/smtpd[4711]: connect from unknown[192.0.2.1]|"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

type sink string

func (s *sink) Write(_ maillog.Level, _, text string) { *s += sink(text + "|") }
