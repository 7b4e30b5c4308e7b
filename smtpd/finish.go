package main

import (
	"strconv"

	"postroad/libmail/dsn"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/record"
)

// endMessage is what happens after the last byte of a message.
//
// Cleanup has the message in its queue file, synced and complete, when finish
// returns status 0. The reply 250 is made after that and nowhere else. When the
// outcome is unknown the client hears a temporary error and comes again:
// better two copies than none.
func (s *session) endMessage() reply {
	if s.mail.problems == 0 && !s.alone {
		if r := s.checkEndOfData(); r != nil {
			s.resetMail()
			return *r
		}
	}
	reason := s.closeQueue()
	r := s.verdict(reason)
	s.resetMail()
	return r
}

// closeQueue hands over what cleanup is still to know, and waits for its
// verdict, or drops a message that is no good.
func (s *session) closeQueue() (reason string) {
	m := &s.mail
	q := m.queue
	m.queue = nil
	if m.problems != 0 {
		q.abort()
		return ""
	}
	q.put(record.Extracted, "")
	a := &m.actions
	if a.filter != "" {
		q.put(record.Filter, a.filter)
	}
	if a.redirect != "" {
		q.put(record.Redirect, a.redirect)
	}
	for _, address := range a.bcc {
		q.put(record.Rcpt, address)
		q.attr("notify_flags", strconv.Itoa(proto.NotifyNever))
	}
	if flags := a.cleanupFlags(); flags != "" {
		q.put(record.Flags, flags)
	}
	status, reason, err := q.finish()
	if err != nil {
		s.log.Warning("%v", err)
		status |= proto.StatWrite
	}
	m.problems = status
	return reason
}

// cleanupFlags is the value of a flags record, or "".
func (a *actions) cleanupFlags() string {
	flags := 0
	if a.hold {
		flags |= proto.CleanupHold
	}
	if a.discard {
		flags |= proto.CleanupDiscard
	}
	if flags == 0 {
		return ""
	}
	return strconv.Itoa(flags)
}

// verdict is the reply for what became of the message. One message may suffer
// from several problems; the client hears of the first in this order.
func (s *session) verdict(reason string) reply {
	m := &s.mail
	problems := m.problems
	if problems == 0 {
		s.errors, s.junk, s.trouble = 0, 0, 0
		if m.bdat != noBDAT {
			return say(250, "2.0.0", "Ok: %d bytes queued as %s", m.size, m.id)
		}
		return say(250, "2.0.0", "Ok: queued as %s", m.id)
	}
	if problems&proto.StatBareLF != 0 {
		s.logEvent("reject", "bare <LF> received")
		return protocolError(s.params.bareLFCode, "5.5.2", "%s Error: bare <LF> received", s.params.hostname)
	}
	if r, ok := parseReply(reason); ok {
		r.class = policyTrouble
		return r
	}
	reason = maillog.Printable(reason)
	for _, v := range verdicts {
		if problems&v.problem == 0 {
			continue
		}
		switch {
		case v.problem == proto.StatBad:
			return reply{code: v.code, status: v.status, text: "Error: internal error " + strconv.Itoa(problems), class: v.class}
		case v.reasoned && reason != "":
			return reasonReply(v.code, v.status, reason, v.class)
		}
		return reply{code: v.code, status: v.status, text: "Error: " + v.text, class: v.class}
	}
	return reply{code: 451, status: "4.3.0", text: "Error: internal error " + strconv.Itoa(problems), class: softwareTrouble}
}

// verdicts are the problems in the order of their severity.
var verdicts = []struct {
	problem  int
	code     int
	status   string
	text     string
	class    trouble
	reasoned bool // cleanup may say it better, with a status of its own
}{
	{proto.StatDefer, 451, "4.7.1", "service unavailable", policyTrouble, true},
	{proto.StatBad, 451, "4.3.0", "internal protocol error", softwareTrouble, false},
	{proto.StatSize, 552, "5.3.4", "message file too big", bounceTrouble, false},
	{proto.StatHops, 554, "5.4.0", "too many hops", bounceTrouble, false},
	{proto.StatCont, 550, "5.7.1", "message content rejected", policyTrouble, true},
	{proto.StatWrite, 451, "4.3.0", "queue file write error", resourceTrouble, false},
	{proto.StatRcpt, 451, "4.3.0", "no recipients specified", softwareTrouble, false},
}

// reasonReply takes the words of a header or body check, which may begin with
// an enhanced status code.
func reasonReply(code int, status, reason string, class trouble) reply {
	status, text := dsn.Split(reason, status)
	return reply{code: code, status: status, text: text, class: class}
}
