package crash

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A damage is done to one queue file.
type damage struct {
	rule string
	do   func(path string, text []byte) error
	kept bool // the file can be seen to be damaged and is set aside whole
}

var damages = []damage{
	{"empty", func(p string, b []byte) error { return os.Truncate(p, 0) }, true},
	{"one byte", func(p string, b []byte) error { return os.Truncate(p, 1) }, true},
	{"half of it", func(p string, b []byte) error { return os.Truncate(p, int64(len(b)/2)) }, true},
	{"without the end record", func(p string, b []byte) error { return os.Truncate(p, int64(len(b)-2)) }, true},
	{"all zero", func(p string, b []byte) error { return over(p, 0, make([]byte, len(b))) }, true},
	{"zero at the beginning", func(p string, b []byte) error { return over(p, 0, make([]byte, 64)) }, true},
	{"zero in the midst", func(p string, b []byte) error { return over(p, len(b)/2, make([]byte, 200)) }, true},
	{"bad type of the first record", func(p string, b []byte) error { return over(p, 0, []byte{0xff}) }, true},
	{"bad length of the first record", func(p string, b []byte) error { return over(p, 1, []byte{0xff, 0xff, 0xff}) }, true},
	{"random bytes", func(p string, b []byte) error {
		r := make([]byte, len(b))
		rand.New(rand.NewSource(1)).Read(r)
		return over(p, 0, r)
	}, true},
	{"text that is no queue file", func(p string, b []byte) error {
		return over(p, 0, bytes.Repeat([]byte("hello\n"), len(b)/6))
	}, true},
	{"symbolic link", func(p string, b []byte) error { return swap(p, func() error { return os.Symlink("/etc/passwd", p) }) }, false},
	{"fifo", func(p string, b []byte) error { return swap(p, func() error { return syscall.Mkfifo(p, 0o700) }) }, false},
	{"directory", func(p string, b []byte) error { return swap(p, func() error { return os.Mkdir(p, 0o700) }) }, false},
	{"two names", func(p string, b []byte) error { return os.Link(p, filepath.Join(filepath.Dir(p), "0123456789A")) }, false},
}

// over writes over part of a file.
func over(path string, at int, with []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(with, int64(at))
	return err
}

// swap puts something else in the place of a file.
func swap(path string, put func() error) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return put()
}

// TestDamagedQueue: damaged queue files stop no other mail. What can be seen
// to be damaged is set aside whole and logged once.
func TestDamagedQueue(t *testing.T) {
	s := newSuite(t)
	s.Main("defer_transports = local")
	s.Start()
	l := &load{ledger: newLedger(), addr: s.Addr(), clients: 1, limit: 20 * time.Second}
	l.run(60, time.Now().Add(20*time.Second))
	s.Until("all deferred", func() bool { return len(s.Queue("deferred")) == 60 })
	s.Stop()
	ids := s.Queue("deferred")
	sort.Strings(ids)
	texts := map[string][]byte{}
	for n, d := range damages {
		id := ids[n*4]
		path := filepath.Join(s.Dir, "queue", "deferred", id[:1], id)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		l.forget(text)
		if err := d.do(path, text); err != nil {
			t.Fatalf("%s: %v", d.rule, err)
		}
		if d.kept {
			if texts[id], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if os.Geteuid() == 0 { // the suite is somebody else
		foreign := filepath.Join(s.Dir, "queue", "deferred", ids[59][:1], ids[59])
		text, err := os.ReadFile(foreign)
		if err == nil {
			err = os.Chown(foreign, 0, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		l.forget(text)
	}
	s.Main("defer_transports =")
	s.Start()
	s.Run("", "postqueue", "-f")
	want := l.count(accepted)
	s.Until(fmt.Sprintf("%d undamaged messages", want), func() bool { return l.have(s.Maildir) >= want })
	l.settle(t, s.Maildir)
	log := s.Log()
	for n, d := range damages {
		id := ids[n*4]
		if !d.kept {
			continue
		}
		got, err := os.ReadFile(filepath.Join(s.Dir, "queue", "corrupt", id))
		if err != nil || !bytes.Equal(got, texts[id]) {
			t.Errorf("%s: not set aside whole: %v", d.rule, err)
		}
		if c := strings.Count(log, `saving corrupt file "`+id+`"`); c != 1 {
			t.Errorf("%s: logged %d times", d.rule, c)
		}
	}
}

// forget takes messages out of the ledger whose id is in the text: nobody can
// say what becomes of them.
func (l *ledger) forget(text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.answers {
		if bytes.Contains(text, []byte(id+" ")) {
			l.answers[id] = unknown
		}
	}
}

// have is how many of the accepted messages are in all mailboxes where they
// should be.
func (l *ledger) have(mailbox func(user string) []string) (n int) {
	seen := map[delivery]bool{}
	for _, user := range []string{"alice", "bob"} {
		for _, text := range mailbox(user) {
			_, mark, _ := strings.Cut(text, "\nX-Crash: ")
			id, _, _ := strings.Cut(mark, " ")
			seen[delivery{user, id}] = true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for id, a := range l.answers {
		for _, user := range l.sent[id].want {
			if a != accepted || !seen[delivery{user, id}] {
				continue next
			}
		}
		n++
	}
	return n
}
