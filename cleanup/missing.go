package main

import (
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/record"
)

// HeadersEnd adds the headers that are missing. Mail from other hosts gets
// none unless always_add_missing_headers says so.
func (s content) HeadersEnd() {
	if !s.sound() {
		return
	}
	if s.hops < 1 { // each of our programs puts one in front
		s.malformed("no Received: header")
		return
	}
	add := s.headerRules != "" || s.alwaysHeaders
	if add {
		s.addMessageID()
	}
	if !s.has(message.MessageID) {
		s.log.MessageID(s.id, "message-id", "<>")
	}
	if add {
		if !s.has(s.variant(message.Date, message.ResentDate)) {
			s.putHeader([]byte(s.resent + "Date: " + message.FormatDate(s.arrived().Local())))
		}
		if !s.has(s.variant(message.From, message.ResentFrom)) {
			s.addFrom()
		}
		s.addUndisclosed()
	}
	if s.requireTLS && s.requireTLSField && s.sendOpts&proto.SendOptRequireTLS != 0 && !s.requireTLSSeen {
		s.put(record.Text, "Require-TLS-ESMTP: yes")
	}
	if s.headersEnd == "add_header" && s.walker.Found()&message.NonEmptyHeadersEnd != 0 {
		s.put(record.Text, "MIME-Error: message header was not terminated by empty line")
	}
}

// has reports whether a header of that type came.
func (s *session) has(t message.FieldType) bool { return s.seen&(1<<t) != 0 }

// variant is the resent header for a message that was resent.
func (s *session) variant(plain, resent message.FieldType) message.FieldType {
	if s.resent != "" {
		return resent
	}
	return plain
}

// addMessageID makes a message id. The time in it is that of the queue id,
// which is unique within its second only.
func (s *session) addMessageID() {
	t := s.variant(message.MessageID, message.ResentMessageID)
	if s.has(t) {
		return
	}
	given := s.file.Created
	if s.longIDs {
		given = time.Time{}
	}
	id := message.MakeID(given, s.id, s.hostname)
	s.putHeader([]byte(s.resent + "Message-Id: " + id))
	s.seen |= 1 << t
	if s.resent != "" {
		s.log.MessageID(s.id, "resent-message-id", id)
		return
	}
	s.log.MessageID(s.id, "message-id", id)
	if s.messageID == "" {
		s.messageID = id
	}
}

// addFrom makes a From header of the sender and the full name of a local
// submitter.
func (s *session) addFrom() {
	sender := s.sender
	if sender == "" {
		sender = addr.MailerDaemon
	}
	text := s.resent + "From: "
	name := ""
	if s.sender != "" {
		name = s.headerName(s.fullName)
	}
	switch {
	case name == "":
		text += addr.Quote(sender)
	case s.commentNames:
		text += addr.Quote(sender) + "\n(" + name + ")"
	default:
		text += name + "\n<" + addr.Quote(sender) + ">"
	}
	header := []byte(text)
	message.FoldList(header)
	s.putHeader(header)
}

// addUndisclosed adds undisclosed_recipients_header where no header names a
// recipient.
func (s *session) addUndisclosed() {
	if s.undisclosed == "" || s.has(message.To) || s.has(message.Cc) || s.has(message.ResentTo) || s.has(message.ResentCc) {
		return
	}
	if !message.IsHeader(s.undisclosed) {
		s.log.Warning("bad undisclosed_recipients_header header text \"%s\" -- need \"headername: headervalue\"", s.undisclosed)
		return
	}
	s.put(record.Text, s.undisclosed)
}
