package proto

import (
	"fmt"
	"time"

	"postroad/libmail/attr"
	"postroad/libmail/dsn"
	"postroad/libmail/ipc"
)

// The bounce conversation: delivery agents add failed recipients to the log
// of a message, and qmgr asks to have the log sent to the sender. The
// services bounce, defer and trace speak it, each about its own directory.
//
//	C: nrequest=0 flags=0 queue_id=... recipient... outcome...     (append)
//	C: nrequest=1 flags=0 queue_name=active queue_id=... encoding= sendopts=
//	   sender= envelope_id= ret_flags=                              (flush)
//	S: status=0
//
// Append replies after the log is synced: only then may the recipient be
// marked done. Flush replies after the notice is queued: only then may the
// message be removed.

// Commands of the bounce conversation.
const (
	BounceAppend = iota // add one recipient to the log
	BounceFlush         // send the log, then delete it
	BounceWarn          // send the log, keep it
	BounceVERP          // send one notice for each recipient
	BounceOne           // send one recipient's notice without a log
	BounceTrace         // send the log as a delivery report
)

// Flags of a bounce request.
const (
	BounceClean   = 1 << 0 // delete the log when the notice can't be sent
	BounceDelRcpt = 1 << 1 // mark the logged recipients done in the queue file
)

// A BounceMessage is the message that a notice is about.
type BounceMessage struct {
	QueueName, QueueID string
	Encoding           string
	SendOpts           int
	Sender             string
	EnvelopeID         string
	RetFlags           int
}

func (m *BounceMessage) write(out *attr.Writer) {
	out.Str("queue_name", m.QueueName)
	out.Str("queue_id", m.QueueID)
	out.Str("encoding", m.Encoding)
	out.Int("sendopts", int64(m.SendOpts))
	out.Str("sender", m.Sender)
	out.Str("envelope_id", m.EnvelopeID)
	out.Int("ret_flags", int64(m.RetFlags))
}

func (m *BounceMessage) read(in *attr.Reader) {
	m.QueueName = in.Str("queue_name")
	m.QueueID = in.Str("queue_id")
	m.Encoding = in.Str("encoding")
	m.SendOpts = int(in.Int("sendopts"))
	m.Sender = in.Str("sender")
	m.EnvelopeID = in.Str("envelope_id")
	m.RetFlags = int(in.Int("ret_flags"))
}

// A BounceService answers the conversation for one of bounce, defer, trace.
// An error makes the request fail for now; the service logs it.
type BounceService interface {
	Append(flags int, id string, r Rcpt, o dsn.Outcome) error
	Flush(flags int, m BounceMessage) error
	Warn(flags int, m BounceMessage) error
	VERP(flags int, m BounceMessage, delims string) error
	One(flags int, m BounceMessage, r Rcpt, o dsn.Outcome) error
	Trace(flags int, m BounceMessage) error
}

// A BounceClient asks bounce, defer or trace over kept connections. It has
// the methods of BounceService; nil means done and durable.
type BounceClient struct {
	IPC *ipc.Client
}

// NewBounceClient talks to the service at path, "private/bounce" for example.
func NewBounceClient(path string, timeout time.Duration) *BounceClient {
	return &BounceClient{&ipc.Client{Path: path, Protocol: ProtocolBounce, Timeout: timeout}}
}

// Append adds a recipient to the log of message id.
func (c *BounceClient) Append(flags int, id string, r Rcpt, o dsn.Outcome) error {
	return c.do(BounceAppend, flags, func(out *attr.Writer) {
		out.Str("queue_id", id)
		writeRcpt(out, &r)
		writeOutcome(out, o)
	})
}

// Flush sends the log to the sender and deletes it.
func (c *BounceClient) Flush(flags int, m BounceMessage) error {
	return c.do(BounceFlush, flags, m.write)
}

// Warn sends a delay warning from the defer log, and keeps the log.
func (c *BounceClient) Warn(flags int, m BounceMessage) error {
	return c.do(BounceWarn, flags, m.write)
}

// VERP is Flush with one notice a recipient, to an address that names it.
func (c *BounceClient) VERP(flags int, m BounceMessage, delims string) error {
	return c.do(BounceVERP, flags, func(out *attr.Writer) {
		m.write(out)
		out.Str("verp_delimiters", delims)
	})
}

// One sends a notice about one recipient that is not in any log.
func (c *BounceClient) One(flags int, m BounceMessage, r Rcpt, o dsn.Outcome) error {
	return c.do(BounceOne, flags, func(out *attr.Writer) {
		m.write(out)
		writeRcpt(out, &r)
		writeOutcome(out, o)
	})
}

// Trace sends the log as a delivery report and deletes it.
func (c *BounceClient) Trace(flags int, m BounceMessage) error {
	return c.do(BounceTrace, flags, m.write)
}

func (c *BounceClient) do(command, flags int, write func(*attr.Writer)) error {
	var status int64
	err := c.IPC.Do(func(conn *ipc.Conn) error {
		out, in := conn.Out(), conn.In()
		out.Int("nrequest", int64(command))
		out.Int("flags", int64(flags))
		write(out)
		out.End()
		if err := out.Flush(); err != nil {
			return err
		}
		status = in.Int("status")
		in.End()
		return in.Err()
	})
	if err == nil && status != 0 {
		err = fmt.Errorf("%s: request failed", c.IPC.Path)
	}
	return err
}

// ServeBounce runs the server's half until the client closes.
func ServeBounce(conn *ipc.Conn, s BounceService) error {
	return serve(conn, ProtocolBounce, func(in *attr.Reader, out *attr.Writer) error {
		run, err := readBounce(in, s)
		if err != nil {
			return err
		}
		var status int64
		if run() != nil { // the service logs why
			status = -1
		}
		out.Int("status", status)
		out.End()
		return nil
	})
}

// readBounce reads one request and returns the call that it asks for.
func readBounce(in *attr.Reader, s BounceService) (run func() error, err error) {
	command := in.Int("nrequest")
	flags := int(in.Int("flags"))
	var (
		m BounceMessage
		r Rcpt
		o dsn.Outcome
	)
	switch command {
	case BounceAppend:
		id := in.Str("queue_id")
		r = readRcpt(in)
		o = readOutcome(in)
		run = func() error { return s.Append(flags, id, r, o) }
	case BounceFlush:
		m.read(in)
		run = func() error { return s.Flush(flags, m) }
	case BounceWarn:
		m.read(in)
		run = func() error { return s.Warn(flags, m) }
	case BounceVERP:
		m.read(in)
		delims := in.Str("verp_delimiters")
		run = func() error { return s.VERP(flags, m, delims) }
	case BounceOne:
		m.read(in)
		r = readRcpt(in)
		o = readOutcome(in)
		run = func() error { return s.One(flags, m, r, o) }
	case BounceTrace:
		m.read(in)
		run = func() error { return s.Trace(flags, m) }
	default:
		if in.Err() == nil {
			return nil, fmt.Errorf("unknown command %d", command)
		}
	}
	in.End()
	return run, in.Err()
}
