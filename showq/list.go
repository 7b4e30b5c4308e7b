package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// A lister lists the queue.
type lister struct {
	params
	spool *queue.Spool
	log   *maillog.Logger
}

// queues are listed in this order.
var queues = []string{queue.Maildrop, queue.Active, queue.Incoming, queue.Deferred, queue.Hold}

// serve sends a listing; it stops early when the client is gone.
func (l *lister) serve(ctx context.Context, c *ipc.Conn) {
	w := proto.NewShowqWriter(c)
	for _, q := range queues {
		if err := l.queue(ctx, q, w, c); err != nil {
			l.log.Debug("listing not finished: %v", err)
			return
		}
	}
	if err := w.Finish(); err != nil {
		l.log.Debug("listing not finished: %v", err)
	}
}

// queue lists the messages of one queue. An error is the client's; what is
// wrong with the queue is logged.
func (l *lister) queue(ctx context.Context, q string, w *proto.ShowqWriter, c *ipc.Conn) error {
	scan := l.spool.Scan(q)
	defer scan.Close()
	for ctx.Err() == nil {
		e, err := scan.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			l.log.Warning("list queue %s: %v", q, err)
			return nil
		}
		if err := l.message(q, e.Name, w); err != nil {
			l.log.Warning("list message: %v", err)
		}
		if c.Out().Err() != nil {
			return c.Out().Err()
		}
	}
	return ctx.Err()
}

// message lists one message, unless it is incomplete or has moved on.
func (l *lister) message(q, id string, w *proto.ShowqWriter) error {
	m, err := l.spool.OpenRead(q, id)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, queue.ErrNotReady) {
		return nil
	}
	if err != nil {
		return err
	}
	defer m.Close() // nothing was written
	r := &report{lister: l, m: m, w: w, size: m.Info.Size, logged: map[string]bool{}}
	r.run()
	return nil
}

// A report is one message on its way to the client.
type report struct {
	*lister
	m       *queue.Message
	w       *proto.ShowqWriter
	arrival time.Time
	size    int64
	sized   bool // size is from a size record
	begun   bool // the sender was seen
	orig    *string
	logged  map[string]bool // recipients that the logs told about
}

func (r *report) run() {
	records := r.m.Records(0)
	for {
		t, data, err := records.Next()
		if err != nil || t == record.End {
			break
		}
		if t == record.Content && r.sized {
			records.Goto(records.Pos() + r.size)
			continue
		}
		if !r.record(t, data) {
			break
		}
	}
	if r.begun {
		r.w.EndMessage()
	}
}

// record takes one record; false ends the message.
func (r *report) record(t record.Type, data []byte) bool {
	switch t {
	case record.Time:
		if r.arrival.IsZero() {
			r.arrival = queue.ParseTime(data)
		}
	case record.Size:
		r.sizeRecord(data)
	case record.Sender:
		if r.begun {
			r.log.Warning("%s: duplicate sender address -- skipping remainder of this file", r.m.ID)
			return false
		}
		r.begin(r.address(data))
	case record.OrigRcpt, record.Rcpt:
		if !r.begun {
			r.log.Warning("%s: missing sender address -- skipping remainder of this file", r.m.ID)
			return false
		}
		r.rcpt(t, r.address(data))
	}
	return true
}

// sizeRecord takes the size of the content; a requeued file may have an older
// size record behind its first.
func (r *report) sizeRecord(data []byte) {
	if r.sized || r.m.Queue == queue.Maildrop {
		return
	}
	fields := bytes.Fields(data)
	if len(fields) > 0 {
		if n, err := strconv.ParseInt(string(fields[0]), 10, 62); err == nil && n >= 0 {
			r.size, r.sized = n, true
			return
		}
	}
	r.log.Warning("%s: malformed size record: %.100s -- using file size instead", r.m.ID, data)
}

// address is the printed form of an address.
func (r *report) address(data []byte) string {
	if len(data) == 0 {
		return maillog.Printable(r.empty)
	}
	return maillog.Printable(addr.Quote(strings.ReplaceAll(string(data), "\x00", "?")))
}

// begin sends what is known of the message, and the recipients that its logs
// tell about.
func (r *report) begin(sender string) {
	r.begun = true
	if r.arrival.IsZero() {
		r.arrival = r.m.Info.ModTime
	}
	m := proto.ShowqMessage{QueueName: r.m.Queue, QueueID: r.m.ID, Arrival: r.arrival, Size: r.size, Sender: sender}
	if r.m.Info.Mode&queue.ForceExpire != 0 {
		m.ForcedExpire = 1
	}
	r.w.Message(m)
	for _, kind := range []string{queue.Defer, queue.Bounce} {
		if err := r.logs(kind); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.log.Warning("%s log of %s: %v", kind, r.m.ID, err)
		}
	}
}

// logs sends the recipients of one log.
func (r *report) logs(kind string) error {
	log, err := r.spool.OpenLog(kind, r.m.ID)
	if err != nil {
		return err
	}
	defer log.Close() // nothing was written
	for {
		e, err := log.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if r.dupLimit == 0 || len(r.logged) < r.dupLimit {
			r.logged[e.Address] = true
		}
		r.w.Rcpt(proto.ShowqRcpt{Orig: e.Orig, Address: e.Address, LogClass: kind, Reason: e.Outcome.Reason})
	}
}

// rcpt takes an original recipient, or sends the recipient after it.
func (r *report) rcpt(t record.Type, address string) {
	if t == record.OrigRcpt {
		r.orig = &address
		return
	}
	orig := address
	if r.orig != nil {
		orig = *r.orig
	}
	r.orig = nil
	if !r.logged[address] {
		r.w.Rcpt(proto.ShowqRcpt{Orig: orig, Address: address})
	}
}
