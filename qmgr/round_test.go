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

	"postroad/libmail/dsn"
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
	if first := tries[1] - tries[0]; first < 5*time.Minute || first > 15*time.Minute {
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

func TestTriggers(t *testing.T) {
	for _, c := range []struct {
		rule    string
		trigger string
		tried   []string // of "new" (in incoming, not announced), "early" (deferred, in the future), "due"
	}{
		{"W finds new mail", "W", []string{"new"}},
		{"I does", "I", []string{"new"}},
		{"D finds deferred mail that is due", "D", []string{"due"}},
		{"A alone starts nothing", "A", nil},
		{"A goes with D wherever it stands", "DA", []string{"due", "early"}},
		{"unknown letters are ignored", "xyzD ", []string{"due"}},
		{"an id names a message in incoming", "N{new}\n", []string{"new"}},
		{"an id works only for incoming", "N{early}\nN{due}\n", nil},
		{"an id is no path", "N../incoming/{new}\n", nil},
		{"an id may lack its end", "N{new}", []string{"new"}},
		{"a flush request takes all", proto.FlushQueue, []string{"due", "early", "new"}},
	} {
		w := newWorld(t)
		w.deliver = always(reply{classes: "4"})
		due, early := w.mail(letter{to: []string{"due@x"}}), w.mail(letter{to: []string{"early@x"}})
		w.run()
		w.clock.pass(10 * time.Second)
		w.must(w.spool.SetTime(queue.Deferred, due, w.clock.wall.Add(-time.Second)))
		id := w.mail(letter{to: []string{"new@x"}})
		names := strings.NewReplacer("{new}", id, "{early}", early, "{due}", due)
		var tried []string
		w.deliver = func(req *proto.Request) reply {
			user, _, _ := strings.Cut(req.Rcpts[0].Address, "@")
			tried = append(tried, user)
			return reply{classes: "4"}
		}
		w.m.trigger([]byte(names.Replace(c.trigger)))
		w.run()
		slices.Sort(tried)
		if !slices.Equal(tried, c.tried) {
			t.Errorf("%s: %v tried, want %v", c.rule, tried, c.tried)
		}
	}
}

// FuzzTrigger: nobody can do harm by writing to public/qmgr.
func FuzzTrigger(f *testing.F) {
	for _, seed := range []string{"W", "FDAI", "N4A1B2\n", "N\n", "N../x\nD", "\x00\xff"} {
		f.Add([]byte(seed))
	}
	w := newWorld(f)
	w.run()
	f.Fuzz(func(t *testing.T, request []byte) {
		w.m.trigger(request)
		w.run()
		if len(w.m.messages) != 0 || len(w.m.announced) != 0 {
			t.Errorf("%q left something in memory", request)
		}
	})
}

func TestFlushForgetsTheDead(t *testing.T) {
	w := newWorld(t)
	w.deliver = func(req *proto.Request) reply {
		return reply{classes: "4", outcome: dsn.Outcome{Status: "4.4.1", Reason: "connect to x: timed out"}}
	}
	for range 5 {
		w.send("a@x")
	}
	w.run()
	tries := 0
	w.deliver = func(req *proto.Request) reply {
		if req.Nexthop == "x" {
			tries++
		} else if want := "4.4.1 delivery temporarily suspended: connect to x: timed out"; req.Nexthop != want {
			t.Errorf("deferred with %q, want %q", req.Nexthop, want)
		}
		return reply{}
	}
	w.send("b@x")
	w.run()
	if tries != 0 {
		t.Error("mail for a dead destination is tried")
	}
	w.m.trigger([]byte("F"))
	w.send("c@x")
	w.run()
	if tries != 1 {
		t.Error("mail is not tried after a flush request")
	}
}

func TestDeadDestinationGetsAnotherChance(t *testing.T) {
	w := newWorld(t)
	dead := reply{classes: "4", outcome: dsn.Outcome{Status: "4.4.1", Reason: "no route"}}
	w.deliver = always(dead)
	w.set.minimalBackoff = 1000 * time.Second
	for range 5 {
		w.send("a@x")
	}
	w.run()
	tries := 0
	w.deliver = func(req *proto.Request) reply {
		if req.Nexthop == "x" {
			tries++
		}
		return reply{}
	}
	w.after(990 * time.Second)
	w.send("b@x")
	w.run()
	if tries != 0 {
		t.Error("mail for a dead destination is tried before minimal_backoff_time")
	}
	w.after(20 * time.Second)
	w.send("c@x")
	w.run()
	if tries == 0 {
		t.Error("mail is not tried after minimal_backoff_time")
	}
}

func TestTransportWithoutAgent(t *testing.T) {
	w := newWorld(t)
	gone := map[string]bool{"smtp": true}
	asked := map[string]int{}
	w.deliver = func(req *proto.Request) reply {
		name := "smtp"
		if strings.HasPrefix(req.Nexthop, "4.3.0") {
			name = retryTransport
			if want := "4.3.0 mail transport unavailable"; req.Nexthop != want {
				t.Errorf("deferred with %q, want %q", req.Nexthop, want)
			}
		}
		asked[name]++
		if gone[name] {
			return reply{err: fmt.Errorf("%w: connection refused", proto.ErrUnavailable)}
		}
		return reply{}
	}
	a, b := w.send("a@x", "b@y", "c@z"), w.send("d@x")
	w.run()
	if w.where(a) != queue.Deferred || w.where(b) != queue.Deferred || asked["retry"] == 0 {
		t.Errorf("in %q and %q, asked %v", w.where(a), w.where(b), asked)
	}
	asks := asked["smtp"]
	w.send("e@v")
	w.run()
	if asked["smtp"] != asks {
		t.Error("the transport is tried again at once")
	}
	gone["smtp"] = false
	w.after(70 * time.Second)
	c := w.send("f@v")
	w.run()
	if w.where(c) != "" {
		t.Error("the transport is not tried again after transport_retry_time")
	}

	// Without a retry agent the defer service gets the recipients.
	gone["smtp"], gone["retry"] = true, true
	d := w.send("g@x", "h@y")
	w.run()
	if w.where(d) != queue.Deferred || w.count("to=<h@y>, relay=none") != 1 || w.count("dsn=4.3.0, status=deferred (mail transport unavailable)") != 2 {
		t.Errorf("in %q, log %q", w.where(d), w.log.list)
	}
	if has, err := w.spool.HasLog(queue.Defer, d); !has || err != nil {
		t.Errorf("there is no defer log: %v", err)
	}
	if len(w.m.messages) != 0 || w.m.rcpts != 0 {
		t.Error("something is left in memory")
	}
}

// TestPoison: a message that kills its agents is set aside after the third,
// and does not take others with it.
func TestPoison(t *testing.T) {
	w := newWorld(t)
	killed := 0
	w.deliver = func(req *proto.Request) reply {
		if req.Rcpts[0].Address == "poison@x" {
			killed++
			return reply{err: errors.New("end of file")}
		}
		return reply{}
	}
	id := w.send("poison@x")
	good := w.send("good@y")
	w.after(4 * time.Hour)
	if w.where(id) != queue.Corrupt || killed != 3 || w.where(good) != "" {
		t.Errorf("in %q after %d agents, the good one in %q", w.where(id), killed, w.where(good))
	}
	if w.count("saving corrupt file") != 1 {
		t.Errorf("log %q", w.log.list)
	}
	if len(w.m.losses) != 0 {
		t.Errorf("losses %v are remembered", w.m.losses)
	}
}

// TestAgentKilled: whoever was with an agent that died is tried again. Who was
// with two is tried apart from other suspects, but holds up nobody else.
func TestAgentKilled(t *testing.T) {
	w := newWorld(t)
	w.deliver = nil
	var ids []string
	for i := range 20 {
		ids = append(ids, w.send(fmt.Sprintf("u@x%d", i)))
	}
	for range suspectLosses {
		w.run()
		if len(w.busy) != len(ids) {
			t.Fatalf("%d deliveries at once", len(w.busy))
		}
		for len(w.busy) > 0 {
			w.answer(w.busy[0], reply{err: errors.New("end of file")})
		}
		w.run()
		w.m.trigger([]byte(proto.FlushQueue))
	}
	ids = append(ids, w.send("a@y"), w.send("b@y"))
	w.run()
	if len(w.busy) != 3 {
		t.Errorf("%d deliveries at once, want one suspect and two others", len(w.busy))
	}
	w.deliver = always(reply{})
	w.run()
	for _, id := range ids {
		if w.where(id) != "" {
			t.Errorf("%s is in %s", id, w.where(id))
		}
	}
	if len(w.m.losses) != 0 {
		t.Errorf("losses %v are remembered", w.m.losses)
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

func TestUnthrottleBit(t *testing.T) {
	w := newWorld(t)
	dead := reply{classes: "4", outcome: dsn.Outcome{Status: "4.4.1", Reason: "no route"}}
	w.set.deferTransports = nil
	w.deliver = always(dead)
	var id string
	for range 5 {
		id = w.send("a@x")
	}
	w.run()
	path := filepath.Join(w.root, w.spool.Path(queue.Deferred, id))
	w.must(os.Chmod(path, 0740))
	w.must(os.Chtimes(path, w.clock.wall, w.clock.wall))
	w.set.deferTransports = []string{"smtp"}
	tried := 0
	w.deliver = func(req *proto.Request) reply {
		if req.Nexthop == "x" {
			tried++
		}
		return reply{classes: "4"}
	}
	w.m.trigger([]byte("D"))
	w.run()
	st, err := w.spool.Stat(queue.Deferred, id)
	w.must(err)
	if tried != 1 || st.Mode.Perm() != 0700 {
		t.Errorf("tried %d times, mode %v", tried, st.Mode)
	}
}

// epochLife is just less than the life of a message.
const epochLife = 5*24*time.Hour - time.Minute

func TestClockJumps(t *testing.T) {
	for _, c := range []struct {
		rule  string
		jumps []time.Duration // an hour apart, after the first try
		later time.Duration   // how much longer the message may live
	}{
		{"a day back delays nothing", []time.Duration{-24 * time.Hour}, 24 * time.Hour},
		{"an hour back delays nothing", []time.Duration{-time.Hour}, time.Hour},
		{"a day on delays nothing", []time.Duration{24 * time.Hour}, 0},
		{"six days on make no message old", []time.Duration{6 * 24 * time.Hour}, 0},
		{"nor do six days there and back", []time.Duration{6 * 24 * time.Hour, -6 * 24 * time.Hour}, 0},
		{"from 1970 to now neither", []time.Duration{-56 * 365 * 24 * time.Hour, 56 * 365 * 24 * time.Hour}, 0},
	} {
		w := newWorld(t)
		tries := 0
		w.deliver = func(*proto.Request) reply { tries++; return reply{classes: "4"} }
		id := w.send("a@x")
		w.after(time.Hour)
		for _, jump := range c.jumps {
			w.clock.wall = w.clock.wall.Add(jump)
			before := tries
			w.after(80 * time.Minute)
			if tries == before {
				t.Errorf("%s: no try after a jump of %v", c.rule, jump)
			}
		}
		// And its life is as long as configured.
		w.after(epochLife - w.clock.elapsed)
		if w.where(id) != queue.Deferred {
			t.Errorf("%s: before the end of its life in %q", c.rule, w.where(id))
		}
		w.after(c.later + 5000*time.Second)
		if w.where(id) != "" || len(w.returned) != 1 {
			t.Errorf("%s: at the end of its life in %q", c.rule, w.where(id))
		}
	}
}

func TestRateDelays(t *testing.T) {
	for _, c := range []struct {
		rule string
		set  func(*transportSettings)
		to   []string
		gap  time.Duration
	}{
		{"destination_rate_delay spaces deliveries to a destination", func(s *transportSettings) { s.destinationDelay = time.Minute },
			[]string{"a@x", "b@x", "c@x"}, time.Minute},
		{"but not those to others", func(s *transportSettings) { s.destinationDelay = time.Minute },
			[]string{"a@x", "b@y", "c@z"}, 0},
		{"transport_rate_delay spaces all", func(s *transportSettings) { s.transportDelay = time.Minute },
			[]string{"a@x", "b@y", "c@z"}, time.Minute},
	} {
		w := newWorld(t)
		byDefault := w.set.transport
		w.set.transport = func(name string) transportSettings {
			s := byDefault(name)
			c.set(&s)
			s.limitWindow()
			return s
		}
		var at []time.Duration
		w.deliver = func(*proto.Request) reply { at = append(at, w.clock.elapsed); return reply{} }
		for _, to := range c.to {
			w.send(to)
		}
		w.after(time.Hour)
		if len(at) != 3 {
			t.Fatalf("%s: %d deliveries", c.rule, len(at))
		}
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < c.gap || gap > c.gap+11*time.Second {
				t.Errorf("%s: gap of %v, want %v", c.rule, gap, c.gap)
			}
		}
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
