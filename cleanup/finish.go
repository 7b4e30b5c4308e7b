package main

import (
	"errors"
	"io/fs"

	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// Finish decides what becomes of the message. The order of the steps is what
// keeps mail safe:
//
//  1. the sizes are filled in;
//  2. what cannot be queued is returned, if its client asked for that;
//  3. the file is made complete and synced, then its directory (Commit): from
//     here on the message is ours, and nothing below removes it;
//  4. the queue manager hears of it;
//  5. the client hears status 0.
func (s *session) Finish() (status int, reason string) {
	if s.sound() {
		if !s.rcptSeen {
			s.errs |= proto.StatRcpt
		}
		if !s.ended {
			s.errs |= proto.StatBad
		}
	}
	if s.flags&proto.CleanupDiscard != 0 {
		s.errs = 0 // whatever is wrong, nobody shall know
	}
	if s.sound() {
		s.putSizes()
	}
	if s.errs != 0 && s.errs&notReturnable == 0 && s.senderSeen && s.flags&proto.CleanupBounce != 0 {
		s.returnToSender()
	}
	if s.errs == 0 && s.flags&proto.CleanupDiscard == 0 {
		s.commit()
	}
	if s.errs != 0 || s.flags&proto.CleanupDiscard != 0 {
		s.cancel()
	}
	return s.errs, s.reason
}

// putSizes fills in the first record of the file.
func (s *session) putSizes() {
	err := s.file.SetSizes(queue.Sizes{
		DataSize: s.contentLength, DataOffset: s.dataOffset, ContentLength: s.contentLength,
		Rcpts: s.rcptCount, Flags: s.qmgrFlags, SendOpts: s.sendOpts,
	})
	if err != nil {
		s.writeFailed(err)
	}
}

// commit makes the message durable, in incoming or in hold.
func (s *session) commit() {
	if s.flags&proto.CleanupHold != 0 {
		if err := s.file.Move(queue.Hold); err != nil {
			s.writeFailed(err)
			return
		}
		s.flow.Give(1) // the queue manager will not take this one
	}
	if err := s.file.Commit(0); err != nil {
		s.writeFailed(err)
		return
	}
	if s.file.Queue == queue.Incoming {
		s.qmgr.queued(s.id)
	}
}

// cancel removes what there is of the message.
func (s *session) cancel() {
	if s.traced {
		if err := s.spool.RemoveLog(queue.Trace, s.id); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warning("%s: remove trace log: %v", s.id, err)
		}
	}
	s.file.Abort()
	why := "discarded"
	if s.errs != 0 {
		why = "canceled"
	}
	s.log.Info("%s: removed (%s)", s.id, why)
}

// readBack calls each with the recipients that are in the queue file so far.
func (s *session) readBack(each func(p pending, address string, offset int64)) error {
	if _, err := s.file.ReadAt(nil, 0); err != nil {
		return err
	}
	w := record.NewWalker(s.file, queue.MaxRecord)
	for p := (pending{}); ; {
		t, data, err := w.Next()
		if err != nil {
			return nil // the end, also where the file ends early
		}
		value := string(data)
		if t == record.Attr {
			name, v, err := queue.SplitAttr(data)
			if err != nil {
				continue
			}
			if m := queue.AttrType(name); m != 0 {
				t, value = m, string(v)
			}
		}
		switch t {
		case record.DSNRcpt:
			p.dsnOrig = value
		case record.DSNNotify:
			p.notify, _ = digits(value)
		case record.OrigRcpt:
			p.orig, p.hasOrig = value, true
		case record.Rcpt:
			if !p.hasOrig {
				p.orig = value
			}
			each(p, value, w.Offset())
			p = pending{}
		case record.Done, record.Cancelled:
			p = pending{}
		}
	}
}
