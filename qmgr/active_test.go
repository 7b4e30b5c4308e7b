package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// TestBadFiles: one bad file stops nobody else; what is damaged is set aside
// whole, what is not ours is left alone, both with one warning.
func TestBadFiles(t *testing.T) {
	rewrite := func(edit func([]byte) []byte) func(path string) error {
		return func(path string) error {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, edit(text), 0700)
		}
	}
	replace := func(make func(path string) error) func(path string) error {
		return func(path string) error { return errors.Join(os.Remove(path), make(path)) }
	}
	for _, c := range []struct {
		rule   string
		damage func(path string) error
		in     string
		log    string
	}{
		{"an empty file", rewrite(func([]byte) []byte { return nil }), "corrupt", "saving corrupt file"},
		{"a file without its end", rewrite(func(b []byte) []byte { return b[:len(b)-2] }), "corrupt", "saving corrupt file"},
		{"half a file", rewrite(func(b []byte) []byte { return b[:len(b)/2] }), "corrupt", "saving corrupt file"},
		{"a file of zeros", rewrite(func(b []byte) []byte { return make([]byte, len(b)) }), "corrupt", "saving corrupt file"},
		{"an impossible size record", rewrite(func(b []byte) []byte { return slices.Concat([]byte("C\x03x y"), b[97:]) }), "corrupt", "saving corrupt file"},
		{"an unknown record", rewrite(func(b []byte) []byte { b[97] = '?'; return b }), "corrupt", "saving corrupt file"},
		{"a record that is longer than the file", rewrite(func(b []byte) []byte { b[98] = 0x7f; return b }), "corrupt", "saving corrupt file"},
		{"a file that is being written", func(path string) error { return os.Chmod(path, 0600) }, "incoming", ""},
		{"a directory", replace(func(path string) error { return os.Mkdir(path, 0700) }), "incoming", "not a regular file"},
		{"a FIFO", replace(func(path string) error { return syscall.Mkfifo(path, 0700) }), "incoming", "not a regular file"},
		{"a symbolic link", replace(func(path string) error { return os.Symlink("/etc/passwd", path) }), "incoming", "not a regular file"},
		{"a file with two names", func(path string) error { return os.Link(path, filepath.Join(filepath.Dir(path), "../corrupt/other")) }, "incoming", "links"},
		{"a file of another owner", func(path string) error { return os.Chown(path, 1, -1) }, "incoming", "owned by uid 1"},
	} {
		w := newWorld(t)
		id := w.mail(letter{to: []string{"bad@x"}})
		path := filepath.Join(w.root, w.spool.Path(queue.Incoming, id))
		if err := c.damage(path); err != nil {
			if errors.Is(err, os.ErrPermission) {
				continue // only root can give files away
			}
			t.Fatal(err)
		}
		if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() {
			w.must(os.Chtimes(path, w.clock.wall, w.clock.wall))
		}
		good := []string{w.mail(letter{to: []string{"a@x"}}), w.send("b@x")}
		w.m.trigger([]byte("I"))
		w.run()
		for range 3 {
			w.m.trigger([]byte("N" + id + "\nI"))
			w.after(time.Minute)
		}
		good = append(good, w.send("c@x"))
		w.run()
		for _, g := range good {
			if w.where(g) != "" {
				t.Errorf("%s: a good one is in %q", c.rule, w.where(g))
			}
		}
		if w.where(id) != c.in || len(w.sent) != len(good) {
			t.Errorf("%s: in %q, want %q; sent %v", c.rule, w.where(id), c.in, w.sent)
		}
		if c.log != "" && w.count(c.log) != 1 {
			t.Errorf("%s: %d lines of %q in %q", c.rule, w.count(c.log), c.log, w.log.list)
		}
	}
}

// TestFileBecomesBad: the agent finds that the content is damaged.
func TestFileBecomesBad(t *testing.T) {
	w := newWorld(t)
	w.deliver = nil
	id := w.send("a@x")
	w.run()
	w.must(os.Chmod(filepath.Join(w.root, w.spool.Path(queue.Active, id)), 0400))
	d := w.busy[0]
	w.busy = nil
	d.then(reply{}.outcome, proto.DeliverDefer, nil)
	w.run()
	if w.where(id) != queue.Corrupt || len(w.m.messages) != 0 {
		t.Errorf("in %q", w.where(id))
	}
}

