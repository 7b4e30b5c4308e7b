package main

import (
	"errors"
	"fmt"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// A service is bounce, defer or trace: it answers proto.BounceService.
//
// The order of steps is the promise: an entry is synced before Append
// returns; a notice is queued before its log is removed, and before its
// recipients are marked done. What fails is tried again by qmgr, so that a
// notice may be sent twice, never not at all.
type service struct {
	params
	kind      string // directory of the logs: name of the service
	spool     *queue.Spool
	templates templates
	post      *proto.CleanupClient
	log       *maillog.Logger
	now       func() time.Time
}

// Append implements proto.BounceService.
func (s *service) Append(flags int, id string, r proto.Rcpt, o dsn.Outcome) error {
	return s.end(flags, id, s.spool.AppendLog(s.kind, id, queue.Rcpt(r), o))
}

// end logs why a request failed, and drops the log of a message that is
// about to be dropped itself.
func (s *service) end(flags int, id string, err error) error {
	if err == nil {
		return nil
	}
	s.log.Warning("%s: %v", id, err)
	if flags&proto.BounceClean != 0 {
		if errRemove := s.spool.RemoveLog(s.kind, id); errRemove != nil {
			s.log.Warning("%s: %v", id, errRemove)
		}
	}
	return err
}

// Flush implements proto.BounceService.
func (s *service) Flush(flags int, m proto.BounceMessage) error {
	return s.end(flags, m.QueueID, s.flush(flags, m))
}

func (s *service) flush(flags int, m proto.BounceMessage) error {
	s.restrict(&m)
	o, err := s.open(m)
	if err != nil {
		return err
	}
	defer o.close()
	if err := s.returnMail(m, o, s.logged(m.QueueID)); err != nil {
		return err
	}
	if flags&proto.BounceDelRcpt != 0 {
		if err := o.markDone(s.logged(m.QueueID)); err != nil && !errors.Is(err, errNoLog) {
			return err
		}
	}
	return s.spool.RemoveLog(s.kind, m.QueueID)
}

// returnMail sends the notices about failed recipients: to the sender and,
// where notify_classes says so, a copy to a postmaster; about a notice to a
// postmaster only; about a notice of that kind to nobody.
func (s *service) returnMail(m proto.BounceMessage, o *original, list entries) error {
	switch {
	case s.isDoubleBounce(m.Sender):
		s.log.Warning("%s: undeliverable postmaster notification discarded", m.QueueID)
		return nil
	case m.Sender == "" && !s.notify.bounce && !s.notify.double:
		return nil
	case m.Sender == "":
		return s.send(notice{m: m, o: o, class: failure, to: s.doubleRcpt, copy: true, list: list, kind: "postmaster non-delivery"})
	}
	err := s.send(notice{m: m, o: o, class: failure, to: m.Sender, list: list.wants(proto.NotifyFailure), headerOnly: m.RetFlags == proto.RetHeaders,
		kind: "sender non-delivery"})
	if err != nil {
		return err
	}
	s.copyTo(s.notify.bounce, notice{m: m, o: o, class: failure, to: s.bounceRcpt, list: list, kind: "postmaster non-delivery"}, "bouncing to")
	return nil
}

// copyTo sends a postmaster's copy. It is not worth sending the sender's
// notice once more, so a failure is only logged.
func (s *service) copyTo(wanted bool, n notice, doing string) {
	if !wanted {
		return
	}
	n.copy, n.headerOnly = true, true
	if err := s.send(n); err != nil {
		s.log.Warning("%s: postmaster notice failed while %s %s: %v", n.m.QueueID, doing, n.m.Sender, err)
	}
}

func (s *service) isDoubleBounce(sender string) bool { return addr.EqualFold(sender, s.doubleBounce) }

// Warn implements proto.BounceService: the log stays, for the next round.
func (s *service) Warn(flags int, m proto.BounceMessage) error {
	return s.end(flags, m.QueueID, s.warn(m))
}

func (s *service) warn(m proto.BounceMessage) error {
	s.restrict(&m)
	o, err := s.open(m)
	if err != nil {
		return err
	}
	defer o.close()
	list := s.logged(m.QueueID)
	switch {
	case s.isDoubleBounce(m.Sender):
		s.log.Warning("%s: undeliverable postmaster notification discarded", m.QueueID)
		return nil
	case m.Sender == "" && !s.notify.delay:
		return nil
	case m.Sender == "":
		return s.send(notice{m: m, o: o, class: delay, to: s.delayRcpt, copy: true, list: list, kind: "postmaster delay"})
	}
	err = s.send(notice{m: m, o: o, class: delay, to: m.Sender, list: list.wants(proto.NotifyDelay), headerOnly: true, kind: "sender delay"})
	if err != nil {
		return err
	}
	s.copyTo(s.notify.delay, notice{m: m, o: o, class: delay, to: s.delayRcpt, list: list, kind: "postmaster delay"}, "warning")
	return nil
}

// VERP implements proto.BounceService.
func (s *service) VERP(flags int, m proto.BounceMessage, delims string) error {
	if len(delims) != 2 {
		return s.end(flags, m.QueueID, fmt.Errorf("malformed verp delimiter string: %q", delims))
	}
	if m.Sender == "" || s.isDoubleBounce(m.Sender) {
		s.log.Warning("request to send VERP-style notification of bounced mail")
		return s.Flush(flags, m)
	}
	return s.end(flags, m.QueueID, s.verp(flags, m, delims))
}

// verp sends a notice for each recipient, and stops at the first trouble.
func (s *service) verp(flags int, m proto.BounceMessage, delims string) error {
	s.restrict(&m)
	o, err := s.open(m)
	if err != nil {
		return err
	}
	defer o.close()
	err = s.logged(m.QueueID)(func(e queue.LogEntry) error {
		n := notice{m: m, o: o, class: failure, to: verpSender(m.Sender, delims, e.Rcpt), list: one(e).wants(proto.NotifyFailure),
			headerOnly: m.RetFlags == proto.RetHeaders, kind: "sender non-delivery"}
		if err := s.send(n); err != nil {
			return err
		}
		if flags&proto.BounceDelRcpt != 0 {
			if err := o.markDone(one(e)); err != nil {
				return err
			}
		}
		s.copyTo(s.notify.bounce, notice{m: m, o: o, class: failure, to: s.bounceRcpt, list: one(e), kind: "postmaster non-delivery"}, "bouncing to")
		return nil
	})
	if errors.Is(err, errNoLog) {
		err = s.returnMail(m, o, one(queue.LogEntry{
			Rcpt:    queue.Rcpt{Address: "(recipient address unavailable)"},
			Outcome: dsn.Outcome{Status: "5.0.0", Action: dsn.Failed, Reason: "(error report unavailable)"},
		}))
	}
	if err != nil {
		return err
	}
	return s.spool.RemoveLog(s.kind, m.QueueID)
}

// verpSender puts a recipient into the sender's address: list@host becomes
// list+user=domain@host.
func verpSender(sender, delims string, r queue.Rcpt) string {
	local, domain, qualified := addr.SplitDomain(sender)
	rcpt := r.Orig // what the list knows
	if rcpt == "" {
		rcpt = r.Address
	}
	user, host, _ := addr.SplitDomain(rcpt)
	out := local + delims[:1] + user
	if host != "" {
		out += delims[1:] + host
	}
	if qualified && domain != "" {
		out += "@" + domain
	}
	return out
}

// One implements proto.BounceService.
func (s *service) One(flags int, m proto.BounceMessage, r proto.Rcpt, o dsn.Outcome) error {
	return s.end(flags, m.QueueID, s.bounceOne(flags, m, r, o))
}

func (s *service) bounceOne(flags int, m proto.BounceMessage, r proto.Rcpt, outcome dsn.Outcome) error {
	if s.kind != queue.Bounce {
		return fmt.Errorf("wrong service name %q for one-recipient bouncing", s.kind)
	}
	s.restrict(&m)
	o, err := s.open(m)
	if err != nil {
		return err
	}
	defer o.close()
	e := one(printable(r, outcome))
	if err := s.returnMail(m, o, e); err != nil {
		return err
	}
	if flags&proto.BounceDelRcpt != 0 {
		return o.markDone(e)
	}
	return nil
}

// printable is an entry as it would come out of a log.
func printable(r proto.Rcpt, o dsn.Outcome) queue.LogEntry {
	e := queue.LogEntry{Rcpt: queue.Rcpt(r), Outcome: o}
	for _, text := range []*string{
		&e.Address, &e.Orig, &e.DSNOrig,
		&e.Outcome.Status, &e.Outcome.Action, &e.Outcome.Reason,
		&e.Outcome.DiagType, &e.Outcome.DiagText, &e.Outcome.MTAType, &e.Outcome.MTAName,
	} {
		*text = maillog.Printable(*text)
	}
	return e
}

// Delivery request flags that make a trace report one of sendmail -bv or -v.
const (
	traceVerify = 512
	traceRecord = 1024
)

// Trace implements proto.BounceService.
func (s *service) Trace(flags int, m proto.BounceMessage) error {
	return s.end(flags, m.QueueID, s.trace(flags, m))
}

func (s *service) trace(flags int, m proto.BounceMessage) error {
	s.restrict(&m)
	n := notice{m: m, class: success, to: m.Sender, list: s.logged(m.QueueID), headerOnly: true, kind: "sender delivery status"}
	if flags&(traceVerify|traceRecord) != 0 {
		n.class = verify
	}
	switch {
	case s.isDoubleBounce(m.Sender):
		s.log.Info("%s: not sending trace/success notification for double-bounce message", m.QueueID)
		return s.spool.RemoveLog(s.kind, m.QueueID)
	case m.Sender == "" && !s.notify.double:
		s.log.Info("%s: not sending trace/success notification for single-bounce message", m.QueueID)
		return s.spool.RemoveLog(s.kind, m.QueueID)
	case m.Sender == "":
		n.to, n.from = s.doubleRcpt, s.doubleBounce
	}
	var err error
	if n.o, err = s.open(m); err != nil {
		return err
	}
	defer n.o.close()
	if err := s.send(n); err != nil {
		return err
	}
	return s.spool.RemoveLog(s.kind, m.QueueID)
}

// restrict keeps a notice about a message that wants TLS everywhere from
// showing more than its header where there is none (RFC 8689 §5).
func (s *service) restrict(m *proto.BounceMessage) {
	if !s.reqTLS || m.SendOpts&proto.SendOptRequireTLS == 0 {
		return
	}
	m.SendOpts &^= proto.SendOptNoRequireTLS
	if s.redact {
		m.SendOpts &^= proto.SendOptRequireTLS
		m.RetFlags = proto.RetHeaders
	}
}
