package main

import (
	"fmt"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/maillog"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// Problems that end the reading of a message that may be returned to its
// sender, and problems with which it may not be returned.
const (
	incomplete    = proto.StatBad | proto.StatWrite | proto.StatSize | proto.StatDefer
	notReturnable = proto.StatBad | proto.StatWrite | proto.StatDefer | proto.StatRcpt
)

// A session is one message on its way into the queue: it goes through the
// segments envelope, content and extracted, each of which takes the records
// that belong to it.
type session struct {
	*cleanup
	log  *maillog.Logger
	file *queue.File
	id   string

	take   func(*session, record.Type, []byte) // of the present segment
	flags  int                                 // proto.Cleanup..., as actions changed them
	errs   int                                 // proto.Stat...
	lethal int                                 // the errs after which nothing more is read
	reason string                              // for the client or the sender; "5.7.1 text"

	// envelope
	inRcpts     bool // recipients have begun in this segment
	warned      bool // a warning time was written
	ended       bool // the end record came
	arrival     time.Time
	fullName    string
	sender      string
	senderSeen  bool
	rcpt        string // the last one, rewritten
	rcptSeen    bool
	rcptCount   int
	next        pending // what came before the next recipient
	dups        map[string]bool
	envelopeID  string
	ret         int
	verp        string
	attrs       []attribute
	traceFlags  int
	headerRules string // rewriting rule for header addresses: local, remote, or "" for none
	sendOpts    int
	qmgrFlags   int
	traced      bool // the trace log has an entry

	// content
	walker         *message.Walker
	dataOffset     int64
	contentLength  int64
	seen           uint64 // header types, a bit for each message.FieldType
	hops           int
	resent         string // "Resent-" once such a header came
	messageID      string
	requireTLSSeen bool
	stripped       []byte

	// what actions ask for
	filter, redirect string
	bccs             []string
}

// pending is what the envelope says about the next recipient.
type pending struct {
	orig    string
	hasOrig bool
	dsnOrig string // "type;address", or ""
	notify  int
}

// newSession opens a queue file.
func (c *cleanup) newSession(flags int) (*session, error) {
	file, err := c.spool.Create(queue.Incoming, 0)
	if err != nil {
		c.env.Log.Warning("%v", err)
		return nil, err
	}
	s := &session{cleanup: c, log: c.env.Log, file: file, id: file.ID, take: (*session).envelope,
		flags: flags, lethal: -1, headerRules: proto.RuleLocal}
	if flags&proto.CleanupBounce != 0 {
		s.lethal = incomplete
	}
	if flags&proto.CleanupUTF8 != 0 {
		s.sendOpts |= proto.SendOptUTF8
	}
	if flags&proto.CleanupReqTLS != 0 {
		s.sendOpts |= proto.SendOptRequireTLS
	}
	if err := s.removeLogs(); err != nil {
		file.Abort()
		return nil, err
	}
	s.put(record.Size, queue.Sizes{}.Data())
	return s, nil
}

// removeLogs removes logs of an older message that had our queue id.
func (s *session) removeLogs() error {
	for _, kind := range []string{queue.Defer, queue.Bounce, queue.Trace} {
		found, err := s.spool.HasLog(kind, s.id)
		if err == nil && found {
			s.log.Warning("%s: removed spurious %s log", s.id, kind)
			err = s.spool.RemoveLog(kind, s.id)
		}
		if err != nil {
			return fmt.Errorf("%s: remove %s log: %w", s.id, kind, err)
		}
	}
	return nil
}

// ID is the queue id.
func (s *session) ID() string { return s.id }

// Record takes the next record. What is wrong with it shows at Finish.
func (s *session) Record(t record.Type, data []byte) error {
	if s.sound() {
		s.take(s, t, data)
	}
	return nil
}

// Abort drops the message: its client went away before the end.
func (s *session) Abort() {
	s.errs |= proto.StatBad
	s.cancel()
}

// sound reports whether more of the message is wanted.
func (s *session) sound() bool {
	return s.errs&s.lethal == 0 && s.flags&proto.CleanupDiscard == 0
}

// malformed refuses a message whose records break the rules; this is our own
// programs' fault, and temporary.
func (s *session) malformed(format string, args ...any) {
	s.log.Warning("%s: message rejected: "+format, append([]any{s.id}, args...)...)
	s.errs |= proto.StatBad
}

// lookupFailed makes the client try again later: a table had no answer.
func (s *session) lookupFailed(title, key string) {
	if key != "" {
		key = " for " + key
	}
	s.log.Warning("%s: %s map lookup problem%s -- message not accepted, try again later", s.id, title, key)
	s.errs |= proto.StatWrite
}

// logged is an address as log lines show it (info_log_address_format).
func (s *session) logged(address string) string {
	if address == "" || !s.quoteLogged {
		return address
	}
	return addr.Quote(address)
}

// An attribute is a named attribute of the message.
type attribute struct{ name, value string }

// attr returns the value of an attribute, or "".
func (s *session) attr(name string) string {
	for i := range s.attrs {
		if s.attrs[i].name == name {
			return s.attrs[i].value
		}
	}
	return ""
}

// setAttr sets an attribute.
func (s *session) setAttr(name, value string) {
	for i := range s.attrs {
		if s.attrs[i].name == name {
			s.attrs[i].value = value
			return
		}
	}
	s.attrs = append(s.attrs, attribute{name, value})
}

// origin is where the message came from, for log lines.
func (s *session) origin() string {
	if o := s.attr("log_message_origin"); o != "" {
		return o
	}
	return "local"
}
