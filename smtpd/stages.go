package main

import (
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/maillog"
)

// The stages of a transaction ask for a decision here. A nil reply is yes.
//
//	connect    smtpd_client_restrictions      at once, or with each RCPT
//	HELO       smtpd_helo_restrictions        (smtpd_delay_reject)
//	MAIL       smtpd_sender_restrictions
//	RCPT       smtpd_relay_restrictions, smtpd_recipient_restrictions,
//	           does the recipient exist?
//	DATA       smtpd_data_restrictions
//	message    smtpd_end_of_data_restrictions
//	ETRN       smtpd_etrn_restrictions

// begin prepares the evaluation of a stage; inherited is what an earlier one
// left unclear.
func (e *evaluation) begin(inherited *reply) {
	e.deferIfPermit = inherited
	e.depth, e.warnIfReject, e.deferIfReject = 0, 0, nil
}

// outcome is the reply for a verdict.
func (s *session) outcome(v verdict) *reply {
	if v != refuse {
		return nil
	}
	return s.rules.refusal
}

// settleDeferral refuses a permitted request when an earlier temporary error
// may have kept us from refusing it.
func (s *session) settleDeferral(v verdict) verdict {
	if d := s.rules.deferIfPermit; v != refuse && d != nil {
		return s.refuse(d.class, d.code, d.status, "%s", d.text)
	}
	return v
}

func first(replies ...*reply) *reply {
	for _, r := range replies {
		if r != nil {
			return r
		}
	}
	return nil
}

// checkClient decides about the client's name and address.
func (s *session) checkClient() *reply {
	e := &s.rules
	e.begin(nil)
	v := s.apply(s.rulers.client, subject{s.client.namaddr, aboutClient, findRestriction("check_client_access")})
	e.afterClient = e.deferIfPermit
	return s.outcome(v)
}

// checkHELO decides about the name that the client gives itself.
func (s *session) checkHELO(name string) *reply {
	if name == "" {
		return nil
	}
	e := &s.rules
	before := s.helo
	s.helo = name
	defer func() { s.helo = before }()
	e.begin(e.afterClient)
	v := s.apply(s.rulers.helo, subject{name, aboutHELO, findRestriction("check_helo_access")})
	e.afterHELO = e.deferIfPermit
	return s.outcome(v)
}

// checkMAIL decides about the sender.
func (s *session) checkMAIL(sender string) *reply {
	e := &s.rules
	before := s.mail.sender
	s.mail.sender = &sender
	defer func() { s.mail.sender = before }()
	e.begin(first(e.afterClient, e.afterHELO))
	e.senderListed = false
	v := s.apply(s.rulers.sender, subject{sender, aboutSender, findRestriction("check_sender_access")})
	e.afterSender = e.deferIfPermit
	if s.params.rejectUnlistedSender && v != refuse && !e.senderListed && !s.mail.actions.discard && sender != "" {
		v = s.checkSenderListed()
	}
	return s.outcome(v)
}

// checkRCPT decides about one recipient, with smtpd_delay_reject about all that
// came before, too. A bare postmaster is always let in (RFC 5321 §4.5.1).
func (s *session) checkRCPT(recipient string) *reply {
	if strings.EqualFold(recipient, addr.Postmaster) {
		return nil
	}
	e := &s.rules
	before := s.mail.recipient
	s.mail.recipient = &recipient
	defer func() { s.mail.recipient = before }()
	e.rcptListed = false
	if s.params.delayReject {
		if r := s.checkDelayed(); r != nil {
			return r
		}
		if s.mail.sender != nil { // not so for VRFY
			if r := s.checkMAIL(*s.mail.sender); r != nil {
				return r
			}
		}
	}
	e.begin(e.afterSender)
	order := []list{s.rulers.rcpt, s.rulers.relay}
	if s.params.relayFirst {
		order[0], order[1] = order[1], order[0]
	}
	v := dunno
	for _, l := range order {
		e.depth, e.warnIfReject = 0, 0
		if v = s.apply(l, subject{recipient, aboutRcpt, findRestriction("check_recipient_access")}); v == refuse {
			break
		}
	}
	v = s.settleDeferral(v)
	if s.params.rejectUnlistedRcpt && v != refuse && !e.rcptListed && !s.mail.actions.discard {
		v = s.checkRcptListed()
	}
	return s.outcome(v)
}

