package main

import "postroad/libmail/proto"

// How the next delivery is chosen.
//
//	transport   takes turns with the other transports
//	 job        one message on this transport; first come, first served, but a
//	            small job may go before a big one (preempt.go)
//	  peer      the job's recipients at one destination; take turns
//	   entry    one delivery request
//
// A choice costs no more when thousands of messages wait: what waits for a
// destination is in its lanes, what could be delivered right now is in
// transport.ready, and both are heaps in the order of the jobs.

// An entry is one delivery request: recipients of one message at one
// destination.
type entry struct {
	peer  *peer
	rcpts []proto.Rcpt
	alone bool // see losses
}

// A peer is what one job has for one destination.
type peer struct {
	job     *job
	d       *destination
	entries []*entry // that wait
	refs    int      // entries that wait or have an agent
	placed  int      // in the lane
}

func (p *peer) place() *int         { return &p.placed }
func (p *peer) before(o *peer) bool { return p.job.before(o.job) }

// A job is one message on one transport. It has a place in the order of jobs
// as long as entries of it wait.
type job struct {
	msg   *message
	t     *transport
	peers map[*destination]*peer

	order    *order // nil: nothing waits
	pos      int    // in order.jobs
	own      order
	class    int
	parent   *job   // the job that this one went before
	adopted  bool   // parent is not the job that was preempted, but its parent
	children []*job // the other way round

	read  int // entries made so far
	taken int // entries handed to an agent, or given up
	slots int // entries taken that have not paid for a preemption yet
	used  int // entries taken; of a preempting job, less those expected
	rcpts int // recipients in memory, waiting or with an agent

	listed bool // in transport.unread
}

// An order is a job in the place of its arrival, and before it the jobs that
// preempted it, directly or not, in the order in which they are served.
type order struct {
	seq  uint64
	jobs []*job
}

// before orders the jobs of a transport.
func (j *job) before(o *job) bool {
	if j.order == o.order {
		return j.pos < o.pos
	}
	return j.order.seq < o.order.seq
}

// waiting is how many entries wait.
func (j *job) waiting() int { return j.read - j.taken }

// most is how many entries the job can have in all, if each recipient that
// is not read yet makes one.
func (j *job) most() int { return j.read + j.msg.unread }

// enter gives a job its place by arrival.
func (j *job) enter() {
	if j.order != nil {
		return
	}
	// Jobs that preempted this one earlier may still be in its place.
	j.own.seq = j.msg.seq
	j.insert(&j.own, len(j.own.jobs))
	j.class = class(j.most())
}

// leave takes a job out of the order of jobs when nothing of it waits.
func (j *job) leave() {
	if j.order == nil {
		return
	}
	j.pop()
	j.withdraw()
}

func (j *job) insert(o *order, at int) {
	o.jobs = append(o.jobs, nil)
	copy(o.jobs[at+1:], o.jobs[at:])
	o.jobs[at] = j
	j.order = o
	o.count(at)
}

func (j *job) withdraw() {
	o, at := j.order, j.pos
	copy(o.jobs[at:], o.jobs[at+1:])
	o.jobs[len(o.jobs)-1] = nil
	o.jobs = o.jobs[:len(o.jobs)-1]
	j.order = nil
	o.count(at)
}

// count renumbers the jobs from place at on.
func (o *order) count(at int) {
	for i, j := range o.jobs[at:] {
		j.pos = at + i
	}
}

// add puts entries to what waits for the destination.
func (p *peer) add(entries ...*entry) {
	j := p.job
	for _, e := range entries {
		e.peer = p
		j.rcpts += len(e.rcpts)
	}
	j.t.rcpts += rcptsOf(entries)
	p.entries = append(p.entries, entries...)
	p.refs += len(entries)
	j.read += len(entries)
	p.d.todo += len(entries)
	j.enter()
	p.queue()
}

func rcptsOf(entries []*entry) (n int) {
	for _, e := range entries {
		n += len(e.rcpts)
	}
	return n
}

// queue puts a peer into its lane, or takes it out when nothing of it waits.
func (p *peer) queue() {
	p.d.lane(p.job.class).peers.set(p, len(p.entries) > 0)
	p.d.refresh()
}

// front returns the lane that is served next, or nil.
func (t *transport) front() *lane {
	var first *lane
	for c := range t.ready {
		if t.ready[c].len() == 0 {
			continue
		}
		if l := t.ready[c].top(); first == nil || l.before(first) {
			first = l
		}
	}
	return first
}

// next takes the entry that is to be delivered next off what waits. It
// returns nil when no destination that is open has any.
func (t *transport) next() *entry {
	l := t.front()
	if l == nil {
		return nil
	}
	if t.set.slotCost >= 2 && t.preempt(l.peers.top().job) {
		l = t.front()
	}
	return l.peers.top().take()
}

// take takes the first entry of a peer.
func (p *peer) take() *entry {
	e := p.entries[0]
	p.entries[0] = nil
	p.entries = p.entries[1:]
	j, d := p.job, p.d
	j.taken++
	j.slots++
	j.used++
	d.todo--
	d.busy++
	d.t.turn++
	d.turn = d.t.turn
	p.queue()
	if j.waiting() == 0 {
		j.leave()
	}
	return e
}

// drop takes all that waits for a destination off it.
func (d *destination) drop() (entries []*entry) {
	for _, l := range d.lanes {
		for l != nil && l.peers.len() > 0 {
			p := l.peers.top()
			j := p.job
			entries = append(entries, p.entries...)
			j.taken += len(p.entries)
			j.rcpts -= rcptsOf(p.entries)
			d.t.rcpts -= rcptsOf(p.entries)
			d.todo -= len(p.entries)
			for range p.entries {
				p.release()
			}
			p.entries = nil
			p.queue()
			if j.waiting() == 0 {
				j.leave()
			}
		}
	}
	return entries
}

// done counts an entry that take took as finished.
func (e *entry) done() {
	p := e.peer
	p.d.busy--
	p.job.rcpts -= len(e.rcpts)
	p.job.t.rcpts -= len(e.rcpts)
	p.release()
}

// release forgets a peer with its last entry.
func (p *peer) release() {
	if p.refs--; p.refs == 0 {
		delete(p.job.peers, p.d)
	}
}

// peer returns what the job has for destination d.
func (j *job) peer(d *destination) *peer {
	p := j.peers[d]
	if p == nil {
		p = &peer{job: j, d: d}
		j.peers[d] = p
	}
	return p
}
