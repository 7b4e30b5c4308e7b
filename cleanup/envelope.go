package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// envelope takes a record of the envelope segment: everything up to M.
func (s *session) envelope(t record.Type, data []byte) {
	if t == record.Flags {
		s.extraFlags(data)
		return
	}
	var a attribute
	mapped := t // an attribute that stands for a record type counts as that
	if t == record.Attr {
		var ok bool
		if a, ok = s.parseAttr(data); !ok {
			return
		}
		if m := queue.AttrType(a.name); m != 0 {
			mapped = m
		}
	} else if t.In(bareDSNTypes) {
		a.value = string(data)
	}
	if !t.In(record.EnvelopeTypes) {
		s.malformed("unexpected record type %d in envelope", t)
		return
	}
	if !s.inRcpts && t.In(record.EnvelopeRcptTypes) && !s.beginRcpts() {
		return
	}
	if t == record.Content {
		s.inRcpts = false
		s.beginContent()
		return
	}
	if s.rcptRecord(t, mapped, data, a.value) {
		return
	}
	if s.inRcpts {
		s.qmgrFlags |= queue.MixedRcpts
	}
	s.envelopeRecord(t, mapped, data, a)
}

// bareDSNTypes are DSN attributes that came as records of their own.
const bareDSNTypes = "ion<"

// beginRcpts checks and completes the envelope before its first recipient. It
// reports whether the message is still sound.
func (s *session) beginRcpts() bool {
	switch {
	case !s.senderSeen:
		s.malformed("missing sender envelope record")
		return false
	case s.arrival.IsZero():
		s.malformed("missing time envelope record")
		return false
	}
	if !s.warned && s.sender != "" && s.warnTime > 0 {
		s.put(record.Warn, queue.FormatWarn(s.arrival.Add(s.warnTime)))
	}
	s.inRcpts = true
	return true
}

// rcptRecord takes what belongs to recipients, in the envelope as in the
// extracted segment. It reports whether the record was such a one.
func (s *session) rcptRecord(t, mapped record.Type, data []byte, value string) bool {
	switch {
	case t == record.Rcpt:
		if !s.senderSeen {
			s.malformed("envelope recipient precedes sender")
			return true
		}
		if !s.next.hasOrig {
			s.next.orig = string(data)
		}
		s.recipient(string(data))
		s.next = pending{}
	case t == record.Done, t == record.Cancelled:
		s.next = pending{}
	case mapped == record.DSNRcpt:
		if s.next.dsnOrig != "" {
			s.log.Warning("%s: ignoring out-of-order DSN original recipient record <%.200s>", s.id, s.next.dsnOrig)
		}
		s.next.dsnOrig = value
	case mapped == record.DSNNotify:
		s.notify(value)
	case t == record.OrigRcpt:
		if s.next.hasOrig {
			s.log.Warning("%s: ignoring out-of-order original recipient record <%.200s>", s.id, s.next.orig)
		}
		s.next.orig, s.next.hasOrig = string(data), true
	default:
		return false
	}
	return true
}

// notify takes the NOTIFY value of the next recipient (RFC 3461 §4.1).
func (s *session) notify(value string) {
	if s.next.notify != 0 {
		s.log.Warning("%s: ignoring out-of-order DSN notify record <%d>", s.id, s.next.notify)
		s.next.notify = 0
	}
	const all = proto.NotifyNever | proto.NotifySuccess | proto.NotifyFailure | proto.NotifyDelay
	n, ok := digits(value)
	if !ok || n == 0 || n&^all != 0 || n&proto.NotifyNever != 0 && n != proto.NotifyNever {
		s.log.Warning("%s: ignoring malformed DSN notify record <%.200s>", s.id, value)
		return
	}
	s.next.notify = n
	s.qmgrFlags |= n << 1
}

// envelopeRecord takes what is said once about the message.
func (s *session) envelopeRecord(t, mapped record.Type, data []byte, a attribute) {
	switch {
	case t == record.Size: // the client's sizes mean nothing here
		s.requeuedOpts(data)
	case mapped == record.Created: // ours follows the arrival time
	case t == record.Time:
		s.timeRecord(data)
	case t == record.FullName:
		if s.fullName == "" {
			s.fullName = string(data)
			s.putBytes(t, data)
		}
	case t == record.Sender:
		if s.senderSeen {
			s.malformed("multiple envelope sender records")
			return
		}
		s.envelopeSender(string(data))
	case mapped == record.DSNEnvID:
		if !printable(a.value) {
			s.malformed("bad DSN envelope ID record")
			return
		}
		s.envelopeID = a.value
		s.putBytes(t, data)
	case mapped == record.DSNReturn:
		n, ok := digits(a.value)
		if !ok || n != proto.RetFull && n != proto.RetHeaders {
			s.malformed("bad DSN RET record <%.200s>", data)
			return
		}
		s.ret = n
		s.putBytes(t, data)
	case t == record.Warn:
		if !s.warned {
			s.warned = true
			s.putBytes(t, data)
		}
	case t == record.Verp:
		s.verpRecord(data)
	case t == record.Attr:
		s.namedAttr(data, a)
	default:
		s.putBytes(t, data)
	}
}

