package main

import (
	"fmt"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/maillog"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/record"
	"postroad/libmail/smtpwire"
)

// maxHistoryLine bounds what is kept of one line of a conversation, bytes.
const maxHistoryLine = 512

// remember keeps a line of the conversation, in case a postmaster wants to see
// it (notify_classes).
func (s *session) remember(direction, line string) {
	if s.params.notifyClasses == 0 || s.alone || len(s.history) > s.params.historyLimit {
		return
	}
	if len(line) > maxHistoryLine {
		line = line[:maxHistoryLine]
	}
	s.history = append(s.history, direction+line)
}

func (s *session) rememberReply(r *reply) {
	if s.params.notifyClasses == 0 || s.alone {
		return
	}
	text := string(smtpwire.AppendReply(nil, r.code, r.status, r.text))
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		s.remember("Out: ", line)
	}
}

// forgetHistory forgets a conversation of more than limit lines; when things
// went wrong that a postmaster wants to know, they are sent to him.
func (s *session) forgetHistory(limit int) {
	if len(s.history) <= limit {
		return
	}
	if s.trouble&s.params.notifyClasses != 0 {
		if err := s.notify(); err != nil {
			s.log.Warning("postmaster notify: %v", err)
		}
	}
	s.history, s.trouble = nil, 0
}

// notify mails the conversation to the postmaster, from an address whose own
// bounces nobody sees. It is lost when cleanup cannot take it: it matters less
// than other mail.
func (s *session) notify() error {
	c := s.params.conf
	to := c.String("error_notice_recipient")
	if s.trouble&bounceTrouble != 0 {
		to = c.String("bounce_notice_recipient")
	}
	flags := proto.CleanupMap
	if hasWord(c.List("internal_mail_filter_classes"), "notify") {
		flags |= proto.CleanupFilter
	}
	sub, err := s.cleanup.Open(flags)
	if err != nil {
		return err
	}
	now := s.clock.Now()
	sub.RecordString(record.Time, fmt.Sprintf("%d %d", now.Unix(), now.Nanosecond()/1000))
	sub.Attr("log_message_origin", "local")
	sub.RecordString(record.Sender, s.params.doubleBounce+"@"+c.String("myorigin"))
	sub.RecordString(record.Rcpt, to)
	sub.Record(record.Content, nil)
	for _, line := range s.notice(sub.ID, to, message.FormatDate(now)) {
		sub.RecordString(record.Text, line)
	}
	sub.Record(record.Extracted, nil)
	status, reason, err := sub.Finish()
	if err == nil && status != 0 {
		err = fmt.Errorf("cleanup status %d: %s", status, reason)
	}
	return err
}

// notice is the message: headers, and the conversation.
func (s *session) notice(id, to, date string) []string {
	c := s.params.conf
	lines := []string{
		"Received: by " + s.params.hostname + " (" + s.params.mailName + ")",
		"\tid " + id + "; " + date,
		"Date: " + date,
	}
	daemon := addr.Quote(addr.MailerDaemon + "@" + c.String("myorigin"))
	if c.String("header_from_format") == "obsolete" {
		lines = append(lines, "From: "+daemon+" (Mail Delivery System)", "To: "+to+" (Postmaster)")
	} else {
		lines = append(lines, "From: Mail Delivery System <"+daemon+">", "To: Postmaster <"+to+">")
	}
	lines = append(lines, "Subject: "+s.params.mailName+" SMTP server: errors from "+s.client.namaddr,
		"", "Transcript of session follows.", "")
	for _, line := range s.history {
		lines = append(lines, wrapLine(maillog.Printable(line))...)
	}
	lines = append(lines, "")
	if s.aborted != "" {
		lines = append(lines, "Session aborted, reason: "+s.aborted)
	}
	return append(lines, "", "For other details, see the local mail logfile")
}

// wrapLine folds a line of a transcript at blanks, for 78 columns; text that a
// client sent never begins a line of its own.
func wrapLine(line string) []string {
	const width, indent = 78, 4
	var out []string
	prefix := " "
	for len(line) > width {
		cut := strings.LastIndexByte(line[:width], ' ')
		if cut <= 0 {
			cut = width
		}
		out = append(out, prefix+line[:cut])
		line = strings.TrimLeft(line[cut:], " ")
		prefix = " " + strings.Repeat(" ", indent)
	}
	return append(out, prefix+line)
}
