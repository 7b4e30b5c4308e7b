package proto

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"postroad/libmail/attr"
	"postroad/libmail/dsn"
	"postroad/libmail/ipc"
	"postroad/libmail/queue"
)

// The delivery conversation: qmgr asks a delivery agent to deliver one
// message to some recipients of one destination.
//
//	C: flags=1 queue_name=active queue_id=4A1B2C3D offset=512 size=1024
//	   nexthop=example.com ... recipient_count=2
//	   original_recipient=a recipient=a@example.com offset=300 ... (times 2)
//	S: status=5.1.1 ... reason=... status=0
//
// The agent marks each recipient in the queue file, or logs it with bounce or
// defer, before it replies. The outcome in the reply is about the
// destination, and empty unless the whole destination is out of order.

// Flags of a delivery request, summed.
const (
	DeliverSuccess   = 1 << 0  // mark delivered recipients in the queue file
	DeliverBounce    = 1 << 1  // Postfix defines it and does not use it
	DeliverProbe     = 1 << 8  // smtpd asks whether the address is deliverable
	DeliverVerify    = 1 << 9  // a user asks (sendmail -bv)
	DeliverRecord    = 1 << 10 // deliver, and record it for a report (sendmail -v)
	DeliverConnLoad  = 1 << 11 // a kept connection may be used
	DeliverConnStore = 1 << 12 // the connection may be kept
	DeliverDelayed   = 1 << 13 // a delay warning went out: report the late delivery

	// DeliverTraceOnly is set in requests that must not deliver.
	DeliverTraceOnly = DeliverProbe | DeliverVerify
)

// Status of a delivery reply.
const (
	DeliverFinal = 0  // every recipient delivered or bounced
	DeliverDefer = -1 // some recipient waits
)

// A Client is who submitted a message, for logs and for XFORWARD.
type Client = queue.Client

// SASL is how the submitter authenticated; empty strings when not at all.
type SASL = queue.SASL

// MsgStats are the times of a delivery, for delays=a/b/c/d in the log, and how
// often the connection was used before. A zero time is unknown.
type MsgStats struct {
	Arrival  time.Time // message arrived
	Active   time.Time // entered the active queue
	Handover time.Time // qmgr gave it to the agent
	ConnDone time.Time // connection was ready
	Done     time.Time // delivery ended
	Reuse    int       // deliveries over this connection before, 0 when new
}

// A Request asks for the delivery of one message to the recipients of one
// destination.
type Request struct {
	Flags          int
	QueueName      string // "active"
	QueueID        string
	Offset         int64 // of the first content record
	Size           int64 // of the content, bytes
	Nexthop        string
	Encoding       string // "7bit", "8bit" or ""
	SendOpts       int
	Sender         string // internal form
	EnvelopeID     string // RFC 3461 §4.4, decoded
	RetFlags       int
	Stats          MsgStats
	Client         Client
	SASL           SASL
	LogIdent       string
	RewriteContext string
	Rcpts          []Rcpt
}

// maxRcpts bounds the recipients of one request.
const maxRcpts = 100000

// A DeliverClient asks one delivery agent over kept connections.
type DeliverClient struct {
	IPC *ipc.Client
}

// NewDeliverClient talks to the agent at path, "private/local" for example.
func NewDeliverClient(path string, timeout time.Duration) *DeliverClient {
	return &DeliverClient{&ipc.Client{Path: path, Protocol: ProtocolDeliver, Timeout: timeout, MaxIdle: 100}}
}

// ErrUnavailable says that no agent could be asked: it does not run, or
// speaks another conversation. Nothing was delivered.
var ErrUnavailable = errors.New("delivery agent unavailable")

