package main

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"syscall"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// A message is one file of the active queue. Its body stays on disk, and of a
// long list of recipients only a part is in memory.
type message struct {
	id     string
	seq    uint64        // order of admission
	since  time.Duration // clock.Elapsed at admission
	active time.Time     // wall clock at admission
	env    *queue.Envelope
	trace  int   // trace flags of the delivery requests
	next   int64 // where the recipients in the file go on; 0: all are read
	unread int   // how many of them there may be

	deferred    bool // a recipient must be tried again
	untold      bool // failures could not be told to the sender
	poison      bool // it killed its agents: set it aside
	gone        bool // its file has left the active queue
	forceExpire bool // postsuper -e: return it, whatever its age
	flushEach   bool // postqueue -i: forget dead destinations for it
	anyway      bool // defer_transports does not hold for it

	jobs     []*job
	rcpts    int           // recipients in memory
	pending  int           // entries that wait or have an agent
	refilled time.Duration // clock.Elapsed when recipients were last read
	reading  bool          // recipients are being read
}

// maxBatch bounds the recipients that are read from a file at once.
const maxBatch = 5000

// A candidate is a file that may enter the active queue.
type candidate struct {
	queue, id string
	ignore    ignoreFlags
	batch     int // most recipients to read
}

// ignoreFlags say what a flush request ignores.
type ignoreFlags struct {
	times      bool // of deferred files
	deferredBy bool // defer_transports
}

// Why a candidate was left where it is.
var (
	errEarly   = errors.New("its time has not come")
	errTrouble = errors.New("out of resources")
)

// intake reads messages from their files. It works on goroutines of its own
// and knows nothing of the scheduler.
type intake struct {
	spool  *queue.Spool
	router *router
}

// take brings a message into the active queue: opened, locked, found complete
// and in order, renamed, its recipients routed. On error it is where it was,
// or in corrupt.
func (in *intake) take(c candidate) (msg *message, routes []route, err error) {
	defer in.recovered(c.queue, c.id, &err)
	f, err := in.spool.Open(c.queue, c.id, queue.Exclusive)
	if err != nil {
		return nil, nil, in.refused(c, err)
	}
	defer in.close(f)
	now := in.router.clock.Now()
	if !c.ignore.times && f.ModTime().After(now.Add(time.Second)) {
		return nil, nil, errEarly
	}
	env, err := f.Envelope(c.batch)
	if err != nil {
		return nil, nil, in.unreadable(c, err)
	}
	if err = in.spool.Move(c.id, c.queue, queue.Active); err != nil {
		return nil, nil, in.refused(c, err)
	}
	msg = &message{id: c.id, env: env, active: now, anyway: c.ignore.deferredBy, next: env.Next, unread: env.Unread}
	routes, err = in.open(msg, f)
	return msg, routes, err
}

// open looks at the state of a file that has just become active, and routes
// its first recipients.
func (in *intake) open(msg *message, f *queue.Message) ([]route, error) {
	log, env, set := in.router.log, msg.env, in.router.settings()
	log.Active(msg.id, set.logForm(env.Sender), env.ContentLength, env.Sizes.Rcpts)
	for _, note := range env.Notes {
		log.Warning("%s: %s", msg.id, note)
	}
	msg.trace = env.TraceFlags & (proto.DeliverTraceOnly | proto.DeliverRecord | proto.DeliverDelayed)
	if set.delayCleared && env.Warn < 0 {
		msg.trace |= proto.DeliverDelayed
	}
	mode := f.Info.Mode
	msg.forceExpire = mode&queue.ForceExpire != 0
	if mode&queue.Unthrottle != 0 {
		msg.flushEach, msg.anyway = true, true
		if err := f.Chmod(mode & queue.ForceExpire); err != nil {
			log.Warning("%s: %v", msg.id, err) // it is flushed once more
		}
	}
	rcpts := env.Rcpts
	env.Rcpts, env.Attrs, env.Notes = nil, nil, nil
	if msg.forceExpire {
		if has, err := in.spool.HasLog(queue.Defer, msg.id); err == nil && has {
			// The log of the last round says why; no delivery is tried.
			msg.deferred, msg.next, msg.unread = true, 0, 0
			return nil, nil
		}
	}
	// This round makes a log of its own. The old one speaks of recipients
	// that are still in the file.
	if err := in.spool.RemoveLog(queue.Defer, msg.id); err != nil {
		log.Warning("%s: %v", msg.id, err)
	}
	return in.router.routes(msg, f, rcpts), nil
}

// more reads the next recipients of an active message, at most batch.
func (in *intake) more(msg *message, next int64, unread, batch int) (routes []route, after int64, left int, err error) {
	defer in.recovered(queue.Active, msg.id, &err)
	f, err := in.spool.Open(queue.Active, msg.id, queue.NoLock)
	if err != nil {
		return nil, next, unread, err
	}
	defer in.close(f)
	rcpts, after, err := f.MoreRcpts(msg.env, next, batch)
	if err != nil {
		return nil, next, unread, in.unreadable(candidate{queue: queue.Active, id: msg.id}, err)
	}
	left = max(unread-len(rcpts), 0)
	if after == 0 {
		left = 0
	}
	return in.router.routes(msg, f, rcpts), after, left, nil
}

