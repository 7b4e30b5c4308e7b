package main

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// TestRoutes: who gets a message, by which transport and next hop.
func TestRoutes(t *testing.T) {
	for _, c := range []struct {
		rule   string
		letter letter
		set    func(*settings)
		route  func(sender, address string) (proto.Resolved, error)
		want   []string // "transport:nexthop recipient"
	}{
		{rule: "the resolver decides",
			letter: letter{to: []string{"a@x", "b@local.y"}}, want: []string{"local:y b@local.y", "smtp:x a@x"}},
		{rule: "it may change the recipient",
			letter: letter{to: []string{"a@x"}},
			route: func(_, address string) (proto.Resolved, error) {
				return proto.Resolved{Transport: "smtp", Nexthop: "z", Recipient: "other@z"}, nil
			}, want: []string{"smtp:z other@z"}},
		{rule: "no answer defers",
			letter: letter{to: []string{"a@x"}},
			route: func(string, string) (proto.Resolved, error) {
				return proto.Resolved{Flags: proto.ResolveFail}, errors.New("temporary failure")
			}, want: []string{"retry:4.3.0 address resolver failure a@x"}},
		{rule: "bad syntax bounces",
			letter: letter{to: []string{"a@x"}},
			route: func(string, string) (proto.Resolved, error) {
				return proto.Resolved{Flags: proto.ResolveError}, nil
			}, want: []string{"error:5.1.3 bad address syntax a@x"}},
		{rule: "a null recipient bounces",
			letter: letter{to: []string{""}}, want: []string{"error:5.1.3 null recipient address "}},
		{rule: "a content filter overrides the resolver",
			letter: letter{to: []string{"a@x", "b@y"}, records: []string{"Lscan:[127.0.0.1]:10025"}},
			want:   []string{"scan:[127.0.0.1]:10025 a@x,b@y"}},
		{rule: "a filter without next hop gets the recipient's domain",
			letter: letter{to: []string{"a@x"}, records: []string{"Lscan:"}}, want: []string{"scan:x a@x"}},
		{rule: "or default_filter_nexthop",
			letter: letter{to: []string{"a@x"}, records: []string{"Lscan"}},
			set:    func(s *settings) { s.filterNexthop = "filter.example" }, want: []string{"scan:filter.example a@x"}},
		{rule: "or our name",
			letter: letter{to: []string{"a"}, records: []string{"Lscan:"}}, want: []string{"scan:mx.example.com a"}},
		{rule: "the last filter counts",
			letter: letter{to: []string{"a@x"}, records: []string{"Lone:1"}, end: []string{"Ltwo:2"}}, want: []string{"two:2 a@x"}},
		{rule: "a test delivery is not filtered",
			letter: letter{to: []string{"a@x"}, records: []string{"Lscan:1"}, attrs: []string{"trace_flags=512"}}, want: []string{"smtp:x a@x"}},
		{rule: "one redirected recipient replaces all others, and no filter applies",
			letter: letter{to: []string{"a@x", "b@y"}, records: []string{"Lscan:1"}, end: []string{">boss@z"}}, want: []string{"smtp:z boss@z"}},
		{rule: "defer_transports defers",
			letter: letter{to: []string{"a@x", "b@local.y"}}, set: func(s *settings) { s.deferTransports = []string{"smtp", "lmtp"} },
			want: []string{"local:y b@local.y", "retry:4.3.2 deferred transport a@x"}},
		{rule: "excess probes are deferred",
			letter: letter{to: []string{"a@x"}, attrs: []string{"trace_flags=256"}}, set: func(s *settings) { s.probeLimit = 0 },
			want: []string{"retry:4.3.2 Too many address verification requests a@x"}},
	} {
		w := newWorld(t)
		if c.set != nil {
			c.set(&w.set)
		}
		w.resolve = c.route
		var got []string
		w.deliver = nil
		w.m.trigger([]byte("N" + w.mail(c.letter) + "\n"))
		w.run()
		for _, d := range w.busy {
			to := ""
			for i, r := range d.req.Rcpts {
				if i > 0 {
					to += ","
				}
				to += r.Address
			}
			got = append(got, fmt.Sprintf("%s:%s %s", d.transport, d.req.Nexthop, to))
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.rule, got, c.want)
		}
	}
}

// TestDoubleBounce: mail to the address that undeliverable bounces come from
// ends here, with a log line.
func TestDoubleBounce(t *testing.T) {
	w := newWorld(t)
	id := w.send("Double-Bounce@local.host", "a@x", "double-bounce@elsewhere")
	w.run()
	if w.where(id) != "" || len(w.sent) != 2 ||
		w.count("dsn=2.0.0, status=sent (undeliverable postmaster notification discarded)") != 1 {
		t.Errorf("in %q, sent %v, log %q", w.where(id), w.sent, w.log.list)
	}
}

