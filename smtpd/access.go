package main

import (
	"fmt"
	"strings"

	"postroad/libmail/conf"
	"postroad/libmail/dsn"
	"postroad/libmail/message"
)

// An accessHit is an entry of an access table, or an action of a policy server,
// that applies to the request.
type accessHit struct {
	table string // "hash:/etc/postfix/access", or the policy server
	value string // right-hand side
	text  string // what follows the first word
	key   string // what was looked up
	sub   subject
}

// accessActions are the words that a right-hand side may begin with (access(5)).
var accessActions map[string]func(s *session, h *accessHit) verdict

func init() { // in init, because a right-hand side may name other restrictions
	accessActions = map[string]func(s *session, h *accessHit) verdict{
		"DUNNO":           func(*session, *accessHit) verdict { return dunno },
		"OK":              (*session).actOK,
		"RELAY":           (*session).actOK,
		"REJECT":          (*session).actReject,
		"DEFER":           (*session).actDefer,
		"DEFER_IF_PERMIT": (*session).actDeferIfPermit,
		"DEFER_IF_REJECT": (*session).actDeferIfReject,
		"HANGUP":          (*session).actHangup,
		"INFO":            (*session).actInfo,
		"WARN":            (*session).actInfo,
		"FILTER":          (*session).actFilter,
		"HOLD":            (*session).actHold,
		"DISCARD":         (*session).actDiscard,
		"REDIRECT":        (*session).actRedirect,
		"BCC":             (*session).actBCC,
		"PREPEND":         (*session).actPrepend,
	}
}

// decide acts on the right-hand side of an access table (access(5)).
func (s *session) decide(h accessHit) verdict {
	word := h.value
	if i := strings.IndexAny(h.value, " \t"); i >= 0 {
		word, h.text = h.value[:i], strings.TrimLeft(h.value[i:], " \t\r\n\v\f")
	}
	if act := accessActions[strings.ToUpper(word)]; act != nil {
		return act(s, &h)
	}
	switch {
	case h.value != "" && strings.Trim(h.value, "0123456789") == "":
		return s.actOK(&h) // a time stamp, written by another program
	case len(word) == 3 && h.text != "" && (word[0] == '4' || word[0] == '5') && strings.Trim(word, "0123456789") == "":
		return s.actCode(&h, word)
	}
	return s.decideByList(&h)
}

// decideByList takes the right-hand side for a list of restrictions. Tables
// cannot be named there: they could not be opened any more.
func (s *session) decideByList(h *accessHit) verdict {
	if strings.Contains(h.value, ":") {
		s.log.Warning("access table %s has entry with lookup table: %s", h.table, h.value)
		s.log.Warning("do not specify lookup tables inside SMTPD access maps")
		s.log.Warning("define a restriction class and specify its name instead.")
		return s.serverError()
	}
	if s.rules.depth > maxDepth {
		s.log.Warning("access table %s entry %s causes unreasonable recursion", h.table, h.value)
		return s.serverError()
	}
	words := conf.SplitList(h.value)
	if len(words) == 0 {
		s.log.Warning("access table %s entry %s has empty value", h.table, h.value)
		return permit
	}
	return s.apply(s.parseWords(words), h.sub)
}

// parseWords makes a list of words that are restrictions without tables.
func (s *session) parseWords(words []string) list {
	var l list
	warn := false
	for i := 0; i < len(words); i++ {
		if strings.EqualFold(words[i], "warn_if_reject") {
			warn = true
			continue
		}
		st := step{name: words[i], warn: warn, rule: findRestriction(words[i])}
		warn = false
		if st.rule != nil && st.rule.argument != noArgument {
			switch {
			case i+1 < len(words):
				i++
				st.arg = words[i]
			default:
				st.wrong = "restriction " + st.name + " needs an argument"
			}
			if err := checkList(st.arg); st.rule.argument == domainArgument && err != nil {
				st.wrong = fmt.Sprintf("restriction %s: %v", st.name, err)
			}
			if st.rule.argument == tableArgument || st.rule.argument == serverArgument {
				st.wrong = "restriction " + st.name + " cannot be used inside SMTPD access maps"
			}
		}
		l = append(l, st)
	}
	return l
}

func (s *session) actOK(h *accessHit) verdict {
	word, _, _ := strings.Cut(h.value, " ")
	return s.allow(word, h.sub, "from "+h.table)
}

// reason splits a text with an optional status code, and fits the code to what
// is refused.
func (s *session) reason(h *accessHit, status, text string) (string, string) {
	status, rest := dsn.Split(h.text, status)
	if rest == "" {
		rest = text
	}
	return s.fitStatus(status, h.sub.class), rest
}

func (s *session) actReject(h *accessHit) verdict {
	status, text := s.reason(h, "5.7.1", "Access denied")
	return s.refuse(policyTrouble, s.params.codes.access, status, "<%s>: %s rejected: %s", h.sub.name, h.sub.class, text)
}

func (s *session) actDefer(h *accessHit) verdict {
	status, text := s.reason(h, "4.7.1", "Access denied")
	return s.refuse(policyTrouble, s.params.codes.accessDefer, status, "<%s>: %s rejected: %s", h.sub.name, h.sub.class, text)
}

// actCode is "4NN text" or "5NN text".
func (s *session) actCode(h *accessHit, word string) verdict {
	code := int(word[0]-'0')*100 + int(word[1]-'0')*10 + int(word[2]-'0')
	status, text := s.reason(h, word[:1]+".7.1", "Access denied")
	return s.refuse(policyTrouble, code, status, "<%s>: %s rejected: %s", h.sub.name, h.sub.class, text)
}