// refused says what to do with a file that can't be opened, read or moved: it
// comes later, it has gone, it is left alone (ErrUnsafe), or all files have to
// wait for resources (errTrouble).
func (in *intake) refused(c candidate, err error) error {
	switch {
	case errors.Is(err, queue.ErrBusy):
		in.router.log.Info("%s: skipped, still being delivered", c.id)
		at := in.router.clock.Now().Add(time.Minute)
		if err := in.spool.SetTime(c.queue, c.id, at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			in.router.log.Warning("%s: %v", c.id, err)
		}
		return errEarly
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, queue.ErrNotReady), errors.Is(err, queue.ErrUnsafe):
		return err
	}
	for _, scarce := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS} {
		if errors.Is(err, scarce) {
			return fmt.Errorf("%w: %w", errTrouble, err)
		}
	}
	return fmt.Errorf("%w: %w", queue.ErrUnsafe, err)
}

// unreadable sets a damaged file aside, whole. What only failed to be read
// stays where it is.
func (in *intake) unreadable(c candidate, err error) error {
	if !errors.Is(err, queue.ErrCorrupt) {
		return in.refused(c, err)
	}
	in.router.log.Warning("%s: message rejected: %v", c.id, err)
	in.setAside(c.queue, c.id)
	return err
}

// setAside moves a file to corrupt.
func (in *intake) setAside(from, id string) {
	err := in.spool.Move(id, from, queue.Corrupt)
	switch {
	case err == nil:
		in.router.log.Corrupt(id, from, queue.Corrupt)
	case !errors.Is(err, fs.ErrNotExist):
		in.router.log.Warning("%s: %v", id, err)
	}
}

// recovered sets a file aside that our own code can't bear, so that it stops
// nobody else.
func (in *intake) recovered(from, id string, err *error) {
	if p := recover(); p != nil {
		in.router.log.Panic("%s: %v: %s", id, p, debug.Stack())
		in.setAside(from, id)
		in.setAside(queue.Active, id)
		*err = queue.ErrCorrupt
	}
}

func (in *intake) close(f *queue.Message) {
	if err := f.Close(); err != nil {
		in.router.log.Warning("%s: close: %v", f.ID, err) // marks are written already
	}
}

// request is the delivery request for an entry.
func (e *entry) request(set *settings, now time.Time, flags int) *proto.Request {
	msg, d := e.peer.job.msg, e.peer.d
	env := msg.env
	sender, options := env.Sender, env.SendOpts
	for i := range e.rcpts {
		if set.utf8 && isUTF8(e.rcpts[i].Address) {
			options |= proto.SendOptUTF8Rcpt
			if env.VERP != "" {
				options |= proto.SendOptUTF8Sender
			}
		}
	}
	if env.VERP != "" {
		sender = verp(env.VERP, sender, &e.rcpts[0])
	}
	flags |= msg.trace | proto.DeliverSuccess
	if env.Inspector == "" {
		flags |= proto.DeliverBounce
	}
	return &proto.Request{
		Flags: flags, QueueName: queue.Active, QueueID: msg.id, Offset: env.DataOffset, Size: env.ContentLength,
		Nexthop: d.nexthop, Encoding: env.Encoding, SendOpts: options, Sender: sender,
		EnvelopeID: env.EnvelopeID, RetFlags: env.RetFlags,
		Stats:  proto.MsgStats{Arrival: env.Arrival, Active: msg.active, Handover: now},
		Client: proto.Client(env.LogClient), SASL: proto.SASL(env.SASL),
		LogIdent: env.LogIdent, RewriteContext: env.RewriteContext, Rcpts: e.rcpts,
	}
}

// about is what the bounce service needs to know of a message.
func (msg *message) about() proto.BounceMessage {
	env := msg.env
	return proto.BounceMessage{QueueName: queue.Active, QueueID: msg.id, Encoding: env.Encoding,
		SendOpts: env.SendOpts, Sender: env.Sender, EnvelopeID: env.EnvelopeID, RetFlags: env.RetFlags}
}

// verp changes prefix@origin into prefix+user=domain@origin, with the
// delimiters that the message brings; the original recipient counts, because
// that is what the list knows.
func verp(delimiters, sender string, r *proto.Rcpt) string {
	rcpt := r.Orig
	if rcpt == "" {
		rcpt = r.Address
	}
	local, origin, _ := addr.SplitDomain(sender)
	user, domain, _ := addr.SplitDomain(rcpt)
	result := local + delimiters[:1] + user
	if domain != "" {
		result += delimiters[1:2] + domain
	}
	if origin != "" {
		result += "@" + origin
	}
	return result
}
