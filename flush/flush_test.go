package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// newFlush is a service over a spool with the given files, "queue/id".
func newFlush(t *testing.T, files ...string) (f *flush, root string, triggers *string) {
	t.Helper()
	root = t.TempDir()
	for _, q := range []string{queue.Deferred, queue.Incoming, queue.Active, queue.Flush} {
		if err := os.Mkdir(filepath.Join(root, q), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte("x"), 0o700); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(time.Hour) // the next try
		if err := os.Chtimes(filepath.Join(root, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	triggers = new(string)
	f = &flush{
		spool: queue.New(queue.Options{Root: root, Owner: -1}),
		log:   maillog.Discard(),
		now:   time.Now,
		mayFlush: func(site string) (bool, error) {
			if site == "broken.example" {
				return false, errors.New("table is unavailable")
			}
			return strings.HasSuffix(site, ".example") || site == "[192.0.2.1]", nil
		},
		trigger:     func(request ...byte) { *triggers += string(request) },
		refreshTime: 12 * time.Hour,
		purgeTime:   7 * 24 * time.Hour,
		background:  func(g func()) { g() },
	}
	return f, root, triggers
}

// names lists the files of a queue.
func names(t *testing.T, root, name string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(root, name, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		list[i] = filepath.Base(list[i])
	}
	return strings.Join(list, " ")
}

func TestStatus(t *testing.T) {
	f, _, _ := newFlush(t)
	for _, c := range []struct {
		rule string
		r    proto.FlushRequest
		want proto.FlushStatus
	}{
		{"a message is added", proto.FlushRequest{Verb: proto.FlushAdd, Site: "a.example", QueueID: "4A1B2"}, proto.FlushOK},
		{"also for an address literal", proto.FlushRequest{Verb: proto.FlushAdd, Site: "[192.0.2.1]", QueueID: "4A1B2"}, proto.FlushOK},
		{"not for a destination that is not listed", proto.FlushRequest{Verb: proto.FlushAdd, Site: "other.test", QueueID: "4A1B2"}, proto.FlushDenied},
		{"nor with a bad queue id", proto.FlushRequest{Verb: proto.FlushAdd, Site: "a.example", QueueID: "../../x"}, proto.FlushBadSite},
		{"a list that cannot be read is a failure", proto.FlushRequest{Verb: proto.FlushAdd, Site: "broken.example", QueueID: "4A1B2"}, proto.FlushFail},
		{"a site without mail is flushed", proto.FlushRequest{Verb: proto.FlushSendSite, Site: "b.example"}, proto.FlushOK},
		{"one that is not listed is not", proto.FlushRequest{Verb: proto.FlushSendSite, Site: "other.test"}, proto.FlushDenied},
		{"a message that is gone is no failure", proto.FlushRequest{Verb: proto.FlushSendFile, QueueID: "4A1B2"}, proto.FlushOK},
		{"a bad queue id is", proto.FlushRequest{Verb: proto.FlushSendFile, QueueID: "/etc/passwd"}, proto.FlushBadSite},
	} {
		if got := f.do(c.r); got != c.want {
			t.Errorf("%s: status %d, want %d", c.rule, got, c.want)
		}
	}
}

func TestASiteIsFlushed(t *testing.T) {
	f, root, triggers := newFlush(t, "deferred/4A1B1", "deferred/4A1B2", "deferred/4A1B3", "active/4A1B4")
	for _, id := range []string{"4A1B1", "4A1B2", "4A1B1", "4A1B4", "4A1B5"} {
		if got := f.add("A.Example", id); got != proto.FlushDenied { // the list folds case, this one does not
			t.Fatalf("add %s: %d", id, got)
		}
		if got := f.add("a.example", id); got != proto.FlushOK {
			t.Fatalf("add %s: %d", id, got)
		}
	}
	if got := f.sendSite("a.example"); got != proto.FlushOK {
		t.Fatal(got)
	}
	for name, want := range map[string]string{queue.Incoming: "4A1B1 4A1B2", queue.Deferred: "4A1B3", queue.Active: "4A1B4", queue.Flush: "a_example"} {
		if got := names(t, root, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if *triggers != "FI" {
		t.Errorf("triggers %q: dead destinations are forgotten first, then incoming is scanned", *triggers)
	}
	st, err := os.Stat(filepath.Join(root, "incoming/4A1B1"))
	if err != nil || st.ModTime().After(time.Now()) {
		t.Errorf("the message is due now: %v %v", st.ModTime(), err)
	}
	if st, err = os.Stat(filepath.Join(root, "flush/a_example")); err != nil || st.Size() != 0 {
		t.Errorf("the log is empty: %v %v", st, err)
	}
	*triggers = ""
	if got := f.sendSite("a.example"); got != proto.FlushOK || *triggers != "F" {
		t.Errorf("a second time there is nothing to do: %d %q", got, *triggers)
	}
}

func TestOneMessageIsFlushed(t *testing.T) {
	f, root, triggers := newFlush(t, "deferred/4A1B1", "deferred/4A1B2")
	if err := os.Chmod(filepath.Join(root, "deferred/4A1B1"), 0o710); err != nil { // to be expired, too
		t.Fatal(err)
	}
	if got := f.sendFile("4A1B1"); got != proto.FlushOK || *triggers != "I" {
		t.Errorf("status %d, triggers %q", got, *triggers)
	}
	st, err := os.Stat(filepath.Join(root, "incoming/4A1B1"))
	if err != nil || st.Mode() != 0o750 {
		t.Errorf("mode %v %v: the queue manager is told by a bit, the others stay", st.Mode(), err)
	}
	if got := names(t, root, queue.Deferred); got != "4A1B2" {
		t.Errorf("deferred: %q", got)
	}
}

func TestRefresh(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	for _, c := range []struct {
		rule           string
		content        string
		changed, read  time.Duration // ago
		verb           string
		logs, incoming string
	}{
		{"a log that was read lately is left", "4A1B1\n", 0, time.Hour, proto.FlushRefresh, "a_example", ""},
		{"one that was not is delivered from", "4A1B1\n", 0, 13 * time.Hour, proto.FlushRefresh, "a_example", "4A1B1"},
		{"a purge delivers from all", "4A1B1\n", 0, time.Minute, proto.FlushPurge, "a_example", "4A1B1"},
		{"an empty log is kept for a while", "", 6 * day, 6 * day, proto.FlushRefresh, "a_example", ""},
		{"then removed", "", 8 * day, 8 * day, proto.FlushRefresh, "", ""},
	} {
		f, root, _ := newFlush(t, "deferred/4A1B1")
		path := filepath.Join(root, "flush/a_example")
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-c.read), now.Add(-c.changed)); err != nil {
			t.Fatal(err)
		}
		f.do(proto.FlushRequest{Verb: c.verb})
		if got, in := names(t, root, queue.Flush), names(t, root, queue.Incoming); got != c.logs || in != c.incoming {
			t.Errorf("%s: logs %q, incoming %q", c.rule, got, in)
		}
	}
}

func TestManyRefreshesAreOne(t *testing.T) {
	f, _, _ := newFlush(t)
	f.refreshing.Lock()
	f.refresh(everything) // does not wait
	f.refreshing.Unlock()
	if fmt.Sprint(f.do(proto.FlushRequest{Verb: proto.FlushRefresh})) != "0" {
		t.Error("a refresh is answered")
	}
}
