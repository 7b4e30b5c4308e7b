package queue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/dsn"
)

func readLog(t *testing.T, l *LogReader, err error) (list []LogEntry) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for {
		e, err := l.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
}

func TestAppendLog(t *testing.T) {
	s := newSpool(t, Options{Hashed: []string{Defer}, Depth: 1, OldLogs: true})
	r := Rcpt{Orig: "Alias@example.com", Address: "odd name@example.com", Offset: 123, DSNOrig: "rfc822;alias@example.com", Notify: 4}
	o := dsn.Outcome{Status: "4.1.1", Action: dsn.Delayed, Reason: "line one\nrecipient=evil@example.com",
		DiagType: "smtp", DiagText: "450 4.1.1 later", MTAType: "dns", MTAName: "mx.example.com"}
	if err := s.AppendLog(Defer, "ABCDE1", r, o); err != nil {
		t.Fatal(err)
	}
	if err := s.AppendLog(Defer, "ABCDE1", Rcpt{Offset: -1}, dsn.Outcome{Reason: "x", DiagType: "smtp"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(s.path("defer/A/ABCDE1"))
	const want = `
<"odd name"@example.com>: line one?recipient=evil@example.com
recipient="odd name"@example.com
original_recipient=Alias@example.com
offset=123
dsn_orig_rcpt=rfc822;alias@example.com
notify_flags=4
status=4.1.1
action=delayed
diag_type=smtp
diag_text=450 4.1.1 later
mta_type=dns
mta_mname=mx.example.com
reason=line one?recipient=evil@example.com


<>: x
recipient=<>
reason=x

`
	if err != nil || string(got) != want {
		t.Errorf("%v, log:\n%s", err, got)
	}
	l, err := s.OpenLog(Defer, "ABCDE1")
	list := readLog(t, l, err)
	o.Reason = "line one?recipient=evil@example.com"
	r.Address = `"odd name"@example.com`
	if len(list) != 2 || list[0].Rcpt != r || list[0].Outcome != o {
		t.Errorf("read back: %+v", list)
	}
	if list[1].Address != "<>" || list[1].Outcome != (dsn.Outcome{Status: "4.0.0", Action: dsn.Delayed, Reason: "x"}) {
		t.Errorf("read back: %+v", list[1])
	}
	if has, err := s.HasLog(Defer, "ABCDE1"); !has || err != nil {
		t.Errorf("HasLog: %v, %v", has, err)
	}
	for range 2 {
		if err := s.RemoveLog(Defer, "ABCDE1"); err != nil {
			t.Errorf("RemoveLog: %v", err)
		}
	}
	if has, err := s.HasLog(Defer, "ABCDE1"); has || err != nil {
		t.Errorf("HasLog after RemoveLog: %v, %v", has, err)
	}
}

// An entry that could not be made durable is not in the log, whichever call
// failed, and AppendLog does not say that it is.
func TestAppendLogFaults(t *testing.T) {
	add := func(s *Spool, user string) error {
		return s.AppendLog(Bounce, "ABCDE1", Rcpt{Address: user}, dsn.Outcome{Status: "5.1.1", Reason: "unknown"})
	}
	clean := &faultFS{FS: System{}}
	s := newSpool(t, Options{FS: clean, Hashed: []string{Bounce}, Depth: 1})
	if err := add(s, "first"); err != nil {
		t.Fatal(err)
	}
	if err := add(s, "second"); err != nil {
		t.Fatal(err)
	}
	for _, errno := range []error{syscall.EIO, syscall.ENOSPC, syscall.EMFILE, nil} {
		for n := 1; n <= len(clean.calls); n++ {
			if errno == nil && clean.calls[n-1] != "writeat" {
				continue // a short write
			}
			f := &faultFS{FS: System{}}
			s := newSpool(t, Options{FS: f, Hashed: []string{Bounce}, Depth: 1})
			f.at, f.err = n, errno
			acked := map[string]bool{}
			for _, user := range []string{"first", "second"} {
				if add(s, user) == nil {
					acked[user] = true
				}
			}
			if len(acked) == 2 {
				t.Errorf("%v in call %d (%s) became a success", errno, n, clean.calls[n-1])
			}
			f.at = 0
			l, err := s.OpenLog(Bounce, "ABCDE1")
			if errors.Is(err, os.ErrNotExist) && len(acked) == 0 {
				continue
			}
			for _, e := range readLog(t, l, err) {
				if e.Address != "first" && e.Address != "second" || e.Outcome.Reason != "unknown" {
					t.Errorf("%v in call %d leaves half an entry: %+v", errno, n, e)
				}
				delete(acked, e.Address)
			}
			if len(acked) > 0 {
				t.Errorf("%v in call %d: lost %v", errno, n, acked)
			}
		}
	}
}

func TestLogStyles(t *testing.T) {
	for _, c := range []struct {
		rule, kind, log string
		want            []LogEntry
		notes           int
	}{
		{"the old style has a recipient and a reason", Defer, "\n<a@example.com>:   because\n\n",
			[]LogEntry{{Rcpt{Address: "a@example.com"}, dsn.Outcome{Status: "4.0.0", Action: "delayed", Reason: "because"}}}, 0},
		{"in a bounce log the default is failure", Bounce, "<>: no\n\n",
			[]LogEntry{{Rcpt{Address: "(MAILER-DAEMON)"}, dsn.Outcome{Status: "5.0.0", Action: "failed", Reason: "no"}}}, 0},
		{"an empty entry still is one", Bounce, "status=5.1.1\n\n",
			[]LogEntry{{Rcpt{Address: "(recipient address unavailable)"}, dsn.Outcome{Status: "5.1.1", Action: "failed", Reason: "(description unavailable)"}}}, 0},
		{"an entry that is cut off is left out", Bounce, "recipient=a\nreason=b\n", nil, 0},
		{"an unknown name is skipped with a note", Bounce, "recipient=a\nnew_thing=1\nreason=b\n\n",
			[]LogEntry{{Rcpt{Address: "a"}, dsn.Outcome{Status: "5.0.0", Action: "failed", Reason: "b"}}}, 1},
		{"a line of no style is skipped with a note", Bounce, "recipient=a\n*garbage\n<x\nreason=b\n\n",
			[]LogEntry{{Rcpt{Address: "a"}, dsn.Outcome{Status: "5.0.0", Action: "failed", Reason: "b"}}}, 2},
		{"controls are not passed on", Bounce, "recipient=a\x1b[2Jb\xff\nreason=b\n\n",
			[]LogEntry{{Rcpt{Address: "a?[2Jb?"}, dsn.Outcome{Status: "5.0.0", Action: "failed", Reason: "b"}}}, 0},
	} {
		l := NewLogReader(strings.NewReader(c.log), c.kind)
		got := readLog(t, l, nil)
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) || len(l.Notes()) != c.notes {
			t.Errorf("%s: %+v, notes %q", c.rule, got, l.Notes())
		}
	}
	f, err := os.Open("testdata/defer.log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := readLog(t, NewLogReader(f, Defer), nil)
	want := LogEntry{Rcpt{"", "keep@example.com", 659, "rfc822;keep@example.com", 0}, dsn.Outcome{Status: "4.3.2", Action: "delayed", Reason: "deferred transport"}}
	if len(got) != 3 || got[2] != want {
		t.Errorf("a log of Postfix: %+v", got)
	}
}

func FuzzLog(f *testing.F) {
	data, err := os.ReadFile("testdata/defer.log")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data))
	f.Add("<a>: b\n\noffset=-1\n=\nnotify_flags=99\n\n")
	f.Fuzz(func(t *testing.T, log string) {
		l := NewLogReader(strings.NewReader(log), Defer)
		for {
			e, err := l.Next()
			if err != nil {
				return
			}
			if e.Address == "" || e.Outcome.Reason == "" || e.Outcome.Status == "" || strings.ContainsAny(e.Address+e.Outcome.Reason, "\n\r\x1b") {
				t.Errorf("entry %+v", e)
			}
		}
	})
}