func (s *session) actDeferIfPermit(h *accessHit) verdict {
	status, text := s.reason(h, "4.7.1", "Service unavailable")
	return s.deferUnless(deferIfPermit, s.params.codes.accessDefer, status, "<%s>: %s rejected: %s", h.sub.name, h.sub.class, text)
}

func (s *session) actDeferIfReject(h *accessHit) verdict {
	status, text := s.reason(h, "4.7.1", "Service unavailable")
	return s.deferRefusal(s.params.codes.accessDefer, status, "<%s>: %s rejected: %s", h.sub.name, h.sub.class, text)
}

// actHangup drops the connection without a word.
func (s *session) actHangup(h *accessHit) verdict {
	s.logEvent("hangup", h.text)
	s.rules.refusal = &reply{lost: errQuiet}
	return refuse
}

func (s *session) actInfo(h *accessHit) verdict {
	word, _, _ := strings.Cut(h.value, " ")
	s.logEvent(strings.ToLower(word), h.text)
	return dunno
}

// canDelegate reports whether cleanup can carry out an action: only for a
// message, so not for ETRN, nor before MAIL (smtpd_delay_reject = no).
func (s *session) canDelegate(h *accessHit, action string) bool {
	if s.where == "ETRN" {
		s.log.Warning("access table %s: action %s is unavailable in smtpd_etrn_restrictions", h.table, action)
		return false
	}
	return s.inMessage(h, action)
}

func (s *session) inMessage(h *accessHit, action string) bool {
	if s.mail.sender == nil {
		s.log.Warning("access table %s: with smtpd_delay_reject=no, action %s is always skipped in %s or %s restrictions",
			h.table, action, aboutClient, aboutHELO)
		return false
	}
	return true
}

// logAction logs what will be done with the message.
func (s *session) logAction(h *accessHit, what, text string) {
	s.logEvent(what, fmt.Sprintf("<%s>: %s %s", h.sub.name, h.sub.class, text))
}

func (s *session) actFilter(h *accessHit) verdict {
	switch {
	case !s.canDelegate(h, "FILTER"):
	case h.text == "":
		s.log.Warning("access table %s entry %q has FILTER entry without value", h.table, h.key)
	case !strings.Contains(h.text, ":"):
		s.log.Warning("access table %s entry %q requires transport:destination", h.table, h.key)
	default:
		s.logAction(h, "filter", "triggers FILTER "+h.text)
		s.mail.actions.filter = h.text
	}
	return dunno
}

func (s *session) actHold(h *accessHit) verdict {
	if !s.canDelegate(h, "HOLD") || s.mail.actions.hold {
		return dunno
	}
	s.logAction(h, "hold", or(h.text, "triggers HOLD action"))
	s.mail.actions.hold = true
	return dunno
}

func (s *session) actDiscard(h *accessHit) verdict {
	if !s.canDelegate(h, "DISCARD") {
		return dunno
	}
	s.logAction(h, "discard", or(h.text, "triggers DISCARD action"))
	s.mail.actions.discard = true
	return s.allow("DISCARD", h.sub, "from "+h.table)
}

func (s *session) actRedirect(h *accessHit) verdict {
	switch {
	case !s.canDelegate(h, "REDIRECT"):
	case !strings.Contains(h.text, "@"):
		s.log.Warning("access table %s entry %q requires user@domain target", h.table, h.key)
	default:
		s.logAction(h, "redirect", "triggers REDIRECT "+h.text)
		s.mail.actions.redirect = h.text
	}
	return dunno
}

// maxAdditions bounds the copies and headers that one message may get.
const maxAdditions = 1000

func (s *session) actBCC(h *accessHit) verdict {
	switch {
	case !s.canDelegate(h, "BCC"):
	case !strings.Contains(h.text, "@"):
		s.log.Warning("access table %s entry %q requires user@domain target", h.table, h.key)
	case len(s.mail.actions.bcc) < maxAdditions:
		s.logAction(h, "bcc", "triggers BCC "+h.text)
		s.mail.actions.bcc = append(s.mail.actions.bcc, h.text)
	}
	return dunno
}

func (s *session) actPrepend(h *accessHit) verdict {
	switch {
	case !s.inMessage(h, "PREPEND"):
	case s.where == atEnd:
		s.log.Warning("access table %s: action PREPEND must be used before smtpd_end_of_data_restrictions", h.table)
	case !message.IsHeader(h.text):
		s.log.Warning("access table %s entry %q requires header: text", h.table, h.key)
	case len(s.mail.actions.prepend) < maxAdditions:
		s.mail.actions.prepend = append(s.mail.actions.prepend, h.text)
	}
	return dunno
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// fitStatus turns a status about an address (x.1.y) into one that fits what is
// refused: a code for a bad recipient makes no sense for a sender.
func (s *session) fitStatus(status, class string) string {
	if len(status) < 5 || status[1:4] != ".1." {
		return status
	}
	detail := "0.0"
	switch class {
	case aboutSender:
		detail = senderDetails[status[4:]]
	case aboutRcpt:
		detail = rcptDetails[status[4:]]
	}
	if detail == "" {
		detail = "1.0"
	}
	if status[2:] != detail {
		s.log.Info("mapping DSN status %s into %s status %c.%s", status, class, status[0], detail)
	}
	return status[:2] + detail
}

// What x.1.y becomes about a sender and about a recipient (RFC 3463 §3.2).
var (
	senderDetails = map[string]string{"1": "1.7", "2": "1.8", "3": "1.7", "4": "1.7", "5": "1.0", "6": "1.7", "7": "1.7", "8": "1.8"}
	rcptDetails   = map[string]string{"1": "1.1", "2": "1.2", "3": "1.3", "4": "1.4", "5": "1.5", "6": "1.6", "7": "1.3", "8": "1.2"}
)
