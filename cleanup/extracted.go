package main

import (
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// extracted takes a record of the extracted segment: what follows X, with
// recipients that the client found in headers. What cleanup itself found in
// the content goes in front of them.
func (s *session) extracted(t record.Type, data []byte) {
	if t == record.Flags {
		s.extraFlags(data)
		return
	}
	if !t.In(record.ExtractedTypes) {
		s.malformed("unexpected record type %d in extracted envelope", t)
		return
	}
	var a attribute
	mapped := t
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
	if !s.inRcpts && t.In(record.ExtractedRcptTypes) {
		s.putFound()
		s.inRcpts = true
	}
	if s.rcptRecord(t, mapped, data, a.value) {
		return
	}
	if t == record.End {
		s.inRcpts = false
		s.ended = true
		s.endExtracted()
		return
	}
	if s.inRcpts {
		s.qmgrFlags |= queue.MixedRcpts
	}
	s.putBytes(t, data)
}

// putFound writes what headers and actions said about the message.
func (s *session) putFound() {
	if s.filter != "" {
		s.put(record.Filter, s.filter)
	}
	if s.redirect != "" {
		s.put(record.Redirect, s.redirect)
	}
	if s.messageID != "" {
		s.put(record.Attr, "message_id="+s.messageID)
	}
	if e := s.attr("encoding"); e != "" {
		s.put(record.Attr, "encoding="+e)
	}
}

// endExtracted adds the recipients of always_bcc and of BCC actions and ends
// the message.
func (s *session) endExtracted() {
	if s.flags&proto.CleanupBCC != 0 && s.rcptSeen && s.alwaysBCC != "" {
		s.bcc(s.alwaysBCC)
	}
	if s.sound() && s.rcptSeen {
		for _, b := range s.bccs {
			s.bcc(b)
		}
	}
	s.put(record.End, "")
}
