package main

import (
	"testing"

	"postroad/libmail/dsn"
)

// TestWindow plays deliveries to one destination: '<' starts one, '+' ends one
// well, '-' ends one with a connection failure, 'r' is another chance.
func TestWindow(t *testing.T) {
	of := func(text string) feedback {
		f, err := parseFeedback(text)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	type changes func(*transportSettings)
	for _, c := range []struct {
		rule   string
		set    changes
		play   string
		window int
		dead   bool
	}{
		{"the window starts at the initial concurrency", nil, "", 5, false},
		{"each success widens it by the positive feedback", nil, "<<<+", 6, false},
		{"it does not run ahead of what is used by more than the initial concurrency", nil, "<+<+<+<+<+<+", 6, false},
		{"it grows no wider than the limit", func(s *transportSettings) { s.concurrencyLimit = 7 }, "<<<<<<+++++", 7, false},
		{"a limit of 0 is no limit", func(s *transportSettings) { s.concurrencyLimit = 0 }, "<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<++++++++++++++++++++++++", 26, false},
		{"feedback of one half widens at every second success", func(s *transportSettings) { s.positive = of("1/2") }, "<<<<++", 6, false},
		{"feedback of 1/concurrency widens once in a window", func(s *transportSettings) { s.positive = of("1 / concurrency") }, "<<<<<<<++++", 5, false},
		{"and then it does", func(s *transportSettings) { s.positive = of("1 / concurrency") }, "<<<<<<<+++++", 6, false},
		{"a failure narrows it", func(s *transportSettings) { s.cohortLimit = 2 }, "<<<-", 3, false},
		{"it never closes by narrowing", func(s *transportSettings) { s.cohortLimit = 0 }, "<<<<<<-------", 1, false},
		{"when the failures fill a window the destination is dead", nil, "<<<<<---", 2, true},
		{"a success in between starts the count anew", nil, "<<<<<--+-", 1, false},
		{"a cohort limit of 2 takes two windows", func(s *transportSettings) { s.cohortLimit = 2 }, "<<<<<----", 1, true},
		{"a cohort limit of 2 bears one", func(s *transportSettings) { s.cohortLimit = 2 }, "<<<<<---", 1, false},
		{"another chance starts over", nil, "<<<<<---++r", 5, false},
		{"a late success of a dead destination revives it with what is under way", nil, "<<<<<---+", 2, false},
		{"negative feedback of 0 leaves the window", func(s *transportSettings) { s.negative, s.cohortLimit = of("0"), 0 }, "<<<--", 5, false},
		{"the window is at most the limit from the start", func(s *transportSettings) { s.concurrencyLimit = 2 }, "", 2, false},
		{"a rate delay allows one at a time", func(s *transportSettings) { s.destinationDelay = 1 }, "<+<+<+", 1, false},
	} {
		set := defaults().transport("smtp")
		if c.set != nil {
			c.set(&set)
			set.limitWindow()
		}
		d := &destination{t: &transport{set: set}, window: set.initialConcurrency}
		for _, x := range c.play {
			switch x {
			case '<':
				d.busy++
			case '+':
				d.succeeded()
				d.busy--
			case '-':
				if d.dead == nil {
					d.failed(dsn.Outcome{Status: "4.4.1", Reason: "no route"})
				}
				d.busy--
			case 'r':
				d.revive()
			}
		}
		if (d.dead != nil) != c.dead || d.window != c.window && !c.dead {
			t.Errorf("%s: window %d, dead %v; want %d, %v", c.rule, d.window, d.dead != nil, c.window, c.dead)
		}
	}
}

func TestFeedbackText(t *testing.T) {
	for _, c := range []struct {
		text string
		at4  float64
		ok   bool
	}{
		{"1", 1, true}, {"0.5", 0.5, true}, {"1/8", 0.125, true}, {" 1 / 8 ", 0.125, true}, {"0", 0, true},
		{"1 / concurrency", 0.25, true}, {"0.5/concurrency", 0.125, true}, {"1/sqrt_concurrency", 0.5, true},
		{"2", 1, false}, {"-1", 1, false}, {"1/0", 1, false}, {"", 1, false}, {"x", 1, false}, {"1/x", 1, false},
		{"NaN", 1, false}, {"1/NaN", 1, false},
	} {
		f, err := parseFeedback(c.text)
		if f.at(4) != c.at4 || (err == nil) != c.ok {
			t.Errorf("%q: %g, %v; want %g", c.text, f.at(4), err, c.at4)
		}
	}
}
