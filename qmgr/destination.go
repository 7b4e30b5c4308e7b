package main

import (
	"math/bits"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/proto"
)

// A destination is a next hop, or one recipient at a next hop, as one
// transport sees it: how many deliveries to it may run at once, and which
// ones wait.
//
//	ready      window > 0, dead == nil
//	dead       too many failures in a row: nothing is delivered until an
//	           alarm or a flush request gives it another chance
//	suspended  pause after a delivery (destination_rate_delay)
type destination struct {
	t       *transport
	name    string // folded to lower case
	nexthop string

	window    int     // most deliveries at once
	success   float64 // positive feedback that has not moved the window yet
	failure   float64 // negative feedback, as an account that must not go below 0
	cohorts   float64 // share of a whole window's deliveries that failed in a row
	dead      *dsn.Outcome
	suspended bool
	chance    *alarm // ends dead

	todo int // entries that wait
	busy int // entries with an agent

	lanes    [classes]*lane
	turn     uint64        // when an entry was last taken, see transport.turn
	caching  int           // connection cache flags of the requests
	lastDone time.Duration // clock.Elapsed when a delivery last ended
	everDone bool
	clogWarn time.Duration // no warning about this destination before
}

// open reports whether another delivery may start.
func (d *destination) open() bool {
	return d.dead == nil && !d.suspended && d.window > d.busy
}

// idle reports whether nothing is left to be done or remembered.
func (d *destination) idle() bool {
	return d.dead == nil && !d.suspended && d.todo == 0 && d.busy == 0
}

// succeeded widens the window after a delivery that found the destination
// alive: by the positive feedback, up to the transport's limit, and not
// farther than the initial concurrency above what is really used.
func (d *destination) succeeded() {
	set := &d.t.set
	d.cohorts = 0
	if d.dead != nil {
		d.revive()
		return
	}
	limit := set.concurrencyLimit
	if (limit != 0 && d.window >= limit) || d.window >= d.busy+set.initialConcurrency {
		return
	}
	g := set.positive.at(d.window)
	d.success += g
	for d.success+g/2 >= hysteresis {
		d.window += hysteresis
		d.success -= hysteresis
		d.failure = 0
	}
	if limit > 0 {
		d.window = min(d.window, limit)
	}
}

// failed narrows the window after a connection or handshake failure. When the
// failures of a row fill failed_cohort_limit windows the destination is dead.
func (d *destination) failed(why dsn.Outcome) {
	set := &d.t.set
	d.cohorts += 1 / float64(d.window)
	// The sum of n times 1/n may stay a hair below 1.
	if set.cohortLimit > 0 && d.cohorts >= float64(set.cohortLimit)-1e-9 {
		d.dead = &why
		d.caching = 0
		return
	}
	g := set.negative.at(d.window)
	d.failure -= g
	for d.failure-g/2 < 0 {
		d.window -= hysteresis
		d.success = 0
		d.failure += hysteresis
	}
	d.window = max(d.window, 1)
}

// revive gives a dead destination another chance. How much it bears now is
// anybody's guess.
func (d *destination) revive() {
	d.dead = nil
	d.window = d.t.set.initialConcurrency
	if d.busy > 0 {
		d.window = d.busy
	}
	d.success, d.failure, d.cohorts = 0, 0, 0
}

// cacheFlags are the connection cache flags of the next request, when busy
// counts it already. Keeping connections begins with deliveries back to back
// and ends when neither follow nor overlap any more; connections that were
// kept are still used then.
func (d *destination) cacheFlags(now time.Duration) int {
	const both = proto.DeliverConnLoad | proto.DeliverConnStore
	backToBack := d.everDone && now-d.lastDone <= time.Second
	switch {
	case backToBack:
		d.caching = both
	case d.busy <= 1:
		d.caching &^= proto.DeliverConnStore
	}
	return d.caching
}

// classes is the number of size classes of jobs: 1, 2..3, 4..7, ...
const classes = 16

// class is the size class of a job that has n deliveries in all.
func class(n int) int {
	return min(max(bits.Len(uint(n))-1, 0), classes-1)
}

// A lane is what waits for one destination among jobs of one size class, in
// the order of the jobs.
type lane struct {
	d      *destination
	class  int
	peers  heap[*peer]
	placed int // in transport.ready
}

func (l *lane) place() *int { return &l.placed }

// before orders lanes by their first jobs; the lanes of one job take turns.
func (l *lane) before(o *lane) bool {
	a, b := l.peers.top().job, o.peers.top().job
	if a != b {
		return a.before(b)
	}
	return l.d.turn < o.d.turn
}

func (d *destination) lane(class int) *lane {
	if d.lanes[class] == nil {
		d.lanes[class] = &lane{d: d, class: class}
	}
	return d.lanes[class]
}

// refresh tells the transport which lanes can be served now. It must follow
// every change of the destination's state or lanes.
func (d *destination) refresh() {
	open := d.open()
	for _, l := range d.lanes {
		if l != nil {
			d.t.ready[l.class].set(l, open && l.peers.len() > 0)
		}
	}
}
