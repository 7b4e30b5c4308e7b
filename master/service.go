package main

import (
	"strings"
	"syscall"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/server"
)

// Times of starting again what ended badly after it had begun to serve.
const (
	firstPause  = time.Second
	longPause   = time.Minute
	killedPause = time.Second      // the most after SIGKILL, which is no bug of the program's
	provenAfter = 10 * time.Second // a program that lived this long starts at once
)

// startupLimit is how long a program may take until it serves. It is
// generous: tables may be slow to open.
const startupLimit = 1000 * time.Second

// fullPause bounds how often a full service is logged.
const fullPause = 1000 * time.Second

// A service is one entry of master.cf. At most one program serves it, its
// current one; earlier ones may finish their sessions.
type service struct {
	conf.Service
	m       *master
	sockets []socket
	current *child
	old     map[*child]bool

	resident  bool // its program is started again when it ends
	wakeDue   bool // wake the program once it is ready
	wanted    bool // start as soon as allowed, even without a client
	closed    bool // gone from master.cf, or an inet service of a system that stops
	held      bool // not started any more, as the system stops; its socket stays open
	throttled bool
	unlock    *time.Timer // ends the throttle
	strikes   int         // bad ends in a row
	wakeup    *time.Timer
	fullAt    time.Time // when it was logged last that all sessions are in use
	enforced  string    // what was logged last about the sandbox
}

// open begins to serve: clients and wakeup times count from now.
func (s *service) open() {
	s.arm()
	if s.Wakeup > 0 && !s.WakeupIfUsed {
		s.wakeUp()
	}
}

// arm watches for clients, or starts the program if it is wanted anyway,
// whenever there is none and one may be started.
func (s *service) arm() {
	switch {
	case s.current != nil || s.closed || s.held || s.throttled || s.succeeds():
		s.m.watch.set(s, nil)
	case s.wanted:
		s.wanted = false
		s.start()
	default:
		s.m.watch.set(s, s.sockets)
	}
}

// succeeds reports whether the program has to wait for its predecessor: with
// a maxproc of 1 there are no two processes, as each may own a file or the
// queue. For datagrams, which do not wait long, there are two for a moment.
func (s *service) succeeds() bool {
	return s.MaxProc == 1 && len(s.old) > 0 && s.Type != "unix-dgram"
}

// want starts the program as soon as that is allowed, client or not.
func (s *service) want() {
	if s.current == nil && !s.closed {
		s.wanted = true
		s.arm()
	}
}

// readable is the event that a client waits.
func (s *service) readable() { s.want() }

// start starts the program.
func (s *service) start() {
	c, err := s.m.spawn(s)
	if err != nil {
		s.m.log.Warning("service %s: start %s: %v -- throttling", s.Name, s.Command, err)
		s.throttle(s.m.params.throttle)
		return
	}
	s.current = c
	s.arm()
	c.limit = s.m.after(startupLimit, func() {
		if s.current == c && !c.ready {
			s.m.log.Warning("process %s pid %d does not come up", c.path, c.pid)
			c.kill()
		}
	})
	if s.WakeupIfUsed && s.wakeup == nil {
		s.nextWakeUp()
	}
}

// throttle starts no program for a while.
func (s *service) throttle(d time.Duration) {
	if s.unlock != nil {
		s.unlock.Stop()
	}
	s.throttled = true
	var mine *time.Timer
	mine = s.m.after(d, func() {
		if s.unlock == mine {
			s.release()
		}
	})
	s.unlock = mine
	s.arm()
}

// release ends a throttle.
func (s *service) release() {
	if s.unlock != nil {
		s.unlock.Stop()
		s.unlock = nil
	}
	s.throttled = false
	s.arm()
}

// wakeUp is the event of the wakeup timer.
func (s *service) wakeUp() {
	if s.closed || s.m.stop != nil {
		return
	}
	s.wake()
	s.nextWakeUp()
}

// wake wakes the program, which is started if need be.
func (s *service) wake() {
	switch {
	case s.current != nil && s.current.ready:
		s.current.send(server.WordWake)
	case s.throttled: // like Postfix, the next time will do
	default:
		s.wakeDue = true
		s.want()
	}
}

