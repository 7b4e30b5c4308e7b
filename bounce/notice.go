package main

import (
	"errors"
	"fmt"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/maillog"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// A notice is one message about a message (RFC 3464, RFC 6522):
//
//	header of the template, References if threaded
//	multipart/report; report-type=delivery-status
//	  text/plain               the template's text, reasons in words
//	  message/delivery-status  the same in fields, for programs
//	  the original, or its header
type notice struct {
	m          proto.BounceMessage
	o          *original
	class      class
	from       string // envelope sender; "" also in copies, which have their own
	to         string // envelope recipient, internal form
	copy       bool   // for a postmaster: the reasons without the words of the template
	headerOnly bool   // return the header of the original only
	list       entries
	kind       string // for the log
}

// send queues a notice, unless it has no recipient to tell about. A nil error
// means that the notice is durable or not needed.
func (s *service) send(n notice) error {
	count, err := n.list.count()
	switch {
	case errors.Is(err, errNoLog) && n.class == failure:
		n.list = nil // the sender hears that something failed, even if not what
	case errors.Is(err, errNoLog):
		return nil
	case err != nil:
		return err
	case count == 0:
		return nil
	}
	text, err := s.templates.words.lines(s.templates.of[n.class])
	if err != nil {
		return err
	}
	flags := s.cleanup
	if n.m.SendOpts&proto.SendOptRequireTLS != 0 {
		flags |= proto.CleanupReqTLS
	}
	if n.m.SendOpts&proto.SendOptUTF8 != 0 {
		flags |= proto.CleanupUTF8
	}
	sub, err := s.post.Open(flags)
	if err != nil {
		return fmt.Errorf("%s notification failed: %w", n.kind, err)
	}
	w := &writer{service: s, notice: n, sub: sub, template: s.templates.of[n.class], boundary: s.boundary(n.m.QueueID)}
	if err := w.write(text); err != nil {
		sub.Abort()
		return err
	}
	status, reason, err := sub.Finish()
	switch {
	case err != nil:
		return fmt.Errorf("%s notification failed to %s: %w", n.kind, n.to, err)
	case status != 0:
		return fmt.Errorf("%s notification failed to %s: cleanup status %d %s", n.kind, n.to, status, reason)
	}
	s.log.Notification(n.m.QueueID, n.kind, sub.ID)
	return nil
}

// A writer writes one notice to cleanup.
type writer struct {
	*service
	notice
	sub      *proto.Submission
	template *template
	boundary string
	encoding string // Content-Transfer-Encoding of what may be 8-bit: "8bit", "7bit" or ""
}

// write writes all; an error is the log's, those of cleanup come with Finish.
func (w *writer) write(text []string) error {
	w.encoding = w.m.Encoding
	if w.utf8 {
		w.encoding = "8bit" // addresses and host names may be
	}
	w.envelope()
	w.header()
	w.words(text)
	w.perMessage()
	if err := w.perRecipient(); err != nil {
		return err
	}
	w.original()
	w.sub.Record(record.Extracted, nil)
	return nil
}

func (w *writer) line(format string, args ...any) {
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	w.sub.RecordString(record.Text, text)
}

func (w *writer) envelope() {
	now := w.now()
	w.sub.RecordString(record.Time, queue.FormatTime(now))
	w.sub.Attr("log_message_origin", "local")
	from := w.from
	if w.copy {
		from = w.doubleBounce
	}
	w.sub.RecordString(record.Sender, from)
	w.sub.RecordString(record.Rcpt, w.to)
	w.sub.Record(record.Content, nil)
	date := message.FormatDate(now)
	w.line("Received: by %s (%s)", w.hostname, w.mailName)
	w.line("\tid %s; %s", w.sub.ID, date)
	w.line("Date: %s", date)
}

func (w *writer) header() {
	w.line("From: %s", w.template.from)
	subject := w.template.subject
	if w.copy && w.template.postmasterSubject != "" {
		subject = w.template.postmasterSubject
	}
	w.line("Subject: %s", subject)
	w.line("To: %s", maillog.Printable(addr.Quote(w.to)))
	if w.o.messageID != "" {
		w.line("References: %s", w.o.messageID)
		w.line("In-Reply-To: %s", w.o.messageID)
	}
	if w.tlsNo && w.m.SendOpts&proto.SendOptNoRequireTLS != 0 {
		w.line("TLS-Required: no")
	}
	if w.copy {
		w.line("Auto-Submitted: auto-generated") // RFC 3834 §5
	} else {
		w.line("Auto-Submitted: auto-replied")
	}
	w.line("MIME-Version: 1.0")
	w.line("Content-Type: multipart/report; report-type=delivery-status;")
	w.line("\tboundary=\"%s\"", w.boundary)
	switch {
	case w.encoding == "7bit" && w.template.eightBit:
		w.line("Content-Transfer-Encoding: 8bit")
	case w.encoding != "":
		w.line("Content-Transfer-Encoding: %s", w.encoding)
	}
	w.line("")
	w.line("This is a MIME-encapsulated message.")
}

// eightBit reports whether parts are labelled as 8-bit.
func (w *writer) eightBit() bool { return w.encoding == "8bit" }

// part begins a part of the report.
func (w *writer) part(description, contentType string, encoded bool) {
	w.line("")
	w.line("--%s", w.boundary)
	w.line("Content-Description: %s", description)
	w.line("Content-Type: %s", contentType)
	if encoded {
		w.line("Content-Transfer-Encoding: %s", w.encoding)
	}
	w.line("")
}

// words writes the part that people read.
func (w *writer) words(text []string) {
	charset := w.template.charset
	if strings.EqualFold(charset, "us-ascii") && w.eightBit() {
		charset = "utf-8"
	}
	w.part("Notification", "text/plain; charset="+charset, w.eightBit())
	if !w.copy {
		for _, line := range text {
			w.line("%s", line)
		}
	}
	if w.list == nil {
		w.line("")
		w.line("\t--- Delivery report unavailable ---")
		return
	}
	// A log that cannot be read twice fails in perRecipient too.
	_ = w.list(func(e queue.LogEntry) error {
		w.line("")
		who := "<" + e.Address + ">"
		if e.Orig != "" {
			who += " (expanded from <" + e.Orig + ">)"
		}
		w.wrapped(who + ": " + e.Outcome.Reason)
		return nil
	})
}

// utf8Wanted reports whether the original needs the types of RFC 6533.
func (w *writer) utf8Wanted() bool { return w.m.SendOpts&proto.SendOptUTF8 != 0 }

// addressType is the type of an address in a field (RFC 3464 §2.1.2, RFC 6533 §3).
func (w *writer) addressType(address string) string {
	const anyUTF8 = proto.SendOptUTF8 | proto.SendOptUTF8Header | proto.SendOptUTF8Sender | proto.SendOptUTF8Rcpt
	if w.m.SendOpts&anyUTF8 != 0 && !addr.IsASCII(address) {
		return "utf-8"
	}
	return "rfc822"
}

// perMessage writes the fields about the message (RFC 3464 §2.2).
func (w *writer) perMessage() {
	if w.utf8Wanted() {
		w.part("Delivery report", "message/global-delivery-status", w.eightBit())
	} else {
		w.part("Delivery report", "message/delivery-status", false)
	}
	w.line("Reporting-MTA: dns; %s", w.hostname)
	if w.m.EnvelopeID != "" {
		w.line("Original-Envelope-Id: %s", maillog.Printable(w.m.EnvelopeID))
	}
	w.line("X-%s-Queue-ID: %s", w.fieldName(), w.m.QueueID)
	if w.o.sender != "" {
		w.line("X-%s-Sender: %s; %s", w.fieldName(), w.addressType(w.o.sender), w.o.sender)
	}
	if !w.o.arrival.IsZero() {
		w.line("Arrival-Date: %s", message.FormatDate(w.o.arrival))
	}
}

// fieldName is mail_name as part of the name of a field.
func (w *writer) fieldName() string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(" \t\r\n()<>@,;:\\\".[]", c) {
			return '-'
		}
		return c
	}, w.mailName)
}

