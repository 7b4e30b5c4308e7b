package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// notices is one of the services bounce, defer and trace.
type notices interface {
	Append(flags int, id string, r proto.Rcpt, o dsn.Outcome) error
	Flush(flags int, m proto.BounceMessage) error
	Warn(flags int, m proto.BounceMessage) error
	VERP(flags int, m proto.BounceMessage, delims string) error
	Trace(flags int, m proto.BounceMessage) error
}

// settleRetry is how long a message waits whose file can't be removed or
// moved just now.
const settleRetry = 10 * time.Second

// end ends a round of a message: all recipients in memory have been tried.
// Until it is over the message belongs to the goroutine that finishes it.
func (m *qmgr) end(msg *message) {
	now := m.clock.Now()
	age := m.jumps.age(msg.env.Created, now)
	m.closers.do(func() func() {
		more := m.finish(msg, now, age)
		if more {
			return func() { m.read(msg, max(m.room(msg), m.set.Load().rcptMinimum)) }
		}
		err := m.leave(msg, age)
		return func() { m.left(msg, err) }
	})
}

// finish does what is due at the end of a round, strictly in this order,
// because each step makes durable what the next one takes for granted:
// failures are told to the sender before the file that names them may go,
// and a message is given up only after each of its recipients was tried.
func (m *qmgr) finish(msg *message, now time.Time, age time.Duration) (more bool) {
	m.returnFailures(msg)
	if msg.deferred && m.corrupt(msg) {
		return false
	}
	if msg.next != 0 {
		return true
	}
	m.reportTrace(msg)
	if !msg.deferred {
		return false
	}
	switch {
	case m.expired(msg, age):
		m.giveUp(msg)
	case msg.env.Warn > 0 && now.Unix() >= msg.env.Warn-1:
		m.warnSender(msg)
	}
	return false
}

// returnFailures tells the sender which recipients failed. There may also be
// a log of an earlier round, when telling failed then. An empty log is left
// by a bounce service that could not write it; the agent has deferred the
// recipient.
func (m *qmgr) returnFailures(msg *message) {
	msg.untold = false
	st, err := m.spool.Stat(queue.Bounce, msg.id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err == nil && st.Size == 0:
		if err = m.spool.RemoveLog(queue.Bounce, msg.id); err == nil {
			return
		}
	case err == nil:
		if err = m.flush(m.bounce, msg); err == nil {
			return
		}
	}
	msg.untold = true
	m.notTold(msg, "bounce", err)
}

// flush sends the log of a message to its sender, one notice a recipient when
// the sender wants to see the recipient in the address.
func (m *qmgr) flush(service notices, msg *message) error {
	if msg.env.VERP != "" && m.set.Load().verpBounces {
		return service.VERP(0, msg.about(), msg.env.VERP)
	}
	return service.Flush(0, msg.about())
}

// notTold keeps a message because something could not be told to its sender.
func (m *qmgr) notTold(msg *message, what string, err error) {
	m.log.Warning("%s: %v", msg.id, err)
	m.log.Info("%s: status=deferred (%s failed)", msg.id, what)
	msg.deferred = true
}

// corrupt sets a message aside when a delivery agent has marked its file as
// damaged, or has died on it too often. It also finds out that the file has
// been taken away.
func (m *qmgr) corrupt(msg *message) bool {
	_, err := m.spool.Check(queue.Active, msg.id)
	if err == nil && !msg.poison {
		return false
	}
	if err != nil && !errors.Is(err, queue.ErrNotReady) && !errors.Is(err, fs.ErrNotExist) {
		return false // unknown; the next step will tell
	}
	if !errors.Is(err, fs.ErrNotExist) {
		m.intake.setAside(queue.Active, msg.id)
	}
	msg.gone = true
	return true
}

// reportTrace sends the delivery report, if somebody asked for one.
func (m *qmgr) reportTrace(msg *message) {
	const asked = proto.DeliverVerify | proto.DeliverRecord | proto.DeliverDelayed
	if msg.trace&asked == 0 && msg.env.Flags&(proto.NotifySuccess<<1) == 0 {
		return
	}
	if has, err := m.spool.HasLog(queue.Trace, msg.id); err == nil && !has {
		return
	}
	if err := m.trace.Trace(msg.trace, msg.about()); err != nil {
		m.notTold(msg, "trace", err)
		return
	}
	if msg.env.TraceFlags == proto.DeliverRecord && msg.env.TraceOffset > 0 {
		m.edit(msg, func(f *queue.Message) error { return f.MarkKilled(msg.env.TraceOffset) })
	}
}

// expired reports whether a message has waited long enough. As long as a
// failure could not be told, the message stays, for it is all that is known
// about that failure.
func (m *qmgr) expired(msg *message, age time.Duration) bool {
	if msg.untold {
		return false
	}
	set := m.set.Load()
	limit := set.lifetime
	if msg.env.Sender == "" {
		limit = set.bounceLifetime
	}
	return msg.forceExpire || age >= limit
}

