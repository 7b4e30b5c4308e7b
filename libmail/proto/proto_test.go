package proto

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/ipc"
	"postroad/libmail/record"
)

// tap keeps what passes through a connection.
type tap struct {
	net.Conn
	read, wrote *bytes.Buffer
}

func (t tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.read.Write(p[:n])
	return n, err
}

func (t tap) Write(p []byte) (int, error) {
	t.wrote.Write(p)
	return t.Conn.Write(p)
}

// talk runs server on a listening socket, client against it, and compares the
// bytes of the server's first connection with testdata/NAME.golden: requests,
// a line "---", replies; NUL is shown as "|".
func talk(t *testing.T, name string, server func(*ipc.Conn) error, client func(path string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var read, wrote bytes.Buffer
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		done <- server(ipc.NewConn(tap{c, &read, &wrote}, 10*time.Second))
	}()
	client(path)
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("server: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the server does not end")
	}
	l.Close()
	got := strings.ReplaceAll(read.String()+"\n---\n"+wrote.String()+"\n", "\x00", "|")
	golden := filepath.Join("testdata", name+".golden")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s changed:\n%s\nwant\n%s", golden, got, want)
	}
}

type fakeRewrite struct{}

func (fakeRewrite) Rewrite(rule, address string) (string, error) {
	if address == "down" {
		return "", errors.New("table is down")
	}
	return address + "@example.com", nil
}

func (fakeRewrite) Resolve(_, address string) Resolved {
	if address == "down" {
		return Resolved{Flags: ResolveFail}
	}
	return Resolved{Flags: ClassLocal, Transport: "local", Nexthop: "example.com", Recipient: address}
}

func (f fakeRewrite) ResolveProbe(sender, address string) Resolved {
	r := f.Resolve(sender, address)
	r.Transport = "probe"
	return r
}

func TestIsStandard(t *testing.T) {
	for _, c := range []struct {
		rule, address string
		want          bool
	}{
		{"words at a domain with a dot", "first.last+tag_x=y-z@Mail-1.Example.COM", true},
		{"append_at_myorigin completes it", "user", false},
		{"append_dot_mydomain completes it", "user@host", false},
		{"a dot at the end goes", "user@example.com.", false},
		{"so that two stay for the sender to see", "user@example..com", false},
		{"swap_bangpath turns it", "site!user", false},
		{"allow_percent_hack", "user%site", false},
		{"operators behind a domain are asked about", "a!b@example.com", false},
		{"a source route goes", "@site.example:user@example.com", false},
		{"the null address", "", false},
		{"no local part", "@example.com", false},
		{"no domain", "user@", false},
		{"dots that need quotes", ".user@example.com", false},
		{"two dots", "us..er@example.com", false},
		{"an address in brackets", "user@[192.0.2.1]", false},
		{"two at signs", "a@b@example.com", false},
		{"quotes", `"a b"@example.com`, false},
		{"a comment", "user(x)@example.com", false},
		{"eight bits", "\xc3\xbcser@example.com", false},
	} {
		if got := isStandard(c.address); got != c.want {
			t.Errorf("%s: %q: %v", c.rule, c.address, got)
		}
	}
}

func TestRewrite(t *testing.T) {
	talk(t, "rewrite", func(c *ipc.Conn) error { return ServeRewrite(c, fakeRewrite{}) }, func(path string) {
		c := NewRewriteClient(path, time.Second)
		defer c.IPC.Close()
		if got, err := c.Rewrite(RuleLocal, "user"); got != "user@example.com" || err != nil {
			t.Errorf("rewrite: %q, %v", got, err)
		}
		if _, err := c.Rewrite(RuleLocal, "down"); err == nil {
			t.Error("a failure of the service is no answer")
		}
		want := Resolved{ClassLocal, "local", "example.com", "user@example.com"}
		if got, err := c.Resolve("a@example.org", "user@example.com"); got != want || err != nil {
			t.Errorf("resolve: %v, %v", got, err)
		}
		want.Transport = "probe"
		if got, err := c.ResolveProbe("", "user@example.com"); got != want || err != nil {
			t.Errorf("verify: %v, %v", got, err)
		}
		if _, err := c.Resolve("", "down"); err == nil {
			t.Error("a failed resolution is an error")
		}
	})
}

type fakeCleanup struct {
	records bytes.Buffer
	aborted bool
}

func (f *fakeCleanup) ID() string { return "4A1B2" }
func (f *fakeCleanup) Record(t record.Type, data []byte) error {
	f.records.Write(record.Append(nil, t, data))
	return nil
}
func (f *fakeCleanup) Finish() (int, string) { return StatSize, "too large" }
func (f *fakeCleanup) Abort()                { f.aborted = true }