func TestSites(t *testing.T) {
	s := newSpool(t, Options{})
	if got := SiteName("[192.0.2.1]"); got != "_192_0_2_1_" {
		t.Errorf("SiteName: %s", got)
	}
	for _, id := range []string{"A1", "B2", "A1", "C3"} {
		if err := s.AppendSite("Example.COM", id); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	each := func(id string) { got = append(got, id) }
	if err := s.FlushSite("example_com", each); err != nil || fmt.Sprint(got) != "[A1 B2 C3]" {
		t.Errorf("flushed %v, %v", got, err)
	}
	got = nil
	if err := s.FlushSite("example_com", each); err != nil || got != nil {
		t.Errorf("flushed twice: %v, %v", got, err)
	}
	if err := s.FlushSite("unknown_example", each); err != nil || got != nil {
		t.Errorf("a site without mail: %v, %v", got, err)
	}
	if err := s.FlushSite("../active/x", each); !errors.Is(err, ErrName) {
		t.Errorf("a path: %v", err)
	}
	if err := s.PurgeSite("example_com", time.Now().Add(-time.Hour)); err != nil || len(files(t, s)) != 1 {
		t.Errorf("a young log is purged: %v", err)
	}
	if err := s.PurgeSite("example_com", time.Now().Add(time.Hour)); err != nil || len(files(t, s)) != 0 {
		t.Errorf("an old empty log stays: %v", err)
	}
}

func TestScan(t *testing.T) {
	s := newSpool(t, Options{})
	want := []string{}
	for i := range 700 {
		id := fmt.Sprintf("%05X1", i)
		dir := []string{"deferred", "deferred/0", "deferred/A/B"}[i%3]
		if err := os.MkdirAll(s.path(dir), 0700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.path(dir+"/"+id), nil, 0700); err != nil {
			t.Fatal(err)
		}
		want = append(want, dir+"/"+id)
	}
	for _, odd := range []string{"deferred/123.456", "deferred/A/.hidden"} {
		if err := os.WriteFile(s.path(odd), nil, 0600); err != nil {
			t.Fatal(err)
		}
	}
	list := func(next func() (Entry, error)) (got []string) {
		for {
			e, err := next()
			if err == io.EOF {
				sort.Strings(got)
				return got
			}
			if err != nil || filepath.Base(e.Path) != e.Name {
				t.Fatal(e, err)
			}
			got = append(got, e.Path)
		}
	}
	sort.Strings(want)
	sc := s.Scan(Deferred)
	if got := list(sc.Next); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%d files found, %d there are", len(got), len(want))
	}
	sc.Close()
	sc = s.Scan(Deferred)
	if got := list(sc.NextAny); len(got) != len(want)+2 {
		t.Errorf("%d names found", len(got))
	}
	sc.Close()
	sc = s.Scan(Deferred)
	sc.Next()
	sc.Close()
	if _, err := sc.Next(); err != io.EOF {
		t.Errorf("after Close: %v", err)
	}
	if err := os.MkdirAll(s.path("maildrop/A/B"), 0700); err != nil {
		t.Fatal(err)
	}
	sc = s.Scan(Maildrop)
	if got := list(sc.Next); len(got) != 1 || got[0] != "maildrop/A" {
		t.Errorf("maildrop is flat, but: %v", got)
	}
	sc.Close()
	if _, err := s.Scan("../etc").Next(); !errors.Is(err, ErrName) {
		t.Errorf("a path: %v", err)
	}
}

// The second to append to a new log does not outrun the sync of its name.
func TestSecondAppendWaitsForTheName(t *testing.T) {
	f := &slowFS{FS: System{}, began: make(chan string), end: make(chan error)}
	s := newSpool(t, Options{FS: f})
	done := make(chan string, 2)
	add := func(user string) {
		if err := s.AppendLog(Bounce, "ABCDE1", Rcpt{Address: user}, dsn.Outcome{Reason: "x"}); err != nil {
			t.Error(err)
		}
		done <- user
	}
	go add("first")
	<-f.began
	go add("second")
	for range 500 {
		if text, err := os.ReadFile(s.path("bounce/ABCDE1")); err == nil && strings.Contains(string(text), "second") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	select {
	case user := <-done:
		t.Fatalf("%s is acknowledged before the name is durable", user)
	case <-time.After(20 * time.Millisecond):
	}
	f.end <- nil // for the first; the second wants one that began later
	<-f.began
	f.end <- nil
	<-done
	<-done
	if len(s.dirs.dirs) != 0 {
		t.Errorf("tickets are left: %v", s.dirs.dirs)
	}
}
