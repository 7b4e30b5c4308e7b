package queue

import "sync"

// dirSyncs shares directory syncs between all who wait for the same directory.
//
// Whoever makes a name takes a ticket afterwards. The name is durable when a
// sync that began after the ticket was taken has succeeded, whoever ran it. A
// failed sync fails all the tickets that it would have covered and is never
// repeated for them: the kernel may have dropped what it could not write.
type dirSyncs struct {
	fs   FS
	mu   sync.Mutex
	dirs map[string]*dirSync
}

type dirSync struct {
	started int64 // syncs begun
	good    int64 // number of the last that succeeded
	bad     int64 // number of the last that failed
	err     error // of that one
	running bool
	held    int // tickets out
	done    *sync.Cond
}

// A ticket stands for a name that was made in a directory.
type ticket struct {
	dir string
	seq int64
}

// take notes that a name was made in dir; each ticket is given back once, by
// wait or drop.
func (d *dirSyncs) take(dir string) ticket {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.dirs[dir]
	if s == nil {
		if d.dirs == nil {
			d.dirs = make(map[string]*dirSync)
		}
		s = &dirSync{done: sync.NewCond(&d.mu)}
		d.dirs[dir] = s
	}
	s.held++
	return ticket{dir, s.started}
}

// pending reports whether names in dir are being made that may not be durable.
func (d *dirSyncs) pending(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dirs[dir] != nil
}

// drop gives a ticket back without waiting.
func (d *dirSyncs) drop(t ticket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.give(t)
}

// give forgets a directory with its last ticket.
func (d *dirSyncs) give(t ticket) {
	s := d.dirs[t.dir]
	if s.held--; s.held == 0 {
		delete(d.dirs, t.dir)
	}
}

// wait returns when the ticket's name is durable, or cannot be made so.
func (d *dirSyncs) wait(t ticket) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.give(t)
	s := d.dirs[t.dir]
	for {
		switch {
		case s.good > t.seq:
			return nil
		case s.bad > t.seq:
			return s.err
		case s.running:
			s.done.Wait()
		default:
			d.run(s, t.dir)
		}
	}
}

// run syncs dir once; d.mu is held but not during the sync.
func (d *dirSyncs) run(s *dirSync, dir string) {
	s.started++
	seq := s.started
	s.running = true
	d.mu.Unlock()
	err := d.fs.SyncDir(dir)
	d.mu.Lock()
	s.running = false
	if err == nil {
		s.good = seq
	} else {
		s.bad, s.err = seq, err
	}
	s.done.Broadcast()
}