// TestOutOfResources: without descriptors or memory admission rests, and
// nothing is lost.
func TestOutOfResources(t *testing.T) {
	for _, c := range []struct {
		op  string
		err error
	}{{"open", syscall.EMFILE}, {"open", syscall.ENFILE}, {"open", syscall.ENOMEM}, {"rename", syscall.ENOSPC}, {"rename", syscall.EROFS}} {
		w := newWorld(t)
		var ids []string
		for i := range 50 {
			ids = append(ids, w.mail(letter{to: []string{fmt.Sprintf("u%d@x", i)}}))
		}
		broken := true
		w.fs.fail = func(op, path string) error {
			if broken && op == c.op {
				return &os.PathError{Op: op, Path: path, Err: c.err}
			}
			return nil
		}
		for _, id := range ids[:20] {
			w.m.trigger([]byte("N" + id + "\n"))
		}
		w.after(time.Minute)
		if n := w.count(c.err.Error()); n < 1 || n > 7 || len(w.sent) != 0 {
			t.Errorf("%v: %d warnings in a minute, %d sent", c.err, n, len(w.sent))
		}
		broken = false
		w.after(time.Minute)
		if len(w.sent) != len(ids) {
			t.Errorf("%v: %d of %d sent after it went away", c.err, len(w.sent), len(ids))
		}
	}
}

// TestBadSector: a file that can't be read or moved holds up nobody, and is
// tried again when somebody looks.
func TestBadSector(t *testing.T) {
	for _, c := range []struct {
		op  string
		err error
	}{{"open", syscall.EIO}, {"open", syscall.EACCES}, {"rename", syscall.EPERM}, {"rename", syscall.EEXIST}} {
		w := newWorld(t)
		bad := w.send("bad@x")
		w.fs.fail = func(op, path string) error {
			if op == c.op && strings.HasSuffix(path, bad) {
				return &os.PathError{Op: op, Path: path, Err: c.err}
			}
			return nil
		}
		good := w.send("good@x")
		for range 3 {
			w.m.trigger([]byte("W"))
			w.after(time.Minute)
		}
		if w.where(good) != "" || w.where(bad) != queue.Incoming || w.count(c.err.Error()) != 1 {
			t.Errorf("%s: %v: good in %q, bad in %q, log %q", c.op, c.err, w.where(good), w.where(bad), w.log.list)
		}
		w.fs.fail = nil
		w.m.trigger([]byte("W"))
		w.run()
		if w.where(bad) != "" {
			t.Errorf("%s: %v: still in %q", c.op, c.err, w.where(bad))
		}
	}
}

// TestStillBeingDelivered: after a restart an agent may still have a file.
func TestStillBeingDelivered(t *testing.T) {
	w := newWorld(t)
	id := w.mail(letter{to: []string{"a@x"}})
	f, err := w.spool.Open(queue.Incoming, id, queue.Shared)
	w.must(err)
	w.after(10 * time.Second)
	if w.count(id+": skipped, still being delivered") != 1 || w.where(id) != queue.Incoming {
		t.Errorf("in %q, log %q", w.where(id), w.log.list)
	}
	w.must(f.Close())
	w.after(2 * time.Minute)
	if w.where(id) != "" {
		t.Errorf("in %q after the agent let it go", w.where(id))
	}
}

// TestRestart: what was active is tried again, new mail is found, and both
// begin before the scan has seen all.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.deliver = nil
	a := w.send("a@x", "b@y")
	w.run()
	w.answer(w.busy[0], reply{})
	w.boot()
	w.deliver = always(reply{})
	b := w.mail(letter{to: []string{"c@x"}})
	w.run()
	if w.where(a) != "" || w.where(b) != "" || len(w.sent) != 3 {
		t.Errorf("in %q and %q, sent %v", w.where(a), w.where(b), w.sent)
	}
	for key, n := range w.sent {
		if n != 1 {
			t.Errorf("%s got it %d times", key, n)
		}
	}
}

// TestActiveLimit: memory holds no more than the active queue. New and
// deferred mail take turns until it is full; then new mail is first.
func TestActiveLimit(t *testing.T) {
	for _, c := range []struct {
		limit, least, most int // old ones among the first 40
	}{{1000, 15, 25}, {10, 1, 10}} {
		w := newWorld(t)
		w.set.activeLimit = c.limit
		for i := range 60 {
			id := w.mail(letter{to: []string{fmt.Sprintf("old%d@x%d", i, i)}})
			w.must(w.spool.Move(id, queue.Incoming, queue.Deferred))
		}
		for i := range 60 {
			w.mail(letter{to: []string{fmt.Sprintf("new%d@x%d", i, i)}})
		}
		var order []string
		w.deliver = func(req *proto.Request) reply {
			if len(w.m.messages) > c.limit {
				t.Errorf("%d messages are active", len(w.m.messages))
			}
			order = append(order, req.Rcpts[0].Address[:3])
			return reply{}
		}
		w.m.trigger([]byte("I"))
		w.run()
		if len(order) != 120 {
			t.Fatalf("%d delivered", len(order))
		}
		if n := strings.Count(strings.Join(order[:40], ""), "old"); n < c.least || n > c.most {
			t.Errorf("limit %d: %d old ones among the first 40, want %d to %d", c.limit, n, c.least, c.most)
		}
	}
}