// TestResolverIsDown: mail waits for the resolver, it is not put off.
func TestResolverIsDown(t *testing.T) {
	w := newWorld(t)
	fails := 3
	w.resolve = func(_, address string) (proto.Resolved, error) {
		if fails--; fails >= 0 {
			return proto.Resolved{}, errors.New("connection refused")
		}
		return proto.Resolved{Transport: "smtp", Nexthop: "x", Recipient: address}, nil
	}
	id := w.send("a@x")
	w.run()
	if w.where(id) != "" || w.count("problem talking to the address resolver: connection refused") != 3 {
		t.Errorf("in %q, log %q", w.where(id), w.log.list)
	}
}

func TestResolveCache(t *testing.T) {
	w := newWorld(t)
	asked := 0
	w.resolve = func(_, address string) (proto.Resolved, error) {
		asked++
		return proto.Resolved{Transport: "smtp", Nexthop: "x", Recipient: address}, nil
	}
	for range 10 {
		w.send("a@x")
		w.run()
	}
	if asked != 1 {
		t.Errorf("a burst of mail asks %d times", asked)
	}
	w.clock.pass(resolveCacheTime)
	w.send("a@x")
	w.run()
	if asked != 2 {
		t.Errorf("an answer is kept too long")
	}
	w.m.trigger([]byte("N" + w.mail(letter{from: "other@o", to: []string{"a@x"}}) + "\n"))
	w.run()
	if asked != 3 {
		t.Errorf("an answer is used for another sender")
	}
}

// TestRequest: what an agent is told.
func TestRequest(t *testing.T) {
	w := newWorld(t)
	w.set.utf8 = true
	w.deliver = nil
	l := letter{from: "list@o", to: []string{"ü@x"},
		attrs: []string{"log_client_name=c", "log_client_address=192.0.2.1", "log_client_port=1", "log_protocol_name=ESMTP", "log_helo_name=h",
			"sasl_method=PLAIN", "sasl_username=u", "sasl_sender=s", "log_ident=ID0", "rewrite_context=remote", "encoding=8bit",
			"envelope_id=E", "ret_flags=2", "trace_flags=1024", "notify_flags=6", "dsn_orig_rcpt=rfc822;o@x"},
		sizes: func(z *queue.Sizes) { z.SendOpts = proto.SendOptUTF8; z.ContentLength = 7 },
	}
	id := w.mail(l)
	w.m.trigger([]byte("I"))
	w.run()
	if len(w.busy) != 1 {
		t.Fatalf("%d deliveries", len(w.busy))
	}
	got := *w.busy[0].req
	if got.Offset == 0 || got.Rcpts[0].Offset == 0 || got.Stats.Arrival.IsZero() || got.Stats.Active.IsZero() || got.Stats.Handover.IsZero() {
		t.Errorf("a number is missing: %+v", got)
	}
	got.Offset, got.Rcpts[0].Offset, got.Stats = 0, 0, proto.MsgStats{}
	want := proto.Request{
		Flags:     proto.DeliverSuccess | proto.DeliverBounce | proto.DeliverRecord,
		QueueName: "active", QueueID: id, Size: 7, Nexthop: "x", Encoding: "8bit",
		SendOpts: proto.SendOptUTF8 | proto.SendOptUTF8Rcpt, Sender: "list@o", EnvelopeID: "E", RetFlags: 2,
		Client: proto.Client{Name: "c", Addr: "192.0.2.1", Port: "1", Proto: "ESMTP", Helo: "h"},
		SASL:   proto.SASL{Method: "PLAIN", Username: "u", Sender: "s"}, LogIdent: "ID0", RewriteContext: "remote",
		Rcpts: []proto.Rcpt{{Address: "ü@x", DSNOrig: "rfc822;o@x", Notify: 6}},
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("request\n%+v\nwant\n%+v", got, want)
	}
}

// TestTraceReport: the report goes out once, and is not asked for again.
func TestTraceReport(t *testing.T) {
	for _, c := range []struct {
		rule   string
		letter letter
		log    bool // the agent made a trace log
		want   bool
	}{
		{"sendmail -v", letter{to: []string{"a@x"}, attrs: []string{"trace_flags=1024"}}, true, true},
		{"sendmail -bv", letter{to: []string{"a@x"}, attrs: []string{"trace_flags=512"}}, true, true},
		{"NOTIFY=SUCCESS", letter{to: []string{"a@x"}, sizes: func(z *queue.Sizes) { z.Flags = proto.NotifySuccess << 1 }}, true, true},
		{"nobody asked", letter{to: []string{"a@x"}}, true, false},
		{"there is nothing to tell", letter{to: []string{"a@x"}, attrs: []string{"trace_flags=1024"}}, false, false},
	} {
		w := newWorld(t)
		w.deliver = func(req *proto.Request) reply {
			if c.log && len(w.events) == 0 {
				w.must(w.spool.AppendLog(queue.Trace, req.QueueID, queue.Rcpt(req.Rcpts[0]), outcome("2.0.0", "ok")))
			}
			return reply{classes: "4"}
		}
		w.m.trigger([]byte("N" + w.mail(c.letter) + "\n"))
		w.after(3 * time.Hour)
		if got := len(w.events) == 1; got != c.want {
			t.Errorf("%s: %q", c.rule, w.events)
		}
	}
}

