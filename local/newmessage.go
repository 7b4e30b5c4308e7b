package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/agent"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/record"
)

// maxPassed bounds the Delivered-To headers that are remembered, maxHeader the
// header lines that are searched for them.
const (
	maxPassed = 1000
	maxHeader = 10000
)

// passedThrough collects the Delivered-To headers of a message: who has had
// it before.
func passedThrough(m *agent.Message) (map[string]bool, error) {
	passed := map[string]bool{}
	content := m.Content()
	const name = "delivered-to:"
	for n := 0; n < maxHeader && len(passed) < maxPassed; n++ {
		line, _, err := content.Line()
		if errors.Is(err, io.EOF) || err == nil && len(line) == 0 {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			passed[addr.Fold(addr.Unquote(strings.TrimSpace(string(line[len(name):]))))] = true
		}
	}
	return passed, nil
}

// forwardMessage queues a copy of the message for new recipients. When it
// returns the copy is on stable storage.
func (d *delivery) forwardMessage(key forwardKey, group []*recipient) (id string, err error) {
	flags := proto.CleanupBounce | proto.CleanupMap
	if d.m.SendOpts&proto.SendOptUTF8 != 0 {
		flags |= proto.CleanupUTF8
	}
	if d.m.SendOpts&proto.SendOptRequireTLS != 0 {
		flags |= proto.CleanupReqTLS
	}
	s, err := d.submit(flags)
	if err != nil {
		return "", err
	}
	d.envelope(s, key, group)
	if err := d.copyContent(s); err != nil {
		s.Abort()
		return "", err
	}
	s.Record(record.Extracted, nil)
	status, reason, err := s.Finish()
	switch {
	case err != nil:
		return "", err
	case status != 0:
		return "", fmt.Errorf("cleanup refuses the message: status %d %s", status, reason)
	}
	return s.ID, nil
}

// envelope writes all before the content.
func (d *delivery) envelope(s *proto.Submission, key forwardKey, group []*recipient) {
	now := d.env.Clock.Now()
	s.RecordString(record.Time, fmt.Sprintf("%d %d", now.Unix(), now.Nanosecond()/1000))
	for _, a := range []struct{ name, value string }{
		{"rewrite_context", "local"},
		{"encoding", d.m.Encoding},
		{"log_client_name", d.m.Client.Name},
		{"log_client_address", d.m.Client.Addr},
		{"log_client_port", d.m.Client.Port},
		{"log_protocol_name", d.m.Client.Proto},
		{"log_helo_name", d.m.Client.Helo},
		{"log_message_origin", "local"},
		{"sasl_method", d.m.SASL.Method},
		{"sasl_username", d.m.SASL.Username},
		{"sasl_sender", d.m.SASL.Sender},
		{"log_ident", d.m.LogIdent},
	} {
		s.Attr(a.name, a.value)
	}
	if key.sender == d.m.Sender { // DSN parameters stay with their sender
		s.Attr("envelope_id", d.m.EnvelopeID)
		if d.m.RetFlags != 0 {
			s.Attr("ret_flags", fmt.Sprint(d.m.RetFlags))
		}
	}
	s.RecordString(record.Sender, key.sender)
	for _, r := range group {
		if r.rcpt.Notify != 0 {
			s.Attr("notify_flags", fmt.Sprint(r.rcpt.Notify))
		}
		s.Attr("dsn_orig_rcpt", r.rcpt.DSNOrig)
		if d.originalRcpt {
			s.RecordString(record.OrigRcpt, cmp.Or(r.rcpt.Orig, r.rcpt.Address))
		}
		s.RecordString(record.Rcpt, r.rcpt.Address)
	}
	s.Record(record.Content, nil)
	s.RecordString(record.Text, fmt.Sprintf("Received: by %s (%s)", d.hostname, d.mailName))
	s.RecordString(record.Text, fmt.Sprintf("\tid %s; %s", s.ID, message.FormatDate(now)))
	if d.headers["forward"] {
		s.RecordString(record.Text, "Delivered-To: "+addr.Quote(key.delivered))
	}
}

// copyContent copies the message but for its Return-Path headers.
func (d *delivery) copyContent(s *proto.Submission) error {
	content := d.m.Content()
	inHeader, skipping, start := true, false, true
	const name = "return-path:"
	for {
		line, partial, err := content.Line()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if inHeader && start {
			continued := len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
			inHeader = len(line) > 0
			if !continued {
				skipping = len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name))
			}
		}
		if !inHeader || !skipping {
			t := record.Text
			if partial {
				t = record.Continued
			}
			s.Record(t, line)
		}
		start = !partial
	}
}
