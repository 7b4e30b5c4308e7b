package mailbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func body(text string) Message {
	return Message{Head: "Return-Path: <a@example.org>\n", Body: strings.NewReader(text)}
}

// list is the files below a directory.
func list(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestMaildirDelivery(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Maildir")
	d := &Maildirs{Host: "mx/a:b"}
	name, err := d.Deliver(dir, body("Subject: x\n\ntext\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^\d+\.V[0-9a-f]+I[0-9a-f]+M\d+\.mx\\057a\\072b,S=46,W=50$`).MatchString(name) {
		t.Errorf("name %s", name)
	}
	got, err := os.ReadFile(filepath.Join(dir, "new", name))
	if err != nil || string(got) != "Return-Path: <a@example.org>\nSubject: x\n\ntext\n" {
		t.Errorf("%q, %v", got, err)
	}
	for _, sub := range []string{"tmp", "new", "cur"} {
		if st, err := os.Stat(filepath.Join(dir, sub)); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", sub, st, err)
		}
	}
}

func TestParallelMaildirDeliveriesKeepApart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Maildir")
	d := &Maildirs{Host: "mx"}
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			if _, err := d.Deliver(dir, body(fmt.Sprint(i, "\n"))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(list(t, dir)); n != 50 {
		t.Errorf("%d messages", n)
	}
}

// failing is a body whose end can't be read.
func failing() io.Reader {
	return io.MultiReader(strings.NewReader("Subject: x\n\nhalf"), &broken{})
}

type broken struct{}

func (*broken) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

func TestFailedDeliveryLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	d := &Maildirs{Host: "mx"}
	if _, err := d.Deliver(filepath.Join(dir, "Maildir"), Message{Body: failing()}); err == nil {
		t.Error("maildir: delivered")
	}
	if files := list(t, dir); len(files) != 0 {
		t.Errorf("maildir leaves %v", files)
	}
	path := filepath.Join(dir, "mbox")
	for _, m := range []Message{body("Subject: 1\n\nx\n"), {Body: failing()}, {Head: strings.Repeat("x", 500), Body: strings.NewReader("")}} {
		err := AppendMbox(path, Mbox{MaxSize: 200, Locks: []Lock{LockFcntl, LockDotfile}}, m)
		if (err == nil) != (m.Head == body("").Head) {
			t.Errorf("mbox: %v", err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || strings.Count(string(got), "From ") != 1 || !strings.HasSuffix(string(got), "\nx\n\n") {
		t.Errorf("mbox is %q, %v", got, err)
	}
	if files := list(t, dir); len(files) != 1 {
		t.Errorf("left: %v", files)
	}
}

func TestMboxFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mbox")
	now := func() time.Time { return time.Date(2026, 11, 2, 7, 4, 5, 0, time.UTC) }
	for _, sender := range []string{"a@example.org", ""} {
		if err := AppendMbox(path, Mbox{Sender: sender, Now: now}, body("Subject: x\n\nFrom here\n>From there\nno From\nlast")); err != nil {
			t.Fatal(err)
		}
	}
	one := "Return-Path: <a@example.org>\nSubject: x\n\n>From here\n>From there\nno From\nlast\n\n"
	want := "From a@example.org  Mon Nov  2 07:04:05 2026\n" + one + "From MAILER-DAEMON  Mon Nov  2 07:04:05 2026\n" + one
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("got\n%s, %v\nwant\n%s", got, err, want)
	}
}

func TestMboxLocks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mbox")
	o := Mbox{Locks: []Lock{LockDotfile}, Attempts: 2, Delay: time.Millisecond, Stale: time.Hour}
	if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := AppendMbox(path, o, body("x\n")); !errors.Is(err, ErrLocked) {
		t.Errorf("a fresh dotlock holds: %v", err)
	}
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(path+".lock", old, old); err != nil {
		t.Fatal(err)
	}
	if err := AppendMbox(path, o, body("x\n")); err != nil {
		t.Errorf("a stale dotlock is broken: %v", err)
	}
	if _, err := os.Stat(path + ".lock"); err == nil {
		t.Error("the dotlock stays")
	}
}

func TestMboxRefuses(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	for rule, make := range map[string]func(path string) error{
		"a symbolic link": func(p string) error { return os.Symlink(target, p) },
		"a hard link":     func(p string) error { return os.Link(target, p) },
		"a directory":     func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		path := filepath.Join(dir, strings.ReplaceAll(rule, " ", "-"))
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if AppendMbox(path, Mbox{}, body("x\n")) == nil {
			t.Errorf("%s is delivered to", rule)
		}
	}
	if got, err := os.ReadFile(target); err != nil || string(got) != "canary" {
		t.Errorf("the canary is %q, %v", got, err)
	}
}

func TestMboxIsIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mbox")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			err := AppendMbox(path, Mbox{Locks: []Lock{LockFcntl, LockDotfile}, Attempts: 10000, Delay: time.Millisecond},
				body(fmt.Sprintf("Subject: %d\n\nFrom line %d\n", i, i)))
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(regexp.MustCompile(`(?m)^From MAILER-DAEMON  .*\nReturn-Path: <a@example.org>\nSubject: (\d+)\n\n>From line \d+\n\n`).FindAll(got, -1)); n != 20 {
		t.Errorf("%d whole messages of 20", n)
	}
}
