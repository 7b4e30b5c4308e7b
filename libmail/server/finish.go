package server

import (
	"context"
	"os"
	"time"
)

// Time limits of the end.
const (
	stopTime   = 10 * time.Second // after "stop"
	orphanTime = 5 * time.Second  // after master's death

	// patience is how long a process that stops waits for the first request
	// of a client that connected.
	patience = time.Second

	// lastTime is what sessions get between the end of their context and the
	// end of the process.
	lastTime = time.Second
)

// An ending is the time that is left to a process that finishes.
type ending struct {
	r     *running
	at    time.Time
	timer *time.Timer
}

// hurry shortens the time to a limit, and asks the sessions to end.
func (e *ending) hurry(limit time.Duration) {
	if t := time.Now().Add(limit); t.Before(e.at) {
		e.at = t
		e.timer.Reset(limit)
	}
	if !e.hurried() {
		close(e.r.stopping)
	}
}

func (e *ending) hurried() bool {
	select {
	case <-e.r.stopping:
		return true
	default:
		return false
	}
}

// finish takes no new sessions, waits for those under way, and calls the
// program's Stop. A limit above 0 bounds all of it and asks the sessions to
// hurry; without one they have daemon_timeout. Master's later words can only
// shorten the time.
func (r *running) finish(word string, limit time.Duration, messages <-chan string, signals <-chan os.Signal) {
	r.takeNoMore(word)
	e := &ending{r: r, at: time.Now().Add(r.drainTime), timer: time.NewTimer(r.drainTime)}
	if limit > 0 {
		e.hurry(limit)
	}
	impatience := time.NewTicker(patience)
	defer impatience.Stop()
	for r.slots.count() > 0 {
		select {
		case <-r.empty:
		case word := <-messages:
			switch word {
			case WordStop:
				e.hurry(stopTime)
			case "":
				e.hurry(orphanTime)
				messages = nil
			}
		case <-signals:
			e.hurry(stopTime)
		case <-impatience.C:
			if e.hurried() {
				r.hangUpConversations()
			}
		case <-e.timer.C:
			r.env.Log.Warning("%d sessions did not finish in time", r.slots.count())
			r.cutShort()
			return
		}
	}
	if r.svc.Stop != nil {
		if soon := time.Now().Add(lastTime); e.at.Before(soon) {
			e.at = soon
		}
		ctx, cancel := context.WithDeadline(r.ctx, e.at)
		defer cancel()
		r.svc.Stop(ctx)
	}
}

// takeNoMore leaves new clients to others: master hears the word when nobody
// accepts here any more. Sessions between two requests end.
func (r *running) takeNoMore(word string) {
	r.leaving.Store(true)
	close(r.left)
	r.slots.close()
	for _, s := range r.sockets {
		s.interrupt()
	}
	r.accepting.Wait()
	for _, s := range r.sockets {
		s.file.Close() // so that no client waits here in vain; master has it still
	}
	if r.control != nil {
		// An error means that master is gone; the sessions finish anyway.
		_ = r.control.Send(word, "")
	}
	r.shutdownConversations(0)
}

// cutShort cancels the sessions, gives them a moment, and saves state.
func (r *running) cutShort() {
	r.cancel()
	timeout := time.After(lastTime)
	for r.slots.count() > 0 {
		select {
		case <-r.empty:
			continue
		case <-timeout:
		}
		break
	}
	if r.svc.Stop != nil {
		r.svc.Stop(r.ctx)
	}
}
