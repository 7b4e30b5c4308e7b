package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

type lines []string

func (l *lines) Write(_ maillog.Level, _, text string) { *l = append(*l, text) }

// newLister makes a lister of an empty spool in a temporary working directory.
func newLister(t *testing.T) (*lister, *lines) {
	t.Helper()
	golden, err := filepath.Abs("../libmail/queue/testdata")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Symlink(golden, "golden"); err != nil {
		t.Fatal(err)
	}
	for _, q := range append([]string{queue.Defer, queue.Bounce}, queues...) {
		if err := os.Mkdir(q, 0700); err != nil {
			t.Fatal(err)
		}
	}
	log := &lines{}
	l := &lister{
		params: params{dupLimit: 1000, empty: "MAILER-DAEMON", timeout: time.Second},
		spool:  queue.New(queue.Options{Owner: -1}),
		log:    maillog.New("showq", log),
	}
	return l, log
}

// put copies a file that Postfix wrote into a queue.
func put(t *testing.T, name, to string, mode os.FileMode) {
	t.Helper()
	data, err := os.ReadFile("golden/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, mode); err != nil {
		t.Fatal(err)
	}
}

// list asks l and shows one line a message.
func list(t *testing.T, l *lister) []string {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		l.serve(context.Background(), ipc.NewConn(theirs, time.Second))
		theirs.Close()
	}()
	var got []string
	err := proto.ReadShowq(ipc.NewConn(ours, time.Second), func(m proto.ShowqMessage) error {
		got = append(got, fmt.Sprintf("%s/%s %d %d %d %s", m.QueueName, m.QueueID, m.Arrival.Unix(), m.Size, m.ForcedExpire, m.Sender))
		return nil
	}, func(r proto.ShowqRcpt) error {
		got[len(got)-1] += fmt.Sprintf(" [%s %s %s (%s)]", r.Orig, r.Address, r.LogClass, r.Reason)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	sort.Strings(got)
	return got
}

func TestList(t *testing.T) {
	l, log := newLister(t)
	put(t, "plain", "deferred/A1", 0700)
	put(t, "milter", "active/A2", 0710)
	put(t, "null", "hold/A3", 0700)
	put(t, "maildrop-t", "maildrop/A4", 0744)
	put(t, "done", "incoming/A5", 0600) // not complete
	put(t, "done", "incoming/1.2", 0700)
	for _, e := range []struct {
		kind, rcpt string
	}{{queue.Defer, "two@example.net"}, {queue.Bounce, "gone@example.net"}} {
		err := l.spool.AppendLog(e.kind, "A1", queue.Rcpt{Address: e.rcpt, Orig: "alias@example.net"}, dsn.Outcome{Reason: "because of " + e.kind})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"active/A2 1795367523 397 1 changed-sender@example.org [keep@example.com keep@example.com  ()] [added1@example.com added1@example.com  ()] [added2@example.com added2@example.com  ()]",
		"deferred/A1 1795367515 343 0 sender@example.org [alias@example.net two@example.net defer (because of defer)] [alias@example.net gone@example.net bounce (because of bounce)]" +
			` [one@example.com one@example.com  ()] ["odd name"@example.com "odd name"@example.com  ()]`,
		"hold/A3 1795367556 251 0 MAILER-DAEMON [x@example.com x@example.com  ()]",
		"maildrop/A4 1795367558 172 0 d@example.com [a@example.com a@example.com  ()] [b@example.com b@example.com  ()]",
	}
	got := list(t, l)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(*log) != 0 {
		t.Errorf("logged %q", *log)
	}
}

func TestDamagedFiles(t *testing.T) {
	for _, c := range []struct{ rule, data, want, log string }{
		{"a file that is no message is left out", "garbage", "", ""},
		{"an empty file is left out", "", "", ""},
		{"a cut file is listed as far as it goes", "T\x0c1795367515 0S\x01aR\x01bR\x09c", "active/A1 1795367515 23 0 a [b b  ()]", ""},
		{"without arrival time the file's counts", "S\x01aR\x01bE\x00", "active/A1 1700000000 8 0 a [b b  ()]", ""},
		{"two senders end the message", "T\x0c1795367515 0S\x01aS\x01bR\x01c", "active/A1 1795367515 23 0 a",
			"A1: duplicate sender address -- skipping remainder of this file"},
		{"a recipient without sender ends the message", "R\x01bS\x01aE\x00", "", "A1: missing sender address -- skipping remainder of this file"},
		{"controls are not shown", "T\x0c1795367515 0S\x03a\x1bbR\x03c\x00dE\x00", "active/A1 1795367515 26 0 \"a?b\" [c?d c?d  ()]", ""},
		{"a malformed size record is replaced by the size of the file", "C\x03abcT\x0c1795367515 0S\x01aE\x00", "active/A1 1795367515 24 0 a",
			"A1: malformed size record: abc -- using file size instead"},
	} {
		l, log := newLister(t)
		if err := os.WriteFile("active/A1", []byte(c.data), 0700); err != nil {
			t.Fatal(err)
		}
		when := time.Unix(1700000000, 0)
		if err := os.Chtimes("active/A1", when, when); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(list(t, l), "\n"); got != c.want {
			t.Errorf("%s: %s", c.rule, got)
		}
		if got := strings.TrimPrefix(strings.Join(*log, "\n"), "warning: "); got != c.log {
			t.Errorf("%s: logged %s", c.rule, got)
		}
	}
}

// A client that goes away ends the listing.
func TestClientGoesAway(t *testing.T) {
	l, _ := newLister(t)
	for i := range 500 {
		put(t, "plain", fmt.Sprintf("deferred/A%d", i), 0700)
	}
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		l.serve(context.Background(), ipc.NewConn(theirs, time.Second))
		close(done)
	}()
	if _, err := io.ReadFull(ours, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	ours.Close()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("the listing goes on")
	}
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}