func TestCleanup(t *testing.T) {
	s := &fakeCleanup{}
	open := func(flags int) (CleanupSession, error) {
		if flags != CleanupBounce|CleanupMap {
			t.Errorf("flags %d", flags)
		}
		return s, nil
	}
	talk(t, "cleanup", func(c *ipc.Conn) error { return ServeCleanup(c, open) }, func(path string) {
		c := NewCleanupClient(path, time.Second)
		defer c.IPC.Close()
		for range 2 {
			m, err := c.Open(CleanupBounce | CleanupMap)
			if err != nil || m.ID != "4A1B2" {
				t.Fatalf("open: %v, %v", m, err)
			}
			m.Attr("rewrite_context", "local")
			m.Attr("encoding", "")
			m.RecordString(record.Sender, "a@example.org")
			m.Record(record.Content, nil)
			if status, reason, err := m.Finish(); status != StatSize || reason != "too large" || err != nil {
				t.Errorf("finish: %d %q %v", status, reason, err)
			}
		}
	})
	if got, want := s.records.String(), strings.Repeat("A\x15rewrite_context=localS\x0da@example.orgM\x00E\x00", 2); got != want {
		t.Errorf("records %q, want %q", got, want)
	}
}

func TestCleanupClientThatLeavesHasSubmittedNothing(t *testing.T) {
	s := &fakeCleanup{}
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- ServeCleanup(ipc.NewConn(b, time.Second), func(int) (CleanupSession, error) { return s, nil })
	}()
	conn := ipc.NewConn(a, time.Second)
	conn.In().Str("protocol")
	conn.In().End()
	conn.Out().Int("flags", 0)
	conn.Out().End()
	conn.Out().Flush()
	conn.In().Str("queue_id")
	conn.In().End()
	a.Write([]byte("S\x01"))
	a.Close()
	if err := <-done; err == nil || errors.Is(err, io.EOF) || !s.aborted {
		t.Errorf("got %v, aborted %v", err, s.aborted)
	}
}

func TestDeliver(t *testing.T) {
	at := time.UnixMicro(1_700_000_000_123_456)
	want := Request{Flags: DeliverSuccess, QueueName: "active", QueueID: "4A1B2", Offset: 512, Size: 1024,
		Nexthop: "example.com", Encoding: "8bit", SendOpts: SendOptUTF8, Sender: "a@example.org", EnvelopeID: "e", RetFlags: RetHeaders,
		Stats:  MsgStats{Arrival: at, Active: at, Reuse: 3},
		Client: Client{Name: "host", Addr: "192.0.2.1", Port: "25", Proto: "ESMTP", Helo: "helo"}, SASL: SASL{Method: "plain", Username: "u", Sender: "s"},
		LogIdent: "X", RewriteContext: "remote",
		Rcpts: []Rcpt{{Orig: "b", Address: "b@example.com", Offset: 300, DSNOrig: "rfc822;b", Notify: NotifyFailure}, {Address: "c@example.com", Offset: -1}}}
	reply := dsn.Outcome{Status: "4.4.1", Reason: "connect refused", MTAType: "dns", MTAName: "mx"}
	talk(t, "deliver", func(c *ipc.Conn) error {
		return ServeDeliver(c, func(got *Request) (dsn.Outcome, int) {
			if len(got.Rcpts) != 2 || got.Rcpts[0] != want.Rcpts[0] || got.Rcpts[1] != want.Rcpts[1] ||
				got.Stats != want.Stats || got.Client != want.Client || got.SASL != want.SASL || got.Sender != want.Sender {
				t.Errorf("got %+v", got)
			}
			return reply, DeliverDefer
		})
	}, func(path string) {
		c := NewDeliverClient(path, time.Second)
		defer c.IPC.Close()
		if o, status, err := c.Deliver(&want); o != reply || status != DeliverDefer || err != nil {
			t.Errorf("got %v, %d, %v", o, status, err)
		}
	})
}

type fakeBounce struct {
	t     *testing.T
	calls []string
}

func (f *fakeBounce) note(call, id string) error {
	f.calls = append(f.calls, call+" "+id)
	if id == "bad" {
		return errors.New("disk full")
	}
	return nil
}