// timeRecord keeps the first arrival time, and adds the time from which
// queue.Envelope counts the age of the message.
func (s *session) timeRecord(data []byte) {
	if s.arrival.IsZero() {
		s.arrival = queue.ParseTime(data)
		s.putBytes(record.Time, data)
	}
	s.put(record.Attr, "create_time="+strconv.FormatInt(s.env.Clock.Now().Unix(), 10))
}

// requeuedOpts takes over the options of a requeued message, but for those
// that its content and envelope say anew.
func (s *session) requeuedOpts(data []byte) {
	var skip [5]string
	var opts int
	if n, _ := fmt.Sscan(string(data), &skip[0], &skip[1], &skip[2], &skip[3], &skip[4], &opts); n < 6 {
		return // an older file, or none that was requeued
	}
	const derived = proto.SendOptUTF8Header | proto.SendOptUTF8Sender | proto.SendOptNoRequireTLS
	s.sendOpts = opts &^ derived
}

// verpRecord takes the VERP delimiters, once, and not for the null sender.
func (s *session) verpRecord(data []byte) {
	switch {
	case s.verp != "":
	case s.sender == "":
		s.log.Warning("%s: ignoring VERP request for null sender", s.id)
	case len(data) != 2 || strings.IndexByte(s.verpFilter, data[0]) < 0 || strings.IndexByte(s.verpFilter, data[1]) < 0:
		s.log.Warning("%s: ignoring bad VERP request: \"%.100s\"", s.id, data)
	default:
		s.verp = string(data)
		s.putBytes(record.Verp, data)
	}
}

// traceFlags are the flags of a delivery request that a message may carry.
const traceFlags = proto.DeliverProbe | proto.DeliverVerify | proto.DeliverRecord | proto.DeliverDelayed

// namedAttr takes all attributes that stand for themselves.
func (s *session) namedAttr(data []byte, a attribute) {
	if len(s.attrs) >= s.maxAttrs {
		s.malformed("attribute count exceeds limit %d", s.maxAttrs)
		return
	}
	switch a.name {
	case "rewrite_context":
		switch {
		case a.value == proto.RuleLocal:
			s.headerRules = proto.RuleLocal
		case a.value == proto.RuleRemote && s.remoteDomain != "":
			s.headerRules = proto.RuleRemote
		case a.value == proto.RuleRemote:
			s.headerRules = ""
		default:
			s.malformed("bad rewriting context: %.100s", a.value)
			return
		}
	case "trace_flags":
		n, ok := digits(a.value)
		if !ok {
			s.malformed("bad TFLAG record <%.200s>", data)
			return
		}
		if s.traceFlags == 0 {
			s.traceFlags = n & traceFlags
		}
	}
	s.setAttr(a.name, a.value)
	s.putBytes(record.Attr, data)
}

// parseAttr takes "name=value" apart; ok is false for what is to be ignored,
// or was refused.
func (s *session) parseAttr(data []byte) (a attribute, ok bool) {
	name, value, err := queue.SplitAttr(data)
	if err != nil {
		s.malformed("malformed attribute: %.100s", data)
		return a, false
	}
	if len(value) == 0 {
		s.log.Warning("%s: spurious null attribute value for \"%s\" -- ignored", s.id, name)
		return a, false
	}
	return attribute{name, string(value)}, true
}

// extraFlags takes flags that smtpd's access rules set after the first ones.
func (s *session) extraFlags(data []byte) {
	n, ok := digits(string(data))
	if !ok || n&^(proto.CleanupHold|proto.CleanupDiscard) != 0 {
		s.log.Warning("%s: ignoring bad extra flags: 0x%x", s.id, n)
		return
	}
	s.flags |= n
}

// digits is the value of a number without sign.
func digits(text string) (int, bool) {
	if text == "" || len(text) > 9 {
		return 0, false
	}
	n := 0
	for i := 0; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		n = n*10 + int(text[i]-'0')
	}
	return n, true
}

// printable reports whether text holds only printable ASCII and tabs.
func printable(text string) bool {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c != '\t' && (c < ' ' || c > '~') {
			return false
		}
	}
	return true
}

// arrived is the arrival time for log lines; the beginning of the queue file
// when the client gave none.
func (s *session) arrived() time.Time {
	if s.arrival.IsZero() {
		return s.file.Created
	}
	return s.arrival
}
