package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/record"
)

// A prober sends probes.
type prober struct {
	sender   string        // address_verify_sender
	ttl      time.Duration // address_verify_sender_ttl
	hostname string
	mailName string
	flags    int // of cleanup
	rewrite  func(rule, address string) (string, error)
	submit   func(flags int) (*proto.Submission, error)
	now      func() time.Time
}

// check refuses a sender from which no address can be made.
func (p *prober) check() error {
	switch local, domain, at := strings.Cut(p.sender, "@"); {
	case p.sender == "" || p.sender == "<>" || !at:
		return nil
	case local == "":
		return fmt.Errorf("parameter address_verify_sender: value %q must not start with '@'", p.sender)
	case domain == "":
		return fmt.Errorf("parameter address_verify_sender: value %q must not end with '@'", p.sender)
	}
	return nil
}

// from is the sender of a probe now. With address_verify_sender_ttl a time
// stamp follows the local part, so that nobody can send mail to an address
// that accepts all for long.
func (p *prober) from() (string, error) {
	if p.sender == "" || p.sender == "<>" {
		return "", nil
	}
	sender := p.sender
	if ttl := int64(p.ttl / time.Second); ttl > 0 {
		local, domain, at := strings.Cut(sender, "@")
		sender = local + base31(p.now().Unix()/ttl)
		if at {
			sender += "@" + domain
		}
	}
	sender, err := p.rewrite(proto.RuleLocal, addr.Quote(sender))
	return addr.Unquote(sender), err
}

// base31 writes a number in digits and consonants, which form no words.
func base31(n int64) string {
	const digits = "0123456789BCDFGHJKLMNPQRSTVWXYZ"
	text := ""
	for ; n > 0 || text == ""; n /= int64(len(digits)) {
		text = digits[n%int64(len(digits)):][:1] + text
	}
	return text
}

// send submits a probe of an address. It has no body: nobody gets to see it.
func (p *prober) send(address string) error {
	from, err := p.from()
	if err != nil {
		return err
	}
	s, err := p.submit(p.flags)
	if err != nil {
		return err
	}
	now := p.now()
	date := message.FormatDate(now)
	s.RecordString(record.Time, fmt.Sprintf("%d %d", now.Unix(), now.Nanosecond()/1000))
	s.Attr("log_message_origin", "local")
	s.Attr("trace_flags", fmt.Sprint(proto.DeliverProbe))
	s.RecordString(record.Sender, from)
	s.RecordString(record.Rcpt, address)
	s.Record(record.Content, nil)
	s.RecordString(record.Text, fmt.Sprintf("Received: by %s (%s)", p.hostname, p.mailName))
	s.RecordString(record.Text, fmt.Sprintf("\tid %s; %s", s.ID, date))
	s.RecordString(record.Text, "Date: "+date)
	s.Record(record.Extracted, nil)
	status, reason, err := s.Finish()
	if err == nil && status != 0 {
		err = errors.New("cleanup refuses the probe: " + fmt.Sprintf("status %d %s", status, reason))
	}
	return err
}