func (f *fakeBounce) Append(_ int, id string, r Rcpt, o dsn.Outcome) error {
	return f.note("append", id+" "+r.Address+" "+o.Status)
}
func (f *fakeBounce) Flush(_ int, m BounceMessage) error { return f.note("flush", m.QueueID) }
func (f *fakeBounce) Warn(_ int, m BounceMessage) error  { return f.note("warn", m.QueueID) }
func (f *fakeBounce) VERP(_ int, m BounceMessage, d string) error {
	return f.note("verp", m.QueueID+" "+d)
}
func (f *fakeBounce) One(_ int, m BounceMessage, r Rcpt, o dsn.Outcome) error {
	return f.note("one", m.QueueID+" "+r.Address+" "+o.Status)
}
func (f *fakeBounce) Trace(_ int, m BounceMessage) error { return f.note("trace", m.QueueID) }

func TestBounce(t *testing.T) {
	f := &fakeBounce{t: t}
	talk(t, "bounce", func(c *ipc.Conn) error { return ServeBounce(c, f) }, func(path string) {
		c := NewBounceClient(path, time.Second)
		defer c.IPC.Close()
		m := BounceMessage{QueueName: "active", QueueID: "4A1B2", Sender: "a@example.org"}
		r := Rcpt{Address: "b@example.com", Offset: 300}
		o := dsn.Outcome{Status: "5.1.1", Reason: "unknown"}
		for i, err := range []error{c.Append(0, "4A1B2", r, o), c.Flush(0, m), c.Warn(0, m), c.VERP(0, m, "+="), c.One(0, m, r, o), c.Trace(0, m)} {
			if err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
		if c.Flush(0, BounceMessage{QueueID: "bad"}) == nil {
			t.Error("a failed request is an error")
		}
	})
	want := "append 4A1B2 b@example.com 5.1.1,flush 4A1B2,warn 4A1B2,verp 4A1B2 +=,one 4A1B2 b@example.com 5.1.1,trace 4A1B2,flush bad"
	if got := strings.Join(f.calls, ","); got != want {
		t.Errorf("got %s", got)
	}
}

func TestShowq(t *testing.T) {
	m := ShowqMessage{"deferred", "4A1B2", time.Unix(1700000000, 0), 1024, 1, "a@example.org"}
	r := ShowqRcpt{"", "b@example.com", "defer", "connection refused"}
	talk(t, "showq", func(c *ipc.Conn) error {
		w := NewShowqWriter(c)
		w.Message(m)
		w.Rcpt(r)
		w.Rcpt(r)
		w.EndMessage()
		w.Message(m)
		w.EndMessage()
		return w.Finish()
	}, func(path string) {
		conn, err := ipc.Dial(path, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var got []string
		err = ReadShowq(conn, func(x ShowqMessage) error {
			if x != m {
				t.Errorf("got %+v", x)
			}
			got = append(got, x.QueueID)
			return nil
		}, func(x ShowqRcpt) error {
			if x != r {
				t.Errorf("got %+v", x)
			}
			got = append(got, x.Address)
			return nil
		})
		if want := "4A1B2 b@example.com b@example.com 4A1B2"; strings.Join(got, " ") != want || err != nil {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

// FuzzServers feeds every server half with garbage: it must end.
func FuzzServers(f *testing.F) {
	f.Add([]byte("request\x00rewrite\x00rule\x00local\x00address\x00a\x00\x00"))
	f.Add([]byte("flags\x000\x00\x00S\x01aE\x00"))
	f.Add([]byte("nrequest\x000\x00flags\x000\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, server := range []func(*ipc.Conn) error{
			func(c *ipc.Conn) error { return ServeRewrite(c, fakeRewrite{}) },
			func(c *ipc.Conn) error {
				return ServeCleanup(c, func(int) (CleanupSession, error) { return &fakeCleanup{}, nil })
			},
			func(c *ipc.Conn) error {
				return ServeDeliver(c, func(*Request) (dsn.Outcome, int) { return dsn.Outcome{}, 0 })
			},
			func(c *ipc.Conn) error { return ServeBounce(c, &fakeBounce{}) },
		} {
			_ = server(ipc.NewConn(&oneWay{r: bytes.NewReader(in)}, time.Second)) // any verdict will do
		}
	})
}

// oneWay is a connection whose peer wrote all at once and reads everything.
type oneWay struct {
	net.Conn
	r io.Reader
}

func (o *oneWay) Read(p []byte) (int, error)       { return o.r.Read(p) }
func (o *oneWay) Write(p []byte) (int, error)      { return len(p), nil }
func (o *oneWay) SetReadDeadline(time.Time) error  { return nil }
func (o *oneWay) SetWriteDeadline(time.Time) error { return nil }
