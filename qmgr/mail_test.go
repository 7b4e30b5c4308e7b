package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// A testService is bounce, defer or trace.
type testService struct {
	w    *world
	kind string
}

func (s *testService) ask(verb, id string) error {
	if s.w.service != nil {
		if err := s.w.service(s.kind, verb); err != nil {
			return err
		}
	}
	s.w.event("%s %s %s", s.kind, verb, id)
	return nil
}

func (s *testService) Append(flags int, id string, r proto.Rcpt, o dsn.Outcome) error {
	if err := s.ask("append", id); err != nil {
		return err
	}
	return s.w.spool.AppendLog(s.kind, id, queue.Rcpt(r), o)
}

// Flush returns the recipients of the log to the sender.
func (s *testService) Flush(flags int, m proto.BounceMessage) error {
	if err := s.ask("flush", m.QueueID); err != nil {
		return err
	}
	l, err := s.w.spool.OpenLog(s.kind, m.QueueID)
	if err != nil {
		return err
	}
	defer l.Close()
	for {
		e, err := l.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		s.w.must(err)
		s.w.returned[m.QueueID+" "+e.Address]++
	}
	return s.w.spool.RemoveLog(s.kind, m.QueueID)
}

func (s *testService) VERP(flags int, m proto.BounceMessage, delims string) error {
	return s.Flush(flags, m)
}

func (s *testService) Warn(flags int, m proto.BounceMessage) error { return s.ask("warn", m.QueueID) }

func (s *testService) Trace(flags int, m proto.BounceMessage) error {
	if err := s.ask("report", m.QueueID); err != nil {
		return err
	}
	return s.w.spool.RemoveLog(s.kind, m.QueueID)
}

// A letter is a message to be put into incoming.
type letter struct {
	from    string
	null    bool // from the null sender
	to      []string
	warn    time.Duration // delay warning after this; 0: none
	attrs   []string      // further "name=value"
	records []string      // further records of the envelope: type and data
	verp    string        // delimiters
	end     []string      // records of the extracted segment
	sizes   func(*queue.Sizes)
}

// mail puts a message into incoming and returns its queue id.
func (w *world) mail(l letter) string {
	w.t.Helper()
	f, err := w.spool.Create(queue.Incoming, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if l.from == "" && !l.null {
		l.from = "sender@example.org"
	}
	now := w.clock.wall
	w.must(f.RecordString(record.Size, queue.Sizes{}.Data()))
	f.RecordString(record.Time, queue.FormatTime(now))
	f.RecordString(record.Attr, fmt.Sprintf("create_time=%d", now.Unix()))
	for _, r := range l.records {
		f.RecordString(record.Type(r[0]), r[1:])
	}
	f.RecordString(record.Sender, l.from)
	if l.verp != "" {
		f.RecordString(record.Verp, l.verp)
	}
	for _, a := range l.attrs {
		f.RecordString(record.Attr, a)
	}
	if l.warn > 0 {
		f.RecordString(record.Warn, queue.FormatWarn(now.Add(l.warn)))
	}
	for _, to := range l.to {
		f.RecordString(record.Rcpt, to)
	}
	f.RecordString(record.Content, "")
	sizes := queue.Sizes{DataOffset: f.Offset(), Rcpts: len(l.to)}
	f.RecordString(record.Text, "Subject: hello")
	sizes.DataSize = f.Offset() - sizes.DataOffset
	sizes.ContentLength = sizes.DataSize
	f.RecordString(record.Extracted, "")
	for _, r := range l.end {
		f.RecordString(record.Type(r[0]), r[1:])
	}
	f.RecordString(record.End, "")
	if l.sizes != nil {
		l.sizes(&sizes)
	}
	w.must(f.SetSizes(sizes))
	if err := f.Commit(0); err != nil {
		w.t.Fatal(err)
	}
	w.must(w.spool.SetTime(queue.Incoming, f.ID, now))
	w.clock.pass(time.Microsecond) // ids differ
	return f.ID
}

// send is mail announced as cleanup does.
func (w *world) send(to ...string) string {
	w.t.Helper()
	id := w.mail(letter{to: to})
	w.m.trigger([]byte("N" + id + "\n"))
	return id
}

// where tells in which queue a message is, or "".
func (w *world) where(id string) string {
	for _, q := range []string{queue.Incoming, queue.Active, queue.Deferred, queue.Corrupt} {
		if _, err := w.spool.Stat(q, id); err == nil {
			return q
		}
	}
	return ""
}

// to lists the recipients of the deliveries in progress, in order.
func (w *world) to() (list []string) {
	for _, d := range w.busy {
		for _, r := range d.req.Rcpts {
			list = append(list, r.Address)
		}
	}
	return list
}

func rcptList(n int, format string) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf(format, i))
	}
	return list
}
