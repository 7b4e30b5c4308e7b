package server

import (
	"sync"
	"syscall"
)

// Sessions without a wish of the administrator's for their number are bounded
// by descriptors: a few for each session, some for the process, but not more
// than a quarter where there are few.
const (
	maxSessions        = 10000
	descriptorsEach    = 3
	descriptorsReserve = 64
)

// slots count the sessions of a process against their limit.
type slots struct {
	mu      sync.Mutex
	changed *sync.Cond
	limit   int
	used    int
	closed  bool
	onFull  func(limit int) // called when a client has to wait; must not block
	onEmpty func()          // called when the last session ended; must not block
}

// newSlots makes slots with a limit of sessions; 0 means what descriptors allow.
func newSlots(limit int) *slots {
	if byFiles := descriptorSessions(); limit <= 0 || limit > byFiles {
		limit = byFiles
	}
	s := &slots{limit: limit, onFull: func(int) {}, onEmpty: func() {}}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// lift takes away any limit but that of descriptors.
func (s *slots) lift() {
	s.mu.Lock()
	s.limit = descriptorSessions()
	s.mu.Unlock()
}

// descriptorSessions is the number of sessions that the limit on open files
// allows.
func descriptorSessions() int {
	var lim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) != nil {
		return maxSessions
	}
	if lim.Cur > maxSessions*descriptorsEach+descriptorsReserve {
		return maxSessions
	}
	reserve := min(descriptorsReserve, int(lim.Cur)/4)
	return max(1, (int(lim.Cur)-reserve)/descriptorsEach)
}

// acquire waits for a free slot; false means that no more sessions are wanted.
func (s *slots) acquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used >= s.limit && !s.closed {
		s.onFull(s.limit)
	}
	for s.used >= s.limit && !s.closed {
		s.changed.Wait()
	}
	if s.closed {
		return false
	}
	s.used++
	return true
}

// add takes a slot whatever the limit.
func (s *slots) add() {
	s.mu.Lock()
	s.used++
	s.mu.Unlock()
}

// release gives a slot back.
func (s *slots) release() {
	s.mu.Lock()
	s.used--
	empty := s.used == 0
	s.mu.Unlock()
	s.changed.Broadcast()
	if empty {
		s.onEmpty()
	}
}

// close ends all waits in acquire.
func (s *slots) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.changed.Broadcast()
}

// count is the number of sessions.
func (s *slots) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// stressed reports whether 80 % of the slots are in use. One slot alone is
// always nearly full and says nothing.
func (s *slots) stressed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limit > 1 && s.used*5 >= s.limit*4
}
