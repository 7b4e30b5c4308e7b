package main

import (
	"errors"
	"io"
	"io/fs"
	"time"

	"postroad/libmail/queue"
)

// Admission to the active queue. New mail is announced by cleanup with its
// queue id. The directories are scanned only for what nobody announced: at
// the start, at a trigger that names no id, and deferred mail once in
// queue_run_delay.

const (
	takers       = 8                // files that are read at once
	maxAnnounced = 20000            // ids that are remembered; more are found by a scan
	scanBatch    = 200              // files that a scan looks at in one go
	troublePause = 10 * time.Second // without descriptors, memory or disk
	busyPause    = 61 * time.Second // until a file that was still being delivered is looked at again
	maxWarned    = 1000             // files that were warned about are remembered
)

// admit lets new blood into the active queue as long as it has room. New and
// deferred mail take turns, so that a backlog of the one does not hold up the
// other; when the queue was full, new mail is first.
func (m *qmgr) admit() {
	if m.clock.Elapsed() < m.troubleUntil {
		return
	}
	set := m.set.Load()
	for m.taking < takers {
		if len(m.messages) >= set.activeLimit {
			m.deferredFirst = false
			return
		}
		c, ok := m.candidate()
		if !ok {
			return
		}
		m.take(c)
	}
}

// candidate returns the file that is to enter next.
func (m *qmgr) candidate() (c candidate, ok bool) {
	for range 2 {
		if !m.deferredFirst {
			c, ok = m.nextNew()
		} else {
			c, ok = m.next(&m.deferredScan)
		}
		m.deferredFirst = !m.deferredFirst
		if ok {
			return c, true
		}
	}
	return c, false
}

// nextNew prefers what is announced to what a scan finds.
func (m *qmgr) nextNew() (candidate, bool) {
	for len(m.announced) > 0 {
		id := m.announced[0]
		m.announced = m.announced[1:]
		if _, known := m.messages[id]; !known {
			return candidate{queue: queue.Incoming, id: id}, true
		}
	}
	return m.next(&m.incomingScan)
}

// announce notes a new message in incoming.
func (m *qmgr) announce(id string) {
	if !queue.ValidID(id) {
		return
	}
	if len(m.announced) >= maxAnnounced {
		m.incomingScan.request(true, ignoreFlags{})
		return
	}
	m.announced = append(m.announced, id)
}

// take starts to read a file.
func (m *qmgr) take(c candidate) {
	set := m.set.Load()
	c.batch = min(max(set.rcptLimit-m.rcpts, set.rcptMinimum), maxBatch)
	m.messages[c.id] = nil // it is being read
	m.taking++
	m.readers.do(func() func() {
		msg, routes, err := m.intake.take(c)
		return func() { m.taken(c, msg, routes, err) }
	})
}

// taken admits a message that was read.
func (m *qmgr) taken(c candidate, msg *message, routes []route, err error) {
	m.taking--
	if err != nil {
		delete(m.messages, c.id)
		m.refused(c, err)
		return
	}
	if msg.env.Arrival.After(m.started) {
		m.credits++ // cleanup took a credit for it
	}
	m.seq++
	msg.seq, msg.since = m.seq, m.clock.Elapsed()
	msg.refilled = msg.since
	m.messages[c.id] = msg
	if isProbe(msg) {
		m.probes++
	}
	m.assign(msg, routes)
	if msg.pending == 0 {
		m.end(msg)
	}
}

// refused deals with a file that could not be taken. One bad file stops
// nobody else.
func (m *qmgr) refused(c candidate, err error) {
	switch {
	case errors.Is(err, errTrouble):
		// All other files would fare the same. What was passed over is found again.
		if m.clock.Elapsed() >= m.troubleUntil {
			m.log.Warning("%s: %v", c.id, err)
			m.troubleUntil = m.clock.Elapsed() + troublePause
			m.alarms.after(troublePause, func() {
				m.incomingScan.request(true, ignoreFlags{})
				m.deferredScan.request(true, ignoreFlags{})
			})
		}
	case errors.Is(err, errEarly) && c.queue == queue.Incoming:
		m.lookAgain()
	case errors.Is(err, queue.ErrUnsafe):
		m.warnOnce(c.id, err)
	}
}

