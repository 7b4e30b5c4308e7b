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

// always makes agents answer the same to each request.
func always(r reply) func(*proto.Request) reply {
	return func(*proto.Request) reply { return r }
}

func TestMessageIsDeliveredAndRemoved(t *testing.T) {
	w := newWorld(t)
	id := w.send("a@x", "b@x", "c@y", "d@local.host")
	w.run()
	if w.where(id) != "" || len(w.sent) != 4 || w.count(id+": removed") != 1 {
		t.Errorf("in %q, sent %v, log %q", w.where(id), w.sent, w.log.list)
	}
	if want := id + ": from=<sender@example.org>, size=16, nrcpt=4 (queue active)"; w.count(want) != 1 {
		t.Errorf("log %q lacks %q", w.log.list, want)
	}
	if len(w.m.messages) != 0 || w.m.rcpts != 0 || len(w.m.transports["smtp"].destinations) != 0 || len(w.m.transports["smtp"].jobs) != 0 {
		t.Error("something is left in memory")
	}
}

// TestRounds: what happens at the end of a round, in order, and where the
// message is then.
func TestRounds(t *testing.T) {
	for _, c := range []struct {
		rule    string
		letter  letter
		classes string // of the recipients
		set     func(*settings)
		wait    time.Duration // with a retry now and then
		fail    string        // "service verb" that fails
		events  []string
		in      string
		log     string
	}{
		{rule: "a bounce is queued before the original goes",
			letter: letter{to: []string{"a@x", "b@x"}}, classes: "25",
			events: []string{"sent a@x", "bounce flush ID"}, in: "", log: "ID: removed"},
		{rule: "without a bounce the original stays",
			letter: letter{to: []string{"a@x"}}, classes: "5", fail: "bounce flush",
			events: nil, in: "deferred", log: "ID: status=deferred (bounce failed)"},
		{rule: "nor is it ever given up without one",
			letter: letter{to: []string{"a@x"}}, classes: "5", fail: "bounce flush", wait: 6 * 24 * time.Hour,
			events: nil, in: "deferred"},
		{rule: "deferred mail is no failure yet",
			letter: letter{to: []string{"a@x"}}, classes: "4", in: "deferred"},
		{rule: "a message of no more recipients is removed",
			letter: letter{to: nil}, in: "", log: "ID: removed"},
		{rule: "a message expires at the end of its life, not before",
			letter: letter{to: []string{"a@x"}}, classes: "4", wait: 5*24*time.Hour - 10*time.Second, in: "deferred"},
		{rule: "an expired message is returned and removed",
			letter: letter{to: []string{"a@x"}}, classes: "4", wait: 5*24*time.Hour + 5000*time.Second,
			events: []string{"defer flush ID"}, in: "", log: "ID: from=<sender@example.org>, status=expired, returned to sender"},
		{rule: "if it can't be returned it stays",
			letter: letter{to: []string{"a@x"}}, classes: "4", wait: 5*24*time.Hour + 5000*time.Second, fail: "defer flush",
			in: "deferred", log: "ID: status=deferred (bounce failed)"},
		{rule: "a bounce has a life of its own",
			letter: letter{null: true, to: []string{"a@x"}}, classes: "4", wait: 2*time.Hour + 5000*time.Second,
			set:    func(s *settings) { s.bounceLifetime = 2 * time.Hour },
			events: []string{"defer flush ID"}, in: "", log: "ID: from=<>, status=expired, returned to sender"},
		{rule: "a life of 0 is over after the first try",
			letter: letter{to: []string{"a@x"}}, classes: "4", set: func(s *settings) { s.lifetime = 0 },
			events: []string{"defer flush ID"}, in: ""},
		{rule: "the sender is warned once",
			letter: letter{to: []string{"a@x"}, warn: time.Hour}, classes: "4", wait: 24 * time.Hour,
			events: []string{"defer warn ID"}, in: "deferred"},
		{rule: "a warning that failed is tried again with the next round",
			letter: letter{to: []string{"a@x"}, warn: time.Second}, classes: "4", fail: "defer warn",
			wait: time.Hour, in: "deferred", log: "ID: status=deferred (delay warning failed)"},
		{rule: "nobody is warned of mail that is delivered",
			letter: letter{to: []string{"a@x"}, warn: time.Second}, classes: "2", events: []string{"sent a@x"}, in: ""},
		{rule: "an expired message is not also late",
			letter: letter{to: []string{"a@x"}, warn: time.Hour}, classes: "4", set: func(s *settings) { s.lifetime = 0 },
			wait: 2 * time.Hour, events: []string{"defer flush ID"}, in: ""},
	} {
		w := newWorld(t)
		if c.set != nil {
			c.set(&w.set)
			w.m.set.Store(&w.set)
		}
		w.deliver = always(reply{classes: c.classes})
		failed := 0
		w.service = func(name, verb string) error {
			if name+" "+verb == c.fail {
				failed++
				return errors.New("no")
			}
			return nil
		}
		id := w.mail(c.letter)
		w.after(c.wait)
		var want []string
		for _, e := range c.events {
			want = append(want, strings.Replace(e, "ID", id, 1))
		}
		if !slices.Equal(w.events, want) {
			t.Errorf("%s: events %q, want %q", c.rule, w.events, want)
		}
		if w.where(id) != c.in {
			t.Errorf("%s: in %q, want %q", c.rule, w.where(id), c.in)
		}
		if log := strings.Replace(c.log, "ID", id, 1); log != "" && w.count(log) == 0 {
			t.Errorf("%s: log %q lacks %q", c.rule, w.log.list, log)
		}
		if c.fail != "" && failed == 0 {
			t.Errorf("%s: %s was not asked", c.rule, c.fail)
		}
	}
}

