package main

import (
	"time"

	"postroad/libmail/dsn"
)

// A transport is one delivery service of master.cf: how many deliveries it
// does at once, what waits for it, and whether it is out of order.
type transport struct {
	name  string
	set   transportSettings
	clock clock
	agent agent

	destinations map[string]*destination
	jobs         map[*message]*job

	ready [classes]heap[*lane] // what can be delivered now, by size class
	turn  uint64               // entries taken so far

	rcpts  int    // recipients in memory
	unread []*job // whose messages have more recipients, the oldest first

	busy   int  // deliveries in progress
	paused bool // transport_rate_delay
	alone  int  // deliveries of suspects in progress, see losses
	held   []*entry

	dead   *dsn.Outcome // why it is out of order
	chance *alarm       // ends dead
}

// transportSettings are the parameters <transport>_name, or their defaults.
type transportSettings struct {
	concurrencyLimit   int // destination_concurrency_limit; 0: none
	initialConcurrency int // initial_destination_concurrency
	recipientLimit     int // destination_recipient_limit, of one delivery; 0: none
	positive, negative feedback
	cohortLimit        int           // destination_concurrency_failed_cohort_limit; 0: never dead
	destinationDelay   time.Duration // destination_rate_delay
	transportDelay     time.Duration // transport_rate_delay

	slotCost       int // delivery_slot_cost; below 2: no preemption
	slotLoan       int // delivery_slot_loan
	slotLoanFactor int // 100 - delivery_slot_discount
	minSlots       int // minimum_delivery_slots

	rcptLimit   int           // recipient_limit: in memory
	rcptExtra   int           // extra_recipient_limit: for jobs that preempt
	refillLimit int           // recipient_refill_limit
	refillDelay time.Duration // recipient_refill_delay

	processes int // maxproc of master.cf: most deliveries at once; 0: no limit
}

// free reports whether the transport takes another delivery.
func (t *transport) free() bool {
	limit := t.set.processes
	if t.set.transportDelay > 0 {
		limit = 1
	}
	return t.dead == nil && !t.paused && (limit == 0 || t.busy < limit)
}

// destination returns the one of that name, which is made on first use.
func (t *transport) destination(name, nexthop string) *destination {
	d := t.destinations[name]
	if d == nil {
		d = &destination{t: t, name: name, nexthop: nexthop, window: t.set.initialConcurrency}
		t.destinations[name] = d
	}
	return d
}

// job returns the message's job on this transport, which is made on first use.
func (t *transport) job(msg *message) *job {
	j := t.jobs[msg]
	if j == nil {
		j = &job{msg: msg, t: t, peers: make(map[*destination]*peer)}
		t.jobs[msg] = j
		msg.jobs = append(msg.jobs, j)
	}
	return j
}
