package main

import (
	"testing"
	"time"

	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

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