// lookAgain has incoming scanned a little later: a file there has a time in
// the future, because it was still being delivered, or for no good reason.
func (m *qmgr) lookAgain() {
	if m.again == nil {
		m.again = m.alarms.after(busyPause, func() {
			m.again = nil
			m.incomingScan.request(true, ignoreFlags{})
		})
	}
}

// warnOnce logs why a file is left alone, the first time that it is met.
func (m *qmgr) warnOnce(id string, err error) {
	if m.warned[id] {
		return
	}
	if len(m.warned) >= maxWarned {
		clear(m.warned)
	}
	m.warned[id] = true
	m.log.Warning("%s: skipped: %v", id, err)
}

// A scan looks at the files of a queue once, in pieces.
type scan struct {
	queue   string
	scan    *queue.Scan // nil: none in progress
	ids     []string    // found, not taken yet
	reading bool        // the next piece is being read
	ignore  ignoreFlags // of this scan
	again   bool        // start anew when this one ends
	pending ignoreFlags // of the scan to come
}

// request asks for a scan. What it ignores holds also for a scan in progress.
func (s *scan) request(start bool, ignore ignoreFlags) {
	if s.scan != nil {
		s.ignore.times = s.ignore.times || ignore.times
		s.ignore.deferredBy = s.ignore.deferredBy || ignore.deferredBy
	}
	s.pending.times = s.pending.times || ignore.times
	s.pending.deferredBy = s.pending.deferredBy || ignore.deferredBy
	s.again = s.again || start
}

// running reports whether the scan may still find something.
func (s *scan) running() bool { return s.scan != nil || s.again }

// next returns the next file of a scan, as far as it has been read, and has
// more of it read.
func (m *qmgr) next(s *scan) (candidate, bool) {
	for len(s.ids) > 0 {
		id := s.ids[0]
		s.ids = s.ids[1:]
		if _, known := m.messages[id]; !known {
			return candidate{queue: s.queue, id: id, ignore: s.ignore}, true
		}
	}
	if s.reading || !s.running() {
		return candidate{}, false
	}
	if s.scan == nil {
		s.scan, s.again = m.spool.Scan(s.queue), false
		s.ignore, s.pending = s.pending, ignoreFlags{}
	}
	s.reading = true
	walk, ignore := s.scan, s.ignore
	m.scanners.do(func() func() {
		found, err := m.look(walk, s.queue, ignore)
		return func() { m.looked(s, found, err) }
	})
	return candidate{}, false
}

// A piece is what a scan found in one go.
type piece struct {
	ids    []string
	early  bool // there are files that must be looked at again soon
	unsafe map[string]error
}

// look goes through the next files of a queue and keeps those whose time has come.
func (m *qmgr) look(walk *queue.Scan, name string, ignore ignoreFlags) (found piece, err error) {
	limit := m.clock.Now().Add(time.Second)
	for range scanBatch {
		e, err := walk.Next()
		if err != nil {
			return found, err
		}
		st, err := m.spool.Check(name, e.Name)
		switch {
		case errors.Is(err, queue.ErrUnsafe):
			if found.unsafe == nil {
				found.unsafe = make(map[string]error)
			}
			found.unsafe[e.Name] = err
		case err == nil && !ignore.times && st.ModTime.After(limit):
			found.early = true
		case err == nil:
			found.ids = append(found.ids, e.Name)
		}
		// Files that are not complete, or gone, are somebody else's.
	}
	return found, nil
}

// looked takes what a scan found.
func (m *qmgr) looked(s *scan, found piece, err error) {
	s.reading = false
	s.ids = append(s.ids, found.ids...)
	for id, err := range found.unsafe {
		m.warnOnce(id, err)
	}
	if err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, fs.ErrNotExist) {
			m.log.Warning("scan %s: %v", s.queue, err)
			found.early = true
		}
		s.scan.Close()
		s.scan = nil
	}
	if found.early && s.queue == queue.Incoming {
		m.lookAgain()
	}
}

// restore moves what an earlier queue manager left in active back to
// incoming, to be tried now. Deliveries may still go on: such files are
// locked, and are looked at again later.
func restore(spool *queue.Spool, now time.Time, warn func(format string, args ...any)) error {
	walk := spool.Scan(queue.Active)
	defer walk.Close()
	for {
		e, err := walk.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = spool.SetTime(queue.Active, e.Name, now)
		if err == nil {
			err = spool.Move(e.Name, queue.Active, queue.Incoming)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			warn("%s: %v", e.Name, err)
		}
	}
}
