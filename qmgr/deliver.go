package main

import (
	"errors"
	"strings"

	"postroad/libmail/dsn"
	"postroad/libmail/proto"
)

// suspended is put before a reason for which mail is deferred without a
// delivery attempt.
const suspended = "delivery temporarily suspended: "

// deliver starts what can be delivered now. The transports take turns.
func (m *qmgr) deliver() {
	for more := true; more; {
		more = false
		for _, t := range m.turns {
			if !t.free() {
				continue
			}
			if e := m.pick(t); e != nil {
				m.hand(e)
				more = true
			}
		}
	}
}

// pick takes the next entry of a transport. Of the messages that were lost
// with their agents before, only one is delivered at a time.
func (m *qmgr) pick(t *transport) *entry {
	for {
		var e *entry
		if t.alone == 0 && len(t.held) > 0 {
			e, t.held = t.held[0], t.held[1:]
		} else if e = t.next(); e == nil {
			return nil
		}
		if m.losses[e.peer.job.msg.id] < suspectLosses {
			return e
		}
		if t.alone == 0 {
			e.alone = true
			t.alone++
			return e
		}
		t.held = append(t.held, e)
	}
}

// hand gives an entry to the delivery agent.
func (m *qmgr) hand(e *entry) {
	t, d, msg := e.peer.d.t, e.peer.d, e.peer.job.msg
	m.refill(msg)
	t.busy++
	req := e.request(m.set.Load(), m.clock.Now(), d.cacheFlags(m.clock.Elapsed()))
	m.ask(t.agent, req, func(o dsn.Outcome, status int, err error) {
		t.busy--
		m.delivered(e, o, status, err)
	})
}

// delivered learns from what an agent says. The agent has accounted for each
// recipient itself, in the queue file and the logs; the outcome is about the
// destination, and empty unless that is out of order.
func (m *qmgr) delivered(e *entry, o dsn.Outcome, status int, err error) {
	d, msg := e.peer.d, e.peer.job.msg
	t := d.t
	if e.alone {
		t.alone--
	}
	switch {
	case errors.Is(err, proto.ErrUnavailable):
		m.log.Warning("transport %s: %v", t.name, err)
		m.unavailable(e)
		return
	case err != nil:
		m.log.Warning("%s: transport %s failure: %v", msg.id, t.name, err)
		o = dsn.Outcome{Status: "4.3.0", Reason: "unknown mail transport error"}
		status = proto.DeliverDefer
		m.lost(e)
	default:
		m.reviveTransport(t)
	}
	if status != proto.DeliverFinal {
		msg.deferred = true
		if o.Status != "" {
			m.failed(d, o)
		}
	}
	if err == nil && o.Reason == "" {
		m.succeeded(d)
	}
	m.done(e)
	if t.set.transportDelay > 0 {
		t.paused = true
		m.alarms.after(t.set.transportDelay, func() { t.paused = false })
	}
}

// suspectLosses is after how many losses a message is delivered alone, and
// maxLosses after how many it is set aside.
const (
	suspectLosses = 2
	maxLosses     = 3
	maxSuspects   = 10000 // messages whose losses are remembered
)

// lost notes that a message's agent died on it. Other messages that the same
// process had are just unlucky, so the last loss counts only when no other
// suspect was with it.
func (m *qmgr) lost(e *entry) {
	id := e.peer.job.msg.id
	if len(m.losses) >= maxSuspects {
		clear(m.losses)
	}
	m.losses[id]++
	if m.losses[id] >= maxLosses && e.alone {
		m.log.Warning("%s: %d delivery agents (%s) died on this message", id, m.losses[id], e.peer.d.t.name)
		e.peer.job.msg.poison = true
	}
}

// unavailable deals with a transport whose agent can't be reached: nothing is
// tried there for transport_retry_time, and what waits for it is deferred.
func (m *qmgr) unavailable(e *entry) {
	d := e.peer.d
	t := d.t
	why := dsn.Outcome{Status: "4.3.0", Reason: "mail transport unavailable"}
	if t.dead == nil {
		t.dead = &why
		t.chance = m.alarms.after(m.set.Load().transportRetry, func() { m.reviveTransport(t) })
	}
	m.deferEntries(m.putBack(e), why)
	for _, other := range t.destinations {
		m.deferTodo(other, why)
	}
}

// putBack makes an entry that an agent was to have one that waits.
func (m *qmgr) putBack(e *entry) []*entry {
	d := e.peer.d
	e.done()
	e.alone = false
	d.refresh()
	m.forget(d)
	return []*entry{e}
}

// reviveTransport ends a transport's being out of order.
func (m *qmgr) reviveTransport(t *transport) {
	if t.dead != nil {
		t.dead = nil
		m.alarms.cancel(t.chance)
	}
}

// succeeded notes that a destination is alive.
func (m *qmgr) succeeded(d *destination) {
	m.alarms.cancel(d.chance)
	d.succeeded()
	d.refresh()
	m.debugWindow(d)
}

