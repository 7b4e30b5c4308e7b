package privs

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Helpers keeps delivery helpers, one process a user and task at a time, so
// that a burst of messages to one user costs one start. A helper serves one
// task after the other on its socket and ends when that is closed.
type Helpers struct {
	// Command says how to start a helper that acts as u.
	Command func(u *User) *Command
	Idle    time.Duration // how long a helper without task is kept
	Max     int           // helpers kept without task

	mu     sync.Mutex
	free   []*helper // the one used last is last
	timer  *time.Timer
	closed bool
}

type helper struct {
	key  string
	proc *Process
	conn *net.UnixConn
	used time.Time
}

// Do runs one task with a helper that acts as u. The helper is kept when task
// returns nil, else it is killed: its state is unknown. The connection is
// task's until it returns.
func (h *Helpers) Do(u *User, task func(c *net.UnixConn) error) error {
	w := h.take(key(u))
	if w == nil {
		proc, conn, err := h.Command(u).StartHelper()
		if err != nil {
			return err
		}
		w = &helper{key: key(u), proc: proc, conn: conn}
	}
	if err := task(w.conn); err != nil {
		w.end()
		return err
	}
	h.give(w)
	return nil
}

// Close ends the helpers that have no task, and keeps none from now on.
func (h *Helpers) Close() {
	h.mu.Lock()
	list := h.free
	h.free, h.closed = nil, true
	if h.timer != nil {
		h.timer.Stop()
	}
	h.mu.Unlock()
	for _, w := range list {
		w.end()
	}
}

// key tells users apart by all that the kernel will see.
func key(u *User) string {
	if u == nil {
		return ""
	}
	return fmt.Sprint(u.UID, u.GID, u.Groups, u.Home)
}

// take finds a helper of the same user that is still alive.
func (h *Helpers) take(key string) *helper {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.free) - 1; i >= 0; i-- {
		w := h.free[i]
		if w.key != key {
			continue
		}
		h.free = append(h.free[:i], h.free[i+1:]...)
		select {
		case <-w.proc.Done():
			w.conn.Close() // dead
			continue
		default:
			return w
		}
	}
	return nil
}

// give keeps a helper for a while, at the cost of the one unused longest.
func (h *Helpers) give(w *helper) {
	w.used = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.Max <= 0 {
		w.end()
		return
	}
	if len(h.free) >= h.Max {
		h.free[0].end()
		h.free = append(h.free[:0], h.free[1:]...)
	}
	h.free = append(h.free, w)
	if h.timer == nil {
		h.timer = time.AfterFunc(h.Idle, h.expire)
	}
}

// expire ends the helpers that had no task for too long.
func (h *Helpers) expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for n < len(h.free) && time.Since(h.free[n].used) >= h.Idle {
		h.free[n].end()
		n++
	}
	h.free = append([]*helper(nil), h.free[n:]...)
	h.timer = nil
	if len(h.free) > 0 {
		h.timer = time.AfterFunc(h.Idle-time.Since(h.free[0].used), h.expire)
	}
}

// end closes the helper's socket and, as it holds nothing that matters
// between two tasks, does not wait for it to see that.
func (w *helper) end() {
	w.conn.Close() // nothing buffered
	w.proc.Kill()
}
