package main

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// assign makes delivery requests of the recipients that were read: one for
// as many recipients of one destination as its transport takes at once.
func (m *qmgr) assign(msg *message, routes []route) {
	tooManyProbes := isProbe(msg) && m.probes > m.set.Load().probeLimit
	msg.unread += len(routes) // what is not assigned yet counts as still to come
	for len(routes) > 0 {
		r := &routes[0]
		if tooManyProbes {
			r.to(retryTransport, "4.3.2 Too many address verification requests")
		}
		d, why := m.destination(msg, r)
		if d == nil {
			m.deferDirectly(msg, []proto.Rcpt{r.rcpt}, why)
			msg.unread--
			routes = routes[1:]
			continue
		}
		// The neighbours that go the same way go along.
		n := 1
		for n < len(routes) && !tooManyProbes && m.same(r, &routes[n]) {
			n++
		}
		msg.unread -= n
		m.place(msg, d, routes[:n])
		routes = routes[n:]
	}
	if msg.next != 0 {
		m.partial[msg] = struct{}{}
		m.scheduleRefill()
	}
}

func isProbe(msg *message) bool { return msg.trace&proto.DeliverProbe != 0 }

// count takes n recipients into memory, or out of it.
func (m *qmgr) count(msg *message, n int) {
	msg.rcpts += n
	m.rcpts += n
}

// place adds recipients to what waits for a destination.
func (m *qmgr) place(msg *message, d *destination, routes []route) {
	limit := d.t.set.recipientLimit
	if msg.env.VERP != "" {
		limit = 1
	}
	m.count(msg, len(routes))
	j := d.t.job(msg)
	p := j.peer(d)
	var entries []*entry
	last := p.open(limit)
	for i := range routes {
		if last == nil || limit > 0 && len(last.rcpts) >= limit {
			last = &entry{}
			entries = append(entries, last)
		}
		last.rcpts = append(last.rcpts, routes[i].rcpt)
	}
	// add counts the recipients of new entries.
	grown := len(routes) - rcptsOf(entries)
	j.rcpts += grown
	d.t.rcpts += grown
	msg.pending += len(entries)
	if len(entries) > 0 {
		p.add(entries...)
		m.warnClogged(d)
	}
	if msg.next != 0 && !j.listed {
		j.listed = true
		d.t.unread = append(d.t.unread, j)
	}
}

// open returns the last entry that waits, if more recipients fit in.
func (p *peer) open(limit int) *entry {
	if n := len(p.entries); n > 0 && (limit == 0 || len(p.entries[n-1].rcpts) < limit) {
		return p.entries[n-1]
	}
	return nil
}

// destination finds where a route leads now. Mail for what is dead goes to
// retry, with the reason; nil means that there is no retry agent either.
func (m *qmgr) destination(msg *message, r *route) (*destination, dsn.Outcome) {
	t := m.transport(r.transport)
	if msg.flushEach {
		m.reviveTransport(t)
	}
	if t.dead != nil {
		return m.retryDestination(*t.dead), *t.dead
	}
	d := t.destination(m.destinationName(t, r), r.nexthop)
	if msg.flushEach {
		m.revive(d)
		d = t.destination(d.name, r.nexthop) // revive forgets what is idle
	}
	if d.dead != nil {
		return m.retryDestination(*d.dead), *d.dead
	}
	return d, dsn.Outcome{}
}

// same reports whether two routes lead to the same destination.
func (m *qmgr) same(a, b *route) bool {
	t := m.transport(a.transport)
	return a.transport == b.transport && a.nexthop == b.nexthop &&
		m.destinationName(t, a) == m.destinationName(t, b)
}

// destinationName is the next hop. A transport that takes one recipient at a
// time has destinations for each recipient, so that its deliveries run in
// parallel and concurrency limits hold for a mailbox; address extensions get
// no slots of their own.
func (m *qmgr) destinationName(t *transport, r *route) string {
	name := r.nexthop
	if t.set.recipientLimit == 1 && t.name != errorTransport && t.name != retryTransport {
		local, _, _ := addr.SplitDomain(r.rcpt.Address)
		user, _, _ := m.set.Load().delimiters.SplitLocal(local)
		name = user + "@" + name
	}
	return strings.ToLower(name)
}

