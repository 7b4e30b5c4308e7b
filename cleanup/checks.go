package main

import (
	"slices"
	"strings"

	"postroad/libmail/dsn"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/record"
	"postroad/libmail/table"
)

// A match is text that a check is made on.
type match struct {
	context string // "header", "body" or "content"
	text    string
	title   string // parameter of the table, for warnings
}

// A verdict is what becomes of the text.
type verdict int

const (
	keepText verdict = iota
	dropText
	replaceText // by the action's argument
)

// An action is what a line of header_checks(5) may ask for.
type action struct {
	word string
	do   func(s *session, m match, arg string) verdict
}

// actions is the table of header_checks(5) and body_checks(5).
var actions []action

func init() { // in init, because act reads the table and rejects may act
	actions = []action{
		{"REJECT", (*session).rejectContent},
		{"WARN", (*session).warnContent},
		{"INFO", (*session).infoContent},
		{"FILTER", (*session).filterContent},
		{"PASS", (*session).passContent},
		{"DISCARD", (*session).discardContent},
		{"HOLD", (*session).holdContent},
		{"PREPEND", (*session).prependContent},
		{"REPLACE", (*session).replaceContent},
		{"REDIRECT", (*session).redirectContent},
		{"BCC", (*session).bccContent},
		{"STRIP", (*session).stripContent},
		{"IGNORE", func(*session, match, string) verdict { return dropText }},
		{"DUNNO", func(*session, match, string) verdict { return keepText }},
		{"OK", func(*session, match, string) verdict { return keepText }},
	}
}

// check looks text up and does what the table says. other is the text to take
// instead, "" for the text itself; keep is false when nothing stays.
func (s *session) check(m match, checks *table.Maps) (other string, keep bool) {
	value, found, err := checks.Find(m.text)
	if err != nil {
		s.lookupFailed(checks.Title(), "")
		return "", true
	}
	if !found {
		return "", true
	}
	return s.act(m, value)
}

// act does what value asks for; results as for check.
func (s *session) act(m match, value string) (other string, keep bool) {
	word, arg := value, ""
	if i := strings.IndexAny(value, " \t"); i >= 0 {
		word, arg = value[:i], strings.TrimLeft(value[i:], " \t\r\n\v\f")
	}
	i := slices.IndexFunc(actions, func(a action) bool { return strings.EqualFold(a.word, word) })
	if i < 0 {
		s.log.Warning("unknown command in %s map: %s", m.title, value)
		return "", true
	}
	switch actions[i].do(s, m, arg) {
	case dropText:
		return "", false
	case replaceText:
		return arg, true
	}
	return "", true
}

// stopChecks ends all further checks of this message.
func (s *session) stopChecks() { s.flags &^= proto.CleanupFilter | proto.CleanupMilter }

func (s *session) rejectContent(m match, arg string) verdict {
	s.reason = "5.7.1 message content rejected"
	if arg != "" {
		status, text := dsn.Split(arg, "5.7.1")
		if status[0] == '2' {
			s.log.Warning("bad DSN action in %s -- need 4.x.x or 5.x.x", arg)
			status = "4" + status[1:]
		}
		s.reason = status + " " + text
	}
	if s.reason[0] == '4' {
		s.errs |= proto.StatDefer
	} else {
		s.errs |= proto.StatCont
	}
	s.stopChecks()
	s.logAction("reject", m, s.reason)
	return keepText
}

func (s *session) warnContent(m match, arg string) verdict {
	s.logAction("warning", m, arg)
	return keepText
}

func (s *session) infoContent(m match, arg string) verdict {
	s.logAction("info", m, arg)
	return keepText
}

func (s *session) passContent(m match, arg string) verdict {
	s.logAction("pass", m, arg)
	s.stopChecks()
	return keepText
}

func (s *session) filterContent(m match, arg string) verdict {
	switch {
	case arg == "":
		s.log.Warning("missing FILTER command argument in %s map", m.title)
	case !strings.Contains(arg, ":"):
		s.log.Warning("bad FILTER command %s in %s -- need transport:destination", arg, m.title)
	default:
		s.filter = arg
		s.logAction("filter", m, arg)
	}
	return keepText
}

func (s *session) discardContent(m match, arg string) verdict {
	s.logAction("discard", m, arg)
	s.flags |= proto.CleanupDiscard
	s.stopChecks()
	return keepText
}

func (s *session) holdContent(m match, arg string) verdict {
	if s.flags&(proto.CleanupHold|proto.CleanupDiscard) == 0 {
		s.logAction("hold", m, arg)
		s.flags |= proto.CleanupHold
	}
	return keepText
}

func (s *session) prependContent(m match, arg string) verdict {
	switch {
	case arg == "":
		s.log.Warning("PREPEND action without text in %s map", m.title)
	case m.context != "header":
		s.logAction("prepend", m, arg)
		s.put(record.Text, arg)
	case !message.IsHeader(arg):
		s.log.Warning("bad PREPEND header text \"%s\" in %s map -- need \"headername: headervalue\"", arg, m.title)
	default:
		s.logAction("prepend", m, arg)
		s.putHeader([]byte(arg))
	}
	return keepText
}

func (s *session) replaceContent(m match, arg string) verdict {
	switch {
	case arg == "":
		s.log.Warning("REPLACE action without text in %s map", m.title)
	case m.context == "header" && !message.IsHeader(arg):
		s.log.Warning("bad REPLACE header text \"%s\" in %s map -- need \"headername: headervalue\"", arg, m.title)
	default:
		s.logAction("replace", m, arg)
		return replaceText
	}
	return keepText
}

func (s *session) redirectContent(m match, arg string) verdict {
	if !strings.Contains(arg, "@") {
		s.log.Warning("bad REDIRECT target \"%s\" in %s map -- need user@domain", arg, m.title)
		return keepText
	}
	s.redirect = arg
	s.logAction("redirect", m, arg)
	s.stopChecks()
	return keepText
}

func (s *session) bccContent(m match, arg string) verdict {
	if !strings.Contains(arg, "@") {
		s.log.Warning("bad BCC address \"%s\" in %s map -- need user@domain", arg, m.title)
		return keepText
	}
	s.bccs = append(s.bccs, arg)
	s.logAction("bcc", m, arg)
	return keepText
}

func (s *session) stripContent(m match, arg string) verdict {
	s.logAction("strip", m, arg)
	return dropText
}

// logAction logs an action with what it is about.
func (s *session) logAction(action string, m match, text string) {
	var b strings.Builder
	b.WriteString(s.id + ": " + action + ": " + m.context + " " + m.text[:min(len(m.text), 200)] + " from " + s.origin() + ";")
	if s.senderSeen {
		b.WriteString(" from=<" + s.logged(s.sender) + ">")
	}
	if s.rcptSeen {
		b.WriteString(" to=<" + s.logged(s.rcpt) + ">")
	}
	if p := s.attr("log_protocol_name"); p != "" {
		b.WriteString(" proto=" + p)
	}
	if h := s.attr("log_helo_name"); h != "" {
		b.WriteString(" helo=<" + h + ">")
	}
	if text != "" {
		b.WriteString(": " + text)
	}
	s.log.Info("%s", b.String())
}