// TestBackoff: each try comes after as much time again as the message has
// been in the queue, within the limits and on the grid of queue runs.
func TestBackoff(t *testing.T) {
	w := newWorld(t)
	var tries []time.Duration
	w.deliver = func(*proto.Request) reply {
		tries = append(tries, w.clock.elapsed)
		return reply{classes: "4"}
	}
	id := w.send("a@x")
	w.after(24 * time.Hour)
	if w.where(id) != queue.Deferred || len(tries) < 10 {
		t.Fatalf("in %q after %d tries", w.where(id), len(tries))
	}
	if first := tries[1] - tries[0]; first < 5*time.Minute-2*time.Second || first > 15*time.Minute {
		t.Errorf("the first retry comes after %v", first)
	}
	for i := 1; i < len(tries); i++ {
		age, gap := tries[i-1], tries[i]-tries[i-1]
		least := max(min(age, w.set.maximalBackoff), w.set.minimalBackoff)
		if gap < least-2*time.Second || gap > least+w.set.queueRunDelay+10*time.Second {
			t.Errorf("at the age of %v the next try comes after %v, want %v to the next queue run", age, gap, least)
		}
	}
}

// TestScanKeepsTimes: scans, flushes of other mail and restarts do not
// touch the time of the next try.
func TestScanKeepsTimes(t *testing.T) {
	w := newWorld(t)
	tries := 0
	w.deliver = func(*proto.Request) reply { tries++; return reply{classes: "4"} }
	id := w.send("a@x")
	w.run()
	before, err := w.spool.Stat(queue.Deferred, id)
	w.must(err)
	for range 20 {
		w.clock.pass(10 * time.Second)
		w.m.trigger([]byte("DIW"))
		w.run()
		w.boot()
		w.run()
	}
	after, err := w.spool.Stat(queue.Deferred, id)
	w.must(err)
	if !before.ModTime.Equal(after.ModTime) || tries != 1 {
		t.Errorf("next try at %v, then %v, after %d tries", before.ModTime, after.ModTime, tries)
	}
}