// refill reads more recipients of a message when there is room for a good
// number of them, when there was room for a while, or when none of those in
// memory waits any more.
func (m *qmgr) refill(msg *message) {
	if msg.next == 0 || msg.reading || msg.pending == 0 {
		return
	}
	room := m.room(msg)
	if room <= 0 {
		return
	}
	waiting, want, delay := 0, 1, time.Duration(0)
	for _, j := range msg.jobs {
		waiting += j.waiting()
		want = max(want, j.t.set.refillLimit)
		delay = max(delay, j.t.set.refillDelay)
	}
	if waiting == 0 || room >= want || m.clock.Elapsed()-msg.refilled >= delay {
		m.read(msg, room)
	}
}

// room is how many more recipients of a message may be in memory. Each message
// may have a few; the transport's own share goes to the oldest message that
// has more, and some extra to one that preempts.
func (m *qmgr) room(msg *message) int {
	room := max(m.set.Load().rcptMinimum-msg.rcpts, 0)
	for _, j := range msg.jobs {
		set := &j.t.set
		switch {
		case j.t.firstUnread() == j:
			room += max(set.rcptLimit-j.t.rcpts, 0)
		case j.parent != nil:
			room += max(set.rcptLimit+set.rcptExtra-j.t.rcpts, 0) / 2
		}
	}
	return room
}

// firstUnread is the oldest job whose message has recipients in its file.
func (t *transport) firstUnread() *job {
	for len(t.unread) > 0 && t.unread[0].msg.next == 0 {
		t.unread[0].listed = false
		t.unread[0] = nil
		t.unread = t.unread[1:]
	}
	if len(t.unread) == 0 {
		return nil
	}
	return t.unread[0]
}

// read reads up to n more recipients of a message.
func (m *qmgr) read(msg *message, n int) {
	msg.reading = true
	next, unread := msg.next, msg.unread
	m.readers.do(func() func() {
		routes, after, left, err := m.intake.more(msg, next, unread, min(n, maxBatch))
		return func() {
			msg.reading = false
			msg.refilled = m.clock.Elapsed()
			msg.next, msg.unread = after, left
			if err != nil {
				m.unread(msg, err)
			}
			m.assign(msg, routes)
			if msg.next == 0 {
				delete(m.partial, msg)
			}
			if msg.pending == 0 {
				m.end(msg)
			}
		}
	})
}

// unread deals with recipients that could not be read. They stay in the file
// for a later round; a file that is damaged or gone is set aside or given up
// at the end of this round.
func (m *qmgr) unread(msg *message, err error) {
	if !errors.Is(err, queue.ErrCorrupt) && !errors.Is(err, fs.ErrNotExist) {
		m.log.Warning("%s: %v", msg.id, err)
	}
	msg.next, msg.unread = 0, 0
	msg.deferred = true
}

// scheduleRefill looks at the messages with unread recipients once a second,
// as long as there are any: their recipients in memory may all be stuck.
func (m *qmgr) scheduleRefill() {
	if m.refiller != nil {
		return
	}
	m.refiller = m.alarms.after(time.Second, func() {
		m.refiller = nil
		for msg := range m.partial {
			m.refill(msg)
		}
		if len(m.partial) > 0 {
			m.scheduleRefill()
		}
	})
}

// warnClogged warns when one destination takes up much of the active queue,
// with what may help.
func (m *qmgr) warnClogged(d *destination) {
	set, now := m.set.Load(), m.clock.Elapsed()
	n, all := d.todo+d.busy, len(m.messages)
	if set.clogWarnTime <= 0 || n <= set.activeLimit/5 || now < d.clogWarn {
		return
	}
	d.clogWarn = now + set.clogWarnTime
	share := float64(n) / float64(all)
	m.log.Warning("mail for %s is using up %d of %d active queue entries", d.nexthop, n, all)
	if share < 0.9 {
		m.log.Warning("this may slow down other mail deliveries")
	}
	switch limit := d.t.set.concurrencyLimit; {
	case limit > 0 && limit <= d.busy+1:
		m.log.Warning("you may need to increase the main.cf %s_destination_concurrency_limit from %d", d.t.name, limit)
	case float64(d.window) > float64(set.activeLimit)*share:
		m.log.Warning("you may need to increase the main.cf qmgr_message_active_limit from %d", set.activeLimit)
	case len(d.t.destinations) > 1:
		m.log.Warning("you may need a separate master.cf transport for %s", d.nexthop)
	default:
		m.log.Warning("you may need to reduce %s connect and helo timeouts, to increase minimal_backoff_time"+
			" and maximal_backoff_time, or to increase the master.cf %s process limit", d.t.name, d.t.name)
	}
	m.log.Warning("please avoid flushing the whole queue when you have lots of deferred mail, that is bad for performance")
	m.log.Warning("to turn off these warnings specify: qmgr_clog_warn_time = 0")
}