// perRecipient writes the fields about the recipients (RFC 3464 §2.3).
func (w *writer) perRecipient() error {
	if w.list == nil {
		return nil
	}
	return w.list(func(e queue.LogEntry) error {
		o := &e.Outcome
		w.line("")
		w.line("Final-Recipient: %s; %s", w.addressType(e.Address), e.Address)
		switch {
		case e.DSNOrig != "":
			w.line("Original-Recipient: %s", e.DSNOrig)
		case e.Orig != "":
			w.line("Original-Recipient: %s; %s", w.addressType(e.Orig), e.Orig)
		}
		action := o.Action
		if w.class == failure {
			action = "failed" // also of those that were delayed for too long
		}
		w.line("Action: %s", action)
		w.line("Status: %s", o.Status)
		if o.MTAType != "" && o.MTAName != "" {
			w.wrapped("Remote-MTA: " + o.MTAType + "; " + o.MTAName)
		}
		if o.DiagType != "" && o.DiagText != "" {
			w.wrapped("Diagnostic-Code: " + o.DiagType + "; " + o.DiagText)
		} else {
			w.wrapped("Diagnostic-Code: X-" + w.fieldName() + "; " + o.Reason)
		}
		if w.class == delay {
			w.line("Will-Retry-Until: %s", message.FormatDate(w.o.arrival.Add(w.lifetime)))
		}
		return nil
	})
}

// original writes the message itself, or its header.
func (w *writer) original() {
	headerOnly := w.headerOnly || w.o.m != nil && (w.o.size <= 0 || w.o.size > w.sizeLimit)
	description, contentType := "Message", "message/rfc822"
	switch {
	case headerOnly && w.utf8Wanted():
		description, contentType = "Message Headers", "message/global-headers"
	case headerOnly:
		description, contentType = "Message Headers", "text/rfc822-headers"
	case w.utf8Wanted():
		contentType = "message/global"
	}
	if w.class == failure || w.class == delay {
		description = "Undelivered " + description
	}
	w.part(description, contentType, w.eightBit())
	w.o.copyTo(w.sub.Record, headerOnly)
	w.line("")
	w.line("--%s--", w.boundary)
}

// Columns of text that is wrapped.
const (
	wrapWidth  = 79
	wrapIndent = 4
)

// wrapped writes text in lines of up to wrapWidth columns, where blanks allow
// that; all but the first are indented, so that a field stays one field.
func (w *writer) wrapped(text string) {
	for i, line := range wrap(text) {
		if i > 0 {
			line = strings.Repeat(" ", wrapIndent) + line
		}
		w.line("%s", line)
	}
}

// wrap breaks text at blanks. A word that is too long has a line of its own.
func wrap(text string) (lines []string) {
	const blanks = " \t"
	width := wrapWidth
	for len(text) > width {
		cut := strings.LastIndexAny(text[:width+1], blanks)
		if cut <= 0 || strings.TrimRight(text[:cut], blanks) == "" {
			if cut = strings.IndexAny(text[1:], blanks) + 1; cut == 0 {
				break
			}
		}
		lines = append(lines, strings.TrimRight(text[:cut], blanks))
		text = strings.TrimLeft(text[cut:], blanks)
		width = wrapWidth - wrapIndent
	}
	return append(lines, strings.TrimRight(text, blanks))
}