// failed notes that a destination could not be reached. If it is dead now,
// what waits for it is deferred.
func (m *qmgr) failed(d *destination, o dsn.Outcome) {
	if d.dead != nil || d.suspended {
		return
	}
	if !dsn.Valid(o.Status) {
		o.Status = "4.0.0"
	}
	if o.Reason == "" {
		o.Reason = "unknown error"
	}
	o.Reason = suspended + o.Reason
	d.failed(o)
	m.debugWindow(d)
	if d.dead != nil {
		d.chance = m.alarms.after(m.set.Load().minimalBackoff, func() { m.revive(d) })
		m.deferTodo(d, o)
	}
	d.refresh()
}

// revive gives a dead destination another chance.
func (m *qmgr) revive(d *destination) {
	if d.dead != nil {
		m.alarms.cancel(d.chance)
		d.revive()
		d.refresh()
		m.forget(d)
	}
}

func (m *qmgr) debugWindow(d *destination) {
	if m.set.Load().feedbackDebug && d.t.name != errorTransport && d.t.name != retryTransport {
		m.log.Info("destination %s/%s: limit %d window %d success %g failure %g fail_cohorts %g",
			d.t.name, d.name, d.t.set.concurrencyLimit, d.window, d.success, d.failure, d.cohorts)
	}
}

// deferTodo takes all that waits for a destination and defers it.
func (m *qmgr) deferTodo(d *destination, why dsn.Outcome) {
	m.deferEntries(d.drop(), why)
	m.forget(d)
}

// deferEntries hands entries to the retry agent, with the reason as its next
// hop. Without a retry agent the defer service gets them directly.
func (m *qmgr) deferEntries(entries []*entry, why dsn.Outcome) {
	if len(entries) == 0 {
		return
	}
	retry := m.retryDestination(why)
	for _, e := range entries {
		msg := e.peer.job.msg
		if retry != nil {
			retry.t.job(msg).peer(retry).add(e)
			continue
		}
		m.deferDirectly(msg, e.rcpts, why)
		m.finished(msg, e)
	}
}

// retryDestination is where mail that can't be tried now is deferred, or nil.
func (m *qmgr) retryDestination(why dsn.Outcome) *destination {
	t := m.transport(retryTransport)
	if t.dead != nil {
		return nil
	}
	nexthop := reasonNexthop(why)
	d := t.destination(nexthop, nexthop)
	if d.dead != nil {
		return nil
	}
	return d
}

// deferDirectly writes recipients to the defer log without an agent.
func (m *qmgr) deferDirectly(msg *message, rcpts []proto.Rcpt, why dsn.Outcome) {
	why.Action = dsn.Delayed
	msg.pending++
	m.closers.do(func() func() {
		for i := range rcpts {
			if err := m.defers.Append(proto.BounceClean, msg.id, rcpts[i], why); err != nil {
				m.log.Warning("%s: defer service failure: %v", msg.id, err)
			}
			m.intake.router.logRcpt(msg, &rcpts[i], why, "deferred")
		}
		return func() {
			msg.deferred = true
			m.release(msg)
		}
	})
}

// done ends an entry that an agent had.
func (m *qmgr) done(e *entry) {
	d := e.peer.d
	e.done()
	d.lastDone, d.everDone = m.clock.Elapsed(), true
	if delay := d.t.set.destinationDelay; delay > 0 {
		// A slow channel: the destination rests after each delivery.
		if d.dead != nil {
			m.alarms.cancel(d.chance)
			d.revive()
		}
		d.suspended = true
		m.alarms.after(delay, func() {
			d.suspended = false
			d.window = 1
			d.refresh()
			m.forget(d)
		})
	}
	d.refresh()
	m.forget(d)
	m.finished(e.peer.job.msg, e)
}

// finished takes the recipients of an entry out of memory.
func (m *qmgr) finished(msg *message, e *entry) {
	msg.rcpts -= len(e.rcpts)
	m.rcpts -= len(e.rcpts)
	m.release(msg)
}

// release counts one piece of work of a message as done, and ends its round
// with the last one.
func (m *qmgr) release(msg *message) {
	msg.pending--
	if msg.pending == 0 && !msg.reading {
		m.end(msg)
		return
	}
	m.refill(msg)
}

// forget drops a destination that has nothing to do. Dead ones are kept to
// remember that they are dead, unless there are too many of them.
func (m *qmgr) forget(d *destination) {
	if d.todo > 0 || d.busy > 0 || d.suspended || d.t.destinations[d.name] != d {
		return
	}
	if d.dead != nil && len(d.t.destinations) > 2*m.set.Load().rcptLimit {
		m.alarms.cancel(d.chance)
		d.revive()
	}
	if d.idle() {
		delete(d.t.destinations, d.name)
	}
}

// transport returns the transport of that name, which is made on first use.
func (m *qmgr) transport(name string) *transport {
	t := m.transports[name]
	if t == nil {
		t = &transport{name: name, set: m.set.Load().transport(name), clock: m.clock, agent: m.agent(name),
			destinations: make(map[string]*destination), jobs: make(map[*message]*job)}
		if name == "" || strings.Contains(name, "/") {
			t.agent = noAgent{}
		}
		m.transports[name] = t
		m.turns = append(m.turns, t)
	}
	return t
}

// noAgent stands for a transport that can't be a service.
type noAgent struct{}

func (noAgent) Deliver(*proto.Request) (dsn.Outcome, int, error) {
	return dsn.Outcome{}, 0, proto.ErrUnavailable
}
