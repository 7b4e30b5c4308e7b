package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// othersRead is the bit that tells a new file from one that postsuper -r
// moved here: only the latter lacks it.
const othersRead fs.FileMode = 0o004

// errDamaged reports a file that breaks the rules of its segment.
var errDamaged = errors.New("unexpected or malformed record")

// A copying is one message on its way to cleanup.
type copying struct {
	*pickup
	in       *queue.Message
	walk     *record.Walker
	out      *proto.Submission
	requeued bool

	sender     string
	senderSeen bool
}

// submit copies a file to cleanup and says what becomes of it. The file is
// removed only when cleanup has the message on stable storage, or when there
// is nothing in it to deliver.
func (p *pickup) submit(m *queue.Message) fate {
	c := &copying{pickup: p, in: m, walk: m.Records(0)}
	c.requeued = m.Info.UID == p.owner && m.Info.Mode&othersRead == 0
	flags := p.flags
	switch {
	case c.requeued:
		flags &^= proto.CleanupMilter
	case p.detectUTF8:
		flags |= proto.CleanupAutoUTF8
	}
	var err error
	if c.out, err = p.cleanup.Open(flags); err != nil {
		p.log.Warning("maildrop/%s: %v", m.ID, err)
		return keep
	}
	if err := c.message(); err != nil {
		c.out.Abort()
		p.log.Warning("maildrop/%s: uid=%d: %v", m.ID, m.Info.UID, err)
		if errors.Is(err, errDamaged) {
			return setAside
		}
		if !c.senderSeen {
			return remove
		}
		return keep
	}
	return c.finish()
}

// finish asks for cleanup's verdict.
func (c *copying) finish() fate {
	status, reason, err := c.out.Finish()
	if err != nil {
		c.log.Warning("maildrop/%s: %v", c.in.ID, err)
		return keep
	}
	if status == 0 {
		return remove
	}
	if reason == "" { // else cleanup logged it
		_, text := proto.StatText(status)
		c.log.Warning("maildrop/%s: error writing %s: %s", c.in.ID, c.out.ID, text)
	}
	switch {
	case status&proto.StatBad != 0:
		return setAside
	case status&proto.StatRcpt != 0: // all its recipients are done
		return remove
	}
	return keep
}

// message copies the three segments, with our Received header.
func (c *copying) message() error {
	arrived := c.arrival()
	if c.filter != "" {
		c.out.RecordString(record.Filter, c.filter)
	}
	if err := c.segment(record.EnvelopeTypes, c.envelopeRecord(arrived)); err != nil {
		return err
	}
	if !c.senderSeen {
		return errors.New("no envelope sender")
	}
	c.logSender()
	c.out.Record(record.Content, nil)
	c.out.RecordString(record.Text, fmt.Sprintf("Received: by %s (%s, from userid %d)", c.hostname, c.mailName, c.in.Info.UID))
	c.out.RecordString(record.Text, fmt.Sprintf("\tid %s; %s", c.out.ID, message.FormatDate(arrived)))
	if err := c.segment(record.ContentTypes, c.contentRecord()); err != nil {
		return err
	}
	c.out.Record(record.Extracted, nil)
	return c.segment(record.ExtractedTypes, c.extractedRecord)
}

// segment copies records up to the one that ends the segment, the first of
// its types.
func (c *copying) segment(types string, each func(t record.Type, data []byte)) error {
	for {
		t, data, err := c.walk.Next()
		switch {
		case err != nil:
			return fmt.Errorf("%w: %v", errDamaged, err)
		case !t.In(types):
			return fmt.Errorf("%w type %d", errDamaged, t)
		case len(data) > c.maxLine && !c.requeued:
			return fmt.Errorf("%w: %d bytes", errDamaged, len(data))
		case t == record.Type(types[0]):
			return nil
		}
		each(t, data)
	}
}

// envelopeRecord copies the envelope. Filter and redirection of an earlier
// time do not count, and a file of old without time has that of the file.
func (c *copying) envelopeRecord(arrived time.Time) func(record.Type, []byte) {
	timeSeen := false
	return func(t record.Type, data []byte) {
		switch t {
		case record.Filter, record.Redirect:
			return
		case record.Time:
			timeSeen = true
		case record.Sender:
			if !c.senderSeen {
				c.sender, c.senderSeen = string(data), true
			}
			if !timeSeen {
				c.out.RecordString(record.Time, strconv.FormatInt(arrived.Unix(), 10))
			}
		}
		c.out.Record(t, data)
	}
}

// contentRecord copies the content. A first line that begins with a blank
// must not become part of our header.
func (c *copying) contentRecord() func(record.Type, []byte) {
	first := true
	return func(t record.Type, data []byte) {
		if first {
			first = false
			if len(data) > 0 && (data[0] == ' ' || data[0] == '\t') {
				c.out.Record(record.Text, nil)
			}
		}
		c.out.Record(t, data)
	}
}

// extractedRecord copies recipients and what belongs to them. What headers or
// body led to is found out anew.
func (c *copying) extractedRecord(t record.Type, data []byte) {
	switch t {
	case record.Filter, record.Redirect, record.Receipt, record.ErrorsTo:
		return
	case record.Attr:
		if name, _, err := queue.SplitAttr(data); err == nil && queue.AttrType(name) == 0 {
			return
		}
	}
	c.out.Record(t, data)
}

// arrival is the time of the file, unless that is out of the question.
func (c *copying) arrival() time.Time {
	now, t := c.now(), c.in.Info.ModTime
	switch age := now.Sub(t); {
	case age < -2*time.Hour:
		c.log.Warning("%s: message maildrop/%s dated %d seconds into the future", c.out.ID, c.in.ID, int(-age/time.Second))
		return now.Truncate(time.Second)
	case age > 24*time.Hour:
		c.log.Warning("%s: message maildrop/%s has been queued for %d days", c.out.ID, c.in.ID, int(age/(24*time.Hour)))
	}
	return t.Local()
}

// logSender logs who submitted the message.
func (c *copying) logSender() {
	sender := c.sender
	if c.quoteLogged && sender != "" {
		sender = addr.Quote(sender)
	}
	orig := ""
	if c.requeued {
		orig = c.in.ID
	}
	c.log.Pickup(c.out.ID, c.in.Info.UID, sender, orig)
}