func (s *service) nextWakeUp() {
	if s.wakeup != nil {
		s.wakeup.Stop()
	}
	if s.Wakeup <= 0 {
		s.wakeup = nil
		return
	}
	var mine *time.Timer
	mine = s.m.after(s.Wakeup, func() {
		if s.wakeup == mine {
			s.wakeUp()
		}
	})
	s.wakeup = mine
}

// retire makes the current program one that finishes.
func (s *service) retire(c *child) {
	if s.current != c {
		return
	}
	s.current = nil
	if s.old == nil {
		s.old = map[*child]bool{}
	}
	s.old[c] = true
	s.arm()
}

// heard takes a word of a program.
func (s *service) heard(c *child, word, rest string) {
	switch word {
	case server.WordReady:
		s.isReady(c, rest)
	case server.WordFull:
		s.full(rest)
	case server.WordLeaving:
		s.retire(c)
		if s.resident && s.m.stop == nil {
			s.want()
		}
	case server.WordRestarting:
		again := s.resident || s.wakeDue
		s.retire(c)
		if again && s.m.stop == nil {
			s.want()
		}
	default:
		s.m.log.Warning("process %s pid %d says %q, which nobody understands", c.path, c.pid, word)
	}
}

// isReady notes what a program says when it begins to serve.
func (s *service) isReady(c *child, rest string) {
	c.ready = true
	c.limit.Stop()
	if after, found := strings.CutPrefix(rest, "resident"); found {
		s.resident = true
		rest = strings.TrimSpace(after)
	}
	if text, found := strings.CutPrefix(rest, "sandbox "); found && text != s.enforced {
		s.enforced = text
		s.m.log.Info("service %s runs with %s", s.Name, text)
	}
	if s.current != c {
		return
	}
	for o := range s.old {
		if !o.told {
			o.send(server.WordDrain) // a datagram service's; now that there is another
		}
	}
	if s.wakeDue {
		s.wakeDue = false
		c.send(server.WordWake)
	}
}

// full logs that all sessions are in use, as Postfix does for processes.
func (s *service) full(limit string) {
	if s.Type != "inet" && s.Type != "pass" || time.Since(s.fullAt) < fullPause && !s.fullAt.IsZero() {
		return
	}
	s.fullAt = time.Now()
	l := s.m.log
	l.Warning(`service "%s" (%s) has reached its process limit "%s": new clients may experience noticeable delays`,
		s.Name, s.display(), limit)
	l.Warning("to avoid this condition, increase the process count in master.cf or reduce the service time per client")
	l.Warning("see https://www.postfix.org/STRESS_README.html for examples of stress-adapting configuration settings")
}

// display is the service's address for the log.
func (s *service) display() string {
	if s.Type == "inet" {
		return s.Name
	}
	return s.Socket()
}

// ended takes the end of a program.
func (s *service) ended(c *child, status syscall.WaitStatus) {
	bad := !status.Exited() || status.ExitStatus() != 0
	killed := status.Signaled() && status.Signal() == syscall.SIGKILL && !c.killed
	l := s.m.log
	switch {
	case status.Exited() && bad:
		l.Warning("process %s pid %d exit status %d", c.path, c.pid, status.ExitStatus())
	case status.Signaled() && !c.killed:
		l.Warning("process %s pid %d killed by signal %d", c.path, c.pid, status.Signal())
	}
	delete(s.old, c)
	if s.current == c {
		s.current = nil
		if s.resident && s.m.stop == nil {
			s.wanted = true
		}
	}
	switch {
	case s.m.stop != nil:
		s.arm()
	case !c.ready && !c.told && !killed:
		// Its first job was too much for it: the configuration is wrong, or
		// the system has run out of something.
		l.Warning("%s: bad command startup -- throttling", c.path)
		s.throttle(s.m.params.throttle)
	case bad && time.Since(c.began) < provenAfter:
		s.strikes++
		s.throttle(pauseAfter(s.strikes, killed))
	default:
		s.strikes = 0
		s.arm()
	}
}

// pauseAfter is how long to wait after so many bad ends in a row: not at all
// after the first, then twice as long each time.
func pauseAfter(strikes int, killed bool) time.Duration {
	if strikes <= 1 {
		return 0
	}
	longest := longPause
	if killed {
		longest = killedPause
	}
	return min(longest, firstPause<<min(strikes-2, 10))
}
