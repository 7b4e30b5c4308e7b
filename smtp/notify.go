package main

import (
	"fmt"
	"strings"
	"time"

	"postroad/libmail/proto"
	"postroad/libmail/record"
)

// A noticeReason says why the postmaster should read the transcript of a
// session (notify_classes).
type noticeReason uint8

const (
	protocolNotice noticeReason = 1 << iota // the server does not speak SMTP
	dataNotice                              // our own tables or files failed
)

// maxTranscript bounds a transcript, in bytes.
const maxTranscript = 64 << 10

// note adds a line to the transcript.
func (s *session) note(direction, line string) {
	if s.history == nil || s.bytesKept > maxTranscript {
		return
	}
	s.bytesKept += len(line)
	s.history = append(s.history, direction+line)
}

// notifyPostmaster sends the transcript of a session that went wrong. It does
// so only for mail that is no notice itself.
func (j *job) notifyPostmaster(s *session) {
	wanted := s.notify&protocolNotice != 0 && j.p.notifyProtocol || s.notify&dataNotice != 0 && j.p.notifyData
	if !wanted || j.Sender == "" || j.Sender == j.doubleBounce {
		return
	}
	if err := j.post(j.notice(s)); err != nil {
		j.log.Warning("postmaster notify: %v", err) // it is only a notice
	}
	s.notify = 0
	s.history, s.bytesKept = s.history[:0], 0
}

// notice is the text of a notice.
func (j *job) notice(s *session) []string {
	protocol := strings.ToUpper(j.p.prefix)
	from, to := "From: Mail Delivery System <MAILER-DAEMON@%s>", "To: Postmaster <%s>"
	if j.p.obsoleteFrom {
		from, to = "From: MAILER-DAEMON@%s (Mail Delivery System)", "To: %s (Postmaster)"
	}
	text := []string{
		fmt.Sprintf(from, j.p.myorigin),
		fmt.Sprintf(to, j.p.errorNotice),
		fmt.Sprintf("Subject: %s %s client: errors from %s", j.p.mailName, protocol, s.nameAddrPort),
		"",
		fmt.Sprintf("Unexpected response from %s.", s.nameAddrPort),
		"",
		"Transcript of session follows.",
		"",
	}
	for _, line := range s.history {
		text = append(text, wrap(line)...)
	}
	return append(text, "", "For other details, see the local mail logfile")
}

// wrap breaks a line of the transcript at blanks where it can. Every line
// begins with a blank: it is not ours.
func wrap(line string) []string {
	const width = 78
	var out []string
	indent := " "
	for len(line) > width {
		cut := strings.LastIndexByte(line[:width], ' ')
		if cut <= 0 {
			cut = width
		}
		out = append(out, indent+line[:cut])
		line, indent = strings.TrimLeft(line[cut:], " "), "     "
	}
	return append(out, indent+line)
}

// submit queues a notice of ours.
func (c *client) submit(cleanup *proto.CleanupClient, text []string) error {
	s, err := cleanup.Open(proto.CleanupFilter)
	if err != nil {
		return err
	}
	now := c.clock.Now()
	s.RecordString(record.Time, fmt.Sprintf("%d %d", now.Unix(), now.Nanosecond()/int(time.Microsecond)))
	s.Attr("log_message_origin", "local")
	s.RecordString(record.Sender, c.doubleBounce)
	s.RecordString(record.Rcpt, c.p.errorNotice)
	s.RecordString(record.Content, "")
	s.RecordString(record.Text, fmt.Sprintf("Received: by %s (%s)", c.p.myhost, c.p.mailName))
	s.RecordString(record.Text, fmt.Sprintf("\tid %s; %s", s.ID, now.Format("Mon, _2 Jan 2006 15:04:05 -0700 (MST)")))
	for _, line := range text {
		s.RecordString(record.Text, line)
	}
	s.RecordString(record.Extracted, "")
	status, reason, err := s.Finish()
	if err == nil && status != 0 {
		err = fmt.Errorf("cleanup: status %d: %s", status, reason)
	}
	return err
}