// checkDelayed makes up for the checks that were put off.
func (s *session) checkDelayed() *reply {
	if r := s.checkClient(); r != nil {
		return r
	}
	return s.checkHELO(s.helo)
}

// checkETRN decides about ETRN.
func (s *session) checkETRN(domain string) *reply {
	e := &s.rules
	s.etrn = domain
	defer func() { s.etrn = "" }()
	if s.params.delayReject {
		if r := s.checkDelayed(); r != nil {
			return r
		}
	}
	e.begin(first(e.afterClient, e.afterHELO))
	v := s.apply(s.rulers.etrn, subject{domain, aboutETRN, findRestriction("check_etrn_access")})
	return s.outcome(s.settleDeferral(v))
}

func (s *session) checkDATA() *reply {
	return s.checkContent(s.rulers.data, subject{"DATA", aboutData, nil})
}

func (s *session) checkEndOfData() *reply {
	return s.checkContent(s.rulers.endOfData, subject{atEnd, aboutEndOfData, nil})
}

// checkContent decides about a whole message. With several recipients none of
// them is the recipient.
func (s *session) checkContent(l list, sub subject) *reply {
	if s.mail.rcpts > 1 {
		before := s.mail.recipient
		s.mail.recipient = nil
		defer func() { s.mail.recipient = before }()
	}
	s.rules.begin(nil)
	return s.outcome(s.settleDeferral(s.apply(l, sub)))
}

// checkSize refuses a message that says it is too large.
func (s *session) checkSize(sender string, size int64) *reply {
	if s.params.messageLimit <= 0 || size <= s.params.messageLimit {
		return nil
	}
	before := s.mail.sender
	s.mail.sender = &sender // for the log
	defer func() { s.mail.sender = before }()
	s.rules.begin(nil)
	return s.outcome(s.refuse(policyTrouble, 552, "5.3.4", "Message size exceeds fixed limit"))
}

// spaceFactor times message_size_limit must be free in the queue's file system.
const spaceFactor = 1.5

// checkSpace refuses mail while the disk is full (queue_minfree).
func (s *session) checkSpace() *reply {
	free, err := s.freeSpace()
	if err != nil {
		s.log.Warning("queue file system: %v", err)
		return nil // cleanup will find out
	}
	if s.params.minFree < free && float64(s.params.messageLimit) < float64(free)/spaceFactor {
		return nil
	}
	s.rules.begin(nil)
	v := s.refuse(resourceTrouble, 452, "4.3.1", "Insufficient system storage")
	s.log.Warning("not enough free space in mail queue: %d bytes < %g*message size limit", free, spaceFactor)
	return s.outcome(v)
}

// logEvent logs what was decided, with all that is known about the request.
func (s *session) logEvent(what, text string) {
	var b strings.Builder
	b.WriteString(s.queueID() + ": " + what + ": " + s.where + " from " + s.client.namaddr + ": " + text + ";")
	if m := &s.mail; m.sender != nil {
		b.WriteString(" from=<" + s.logAddress(*m.sender) + ">")
	}
	if m := &s.mail; m.recipient != nil {
		b.WriteString(" to=<" + s.logAddress(*m.recipient) + ">")
	}
	b.WriteString(" proto=" + s.protocol)
	if s.helo != "" {
		b.WriteString(" helo=<" + s.helo + ">")
	}
	for _, a := range s.saslAttributes() {
		b.WriteString(" " + a[0] + "=" + maillog.Printable(a[1]))
	}
	s.log.Info("%s", b.String())
}

// logAddress is an address as info_log_address_format wants it.
func (s *session) logAddress(address string) string {
	if address == "" || s.params.addressForm == "internal" {
		return address
	}
	return addr.Quote(address)
}
