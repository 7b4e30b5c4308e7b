package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

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
