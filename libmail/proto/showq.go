package proto

import (
	"fmt"
	"time"

	"postroad/libmail/attr"
	"postroad/libmail/ipc"
)

// The showq conversation: postqueue and mailq ask for a listing of the queue.
// It is Postfix's to the byte, so that its postqueue can list our queue.
//
//	S: protocol=mail_queue_list_protocol                           (a list)
//	S: queue_name= queue_id= time= size= forced_expire= sender=    (a message: a list
//	S:   original_recipient= recipient= log_class= reason=         with its recipients)
//	S: NUL                                                         (end of listing)
//
// Older servers send no original_recipient and no log_class; the client's
// half accepts that.

// A ShowqMessage is one message of a listing.
type ShowqMessage struct {
	QueueName    string // "active", "deferred", ...
	QueueID      string
	Arrival      time.Time
	Size         int64 // bytes of content
	ForcedExpire int   // 1 after postsuper -e
	Sender       string
}

// A ShowqRcpt is one recipient of a listed message.
type ShowqRcpt struct {
	Orig, Address string
	LogClass      string // "defer", "bounce" or ""
	Reason        string // why it waits, or ""
}

// A ShowqWriter is the server's half.
type ShowqWriter struct {
	conn *ipc.Conn
}

// NewShowqWriter announces the conversation.
func NewShowqWriter(conn *ipc.Conn) *ShowqWriter {
	out := conn.Out()
	out.Str("protocol", ProtocolShowq)
	out.End()
	return &ShowqWriter{conn}
}

// Message begins the next message; its recipients follow, then EndMessage.
func (w *ShowqWriter) Message(m ShowqMessage) {
	out := w.conn.Out()
	out.Str("queue_name", m.QueueName)
	out.Str("queue_id", m.QueueID)
	out.Int("time", m.Arrival.Unix())
	out.Int("size", m.Size)
	out.Int("forced_expire", int64(m.ForcedExpire))
	out.Str("sender", m.Sender)
}

// Rcpt adds a recipient to the current message.
func (w *ShowqWriter) Rcpt(r ShowqRcpt) {
	out := w.conn.Out()
	out.Str("original_recipient", r.Orig)
	out.Str("recipient", r.Address)
	out.Str("log_class", r.LogClass)
	out.Str("reason", r.Reason)
}

// EndMessage ends the current message.
func (w *ShowqWriter) EndMessage() { w.conn.Out().End() }

// Finish ends the listing and returns the first error of all calls.
func (w *ShowqWriter) Finish() error {
	w.conn.Out().End()
	return w.conn.Out().Flush()
}

// ReadShowq is the client's half, on a new connection: it calls message for
// each message and rcpt for each of its recipients, as they come. An error of
// a call ends the listing and is returned.
func ReadShowq(conn *ipc.Conn, message func(ShowqMessage) error, rcpt func(ShowqRcpt) error) error {
	in := conn.In()
	if got := in.Str("protocol"); in.Err() == nil && got != ProtocolShowq {
		return fmt.Errorf("server speaks %.100q, not %s", got, ProtocolShowq)
	}
	in.End()
	for {
		name, value, more := in.Next()
		if !more {
			return in.Err()
		}
		m := ShowqMessage{QueueName: value}
		if name != "queue_name" {
			return fmt.Errorf("%s: got %.100q instead of queue_name", ProtocolShowq, name)
		}
		m.QueueID = in.Str("queue_id")
		m.Arrival = time.Unix(in.Int("time"), 0)
		m.Size = in.Int("size")
		m.ForcedExpire = int(in.Int("forced_expire"))
		m.Sender = in.Str("sender")
		if in.Err() != nil {
			return in.Err()
		}
		if err := message(m); err != nil {
			return err
		}
		for more := true; more; {
			var r ShowqRcpt
			var err error
			if r, more, err = readShowqRcpt(in); err == nil && more {
				err = rcpt(r)
			}
			if err != nil {
				return err
			}
		}
	}
}

// readShowqRcpt reads a recipient, whose last attribute is the reason; more is
// false at the end of the message.
func readShowqRcpt(in *attr.Reader) (r ShowqRcpt, more bool, err error) {
	for first := true; ; first = false {
		name, value, more := in.Next()
		switch {
		case in.Err() != nil:
			return r, false, in.Err()
		case !more && first:
			return r, false, nil
		case name == "original_recipient":
			r.Orig = value
		case name == "recipient":
			r.Address = value
		case name == "log_class":
			r.LogClass = value
		case name == "reason":
			if r.Reason = value; value != "" && r.LogClass == "" {
				r.LogClass = "defer"
			}
			return r, true, nil
		default:
			return r, false, fmt.Errorf("%s: got %.100q in a recipient", ProtocolShowq, name)
		}
	}
}
