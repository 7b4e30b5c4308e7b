package main

import (
	"errors"

	"postroad/libmail/dsn"
	"postroad/libmail/proto"
)

// returnToSender sends a message that cannot be queued back: an entry for
// each recipient in the bounce log, then the notice. When the notice is
// queued the message has had its end, and its client hears of success. When
// it is not, the client keeps the message.
func (s *session) returnToSender() {
	o := s.failure()
	rcpts := 0
	err := s.readBack(func(p pending, address string, offset int64) {
		rcpts++
		s.bounced(p.rcpt(address, offset), o)
	})
	if err != nil {
		s.writeFailed(err)
		return
	}
	if rcpts == 0 {
		s.bounced(proto.Rcpt{Address: "unknown"}, o)
	}
	if s.errs&proto.StatWrite == 0 {
		if err := s.sendNotice(); err != nil {
			s.log.Warning("%s: bounce message failure: %v", s.id, err)
			s.errs |= proto.StatWrite
		}
	}
	if s.errs &= proto.StatWrite; s.errs == 0 {
		s.flags |= proto.CleanupDiscard
	}
}

// failure is what the sender is told.
func (s *session) failure() dsn.Outcome {
	o := dsn.Outcome{Action: dsn.Failed}
	if s.reason != "" {
		o.Status, o.Reason = dsn.Split(s.reason, "5.0.0")
		return o
	}
	o.Status, o.Reason = proto.StatText(s.errs)
	return o
}

var errSoftBounce = errors.New("soft_bounce is on")

// bounced adds a recipient to the bounce log. With soft_bounce nothing
// bounces: the client keeps the message.
func (s *session) bounced(r proto.Rcpt, o dsn.Outcome) {
	if s.errs&proto.StatWrite != 0 {
		return
	}
	err := errSoftBounce
	if !s.softBounce {
		err = s.bounce.Append(proto.BounceClean, s.id, r, o)
	}
	if err != nil {
		s.log.Warning("%s: bounce service failure: %v", s.id, err)
		s.errs |= proto.StatWrite
		return
	}
	s.logDelivery(r, o, "bounced")
}

// sendNotice has the bounce log sent. Content that was refused does not go
// along.
func (s *session) sendNotice() error {
	ret := s.ret
	if s.errs&(proto.StatCont|proto.StatSize) != 0 {
		ret = proto.RetHeaders
	}
	m := proto.BounceMessage{
		QueueName: s.file.Queue, QueueID: s.id, Encoding: s.attr("encoding"), SendOpts: s.sendOpts,
		Sender: s.sender, EnvelopeID: s.envelopeID, RetFlags: ret,
	}
	if s.verp != "" && s.verpBounces {
		return s.cleanup.bounce.VERP(proto.BounceClean, m, s.verp)
	}
	return s.cleanup.bounce.Flush(proto.BounceClean, m)
}
