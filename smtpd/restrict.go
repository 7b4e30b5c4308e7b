package main

import (
	"fmt"
	"strings"

	"postroad/libmail/dsn"
	"postroad/libmail/table"
)

// A verdict is what a restriction says of a request.
type verdict uint8

const (
	dunno  verdict = iota // nothing: ask the next one
	permit                // the rest of the list does not matter
	refuse                // the reply is in evaluation.refusal
)

// An evaluation is the state of access control in one session. Some of it
// lasts from one command to the next: what was unclear about the client or its
// name decides about each recipient.
type evaluation struct {
	refusal *reply // of the last refuse

	deferIfReject *reply // instead of the next permanent refusal
	deferIfPermit *reply // instead of permission

	// deferIfPermit as it was after each stage.
	afterClient, afterHELO, afterSender *reply

	depth        int // of lists in lists
	warnIfReject int // depth at which warn_if_reject was said, 0: not
	policyDepth  int // of default actions of policy servers

	senderListed, rcptListed bool // their existence was checked
}

// maxDepth bounds lists in tables in lists.
const maxDepth = 100

// A subject is what a list is about, for replies: "<name>: class rejected".
// bare is the restriction that a table stands for which has none before it; nil
// in lists where that is not allowed.
type subject struct {
	name, class string
	bare        *restriction
}

// Classes of subjects.
const (
	aboutClient    = "Client host"
	aboutReverse   = "Unverified Client host"
	aboutCert      = "Client certificate"
	aboutLogin     = "SASL login name"
	aboutHELO      = "Helo command"
	aboutSender    = "Sender address"
	aboutRcpt      = "Recipient address"
	aboutETRN      = "Etrn command"
	aboutData      = "Data command"
	aboutEndOfData = "End-of-data"
)

// An argument is what follows the name of a restriction.
type argument uint8

const (
	noArgument argument = iota
	tableArgument
	domainArgument
	serverArgument
	numberArgument
)

// A restriction is one thing that can be said in a restriction list.
type restriction struct {
	name     string
	argument argument
	apply    func(s *session, st *step, sub subject) verdict
}

// A step is one element of a restriction list.
type step struct {
	name   string
	rule   *restriction // nil: a class, a bare table, or nonsense
	arg    string       // as written
	maps   *table.Maps
	policy *policyServer
	order  []string // of check_ccert_access: what to look up
	warn   bool     // warn_if_reject
	wrong  string   // what is wrong with the step, for the log
}

// A list is a restriction list, or the value of a restriction class.
type list []step

// apply evaluates a list from left to right until a verdict.
func (s *session) apply(l list, sub subject) verdict {
	e := &s.rules
	e.depth++
	before := e.depth
	defer func() {
		e.depth = before - 1
		if e.warnIfReject > e.depth {
			e.warnIfReject = 0
		}
	}()
	for i := range l {
		if s.mail.actions.discard {
			break // accepted and thrown away: nothing else matters
		}
		st := &l[i]
		if st.warn && e.warnIfReject == 0 {
			e.warnIfReject = e.depth
		}
		v := s.applyStep(st, sub)
		if e.warnIfReject >= e.depth {
			e.warnIfReject = 0
		}
		if v != dunno {
			return v
		}
		if e.deferIfPermit != nil && e.deferIfReject != nil {
			break // either way the answer is: later
		}
	}
	return dunno
}

// applyStep evaluates one element.
func (s *session) applyStep(st *step, sub subject) verdict {
	if st.wrong != "" {
		s.log.Warning("%s", st.wrong)
		return s.serverError()
	}
	rule := st.rule
	if rule == nil && st.maps != nil {
		if rule = sub.bare; rule == nil {
			s.log.Warning("specify one of (check_client_access, check_reverse_client_hostname_access, check_helo_access, "+
				"check_sender_access, check_recipient_access, check_etrn_access) before %s restriction %q", sub.class, st.name)
			return s.serverError()
		}
	}
	if rule == nil {
		class, ok := s.rulers.classes[st.name]
		if !ok {
			s.log.Warning("unknown smtpd restriction: %q", st.name)
			return s.serverError()
		}
		if s.rules.depth > maxDepth {
			s.log.Warning("restriction class %s causes unreasonable recursion", st.name)
			return s.serverError()
		}
		return s.apply(class, sub)
	}
	return rule.apply(s, st, sub)
}