// giveUp returns the recipients that are still deferred to the sender.
func (m *qmgr) giveUp(msg *message) {
	status := "expired"
	if msg.forceExpire {
		status = "force-expired"
	}
	m.log.Expired(msg.id, m.set.Load().logForm(msg.env.Sender), status)
	err := m.completeLog(msg)
	if err == nil {
		err = m.flush(m.defers, msg)
	}
	if err != nil {
		m.notTold(msg, "bounce", err)
		return
	}
	msg.deferred = false
}

// completeLog makes sure that each recipient that is not done is in the defer
// log, because after this the file goes. The log lacks a recipient whose agent
// died, whose agent could not write it, or that could not be read.
func (m *qmgr) completeLog(msg *message) error {
	logged, err := m.logged(msg.id)
	if err != nil {
		return err
	}
	f, err := m.spool.Open(queue.Active, msg.id, queue.NoLock)
	if err != nil {
		return err
	}
	defer m.intake.close(f)
	env, err := f.Envelope(maxBatch)
	if err != nil {
		return err
	}
	rcpts, next := env.Rcpts, env.Next
	if env.Redirect != "" && len(rcpts) > 0 {
		rcpts, next = rcpts[:1], 0 // the one in place of all others
	}
	for {
		for _, r := range rcpts {
			if logged[r.Offset] {
				continue
			}
			why := dsn.Outcome{Status: "4.4.7", Action: dsn.Delayed, Reason: "delivery time expired"}
			if err := m.defers.Append(proto.BounceClean, msg.id, proto.Rcpt(r), why); err != nil {
				return err
			}
		}
		if next == 0 {
			return nil
		}
		if rcpts, next, err = f.MoreRcpts(env, next, maxBatch); err != nil {
			return err
		}
	}
}

// logged returns which recipients are in the defer log, by their offsets in
// the queue file.
func (m *qmgr) logged(id string) (map[int64]bool, error) {
	offsets := make(map[int64]bool)
	l, err := m.spool.OpenLog(queue.Defer, id)
	if errors.Is(err, fs.ErrNotExist) {
		return offsets, nil
	}
	if err != nil {
		return nil, err
	}
	defer l.Close() // only read
	for {
		e, err := l.Next()
		if errors.Is(err, io.EOF) {
			return offsets, nil
		}
		if err != nil {
			return nil, err
		}
		offsets[e.Offset] = true
	}
}

// warnSender tells the sender that the message is late, once.
func (m *qmgr) warnSender(msg *message) {
	if err := m.defers.Warn(0, msg.about()); err != nil {
		m.notTold(msg, "delay warning", err)
		return
	}
	m.edit(msg, func(f *queue.Message) error { return f.MarkWarned(msg.env.WarnOffset) })
}

// edit changes one record of an active file. A failure means that something
// is told twice.
func (m *qmgr) edit(msg *message, change func(*queue.Message) error) {
	f, err := m.spool.Open(queue.Active, msg.id, queue.NoLock)
	if err == nil {
		err = change(f)
		m.intake.close(f)
	}
	if err != nil {
		m.log.Warning("%s: %v", msg.id, err)
	}
}

// left forgets a message that has left the active queue. While its file can't
// be moved it stays in memory, so that nobody delivers it again.
func (m *qmgr) left(msg *message, err error) {
	if err == nil {
		m.drop(msg)
		return
	}
	m.log.Warning("%v", err)
	m.alarms.after(settleRetry, func() {
		age := m.jumps.age(msg.env.Created, m.clock.Now())
		m.closers.do(func() func() {
			err := m.leave(msg, age)
			return func() { m.left(msg, err) }
		})
	})
}

// leave takes the file out of the active queue: removed when no recipient is
// left, else deferred until its next try.
func (m *qmgr) leave(msg *message, age time.Duration) error {
	var err error
	switch {
	case msg.gone:
		return nil
	case msg.deferred:
		err = m.putOff(msg.id, age)
	default:
		if err = m.spool.Remove(queue.Active, msg.id); err == nil {
			m.log.Removed(msg.id)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		m.log.Warning("%v", err) // postsuper was faster
		return nil
	}
	return err
}

// putOff moves a file to deferred. Its next try is as far away as it has been
// in the queue, within minimal_backoff_time and maximal_backoff_time.
func (m *qmgr) putOff(id string, age time.Duration) error {
	set := m.set.Load()
	delay := max(min(age, set.maximalBackoff), set.minimalBackoff)
	if err := m.spool.SetTime(queue.Active, id, m.clock.Now().Add(delay)); err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	if err := m.spool.Move(id, queue.Active, queue.Deferred); err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	return nil
}

// drop takes a message out of memory.
func (m *qmgr) drop(msg *message) {
	msg.next = 0
	for _, j := range msg.jobs {
		delete(j.t.jobs, msg)
	}
	delete(m.messages, msg.id)
	delete(m.partial, msg)
	if isProbe(msg) {
		m.probes--
	}
	if !msg.deferred || msg.gone {
		delete(m.losses, msg.id)
	}
}
