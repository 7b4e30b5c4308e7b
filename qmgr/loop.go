package main

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/server"
)

// An agent delivers; it is one service of master.cf.
type agent interface {
	Deliver(req *proto.Request) (dsn.Outcome, int, error)
}

// house is what the queue manager works with.
type house struct {
	log                   *maillog.Logger
	clock                 clock
	spool                 *queue.Spool
	resolver              resolver
	agent                 func(transport string) agent
	bounce, defers, trace notices
	credit                func(n int)           // lets cleanup accept n more messages unhindered; may be nil
	pause                 func(d time.Duration) // between attempts at a program that does not answer
}

// qmgr is the state of the queue manager. One goroutine, the loop, owns all
// of it. What may block (files, other programs) runs on goroutines of its
// own, which return what the loop is to do with the result.
type qmgr struct {
	house
	set    atomic.Pointer[settings]
	intake intake
	events chan func()                     // what the loop is to do next
	over   chan struct{}                   // closed when the loop has ended
	spawn  func(work func() (then func())) // runs work beside the loop
	ask    func(a agent, req *proto.Request, then func(o dsn.Outcome, status int, err error))

	messages map[string]*message // active; nil while being read
	seq      uint64
	rcpts    int // recipients in memory
	probes   int // active address probes
	partial  map[*message]struct{}
	refiller *alarm

	transports map[string]*transport
	turns      []*transport // in the order in which they take turns
	losses     map[string]int

	announced     []string
	incomingScan  scan
	deferredScan  scan
	deferredFirst bool
	taking        int
	troubleUntil  time.Duration
	again         *alarm
	warned        map[string]bool
	started       time.Time
	credits       int // new messages taken and not credited yet

	readers, scanners, closers crew

	alarms   alarms
	wakeup   chan struct{}
	watchdog server.Timer // nil: none
	lock     io.Closer    // what makes us the only queue manager; nil in tests
	jumps    jumps
}

func newQmgr(h house, set *settings) *qmgr {
	m := &qmgr{
		house:        h,
		events:       make(chan func(), 256),
		messages:     make(map[string]*message),
		partial:      make(map[*message]struct{}),
		transports:   make(map[string]*transport),
		losses:       make(map[string]int),
		warned:       make(map[string]bool),
		incomingScan: scan{queue: queue.Incoming},
		deferredScan: scan{queue: queue.Deferred},
		wakeup:       make(chan struct{}, 1),
		over:         make(chan struct{}),
		started:      h.clock.Now(),
	}
	m.set.Store(set)
	m.spawn = func(work func() func()) { go func() { m.post(work()) }() }
	m.ask = func(a agent, req *proto.Request, then func(dsn.Outcome, int, error)) {
		go func() {
			o, status, err := a.Deliver(req)
			m.post(func() { then(o, status, err) })
		}()
	}
	m.readers = crew{m: m, limit: takers}
	m.scanners = crew{m: m, limit: 2}
	m.closers = crew{m: m, limit: 32}
	m.alarms = alarms{clock: h.clock, wake: m.wake}
	m.intake = intake{spool: h.spool, router: &router{
		settings: m.set.Load, clock: h.clock, log: h.log, resolver: h.resolver, wait: h.pause}}
	return m
}

// start asks for the first scans. What an earlier queue manager left in
// active must be back in incoming by now.
func (m *qmgr) start() {
	m.incomingScan.request(true, ignoreFlags{})
	m.heartbeat()
	if m.credit != nil {
		m.credit(m.set.Load().activeLimit)
	}
}

// heartbeat has deferred mail looked at once in queue_run_delay.
func (m *qmgr) heartbeat() {
	m.deferredScan.request(true, ignoreFlags{})
	m.alarms.after(m.set.Load().queueRunDelay, m.heartbeat)
}

// loop is the queue manager at work.
func (m *qmgr) loop(ctx context.Context) {
	defer close(m.over)
	for ctx.Err() == nil {
		// Time passes: a dead destination gets another chance, a pause ends,
		// the deferred queue is due.
		m.alarms.run()
		m.checkClock()

		// First what is here already: each transport with an agent to spare
		// and mail for a destination that is open starts deliveries.
		m.deliver()

		// Then let new mail in, as long as the active queue has room.
		m.admit()

		// Cleanup may accept as many messages as we took.
		m.giveCredit()

		// Sleep until a delivery ends, a file has been read, a message is
		// finished, mail is announced, or an alarm rings.
		m.sleep(ctx)
	}
}

// sleep waits for an event, and deals with those that are there.
func (m *qmgr) sleep(ctx context.Context) {
	if m.watchdog != nil {
		m.watchdog.Stop()
	}
	select {
	case <-ctx.Done():
		return
	case <-m.wakeup:
		m.alarms.rang()
	case then := <-m.events:
		then()
	}
	if m.watchdog != nil {
		m.watchdog.Reset(m.set.Load().watchdog)
	}
	for range cap(m.events) {
		select {
		case then := <-m.events:
			then()
		default:
			return
		}
	}
}

// post has the loop call f. Any other goroutine may call it.
func (m *qmgr) post(f func()) {
	select {
	case m.events <- f:
	case <-m.over: // nobody waits for it any more
	}
}

// wake makes the loop look at its alarms. Any goroutine may call it.
func (m *qmgr) wake() {
	select {
	case m.wakeup <- struct{}{}:
	default: // it is awake
	}
}

// checkClock looks whether the wall clock was set. When it was set back, the
// times of deferred files lie too far in the future, so they are ignored once.
func (m *qmgr) checkClock() {
	by := m.jumps.observe(m.clock.Now(), m.clock.Elapsed())
	if by == 0 {
		return
	}
	m.log.Warning("the clock was set by %v", by.Round(time.Second))
	if by < 0 {
		m.incomingScan.request(true, ignoreFlags{times: true})
		m.deferredScan.request(true, ignoreFlags{times: true})
	}
}

// giveCredit passes on that messages were taken from incoming, in portions.
// A cleanup that has used up its credit slows down (in_flow_delay): what it
// has accepted and we have not taken never grows much beyond
// qmgr_message_active_limit.
func (m *qmgr) giveCredit() {
	set := m.set.Load()
	if m.credit != nil && m.credits > 0 && m.credits >= set.activeLimit/16 {
		m.credit(m.credits)
		m.credits = 0
	}
}

// reload takes new settings. Deliveries in progress go on, what is known of
// dead destinations is forgotten, and all queues are looked at.
func (m *qmgr) reload(set *settings) {
	m.set.Store(set)
	for _, t := range m.turns {
		t.set = set.transport(t.name)
		for _, d := range t.destinations {
			if t.set.concurrencyLimit > 0 {
				d.window = min(d.window, t.set.concurrencyLimit)
			}
			d.refresh()
		}
	}
	m.enableAll()
	m.incomingScan.request(true, ignoreFlags{})
	m.deferredScan.request(true, ignoreFlags{})
}

// A crew does work beside the loop, not more than limit pieces at a time, in
// the order in which it comes.
type crew struct {
	m       *qmgr
	limit   int
	busy    int
	waiting []func() func()
}

func (c *crew) do(work func() (then func())) {
	if c.busy >= c.limit {
		c.waiting = append(c.waiting, work)
		return
	}
	c.busy++
	c.m.spawn(func() func() {
		then := work()
		return func() {
			c.busy--
			if len(c.waiting) > 0 {
				next := c.waiting[0]
				c.waiting = c.waiting[1:]
				c.do(next)
			}
			then()
		}
	})
}
