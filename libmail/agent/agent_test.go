package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
	"postroad/libmail/server"
)

// notes collects what an agent tells others, in order.
type notes struct {
	calls []string
	fail  bool
}

func (n *notes) note(format string, args ...any) error {
	n.calls = append(n.calls, fmt.Sprintf(format, args...))
	if n.fail {
		return errors.New("service is down")
	}
	return nil
}

type logOf struct {
	n    *notes
	name string
}

func (l logOf) Append(_ int, _ string, r proto.Rcpt, o dsn.Outcome) error {
	return l.n.note("%s %s %s %s", l.name, r.Address, o.Status, o.Action)
}

func (n *notes) Update(address string, s proto.AddressStatus, _ string) error {
	return n.note("verify %s %d", address, s)
}

func (n *notes) Write(_ maillog.Level, _, text string) {
	for _, f := range strings.Split(text, ", ") {
		if strings.HasPrefix(f, "status=") {
			n.calls = append(n.calls, "log "+f)
		}
	}
}

// spool makes a spool with one active message for two recipients.
func spool(t *testing.T) (*queue.Spool, *proto.Request) {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "active"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := queue.New(queue.Options{Root: root, Owner: -1})
	f, err := s.Create("active", 0)
	if err != nil {
		t.Fatal(err)
	}
	req := &proto.Request{Flags: proto.DeliverSuccess, QueueName: "active", QueueID: f.ID}
	add := func(typ record.Type, data string) {
		if err := f.RecordString(typ, data); err != nil {
			t.Fatal(err)
		}
	}
	add(record.Size, string(queue.Sizes{}.Data()))
	add(record.Time, "1700000000 0")
	add(record.Sender, "a@example.org")
	for _, to := range []string{"b@example.com", "c@example.com"} {
		req.Rcpts = append(req.Rcpts, proto.Rcpt{Address: to, Offset: f.Offset()})
		add(record.Rcpt, to)
	}
	add(record.Content, "")
	req.Offset = f.Offset()
	add(record.Text, "Subject: x")
	end := f.Offset()
	add(record.Extracted, "")
	add(record.End, "")
	if err := f.SetSizes(queue.Sizes{DataSize: end - req.Offset, DataOffset: req.Offset, Rcpts: 2, ContentLength: end - req.Offset}); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(0); err != nil {
		t.Fatal(err)
	}
	return s, req
}

func TestReport(t *testing.T) {
	ok := dsn.Outcome{Status: "2.0.0", Reason: "delivered to mailbox"}
	bad := dsn.Outcome{Status: "5.1.1", Reason: "unknown user"}
	wait := dsn.Outcome{Status: "4.4.1", Reason: "no route"}
	for _, c := range []struct {
		rule   string
		flags  int
		notify int
		soft   bool
		down   bool
		o      dsn.Outcome
		calls  string
		open   int // recipients left in the queue file, of two
		status int
	}{
		{rule: "a delivered recipient is logged and marked", o: ok,
			calls: "log status=sent (delivered to mailbox)", open: 1},
		{rule: "NOTIFY=SUCCESS is recorded before the mark", notify: proto.NotifySuccess, o: ok,
			calls: "trace b@example.com 2.0.0 delivered|log status=sent (delivered to mailbox)", open: 1},
		{rule: "sendmail -v is recorded", flags: proto.DeliverRecord, o: ok,
			calls: "trace b@example.com 2.0.0 delivered|log status=sent (delivered to mailbox)", open: 1},
		{rule: "a failed recipient is in the bounce log before the mark", o: bad,
			calls: "bounce b@example.com 5.1.1 failed|log status=bounced (unknown user)", open: 1},
		{rule: "without a bounce service the recipient waits", down: true, o: bad,
			calls: "bounce b@example.com 5.1.1 failed|defer b@example.com 4.3.0 delayed|log status=deferred (bounce failed)|flush example.com",
			open:  2, status: proto.DeliverDefer},
		{rule: "soft_bounce keeps a failed recipient", soft: true, o: bad,
			calls: "defer b@example.com 4.1.1 delayed|log status=SOFTBOUNCE (unknown user)|flush example.com", open: 2, status: proto.DeliverDefer},
		{rule: "a waiting recipient stays", o: wait,
			calls: "defer b@example.com 4.4.1 delayed|log status=deferred (no route)|flush example.com", open: 2, status: proto.DeliverDefer},
		{rule: "an outcome without a status waits", o: dsn.Outcome{Reason: "odd"},
			calls: "defer b@example.com 4.3.0 delayed|log status=deferred (odd)|flush example.com", open: 2, status: proto.DeliverDefer},
		{rule: "a probe goes to verify", flags: proto.DeliverProbe, o: bad,
			calls: "verify b@example.com 2|log status=undeliverable (unknown user)", open: 1},
		{rule: "a probe that waits is answered too", flags: proto.DeliverProbe, o: wait,
			calls: "verify b@example.com 1|log status=undeliverable (no route)", open: 1},
		{rule: "sendmail -bv is only reported", flags: proto.DeliverVerify, o: ok,
			calls: "trace b@example.com 2.0.0 deliverable|log status=deliverable (delivered to mailbox)", open: 1},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s, req := spool(t)
			req.Flags |= c.flags
			req.Rcpts[0].Notify = c.notify
			n := &notes{fail: c.down}
			a := &Agent{log: maillog.New("test", n), clock: server.RealClock(), spool: s, softBounce: c.soft,
				bounce: logOf{n, "bounce"}, defers: logOf{n, "defer"}, trace: logOf{n, "trace"}, verify: n,
				flush: func(r proto.FlushRequest) (proto.FlushStatus, error) { return 0, n.note("flush %s", r.Site) }}
			file, err := s.Open("active", req.QueueID, queue.Shared)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			m := &Message{Request: req, File: file, agent: a, start: time.Now(), reported: make([]bool, 2)}
			m.Report(&req.Rcpts[0], c.o, Via{Relay: "local"})
			if got := strings.Join(n.calls, "|"); got != c.calls {
				t.Errorf("calls\n%s\nwant\n%s", got, c.calls)
			}
			if m.status != c.status {
				t.Errorf("status %d, want %d", m.status, c.status)
			}
			env, err := file.Envelope(0)
			if err != nil {
				t.Fatal(err)
			}
			if len(env.Rcpts) != c.open {
				t.Errorf("%d recipients open, want %d", len(env.Rcpts), c.open)
			}
		})
	}
}

func TestSilentAgentDefers(t *testing.T) {
	s, req := spool(t)
	n := &notes{}
	a := &Agent{log: maillog.New("test", n), clock: server.RealClock(), spool: s, defers: logOf{n, "defer"},
		flush: func(proto.FlushRequest) (proto.FlushStatus, error) { return 0, nil }}
	_, status := a.request(context.Background(), req, func(context.Context, *Message) {})
	want := []string{"defer b@example.com 4.3.0 delayed", "log status=deferred (delivery agent gave no result)",
		"defer c@example.com 4.3.0 delayed", "log status=deferred (delivery agent gave no result)"}
	if status != proto.DeliverDefer || !reflect.DeepEqual(n.calls, want) {
		t.Errorf("status %d, calls %q", status, n.calls)
	}
}

func TestMissingMessageDefers(t *testing.T) {
	s, req := spool(t)
	req.QueueID = "1234567"
	a := &Agent{log: maillog.Discard(), clock: server.RealClock(), spool: s}
	_, status := a.request(context.Background(), req, func(context.Context, *Message) { t.Error("delivered") })
	if status != proto.DeliverDefer {
		t.Errorf("status %d", status)
	}
}
