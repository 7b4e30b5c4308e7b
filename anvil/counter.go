package main

import (
	"fmt"
	"sync"
	"time"

	"postroad/libmail/maillog"
	"postroad/libmail/proto"
)

// maxRemotes bounds the clients that are counted at a time. Events of more of
// them are answered as if each was the first.
const maxRemotes = 200000

// A counter counts the events of all clients.
type counter struct {
	now func() time.Time

	mu      sync.Mutex
	params  params
	remotes map[string]*remote
	peaks   [connections + 1]peak // of the rates, then of connections
	size    peak                  // of remotes
}

// A remote is one client of one service.
type remote struct {
	connections int
	rates       [len(rateOf)]int
	start       time.Time // of the current time unit
	last        time.Time // event
}

// Rates, in the order in which they are reported.
const (
	connectRate = iota
	messageRate
	recipientRate
	newTLSRate
	authRate
)

// rateOf says which rate each verb counts.
var rateOf = [...]struct{ verb, name string }{
	connectRate:   {proto.AnvilConnect, "connection"},
	messageRate:   {proto.AnvilMessage, "message"},
	recipientRate: {proto.AnvilRecipient, "recipient"},
	newTLSRate:    {proto.AnvilNewTLS, "newtls"},
	authRate:      {proto.AnvilAuth, "auth"},
}

// connections is the index of the peak of simultaneous connections.
const connections = len(rateOf)

// A peak is the highest value of something since the last report.
type peak struct {
	value int
	ident string
	when  time.Time
}

func (p *peak) raise(value int, ident string, now time.Time) {
	if value > p.value {
		*p = peak{value, ident, now}
	}
}

func newCounter(p params, now func() time.Time) *counter {
	return &counter{now: now, params: p, remotes: map[string]*remote{}}
}

func (c *counter) settings() params {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.params
}

func (c *counter) set(p params) {
	c.mu.Lock()
	c.params = p
	c.mu.Unlock()
}

// A local is one program that tells us about its clients.
type local struct {
	c    *counter
	open map[string]int // connections of its clients
}

func (c *counter) join() *local { return &local{c, map[string]int{}} }

// leave forgets the connections of a program that is gone.
func (l *local) leave() {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	for ident, n := range l.open {
		if r := l.c.remotes[ident]; r != nil {
			r.connections -= n
		}
	}
	l.open = nil
}

// do serves one request.
func (l *local) do(verb, ident string) proto.AnvilCounts {
	c := l.c
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	r := c.remotes[ident]
	if r != nil {
		r.refresh(now, c.params.unit)
	}
	switch verb {
	case proto.AnvilLookup, proto.AnvilTLSStatus:
		if r == nil {
			return proto.AnvilCounts{}
		}
		if verb == proto.AnvilTLSStatus {
			return proto.AnvilCounts{Rate: r.rates[newTLSRate]}
		}
		return proto.AnvilCounts{Count: r.connections, Rate: r.rates[connectRate], Mail: r.rates[messageRate],
			Rcpt: r.rates[recipientRate], NewTLS: r.rates[newTLSRate], Auth: r.rates[authRate]}
	case proto.AnvilDisconnect:
		if l.open[ident] > 0 && r != nil {
			r.connections--
			r.last = now
			if l.open[ident]--; l.open[ident] == 0 {
				delete(l.open, ident)
			}
		}
		return proto.AnvilCounts{}
	}
	if r == nil {
		if len(c.remotes) >= maxRemotes {
			return proto.AnvilCounts{Count: 1, Rate: 1}
		}
		r = &remote{start: now}
		c.remotes[ident] = r
		c.size.raise(len(c.remotes), "", now)
		if verb != proto.AnvilConnect {
			// We were started anew after this client connected.
			l.count(r, proto.AnvilConnect, ident, now)
		}
	}
	return l.count(r, verb, ident, now)
}

// count counts one event.
func (l *local) count(r *remote, verb, ident string, now time.Time) proto.AnvilCounts {
	r.last = now
	if verb == proto.AnvilConnect {
		r.connections++
		l.open[ident]++
		l.c.peaks[connections].raise(r.connections, ident, now)
	}
	for i, rate := range rateOf {
		if rate.verb == verb {
			r.rates[i]++
			l.c.peaks[i].raise(r.rates[i], ident, now)
			return proto.AnvilCounts{Count: r.connections, Rate: r.rates[i]}
		}
	}
	panic("anvil request " + verb) // the conversation knows no other
}

// refresh starts a new time unit when the old one is over, or when the clock
// was set back behind it.
func (r *remote) refresh(now time.Time, unit time.Duration) {
	if age := now.Sub(r.start); age > unit || age < 0 {
		r.rates = [len(rateOf)]int{}
		r.start = now
	}
}

// sweep forgets clients without connections and without an event in the time
// unit.
func (c *counter) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	for ident, r := range c.remotes {
		if age := now.Sub(r.last); r.connections <= 0 && (age > c.params.unit || age < 0) {
			delete(c.remotes, ident)
		}
	}
}

// report logs the peaks, and starts them anew.
func (c *counter) report(say func(line string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rate := func(i int) {
		if p := c.peaks[i]; p.value > 0 {
			say(fmt.Sprintf("statistics: max %s rate %d/%ds for (%s) at %s", rateOf[i].name, p.value,
				int(c.params.unit.Seconds()), p.ident, p.when.Format(maillog.Stamp)))
		}
	}
	rate(connectRate)
	if p := c.peaks[connections]; p.value > 0 {
		say(fmt.Sprintf("statistics: max connection count %d for (%s) at %s", p.value, p.ident, p.when.Format(maillog.Stamp)))
	}
	for i := connectRate + 1; i < len(rateOf); i++ {
		rate(i)
	}
	if c.size.value > 0 {
		say(fmt.Sprintf("statistics: max cache size %d at %s", c.size.value, c.size.when.Format(maillog.Stamp)))
	}
	c.peaks, c.size = [connections + 1]peak{}, peak{}
}