func TestForceExpire(t *testing.T) {
	w := newWorld(t)
	w.deliver = always(reply{classes: "4"})
	expire := func(id string) {
		w.must(os.Chmod(filepath.Join(w.root, w.spool.Path(queue.Deferred, id)), 0710))
		w.must(w.spool.SetTime(queue.Deferred, id, w.clock.wall))
	}
	id := w.send("a@x")
	w.run()
	expire(id)
	tried := false
	w.deliver = func(req *proto.Request) reply {
		tried = tried || req.Nexthop == "x"
		return reply{}
	}
	w.m.trigger([]byte("D"))
	w.run()
	if tried || w.returned[id+" a@x"] != 1 || w.where(id) != "" || w.count("status=force-expired, returned to sender") != 1 {
		t.Errorf("tried %v, returned %v, in %q", tried, w.returned, w.where(id))
	}
	// Without the log of an earlier round the retry agent writes one.
	w.deliver = always(reply{classes: "4"})
	id = w.send("b@x")
	w.run()
	expire(id)
	w.must(w.spool.RemoveLog(queue.Defer, id))
	reason := ""
	w.deliver = func(req *proto.Request) reply { reason = req.Nexthop; return reply{} }
	w.m.trigger([]byte("D"))
	w.run()
	if reason != "4.7.0 message is administratively expired" || w.returned[id+" b@x"] != 1 || w.where(id) != "" {
		t.Errorf("reason %q, returned %v, in %q", reason, w.returned, w.where(id))
	}
}

// TestReload: deliveries go on, settings change, the dead are forgotten.
func TestReload(t *testing.T) {
	w := newWorld(t)
	w.deliver = nil
	a := w.send("a@x")
	for i := range 30 {
		w.send(fmt.Sprintf("u%d@y", i))
	}
	w.run()
	if n := len(w.busy); n != 6 {
		t.Fatalf("%d deliveries", n)
	}
	fresh := w.set
	byDefault := fresh.transport
	fresh.transport = func(name string) transportSettings {
		s := byDefault(name)
		s.concurrencyLimit = 2
		s.limitWindow()
		return s
	}
	w.m.reload(&fresh)
	w.run()
	for len(w.busy) > 0 {
		w.answer(w.busy[0], reply{})
		w.run()
		n := 0
		for _, d := range w.busy {
			if d.req.Nexthop == "y" {
				n++
			}
		}
		if len(w.sent) > 5 && n > 2 {
			t.Errorf("%d deliveries at once, want 2", n)
		}
	}
	if w.where(a) != "" || len(w.sent) != 31 {
		t.Errorf("%d sent", len(w.sent))
	}
}

func TestOperatorWasFaster(t *testing.T) {
	for _, classes := range []string{"2", "4"} {
		w := newWorld(t)
		w.deliver = nil
		id := w.send("a@x")
		w.run()
		w.must(w.spool.Remove(queue.Active, id)) // postsuper -d
		w.answer(w.busy[0], reply{classes: classes})
		w.run()
		if len(w.m.messages) != 0 || w.where(id) != "" {
			t.Errorf("a message that is gone stays in memory")
		}
		if w.count("corrupt") != 0 {
			t.Errorf("log %q", w.log.list)
		}
	}
}

// TestStuckFile: while the file of a finished message can't be removed or
// moved, the message is not delivered again, and nothing else suffers.
func TestStuckFile(t *testing.T) {
	for _, c := range []struct{ op, classes string }{{"remove", "2"}, {"rename", "4"}} {
		w := newWorld(t)
		id := w.send("a@x")
		broken := false
		w.fs.fail = func(op, path string) error {
			if broken && op == c.op && strings.HasSuffix(path, id) && !strings.Contains(path, "/defer/") {
				return &os.PathError{Op: op, Path: path, Err: syscall.EIO}
			}
			return nil
		}
		w.deliver = func(req *proto.Request) reply {
			broken = true
			return reply{classes: c.classes}
		}
		w.run()
		if w.where(id) != queue.Active || len(w.m.messages) != 1 {
			t.Fatalf("%s: in %q", c.op, w.where(id))
		}
		other := w.send("b@y")
		w.m.trigger([]byte(proto.FlushQueue))
		w.after(5 * time.Second)
		if w.where(other) == queue.Incoming || w.sent[id+" a@x"] > 1 {
			t.Errorf("%s: the other message is in %q, sent %v", c.op, w.where(other), w.sent)
		}
		broken = false
		w.deliver = nil
		w.after(20 * time.Second)
		if w.where(id) == queue.Active {
			t.Errorf("%s: still active after it could be moved", c.op)
		}
	}
}
