package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"postroad/libmail/record"
)

// golden opens a queue file that Postfix 3.7.11 wrote.
func golden(t testing.TB, name string) *Message {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMessage(f, Deferred, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

var remote = Client{"localhost", "127.0.0.1", "33564", "ESMTP", "client.example.net"}

// envelopes are what the golden files say.
var envelopes = map[string]Envelope{
	"plain": {
		Sizes:      Sizes{343, 924, 3, 14, 343, 0},
		Sender:     "sender@example.org",
		EnvelopeID: "QQ+314159", RetFlags: 2, Encoding: "8bit",
		LogIdent: "A9F36984010", RewriteContext: "local", LogClient: remote, Client: remote,
		Rcpts: []Rcpt{
			{"one@example.com", "one@example.com", 728, "rfc822;One+40example.com", 6},
			{"two@example.net", "two@example.net", 816, "rfc822;two@example.net", 1},
			{"odd name@example.com", "odd name@example.com", 900, `rfc822;"odd name"@example.com`, 0},
		},
	},
	"milter": {
		Sizes:    Sizes{397, 771, 4, 0, 466, 0},
		Sender:   "changed-sender@example.org",
		LogIdent: "EE8EE984D12", RewriteContext: "local",
		LogClient: Client{"localhost", "127.0.0.1", "33574", "ESMTP", "client.example.net"},
		Client:    Client{"localhost", "127.0.0.1", "33574", "ESMTP", "client.example.net"},
		Rcpts: []Rcpt{
			{"keep@example.com", "keep@example.com", 659, "rfc822;keep@example.com", 0},
			{"added1@example.com", "added1@example.com", 1209, "", 0},
			{"added2@example.com", "added2@example.com", 1266, "", 0},
		},
	},
	"done": {
		Sizes:  Sizes{270, 332, 2, 0, 270, 0},
		Sender: "longid@example.com", FullName: "root", RewriteContext: "local",
		Rcpts: []Rcpt{{"x@example.com", "x@example.com", 315, "rfc822;x@example.com", 0}},
	},
	"null": {
		Sizes:    Sizes{251, 255, 1, 2, 251, 0},
		FullName: "root", RewriteContext: "local",
		Rcpts: []Rcpt{{"x@example.com", "x@example.com", 238, "rfc822;x@example.com", 1}},
	},
	"verbose": {
		Sizes:  Sizes{287, 297, 1, 0, 287, 0},
		Sender: "local@example.com", FullName: "Full Name", RewriteContext: "local",
		Rcpts: []Rcpt{{"verbose@example.com", "verbose@example.com", 274, "rfc822;verbose@example.com", 0}},
	},
	"verp": {
		Sizes:  Sizes{266, 331, 2, 0, 266, 0},
		Sender: "list@example.com", FullName: "root", RewriteContext: "local", VERP: "+=",
		Rcpts: []Rcpt{
			{"v1@example.com", "v1@example.com", 244, "rfc822;v1@example.com", 0},
			{"v2@example.net", "v2@example.net", 313, "rfc822;v2@example.net", 0},
		},
	},
}

func TestEnvelopeOfPostfix(t *testing.T) {
	for name, want := range envelopes {
		got, err := golden(t, name).Envelope(0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Arrival.Year() != 2026 || got.Created.Unix() != got.Arrival.Unix() || len(got.Attrs) == 0 || got.Unread != 0 || len(got.Notes) != 0 {
			t.Errorf("%s: arrival %v, created %v, attributes %v, unread %d, notes %q", name, got.Arrival, got.Created, got.Attrs, got.Unread, got.Notes)
		}
		got.Arrival, got.Created, got.Attrs = time.Time{}, time.Time{}, nil
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, *got, want)
		}
	}
}

// Recipients come in batches of any size, always all of them, in order.
func TestRecipientsInBatches(t *testing.T) {
	for name, want := range envelopes {
		for max := 1; max < 4; max++ {
			m := golden(t, name)
			e, err := m.Envelope(max)
			if err != nil {
				t.Fatal(err)
			}
			got, next := e.Rcpts, e.Next
			for next != 0 {
				var more []Rcpt
				if more, next, err = m.MoreRcpts(e, next, max); err != nil {
					t.Fatal(err)
				}
				got = append(got, more...)
			}
			if !reflect.DeepEqual(got, want.Rcpts) || e.Sender != want.Sender || e.Encoding != want.Encoding {
				t.Errorf("%s in batches of %d: %+v", name, max, got)
			}
		}
	}
}

const milterContent = `Received: from client.example.net (localhost [127.0.0.1])
	by mx.example.com (Postfix) with ESMTP id EE8EE984D12;
	Sun, 22 Nov 2026 17:12:03 +0000 (UTC)
X-Inserted: at one
From: a@b.c
Subject: changed subject
X-Tail: stays
Message-Id: <20261122171203.EE8EE984D12@mx.example.com>
Date: Sun, 22 Nov 2026 17:12:03 +0000 (UTC)
X-Added: by the milter

new body line one
new body line two, which is rather longer than what stood there before
last line
`

func TestContentOfPostfix(t *testing.T) {
	m := golden(t, "milter")
	var got bytes.Buffer
	if _, err := got.ReadFrom(iotest.OneByteReader(m.Content(771))); err != nil || got.String() != milterContent {
		t.Errorf("%v, content:\n%s", err, got.String())
	}
	if n := len(milterContent); n >= 771 {
		t.Errorf("content of %d bytes", n)
	}

	m = golden(t, "longlines")
	e, err := m.Envelope(0)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(m.Content(e.DataOffset))
	if err != nil {
		t.Fatal(err)
	}
	tail := "\n\n" + strings.Repeat("x", 2048) + "\n" + strings.Repeat("y", 2049) + "\n" + strings.Repeat("z", 5000) + "\nna\u00efve caf\u00e9\n"
	if !strings.HasSuffix(string(text), tail) {
		t.Error("long lines are not put together")
	}
	c := m.Content(e.DataOffset)
	pieces := map[bool]int{}
	for {
		_, partial, err := c.Line()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		pieces[partial]++
	}
	if pieces[true] != 5 { // 2048 bytes fill a piece, so an empty line record follows
		t.Errorf("pieces and lines: %v", pieces)
	}
}

func TestSubmittedFilesOfPostfix(t *testing.T) {
	for name, want := range map[string]string{
		"maildrop":   "T A A A F S A R M N N N N N X E",
		"maildrop-t": "T A F S M N N N N N X R R E",
	} {
		var got []string
		w := golden(t, name).Records(0)
		for {
			rt, _, err := w.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(rune(rt)))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s", name, s)
		}
	}
}

