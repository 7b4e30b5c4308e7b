package main

// Preemption: a small message need not wait until a mailing list's thousands
// of recipients are done. The rule is Postfix's (delivery_slot_cost and its
// kin, postconf(5)).
//
// With each delivery a job earns a slot. For slot_cost slots one delivery of a
// smaller, later job may go first, so that preemption delays no message by
// more than the factor slot_cost/(slot_cost-1). Jobs that are too small to earn
// min_slots slots are never preempted. slot_loan and slot_discount let a
// preemption happen earlier; they do not make it cheaper.

// preempt puts a better job before the current one, if there is one and the
// current job has earned it.
func (t *transport) preempt(current *job) bool {
	set := &t.set
	if current.slots <= 0 || current.most() < set.minSlots*set.slotCost {
		return false
	}
	best := t.candidate(current)
	if best == nil {
		return false
	}
	expected := best.most() - best.taken
	if float64(current.slots/set.slotCost+set.slotLoan) < float64(expected*set.slotLoanFactor)/100 {
		return false
	}
	best.moveBefore(current)
	best.parent = current
	best.adopted = false
	current.children = append(current.children, best)
	// The expected price is paid now; pop corrects it.
	current.slots -= expected * set.slotCost
	best.used = -expected
	return true
}

// candidate is the job that suits best: one that fits into the slots that the
// current job can earn with what it has in memory, with the greatest waiting
// time a recipient. It looks at the first job of each size class, so that it
// costs the same for any number of jobs; within a class the first one has
// waited longest.
func (t *transport) candidate(current *job) *job {
	fits := (current.waiting() + current.slots) / t.set.slotCost
	if fits <= 0 {
		return nil
	}
	now := t.clock.Elapsed()
	var best *job
	var bestScore float64
	for c := range t.ready {
		if t.ready[c].len() == 0 {
			continue
		}
		j := t.ready[c].top().peers.top().job
		need := j.most() - j.taken
		if j == current || len(j.children) > 0 || need <= 0 || need > fits {
			continue
		}
		waited := int64(now.Seconds()) - int64(j.msg.since.Seconds()) + 1
		if score := float64(waited) / float64(j.most()); score > bestScore {
			best, bestScore = j, score
		}
	}
	return best
}

// moveBefore gives a job the place before another. Its lanes are emptied
// meanwhile, because a heap must not see a rank change.
func (j *job) moveBefore(current *job) {
	for _, p := range j.peers {
		if len(p.entries) > 0 {
			p.d.lane(j.class).peers.set(p, false)
			p.d.refresh()
		}
	}
	j.pop()
	j.withdraw()
	j.insert(current.order, current.pos)
	for _, p := range j.peers {
		if len(p.entries) > 0 {
			p.queue()
		}
	}
}

// pop ends a job's preemption: the parent gets back what it paid too much,
// or pays the rest, unless it is not the job that was preempted. Jobs that
// preempted this one go to the parent.
func (j *job) pop() {
	parent := j.parent
	if parent != nil {
		if !j.adopted {
			parent.slots -= j.used * j.t.set.slotCost
		}
		for i, c := range parent.children {
			if c == j {
				last := len(parent.children) - 1
				parent.children[i] = parent.children[last]
				parent.children = parent.children[:last]
				break
			}
		}
	}
	for _, c := range j.children {
		c.parent, c.adopted = parent, true
		if parent != nil {
			parent.children = append(parent.children, c)
		}
	}
	j.parent, j.adopted, j.children = nil, false, nil
}
