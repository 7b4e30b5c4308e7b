package proto

import (
	"bufio"
	"errors"
	"fmt"
	"time"

	"postroad/libmail/attr"
	"postroad/libmail/ipc"
	"postroad/libmail/record"
)

// The cleanup conversation: smtpd, pickup, bounce and local hand over a new
// message. After the reply with status 0 the message is ours: it is on stable
// storage, and the client may say 250.
//
//	C: flags=50
//	S: queue_id=4A1B2C3D
//	C: records of the envelope, M, of the content, X, extracted ones, E
//	S: status=0 reason=
//
// A client that closes before the reply has submitted nothing, as far as it
// can know. The next message follows on the same connection.

// Flags of a new message, summed.
const (
	CleanupBounce   = 1 << iota // return bad mail to its sender instead of saying so to the client
	CleanupFilter               // header and body checks
	CleanupHold                 // park in the hold queue
	CleanupDiscard              // drop without a word
	CleanupBCC                  // always_bcc and the BCC maps apply
	CleanupMap                  // canonical, virtual and masquerade maps apply
	CleanupMilter               // milters apply
	CleanupReply                // reason may be an SMTP reply
	CleanupUTF8                 // SMTPUTF8 requested
	CleanupAutoUTF8             // find out whether SMTPUTF8 is needed
	CleanupReqTLS               // REQUIRETLS requested
)

// What is the matter with a message, summed; 0 is success.
const (
	StatBad    = 1 << 0 // records out of order or malformed
	StatWrite  = 1 << 1 // queue file could not be written
	StatSize   = 1 << 2 // larger than message_size_limit
	StatCont   = 1 << 3 // content rejected
	StatHops   = 1 << 4 // too many Received headers
	StatRcpt   = 1 << 6 // no recipients
	StatProxy  = 1 << 7 // rejected by a before-queue filter
	StatDefer  = 1 << 8 // temporary reject
	StatNoPerm = 1 << 9 // denied by a policy that is not about content
	StatBareLF = 1 << 16
)

// statTexts say what each bit means, the gravest first.
var statTexts = []struct {
	bit          int
	status, text string
}{
	{StatDefer, "4.7.1", "service unavailable"},
	{StatProxy, "4.3.0", "queue file write error"},
	{StatBad, "4.3.0", "internal protocol error"},
	{StatRcpt, "5.1.0", "no recipients specified"},
	{StatHops, "5.4.0", "too many hops"},
	{StatSize, "5.3.4", "message file too big"},
	{StatCont, "5.7.1", "message content rejected"},
	{StatWrite, "4.3.0", "queue file write error"},
	{StatNoPerm, "5.7.1", "service denied"},
	{StatBareLF, "5.5.2", "bare <LF> received"},
}

// StatText explains a status that is not 0 where cleanup gave no reason: the
// enhanced status code (RFC 3463) and the text of its gravest bit.
func StatText(status int) (code, text string) {
	for _, t := range statTexts {
		if status&t.bit != 0 {
			return t.status, t.text
		}
	}
	return "4.3.0", fmt.Sprintf("unknown status %d", status)
}

// maxRecord bounds one record of a submission: line_length_limit pieces are
// 2 KiB, the rest is addresses and attributes.
const maxRecord = 1 << 20

// A CleanupClient submits messages over kept connections to public/cleanup.
type CleanupClient struct {
	IPC *ipc.Client
}

// NewCleanupClient talks to the cleanup service at path, usually
// "public/$cleanup_service_name".
func NewCleanupClient(path string, timeout time.Duration) *CleanupClient {
	return &CleanupClient{&ipc.Client{Path: path, Protocol: ProtocolCleanup, Timeout: timeout, MaxIdle: 100}}
}

// A Submission is one message on its way to cleanup. Record keeps the first
// error, Finish returns it.
type Submission struct {
	ID string // queue id

	conn *ipc.Conn
	done func(reusable error)
	buf  []byte
	err  error
}