// TestCredit: cleanup gets one credit for each new message that was taken.
func TestCredit(t *testing.T) {
	w := newWorld(t)
	w.set.activeLimit = 100
	w.boot()
	w.credit = 0
	for i := range 200 {
		w.clock.pass(time.Second)
		w.send(fmt.Sprintf("u%d@x", i))
		w.run()
	}
	if w.credit < 200-100/16 || w.credit > 200 {
		t.Errorf("credit for %d messages, want about 200", w.credit)
	}
}

// TestManyRecipients: of a long list only a part is in memory, and each
// recipient gets the message once.
func TestManyRecipients(t *testing.T) {
	for _, c := range []struct {
		rule        string
		local       bool
		limit, most int
	}{
		{"a mailing list", false, 300, 320},
		{"one recipient at a time", true, 300, 320},
		{"a limit below the minimum for each message", false, 1, 60},
	} {
		w := newWorld(t)
		w.set.rcptLimit, w.set.activeLimit = c.limit, 10
		byDefault := w.set.transport
		w.set.transport = func(name string) transportSettings {
			s := byDefault(name)
			s.rcptLimit, s.rcptExtra = c.limit, 0
			return s
		}
		host := "x%d"
		if c.local {
			host = "local.x%d"
		}
		var to []string
		for i := range 6000 {
			to = append(to, fmt.Sprintf("u%d@"+host, i, i%13))
		}
		most := 0
		w.deliver = func(req *proto.Request) reply {
			most = max(most, w.m.rcpts)
			switch len(w.sent) % 7 {
			case 3:
				return reply{classes: "5"}
			case 5:
				return reply{classes: "4"}
			}
			return reply{}
		}
		id := w.send(to...)
		other := w.send("z@x1")
		w.run()
		if most > c.most {
			t.Errorf("%s: %d recipients in memory, want at most %d", c.rule, most, c.most)
		}
		w.deliver = always(reply{})
		w.after(time.Hour)
		for _, rcpt := range to {
			if n := w.sent[id+" "+rcpt] + w.returned[id+" "+rcpt]; n != 1 {
				t.Fatalf("%s: %s has %d ends", c.rule, rcpt, n)
			}
		}
		if w.where(id) != "" || w.where(other) != "" || w.m.rcpts != 0 || len(w.m.partial) != 0 {
			t.Errorf("%s: in %q; %d recipients and %d messages left", c.rule, w.where(id), w.m.rcpts, len(w.m.partial))
		}
	}
}

// TestStuckRecipientsHoldNobody: the first recipients wait for a slow site;
// those for others are read in spite of it.
func TestStuckRecipientsHoldNobody(t *testing.T) {
	w := newWorld(t)
	w.set.rcptLimit, w.set.activeLimit = 200, 10
	byDefault := w.set.transport
	w.set.transport = func(name string) transportSettings {
		s := byDefault(name)
		s.recipientLimit = 10
		return s
	}
	to := rcptList(100, "slow%d@slow")
	to = append(to, rcptList(3000, "u%d@fast")...)
	w.deliver = nil
	w.send(to...)
	for range 600 {
		w.run()
		for _, d := range slices.Clone(w.busy) {
			if d.req.Nexthop == "fast" {
				w.answer(d, reply{})
			}
		}
		w.clock.pass(time.Second)
	}
	if len(w.sent) != 3000 {
		t.Errorf("%d of 3000 delivered", len(w.sent))
	}
}

// TestPostfixFiles: what Postfix left in the queue is delivered to those who
// are not done.
func TestPostfixFiles(t *testing.T) {
	for name, rcpts := range map[string]int{"plain": 3, "milter": 3, "done": 1, "null": 1, "longlines": 1, "verbose": 1} {
		text, err := os.ReadFile("../libmail/queue/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t)
		w.must(os.WriteFile(filepath.Join(w.root, queue.Incoming, "4A1B2C3D"), text, 0700))
		w.must(w.spool.SetTime(queue.Incoming, "4A1B2C3D", w.clock.wall))
		w.m.trigger([]byte("I"))
		w.run()
		if len(w.sent) != rcpts || w.where("4A1B2C3D") != "" {
			t.Errorf("%s: sent %v, in %q, log %q", name, w.sent, w.where("4A1B2C3D"), w.log.list)
		}
	}
}
