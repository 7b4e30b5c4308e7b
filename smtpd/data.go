package main

import (
	"bytes"
	"io"

	"postroad/libmail/proto"
	"postroad/libmail/record"
	"postroad/libmail/smtpwire"
)

// cmdDATA receives the content of a message (RFC 5321 §4.1.1.4). A client that
// pipelines may send it before it knows that all recipients were refused, so
// that is no breach of the protocol.
func (s *session) cmdDATA(args []smtpwire.Token) reply {
	switch {
	case s.mail.bdat != noBDAT:
		return protocolError(503, "5.5.1", "Error: DATA after BDAT")
	case s.mail.rcpts == 0 && s.mail.sender == nil:
		return protocolError(503, "5.5.1", "Error: need RCPT command")
	case s.mail.rcpts == 0:
		return say(554, "5.5.1", "Error: no valid recipients")
	case len(args) != 1:
		return protocolError(501, "5.5.4", "Syntax: DATA")
	}
	if !s.alone {
		if r := s.checkDATA(); r != nil {
			return *r
		}
	}
	s.beginContent()
	s.where = inData
	return reply{code: 354, text: "End data with <CR><LF>.<CR><LF>", then: (*session).receive}
}

// receive reads the content after 354 and hands it to cleanup. When something
// goes wrong on our side we read on to the end, where the client listens.
func (s *session) receive() reply {
	s.wire.timed.request(s.params.minDataRate)
	dots := smtpwire.NewDotReader(s.wire.content(), s.params.lineLimit, s.endPolicy())
	first := true
	for {
		line, more, err := dots.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return reply{lost: err}
		}
		s.contentLine(line, pieceOf(more), first)
		first = false
	}
	s.seenBareLF(dots.BareLF())
	s.where = atEnd
	return s.endMessage()
}

// pieceOf is the record type of a line, or of a piece of a longer line.
func pieceOf(more bool) record.Type {
	if more {
		return record.Continued
	}
	return record.Text
}

// beginContent closes the envelope and writes what goes before the content.
func (s *session) beginContent() {
	q := s.mail.queue
	q.content()
	if flags := s.mail.actions.cleanupFlags(); flags != "" && !s.alone {
		q.put(record.Flags, flags)
	}
	q.put(record.Content, "")
	for _, h := range s.mail.actions.prepend {
		q.put(record.Text, h)
	}
	for _, line := range s.receivedHeader() {
		q.put(record.Text, line)
	}
}

// contentLine hands on one line or piece. The first line of the content needs
// care: one that begins with a blank would continue our Received header, and
// a mailbox separator is no header.
func (s *session) contentLine(line []byte, t record.Type, first bool) {
	m := &s.mail
	if m.problems != 0 {
		return
	}
	if first && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
		m.queue.put(record.Continued, "X-Mailbox-Line: ")
		m.size += int64(len("X-Mailbox-Line: "))
	}
	if first && len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		m.queue.put(record.Text, "")
	}
	if limit := s.params.messageLimit; limit > 0 && limit-m.size < int64(len(line))+2 {
		s.log.Warning("%s: queue file size limit exceeded", s.queueID())
		m.problems |= proto.StatSize
		return
	}
	m.size += int64(len(line)) + 2
	m.queue.putBytes(t, line)
}

// seenBareLF acts on lines that ended in LF alone.
func (s *session) seenBareLF(seen bool) {
	switch {
	case seen && s.bareLF.reject:
		s.mail.problems |= proto.StatBareLF
	case seen:
		s.noteBareLF()
	}
}
