package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/maillog"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// An original is the message that a notice is about, as far as it can be
// read: a notice is worth sending without it.
type original struct {
	m         *queue.Message // nil if it is gone
	sender    string         // quoted; MAILER-DAEMON for the null sender, "" if unknown
	arrival   time.Time      // zero if unknown
	size      int64          // bytes of content, 0 if unknown
	offset    int64          // of the content, 0 if unknown
	messageID string         // with its angle brackets, for enable_threaded_bounces
}

// open reads what a notice needs of the original, and keeps it from qmgr
// until close. Only a message that is gone is no error.
func (s *service) open(m proto.BounceMessage) (*original, error) {
	o := &original{}
	var err error
	o.m, err = s.spool.Open(m.QueueName, m.QueueID, queue.Shared)
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err != nil {
		return nil, err
	}
	s.read(o)
	return o, nil
}

func (o *original) close() {
	if o.m != nil {
		o.m.Close() // marks are not synced, see queue.Message.MarkDone
	}
}

// read walks over the envelope; where it is damaged it stops.
func (s *service) read(o *original) {
	w := o.m.Records(0)
	for {
		t, data, err := w.Next()
		if err != nil || t == record.End {
			return
		}
		switch t {
		case record.Size:
			if z, err := queue.ParseSizes(data); err == nil && o.offset == 0 {
				o.size, o.offset = z.DataSize, z.DataOffset
			}
		case record.Time:
			if o.arrival.IsZero() {
				o.arrival = queue.ParseTime(data)
			}
		case record.Sender:
			if o.sender = s.mailerDaemon; len(data) > 0 {
				o.sender = maillog.Printable(addr.Quote(string(data)))
			}
		case record.Attr:
			if name, value, err := queue.SplitAttr(data); err == nil && name == "message_id" && s.threaded {
				o.messageID = maillog.Printable(string(value))
			}
		case record.Content:
			if o.offset != w.Pos() {
				return // the size record is of another file
			}
			w.Goto(o.offset + o.size)
		}
	}
}

// markDone marks the recipients of a notice that is queued.
func (o *original) markDone(entries entries) error {
	if o.m == nil {
		return nil
	}
	return entries(func(e queue.LogEntry) error {
		if e.Offset <= 0 {
			return nil
		}
		return o.m.MarkDone(e.Offset)
	})
}

// copyTo adds the original to a notice, or its header only.
func (o *original) copyTo(put func(record.Type, []byte), headerOnly bool) {
	if o.m == nil || o.offset == 0 {
		put(record.Text, []byte("\t--- Undelivered message unavailable ---"))
		return
	}
	put(record.Text, []byte("Return-Path: <"+o.sender+">"))
	c := o.m.Content(o.offset)
	start := true
	for {
		line, partial, err := c.Line()
		if err != nil { // io.EOF, or damage: this is as far as it goes
			if !start {
				put(record.Text, nil)
			}
			return
		}
		if headerOnly && start && !isHeader(line) {
			return
		}
		if start = !partial; start {
			put(record.Text, line)
		} else {
			put(record.Continued, line)
		}
	}
}

func isHeader(line []byte) bool {
	return len(line) > 0 && (line[0] == ' ' || line[0] == '\t') || message.HeaderName(line) > 0
}

// entries calls each for all recipients of a notice, in their order.
type entries func(each func(queue.LogEntry) error) error

// one is the entries of a single recipient.
func one(e queue.LogEntry) entries {
	return func(each func(queue.LogEntry) error) error { return each(e) }
}

// errNoLog says that a message has no log.
var errNoLog = errors.New("no log")

// logged is the entries of a message's log: errNoLog if there is none.
func (s *service) logged(id string) entries {
	return func(each func(queue.LogEntry) error) error {
		l, err := s.spool.OpenLog(s.kind, id)
		if errors.Is(err, fs.ErrNotExist) {
			return errNoLog
		}
		if err != nil {
			return fmt.Errorf("%s log of %s: %w", s.kind, id, err)
		}
		defer l.Close() // nothing was written
		for {
			e, err := l.Next()
			if err == io.EOF {
				for _, note := range l.Notes() {
					s.log.Warning("%s log of %s: %s", s.kind, id, note)
				}
				return nil
			}
			if err == nil {
				err = each(e)
			}
			if err != nil {
				return err
			}
		}
	}
}

// wants gives those entries whose NOTIFY asks for one of the events in mask;
// an entry that asks for nothing in particular is always wanted.
func (list entries) wants(mask int) entries {
	return func(each func(queue.LogEntry) error) error {
		return list(func(e queue.LogEntry) error {
			if e.Notify != 0 && e.Notify&mask == 0 {
				return nil
			}
			return each(e)
		})
	}
}

// count is how many there are; errNoLog counts as none and is returned.
func (list entries) count() (n int, err error) {
	err = list(func(queue.LogEntry) error {
		n++
		return nil
	})
	return n, err
}

// boundary makes a MIME boundary that no line of the original is likely to be.
func (s *service) boundary(id string) string {
	return id + "." + strconv.FormatInt(s.now().Unix(), 10) + "/" + strings.ReplaceAll(s.hostname, " ", "_")
}