// Deliver asks and waits. ErrUnavailable aside, on error it is unknown which
// recipients were delivered: those not marked in the queue file are tried again.
func (c *DeliverClient) Deliver(req *Request) (o dsn.Outcome, status int, err error) {
	asked := false
	err = c.IPC.Do(func(conn *ipc.Conn) error {
		asked = true
		out, in := conn.Out(), conn.In()
		req.write(out)
		if err := out.Flush(); err != nil {
			return err
		}
		o = readOutcome(in)
		status = int(in.Int("status"))
		in.End()
		return in.Err()
	})
	if err != nil && !asked {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return o, status, err
}

// ServeDeliver runs the agent's half until qmgr closes.
func ServeDeliver(conn *ipc.Conn, deliver func(*Request) (dsn.Outcome, int)) error {
	return serve(conn, ProtocolDeliver, func(in *attr.Reader, out *attr.Writer) error {
		req, err := readRequest(in)
		if err != nil {
			return err
		}
		o, status := deliver(req)
		writeOutcome(out, o)
		out.Int("status", int64(status))
		out.End()
		return nil
	})
}

func (req *Request) write(out *attr.Writer) {
	out.Int("flags", int64(req.Flags))
	out.Str("queue_name", req.QueueName)
	out.Str("queue_id", req.QueueID)
	out.Int("offset", req.Offset)
	out.Int("size", req.Size)
	out.Str("nexthop", req.Nexthop)
	out.Str("encoding", req.Encoding)
	out.Int("sendopts", int64(req.SendOpts))
	out.Str("sender", req.Sender)
	out.Str("envelope_id", req.EnvelopeID)
	out.Int("ret_flags", int64(req.RetFlags))
	out.Str("time", req.Stats.encode())
	out.Str("log_client_name", req.Client.Name)
	out.Str("log_client_address", req.Client.Addr)
	out.Str("log_client_port", req.Client.Port)
	out.Str("log_protocol_name", req.Client.Proto)
	out.Str("log_helo_name", req.Client.Helo)
	out.Str("sasl_method", req.SASL.Method)
	out.Str("sasl_username", req.SASL.Username)
	out.Str("sasl_sender", req.SASL.Sender)
	out.Str("log_ident", req.LogIdent)
	out.Str("rewrite_context", req.RewriteContext)
	out.Int("recipient_count", int64(len(req.Rcpts)))
	for i := range req.Rcpts {
		writeRcpt(out, &req.Rcpts[i])
	}
	out.End()
}

func readRequest(in *attr.Reader) (*Request, error) {
	req := &Request{}
	req.Flags = int(in.Int("flags"))
	req.QueueName = in.Str("queue_name")
	req.QueueID = in.Str("queue_id")
	req.Offset = in.Int("offset")
	req.Size = in.Int("size")
	req.Nexthop = in.Str("nexthop")
	req.Encoding = in.Str("encoding")
	req.SendOpts = int(in.Int("sendopts"))
	req.Sender = in.Str("sender")
	req.EnvelopeID = in.Str("envelope_id")
	req.RetFlags = int(in.Int("ret_flags"))
	stats := in.Str("time")
	req.Client.Name = in.Str("log_client_name")
	req.Client.Addr = in.Str("log_client_address")
	req.Client.Port = in.Str("log_client_port")
	req.Client.Proto = in.Str("log_protocol_name")
	req.Client.Helo = in.Str("log_helo_name")
	req.SASL.Method = in.Str("sasl_method")
	req.SASL.Username = in.Str("sasl_username")
	req.SASL.Sender = in.Str("sasl_sender")
	req.LogIdent = in.Str("log_ident")
	req.RewriteContext = in.Str("rewrite_context")
	n := in.Int("recipient_count")
	if in.Err() != nil {
		return nil, in.Err()
	}
	if n < 1 || n > maxRcpts {
		return nil, fmt.Errorf("delivery request %s: %d recipients", req.QueueID, n)
	}
	for range n {
		r := readRcpt(in)
		if in.Err() != nil {
			return nil, in.Err()
		}
		req.Rcpts = append(req.Rcpts, r)
	}
	in.End()
	if in.Err() != nil {
		return nil, in.Err()
	}
	return req, req.Stats.decode(stats)
}

// encode writes the times as microseconds since 1970, blank separated: the
// one field where Postfix sends the bytes of a C structure.
func (s *MsgStats) encode() string {
	micro := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.UnixMicro()
	}
	return fmt.Sprint(micro(s.Arrival), micro(s.Active), micro(s.Handover), micro(s.ConnDone), micro(s.Done), s.Reuse)
}

func (s *MsgStats) decode(text string) error {
	var us [5]int64
	_, err := fmt.Sscan(strings.TrimSpace(text), &us[0], &us[1], &us[2], &us[3], &us[4], &s.Reuse)
	if err != nil {
		return fmt.Errorf("delivery times %.100q: %w", text, err)
	}
	for i, t := range []*time.Time{&s.Arrival, &s.Active, &s.Handover, &s.ConnDone, &s.Done} {
		if us[i] != 0 {
			*t = time.UnixMicro(us[i])
		}
	}
	return nil
}