// spooled puts a copy of a golden file in the active queue.
func spooled(t *testing.T, s *Spool, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	id := "ABCDE" + strings.ToUpper(fmt.Sprintf("%X", len(name)))
	if err := os.WriteFile(s.path(s.Path(Active, id)), data, 0700); err != nil {
		t.Fatal(err)
	}
	return id
}

// submitted makes a message with a trace request and a delay warning.
func submitted(t *testing.T, s *Spool) *Message {
	t.Helper()
	f, err := s.Create(Incoming, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.RecordString(record.Size, Sizes{}.Data())
	f.RecordString(record.Time, FormatTime(f.Created))
	f.RecordString(record.Sender, "a@example.com")
	f.RecordString(record.Attr, "trace_flags=1024")
	f.RecordString(record.Warn, FormatWarn(time.Unix(1795367555, 0)))
	f.RecordString(record.Rcpt, "b@example.com")
	f.RecordString(record.Rcpt, "c@example.com")
	f.Record(record.Content, nil)
	data := f.Offset()
	f.RecordString(record.Text, "")
	f.Record(record.Extracted, nil)
	f.Record(record.End, nil)
	f.SetSizes(Sizes{DataSize: 2, DataOffset: data, Rcpts: 2, ContentLength: 2})
	if err := f.Commit(0); err != nil {
		t.Fatal(err)
	}
	m, err := s.Open(Incoming, f.ID, Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestMarksInPlace(t *testing.T) {
	m := submitted(t, newSpool(t, Options{}))
	e, err := m.Envelope(0)
	if err != nil || e.TraceFlags != 1024 || e.Warn != 1795367555 {
		t.Fatalf("%+v, %v", e, err)
	}
	for range 2 { // a mark may be repeated
		if err := m.MarkDone(e.Rcpts[0].Offset); err != nil {
			t.Error(err)
		}
		if err := m.MarkKilled(e.TraceOffset); err != nil {
			t.Error(err)
		}
		if err := m.MarkWarned(e.WarnOffset); err != nil {
			t.Error(err)
		}
	}
	if err := m.MarkDone(-1); err != nil {
		t.Errorf("a recipient that is not in the file: %v", err)
	}
	for _, offset := range []int64{0, 1, e.TraceOffset, e.Rcpts[0].Offset + 1, 1 << 40} {
		if err := m.MarkDone(offset); err == nil {
			t.Errorf("a recipient is marked at %d, where none is", offset)
		}
	}
	if err := m.MarkWarned(97); err == nil {
		t.Error("an arrival time is overwritten by a warning time")
	}
	e, err = m.Envelope(0)
	if err != nil || len(e.Rcpts) != 1 || e.Rcpts[0].Address != "c@example.com" || e.TraceFlags != 0 || e.Warn != -1 {
		t.Errorf("after the marks: %+v, %v", e, err)
	}
}

func TestUnsafeFilesAreNotOpened(t *testing.T) {
	s := newSpool(t, Options{})
	id := spooled(t, s, "plain")
	active := func(name string) string { return s.path(Active + "/" + name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Symlink(id, active("ABCDE51")))
	must(os.Mkdir(active("ABCDE52"), 0700))
	must(os.WriteFile(active("ABCDE53"), []byte("x"), 0600))
	must(os.WriteFile(active("ABCDE54"), []byte("x"), 0700))
	must(os.Link(active("ABCDE54"), active("ABCDE55")))
	for _, c := range []struct {
		rule, id string
		want     error
	}{
		{"a symbolic link is refused", "ABCDE51", nil},
		{"a directory is refused", "ABCDE52", nil},
		{"an incomplete file is not ready", "ABCDE53", ErrNotReady},
		{"a file of two names is unsafe", "ABCDE54", ErrUnsafe},
		{"a path is no id", "../incoming/x", ErrName},
	} {
		m, err := s.Open(Active, c.id, Shared)
		if err == nil {
			m.Close()
			t.Errorf("%s: it was opened", c.rule)
		} else if c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.rule, err)
		}
	}
	for _, bad := range []string{"ABCDE51", "ABCDE52", "ABCDE53"} {
		if m, err := s.OpenRead(Active, bad); err == nil {
			m.Close()
			t.Errorf("%s is opened for reading", bad)
		}
	}
	s.o.Owner = os.Getuid() + 1
	m, err := s.OpenRead(Active, id)
	if err != nil {
		t.Fatalf("another owner's file cannot be listed: %v", err)
	}
	m.Close()
	if _, err := s.Open(Active, id, Shared); !errors.Is(err, ErrUnsafe) {
		t.Errorf("another owner's file: %v", err)
	}
}

func TestLocks(t *testing.T) {
	s := newSpool(t, Options{})
	id := spooled(t, s, "plain")
	agent, err := s.Open(Active, id, Shared)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(Active, id, Exclusive); !errors.Is(err, ErrBusy) {
		t.Errorf("qmgr loads a message that is being delivered: %v", err)
	}
	second, err := s.Open(Active, id, Shared)
	if err != nil {
		t.Fatalf("two agents cannot deliver at once: %v", err)
	}
	second.Close()
	agent.Close()
	qmgr, err := s.Open(Active, id, Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	qmgr.Close()
}

// damaged makes a file of records; sizes of 0 are filled in.
func damaged(t *testing.T, build func(add func(record.Type, string))) *Message {
	t.Helper()
	var b []byte
	build(func(rt record.Type, data string) { b = record.AppendString(b, rt, data) })
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	m, err := NewMessage(f, Active, "x")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestDamage(t *testing.T) {
	sizes := Sizes{2, 120, 1, 0, 2, 0}.Data()
	head := func(add func(record.Type, string)) {
		add(record.Size, sizes)
		add(record.Time, "1795367555 0")
		add(record.Sender, "")
	}
	tail := func(add func(record.Type, string)) {
		add(record.Content, "")
		add(record.Text, "")
		add(record.Extracted, "")
		add(record.End, "")
	}
	for _, c := range []struct {
		rule  string
		good  bool
		build func(add func(record.Type, string))
	}{
		{"a whole message is accepted", true, func(add func(record.Type, string)) {
			head(add)
			add(record.Rcpt, "u")
			add(record.Verp, "")
			tail(add)
		}},
		{"without an end record it is no message", false, func(add func(record.Type, string)) {
			head(add)
			add(record.Rcpt, "user")
		}},
		{"without a sender it is no message", false, func(add func(record.Type, string)) {
			add(record.Size, sizes)
			add(record.Time, "1795367555 0")
			add(record.End, "")
		}},
		{"without an arrival time it is no message", false, func(add func(record.Type, string)) {
			add(record.Size, sizes)
			add(record.Sender, "")
			add(record.End, "")
		}},
		{"without sizes it is no message", false, func(add func(record.Type, string)) {
			add(record.Time, "1795367555 0")
			add(record.Sender, "")
			add(record.End, "")
		}},
		{"flags of another format are refused", false, func(add func(record.Type, string)) {
			add(record.Size, Sizes{2, 120, 1, 1 << 5, 2, 0}.Data())
			add(record.Time, "1795367555 0")
			add(record.Sender, "")
			add(record.End, "")
		}},
		{"an unknown record is refused", false, func(add func(record.Type, string)) {
			head(add)
			add('?', "")
			add(record.End, "")
		}},
		{"an attribute without a value sign is refused", false, func(add func(record.Type, string)) {
			head(add)
			add(record.Attr, "trace_flags")
			add(record.End, "")
		}},
		{"a pointer to itself ends", false, func(add func(record.Type, string)) {
			add(record.Pointer, fmt.Sprintf("%15d", 17))
			add(record.Pointer, fmt.Sprintf("%15d", 17))
		}},
		{"a pointer to nowhere is refused", false, func(add func(record.Type, string)) {
			head(add)
			add(record.Pointer, fmt.Sprintf("%15d", 1<<40))
		}},
		{"a negative pointer is refused", false, func(add func(record.Type, string)) {
			head(add)
			add(record.Pointer, "             -1")
			add(record.End, "")
		}},
	} {
		_, err := damaged(t, c.build).Envelope(0)
		if c.good && err != nil || !c.good && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", c.rule, err)
		}
	}
	if _, err := io.ReadAll(damaged(t, func(add func(record.Type, string)) { add(record.Text, "cut") }).Content(0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("content without its end: %v", err)
	}
	unended := damaged(t, func(add func(record.Type, string)) {
		add(record.Continued, "cut")
		add(record.Extracted, "")
	})
	if text, err := io.ReadAll(unended.Content(0)); err != nil || string(text) != "cut\n" {
		t.Errorf("a last line without its end: %q, %v", text, err)
	}
}

func FuzzEnvelope(f *testing.F) {
	for _, name := range []string{"plain", "milter", "done", "null", "verbose", "verp", "maildrop"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &Message{h: memory{bytes.NewReader(data)}, name: "x"}
		e, err := m.Envelope(3)
		if err != nil {
			return
		}
		next := e.Next
		for range 100 {
			if next == 0 {
				break
			}
			var more []Rcpt
			if more, next, err = m.MoreRcpts(e, next, 2); err != nil || len(more) > 2 {
				break
			}
		}
		if len(e.Rcpts) > 3 {
			t.Errorf("a batch of %d", len(e.Rcpts))
		}
		io.CopyN(io.Discard, m.Content(e.DataOffset), 1<<20)
	})
}

// memory is a Handle that can only be read.
type memory struct{ *bytes.Reader }

func (memory) WriteAt([]byte, int64) (int, error) { return 0, os.ErrPermission }
func (memory) Close() error                       { return nil }
func (memory) Stat() (Info, error)                { return Info{}, nil }
func (memory) Chmod(os.FileMode) error            { return os.ErrPermission }
func (memory) Truncate(int64) error               { return os.ErrPermission }
func (memory) Sync() error                        { return nil }
func (memory) Lock(Lock) error                    { return nil }
func (memory) File() *os.File                     { return nil }