// refuse makes the reply to a request that shall not pass, and logs it. It
// returns dunno when only a warning was asked for.
func (s *session) refuse(class trouble, code int, status, format string, args ...any) verdict {
	e := &s.rules
	r := say(code, status, format, args...)
	r.class = class
	warn := e.warnIfReject != 0 && class&(softwareTrouble|resourceTrouble|dataTrouble) == 0
	s.trouble |= class
	s.repair(&r)
	if !warn && e.deferIfReject != nil && r.code >= 500 {
		first := *e.deferIfReject
		e.warnIfReject, e.deferIfReject = 0, nil
		return s.refuse(first.class, first.code, first.status, "%s", first.text)
	}
	if s.params.softBounce {
		r.soften()
	}
	r.status = string(rune('0'+r.code/100)) + r.status[1:]
	what := "reject"
	if warn {
		what = "reject_warning"
	}
	s.logEvent(what, r.String())
	if warn {
		return dunno
	}
	e.refusal = &r
	return refuse
}

// repair makes a reply that main.cf or a table got wrong into one that says
// "later", and limits its length and characters.
func (s *session) repair(r *reply) {
	if r.code < 400 || r.code > 599 {
		s.log.Warning("SMTP reply code configuration error: %s", r)
		*r = reply{code: 450, status: "4.7.1", text: "Service unavailable", class: r.class}
	}
	if !dsn.Valid(r.status) {
		s.log.Warning("DSN detail code configuration error: %s", r)
		*r = reply{code: 450, status: "4.7.1", text: "Service unavailable", class: r.class}
	}
	if room := 510 - len("450 ") - len(r.status) - 1; len(r.text) > room {
		r.text = strings.ToValidUTF8(r.text[:room], "")
	}
	blank := func(c rune) bool { return c < ' ' || c == 0x7f }
	if !s.params.utf8 {
		blank = func(c rune) bool { return c < ' ' || c > '~' }
	}
	r.text = strings.Map(func(c rune) rune {
		if blank(c) {
			return ' '
		}
		return c
	}, r.text)
}

// deferred makes a reply for deferIfPermit or deferIfReject.
func deferred(class trouble, code int, status, format string, args ...any) *reply {
	r := say(code, status, format, args...)
	r.class = class
	return &r
}

// deferUnless defers what cannot be checked: at once, or only if nothing else
// refuses it. The first reason counts.
func (s *session) deferUnless(t tempfail, code int, status, format string, args ...any) verdict {
	if s.rules.warnIfReject != 0 || t == deferAtOnce {
		return s.refuse(policyTrouble, code, status, format, args...)
	}
	if s.rules.deferIfPermit == nil {
		s.rules.deferIfPermit = deferred(policyTrouble, code, status, format, args...)
	}
	return dunno
}

// deferRefusal turns a later permanent refusal into a temporary one, because a
// reason to permit could not be looked up.
func (s *session) deferRefusal(code int, status, format string, args ...any) verdict {
	if s.rules.deferIfReject == nil {
		s.rules.deferIfReject = deferred(policyTrouble, code, status, format, args...)
	}
	return dunno
}

// lookupFailed refuses for now because a table gives no answer.
func (s *session) lookupFailed(name string) verdict {
	return s.refuse(dataTrouble, 451, "4.3.0", "<%s>: Temporary lookup failure", name)
}

// serverError refuses for now because of a mistake in main.cf.
func (s *session) serverError() verdict {
	return s.refuse(softwareTrouble, 451, "4.3.5", "Server configuration error")
}

// allow logs a permission where smtpd_log_access_permit_actions asks for it.
func (s *session) allow(action string, sub subject, detail string) verdict {
	if s.rules.deferIfPermit != nil || !s.listedWord(s.lists.logPermit, action) {
		return permit
	}
	text := fmt.Sprintf("action=%s for %s=%s", action, sub.class, sub.name)
	if detail != "" {
		text += " " + detail
	}
	s.logEvent("permit", text)
	return permit
}
