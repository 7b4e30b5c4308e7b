package main

import (
	"errors"
	"io"
	"io/fs"
	"sync"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// A flush is the service: the destinations it cares for, and the spool.
type flush struct {
	spool       *queue.Spool
	log         *maillog.Logger
	now         func() time.Time
	mayFlush    func(site string) (bool, error) // fast_flush_domains
	trigger     func(request ...byte)           // to the queue manager
	refreshTime time.Duration                   // fast_flush_refresh_time
	purgeTime   time.Duration                   // fast_flush_purge_time
	background  func(func())                    // runs something that nobody waits for
	refreshing  sync.Mutex
}

// do serves one request. A refresh or purge, which nobody waits for, goes on
// after the answer.
func (f *flush) do(r proto.FlushRequest) proto.FlushStatus {
	switch r.Verb {
	case proto.FlushAdd:
		return f.add(r.Site, r.QueueID)
	case proto.FlushSendSite:
		return f.sendSite(r.Site)
	case proto.FlushSendFile:
		return f.sendFile(r.QueueID)
	case proto.FlushRefresh:
		f.background(func() { f.refresh(f.refreshTime) })
	case proto.FlushPurge:
		f.background(func() { f.refresh(everything) })
	}
	return proto.FlushOK
}

// site is the ASCII form of a destination that may be flushed; else the
// status says why not.
func (f *flush) site(name string) (ascii string, status proto.FlushStatus) {
	match, err := f.mayFlush(name)
	if err != nil {
		f.log.Warning("%v", err)
		return "", proto.FlushFail
	}
	if !match {
		return "", proto.FlushDenied
	}
	if addr.IsASCII(name) { // address literals too
		return name, proto.FlushOK
	}
	if ascii, err = addr.DomainToASCII(name); err != nil {
		return "", proto.FlushDenied
	}
	return ascii, proto.FlushOK
}

// add notes that a message waits for a destination.
func (f *flush) add(name, id string) proto.FlushStatus {
	if !queue.ValidID(id) {
		return proto.FlushBadSite
	}
	site, status := f.site(name)
	if status != proto.FlushOK {
		return status
	}
	if !queue.ValidID(queue.SiteName(site)) {
		return proto.FlushBadSite
	}
	if err := f.spool.AppendSite(site, id); err != nil {
		f.log.Warning("%v", err)
		return proto.FlushFail
	}
	return proto.FlushOK
}

// sendSite asks for delivery of what waits for a destination, whatever the
// queue manager thinks of it.
func (f *flush) sendSite(name string) proto.FlushStatus {
	site, status := f.site(name)
	if status != proto.FlushOK {
		return status
	}
	log := queue.SiteName(site)
	if !queue.ValidID(log) {
		return proto.FlushBadSite
	}
	if _, err := f.spool.Stat(queue.Flush, log); errors.Is(err, fs.ErrNotExist) {
		return proto.FlushOK // nothing waits
	}
	// Before the messages move: the queue manager takes them as soon as it
	// sees them.
	f.trigger(proto.TriggerFlush)
	return f.sendLog(log)
}

// sendLog moves the messages of a log, and wakes the queue manager for them.
func (f *flush) sendLog(log string) proto.FlushStatus {
	moved := 0
	now := f.now()
	err := f.spool.FlushSite(log, func(id string) {
		if f.move(id, now) {
			moved++
		}
	})
	if moved > 0 {
		f.trigger(proto.TriggerIncoming)
	}
	if err != nil {
		f.log.Warning("%v", err)
		return proto.FlushFail
	}
	return proto.FlushOK
}

// move makes a deferred message one to be delivered now. A message that went
// away in the meantime needs nothing.
func (f *flush) move(id string, now time.Time) bool {
	for _, name := range []string{queue.Deferred, queue.Incoming} {
		err := f.spool.SetTime(name, id, now)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			f.log.Warning("update time stamp: %v", err)
			continue
		}
		if name == queue.Incoming {
			return true // another flush moved it
		}
		if err := f.spool.Move(id, queue.Deferred, queue.Incoming); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.log.Warning("move to the incoming queue: %v", err)
		}
		return true
	}
	return false
}

// sendFile asks for delivery of one message, whatever the queue manager
// thinks of its destinations: a bit in the mode of the file tells it.
func (f *flush) sendFile(id string) proto.FlushStatus {
	if !queue.ValidID(id) {
		return proto.FlushBadSite
	}
	for _, name := range []string{queue.Deferred, queue.Incoming} {
		m, err := f.spool.Open(name, id, queue.NoLock)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, queue.ErrNotReady):
			continue
		case err != nil:
			f.log.Warning("%v", err)
			continue
		}
		err = errors.Join(m.Chmod(m.Info.Mode.Perm()&queue.ForceExpire|queue.Unthrottle), m.Close())
		if err != nil {
			f.log.Warning("%s: %v", id, err)
		}
		break
	}
	if f.move(id, f.now()) {
		f.trigger(proto.TriggerIncoming)
	}
	return proto.FlushOK
}

// refresh removes the logs that were empty for long, and delivers from those
// that nobody read for age.
func (f *flush) refresh(age time.Duration) {
	if !f.refreshing.TryLock() {
		return // one is under way
	}
	defer f.refreshing.Unlock()
	scan := f.spool.Scan(queue.Flush)
	defer scan.Close()
	for {
		e, err := scan.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			f.log.Warning("scan of the flush logs: %v", err)
			return
		}
		st, err := f.spool.Stat(queue.Flush, e.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			f.log.Warning("%v", err)
		case st.Size == 0:
			if err := f.spool.PurgeSite(e.Name, f.now().Add(-f.purgeTime)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				f.log.Warning("%v", err)
			}
		case st.Access.Add(age).Before(f.now()):
			f.sendLog(e.Name)
		}
	}
}