func TestDelayClearedFlag(t *testing.T) {
	w := newWorld(t)
	w.set.delayCleared = true
	flags := 0
	w.deliver = func(req *proto.Request) reply { flags = req.Flags; return reply{classes: "4"} }
	w.m.trigger([]byte("N" + w.mail(letter{to: []string{"a@x"}, warn: time.Minute}) + "\n"))
	w.run()
	if flags&proto.DeliverDelayed != 0 {
		t.Error("flag before the warning")
	}
	w.after(3 * time.Hour)
	if flags&proto.DeliverDelayed == 0 || !slices.ContainsFunc(w.events, func(e string) bool { return e[:10] == "defer warn" }) {
		t.Errorf("no flag after the warning; %q", w.events)
	}
}

func TestVERP(t *testing.T) {
	for _, c := range []struct{ sender, orig, rcpt, want string }{
		{"list@o.example", "user@d.example", "x@y", "list+user=d.example@o.example"},
		{"list@o.example", "", "user@d.example", "list+user=d.example@o.example"},
		{"list", "", "user@d.example", "list+user=d.example"},
		{"list@o", "", "user", "list+user@o"},
		{"a@b@o", "", "u@v@d", "a@b+u@v=d@o"},
	} {
		if got := verp("+=", c.sender, &proto.Rcpt{Orig: c.orig, Address: c.rcpt}); got != c.want {
			t.Errorf("%s for %s: %s, want %s", c.sender, c.rcpt, got, c.want)
		}
	}
	w := newWorld(t)
	w.deliver = nil
	w.m.trigger([]byte("N" + w.mail(letter{from: "list@o", to: []string{"a@x", "b@x"}, attrs: nil, verp: "+="}) + "\n"))
	w.run()
	if len(w.busy) != 2 || w.busy[0].req.Sender != "list+a=x@o" || w.busy[1].req.Sender != "list+b=x@o" {
		t.Errorf("%d deliveries", len(w.busy))
	}
}

// TestDestinationNames: what shares a concurrency limit.
func TestDestinationNames(t *testing.T) {
	w := newWorld(t)
	w.set.delimiters.Set = "+-"
	for _, c := range []struct{ transport, nexthop, rcpt, want string }{
		{"smtp", "Example.COM", "User@Example.COM", "example.com"},
		{"local", "mx", "User@Example.COM", "user@mx"},
		{"local", "mx", "user+list@alias.example", "user@mx"},
		{"local", "mx", "user", "user@mx"},
		{"error", "5.1.1 No", "user@x", "5.1.1 no"},
	} {
		tr := w.m.transport(c.transport)
		r := &route{proto.Rcpt{Address: c.rcpt}, c.transport, c.nexthop}
		if got := w.m.destinationName(tr, r); got != c.want {
			t.Errorf("%v: %s, want %s", c, got, c.want)
		}
	}
}

// TestConnectionCacheFlags: connections are kept when deliveries follow each
// other within a second, and no longer when they do not.
func TestConnectionCacheFlags(t *testing.T) {
	const load, store = proto.DeliverConnLoad, proto.DeliverConnStore
	w := newWorld(t)
	var flags []int
	// One delivery that never ends keeps the destination in memory.
	w.deliver = nil
	long := w.send("long@x")
	w.run()
	hold := w.busy
	w.busy = nil
	w.deliver = func(req *proto.Request) reply { flags = append(flags, req.Flags&(load|store)); return reply{} }
	for _, pause := range []time.Duration{0, 0, 500 * time.Millisecond, time.Minute, 0} {
		w.clock.pass(pause)
		w.send("a@x")
		w.run()
	}
	if want := []int{0, load | store, load | store, load | store, load | store}; !slices.Equal(flags, want) {
		t.Errorf("flags %v, want %v", flags, want)
	}
	if len(hold) != 1 || hold[0].req.QueueID != long {
		t.Errorf("%d deliveries under way", len(hold))
	}
	d := &destination{caching: load | store, busy: 1, everDone: true}
	if got := d.cacheFlags(time.Minute); got != load {
		t.Errorf("alone after a pause: %d, want only that kept connections are used", got)
	}
}

func outcome(status, reason string) dsn.Outcome {
	return dsn.Outcome{Status: status, Action: dsn.Delivered, Reason: reason}
}
