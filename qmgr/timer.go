package main

import (
	"time"

	"postroad/libmail/server"
)

// A clock tells two times. Now is the wall clock, which file times and
// arrival times belong to, and which may jump. Elapsed grows evenly;
// everything that the queue manager waits for is measured with it.
type clock interface {
	Now() time.Time
	Elapsed() time.Duration
	AfterFunc(d time.Duration, f func()) server.Timer
}

// systemClock is the clock of the running program.
type systemClock struct {
	server.Clock
	start time.Time
}

func newSystemClock(c server.Clock) systemClock { return systemClock{c, time.Now()} }

func (c systemClock) Elapsed() time.Duration { return time.Since(c.start) }

// An alarm is a call that the loop will make.
type alarm struct {
	at     time.Duration // of clock.Elapsed
	call   func()
	placed int
}

func (a *alarm) before(b *alarm) bool { return a.at < b.at }
func (a *alarm) place() *int          { return &a.placed }

// alarms are the calls that the loop will make, the next one at the top.
type alarms struct {
	clock clock
	heap[*alarm]
	wake  func() // tells the loop that an alarm is due; may be called at any time
	timer server.Timer
	armed time.Duration // when timer fires; 0: it does not
}

// after makes the loop call f in d.
func (a *alarms) after(d time.Duration, f func()) *alarm {
	x := &alarm{at: a.clock.Elapsed() + max(d, 0), call: f}
	a.set(x, true)
	return x
}

// cancel withdraws an alarm; nil and past ones are fine.
func (a *alarms) cancel(x *alarm) {
	if x != nil {
		a.set(x, false)
	}
}

// run makes the calls that are due and arms the timer for the next one.
func (a *alarms) run() {
	for a.len() > 0 && a.top().at <= a.clock.Elapsed() {
		x := a.top()
		a.set(x, false)
		x.call()
	}
	if a.len() == 0 || a.armed != 0 && a.armed <= a.top().at {
		return
	}
	a.armed = a.top().at
	d := max(a.armed-a.clock.Elapsed(), 0)
	if a.timer == nil {
		a.timer = a.clock.AfterFunc(d, a.wake)
	} else {
		a.timer.Reset(d)
	}
}

// rang notes that the timer fired.
func (a *alarms) rang() { a.armed = 0 }
