package proto

import (
	"fmt"
	"time"

	"postroad/libmail/attr"
	"postroad/libmail/ipc"
)

// The flush conversation: delivery agents note which message waits for which
// destination; smtpd (ETRN) and postqueue ask for its delivery.
//
//	C: request=add site=example.com queue_id=4A1B2
//	C: request=send_site site=example.com
//	C: request=send_file queue_id=4A1B2
//	C: request=rfrsh
//	C: request=purge
//	S: status=0

// A FlushStatus is the reply of the flush service.
type FlushStatus int

// The values of a FlushStatus, Postfix's numbers.
const (
	FlushOK      FlushStatus = 0
	FlushFail    FlushStatus = -1
	FlushDenied  FlushStatus = 4 // destination is not in fast_flush_domains
	FlushBadSite FlushStatus = 3 // malformed destination or queue id
)

// A FlushRequest is one request; Site or QueueID where the verb has them.
type FlushRequest struct {
	Verb    string // FlushAdd, ...
	Site    string
	QueueID string
}

// Verbs of the flush conversation.
const (
	FlushAdd      = "add"
	FlushSendSite = "send_site"
	FlushSendFile = "send_file"
	FlushRefresh  = "rfrsh"
	FlushPurge    = "purge"
)

// flushFields says which attributes follow each verb.
var flushFields = map[string]struct{ site, id bool }{
	FlushAdd:      {true, true},
	FlushSendSite: {true, false},
	FlushSendFile: {false, true},
	FlushRefresh:  {false, false},
	FlushPurge:    {false, false},
}

// A FlushClient asks public/flush over kept connections.
type FlushClient struct {
	IPC *ipc.Client
}

// NewFlushClient talks to the service at path, usually
// "public/$flush_service_name".
func NewFlushClient(path string, timeout time.Duration) *FlushClient {
	return &FlushClient{&ipc.Client{Path: path, Protocol: ProtocolFlush, Timeout: timeout}}
}

// Do makes one request.
func (c *FlushClient) Do(r FlushRequest) (s FlushStatus, err error) {
	fields, known := flushFields[r.Verb]
	if !known {
		panic("flush request " + r.Verb)
	}
	err = c.IPC.Do(func(conn *ipc.Conn) error {
		out, in := conn.Out(), conn.In()
		out.Str("request", r.Verb)
		if fields.site {
			out.Str("site", r.Site)
		}
		if fields.id {
			out.Str("queue_id", r.QueueID)
		}
		out.End()
		if err := out.Flush(); err != nil {
			return err
		}
		s = FlushStatus(in.Int("status"))
		in.End()
		return in.Err()
	})
	return s, err
}

// ServeFlush runs the server's half until the client closes.
func ServeFlush(conn *ipc.Conn, do func(FlushRequest) FlushStatus) error {
	return serve(conn, ProtocolFlush, func(in *attr.Reader, out *attr.Writer) error {
		r := FlushRequest{Verb: in.Str("request")}
		fields, known := flushFields[r.Verb]
		if !known && in.Err() == nil {
			return fmt.Errorf("unknown request %.100q", r.Verb)
		}
		if fields.site {
			r.Site = in.Str("site")
		}
		if fields.id {
			r.QueueID = in.Str("queue_id")
		}
		in.End()
		if in.Err() != nil {
			return in.Err()
		}
		out.Int("status", int64(do(r)))
		out.End()
		return nil
	})
}