// Open begins a message. On error nothing was submitted.
func (c *CleanupClient) Open(flags int) (*Submission, error) {
	s := &Submission{}
	conn, done, err := c.IPC.Begin(func(conn *ipc.Conn) error {
		out, in := conn.Out(), conn.In()
		out.Int("flags", int64(flags))
		out.End()
		if err := out.Flush(); err != nil {
			return err
		}
		s.ID = in.Str("queue_id")
		in.End()
		return in.Err()
	})
	if err != nil {
		return nil, err
	}
	s.conn, s.done = conn, done
	return s, nil
}

// Record adds one record to the message.
func (s *Submission) Record(t record.Type, data []byte) {
	if s.err == nil {
		s.buf = record.Append(s.buf[:0], t, data)
		_, s.err = s.conn.W.Write(s.buf)
	}
}

// Records adds records that record.Append has encoded, in one write.
func (s *Submission) Records(batch []byte) {
	if s.err == nil {
		_, s.err = s.conn.W.Write(batch)
	}
}

// RecordString is Record for a string.
func (s *Submission) RecordString(t record.Type, data string) {
	if s.err == nil {
		s.buf = record.AppendString(s.buf[:0], t, data)
		_, s.err = s.conn.W.Write(s.buf)
	}
}

// Attr adds a named attribute record; an empty value is left out.
func (s *Submission) Attr(name, value string) {
	if value != "" {
		s.RecordString(record.Attr, name+"="+value)
	}
}

// Finish ends the message, waits for the verdict and gives the connection
// back. Only err == nil with status == 0 means that the message is queued.
// After an error it is unknown whether it was.
func (s *Submission) Finish() (status int, reason string, err error) {
	s.Record(record.End, nil)
	in := s.conn.In()
	if s.err == nil {
		s.err = s.conn.Flush()
	}
	if s.err == nil {
		status = int(in.Int("status"))
		reason = in.Str("reason")
		in.End()
		s.err = in.Err()
	}
	s.done(s.err)
	if s.err != nil {
		return StatWrite, "", fmt.Errorf("%s: %w", s.ID, s.err)
	}
	return status, reason, nil
}

// Abort drops the message and its connection.
func (s *Submission) Abort() { s.done(errAborted) }

var errAborted = errors.New("aborted")

// A CleanupSession receives one message on the server's side.
type CleanupSession interface {
	ID() string
	// Record takes the next record; data are valid during the call. An error
	// ends the connection; what is wrong with the message goes to Finish.
	Record(t record.Type, data []byte) error
	// Finish makes the message durable and gives the verdict.
	Finish() (status int, reason string)
	// Abort drops the message: the client went away before its end.
	Abort()
}

// ServeCleanup runs the server's half until the client closes.
func ServeCleanup(conn *ipc.Conn, open func(flags int) (CleanupSession, error)) error {
	return serve(conn, ProtocolCleanup, func(in *attr.Reader, out *attr.Writer) error {
		flags := in.Int("flags")
		in.End()
		if in.Err() != nil {
			return in.Err()
		}
		s, err := open(int(flags))
		if err != nil {
			return err
		}
		out.Str("queue_id", s.ID())
		out.End()
		if err = out.Flush(); err == nil {
			err = receive(conn.R, s)
		}
		if err != nil {
			s.Abort()
			return fmt.Errorf("%s: %w", s.ID(), err)
		}
		status, reason := s.Finish()
		out.Int("status", int64(status))
		out.Str("reason", reason)
		out.End()
		return nil
	})
}

// receive passes on the records up to and with the end record.
func receive(r *bufio.Reader, s CleanupSession) error {
	records := record.NewReader(r, maxRecord)
	for {
		t, data, err := records.Next()
		if err != nil {
			return fmt.Errorf("client went away: %v", err)
		}
		if err := s.Record(t, data); err != nil {
			return err
		}
		if t == record.End {
			return nil
		}
	}
}
