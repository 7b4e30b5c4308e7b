package main

import (
	"strconv"
	"strings"
	"sync"
	"time"

	daemon "postroad/libmail/server"
)

// A pool keeps connections that wait for the next message. A connection is
// found under the destination that it was made for, which spares lookups,
// and under the server that it leads to, which other destinations may share.
// The keys hold all that makes one connection different from another: see
// keysFor.
type pool struct {
	clock daemon.Clock
	idle  time.Duration // how long a connection may wait
	max   int

	mu     sync.Mutex
	keys   map[string][]*session // the last is the freshest
	timers map[*session]daemon.Timer
	order  []*session // the first has waited longest
	closed bool
}

func newPool(clock daemon.Clock, idle time.Duration, max int) *pool {
	return &pool{clock: clock, idle: idle, max: max, keys: map[string][]*session{}, timers: map[*session]daemon.Timer{}}
}

// put lets a connection wait. When there is no room the one that has waited
// longest is ended.
func (p *pool) put(s *session) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		s.end()
		return
	}
	var oldest *session
	if len(p.order) >= p.max {
		oldest = p.order[0]
		p.remove(oldest)
	}
	s.reused++
	p.order = append(p.order, s)
	for _, key := range s.poolKeys() {
		p.keys[key] = append(p.keys[key], s)
	}
	p.timers[s] = p.clock.AfterFunc(p.idle, func() { p.expire(s) })
	p.mu.Unlock()
	if oldest != nil {
		go oldest.end() // its server may be slow to say goodbye
	}
}

// poolKeys are the keys of a session that are not empty.
func (s *session) poolKeys() []string {
	var keys []string
	for _, k := range []string{s.destKey, s.hostKey} {
		if k != "" && (len(keys) == 0 || keys[0] != k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// take returns a waiting connection that is still good, or nil.
func (p *pool) take(key string) *session {
	for {
		p.mu.Lock()
		list := p.keys[key]
		if len(list) == 0 {
			p.mu.Unlock()
			return nil
		}
		s := list[len(list)-1]
		p.remove(s)
		p.mu.Unlock()
		if s.quiet() && p.clock.Now().Before(s.keepUntil) {
			return s
		}
		if s.quiet() {
			go s.end()
		} else {
			s.drop()
		}
	}
}

// remove forgets a connection; the lock is held.
func (p *pool) remove(s *session) {
	if t := p.timers[s]; t != nil {
		t.Stop()
		delete(p.timers, s)
	}
	p.order = without(p.order, s)
	for _, key := range s.poolKeys() {
		if list := without(p.keys[key], s); len(list) > 0 {
			p.keys[key] = list
		} else {
			delete(p.keys, key)
		}
	}
}

func without(list []*session, s *session) []*session {
	for i, other := range list {
		if other == s {
			return append(list[:i:i], list[i+1:]...)
		}
	}
	return list
}

// expire ends a connection that has waited in vain.
func (p *pool) expire(s *session) {
	p.mu.Lock()
	_, waiting := p.timers[s]
	if waiting {
		p.remove(s)
	}
	p.mu.Unlock()
	if waiting {
		s.end()
	}
}

// close ends all waiting connections, and later ones when they are put.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	all := p.order
	for len(p.order) > 0 {
		p.remove(p.order[0])
	}
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() { s.endWithin(farewell) })
	}
	wg.Wait()
}

// farewell is how long the end of the process waits for replies to QUIT.
const farewell = time.Second

// poolKeys are the two keys of a connection.
type poolKeys struct{ dest, host string }

// keysFor makes the keys. A connection may be used again only where a new
// one would have been made in the same way: to the same next hop, or to the
// same address with the same TLS level; for the same sender, next hop and
// host where these decide about the login; for the same next hop where its
// name decides about the certificate.
func (j *job) keysFor(d destination, s server, p *tlsPolicy) poolKeys {
	common := []string{strconv.FormatBool(j.needsUTF8()), strconv.Itoa(int(j.require)), strconv.FormatBool(j.tlsNotRequired())}
	if j.p.sasl.enabled && j.p.sasl.bySender {
		common = append(common, j.Sender)
	}
	dest := append([]string{"next hop", d.text}, common...)
	if s.host == "" {
		return poolKeys{dest: strings.Join(dest, "\n")}
	}
	host := append([]string{"server", s.host, s.addr.String(), strconv.Itoa(s.port)}, common...)
	if j.p.sasl.enabled || p.level.MustMatch() {
		host = append(host, d.text)
	}
	host = append(host, p.level.String(), p.protocols, p.grade, p.servername, strings.Join(p.exclude, " "))
	return poolKeys{dest: strings.Join(dest, "\n"), host: strings.Join(host, "\n")}
}

// mayReuse reports whether connections to a destination are kept. Without a
// list of destinations every connection waits a moment for another message:
// here that costs no process, only a descriptor.
func (j *job) mayReuse(d destination) bool {
	if j.p.keepOnDemand {
		return true
	}
	listed, err := j.p.keepAlways.Match(d.domain, "")
	if err != nil {
		j.log.Warning("%s_connection_cache_destinations: %v", j.p.prefix, err)
	}
	return listed && err == nil
}

// reuseDestination delivers over waiting connections to a next hop. False
// means that the delivery is over.
func (j *job) reuseDestination(d destination, tries *tally) bool {
	key := j.keysFor(d, server{}, nil).dest
	for len(j.left) > 0 {
		s := j.pool.take(key)
		if s == nil {
			return true
		}
		tries.addresses++
		tries.sessions++
		limit := reached(tries.sessions, j.p.sessionLimit) || reached(tries.addresses, j.p.addressLimit)
		j.finalServer = j.finalHop && limit
		j.finalAfterHello = j.finalServer
		if j.converse(s) == again {
			tries.addresses--
			tries.sessions--
			continue
		}
		if limit {
			return false
		}
	}
	return false
}
