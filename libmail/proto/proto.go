// Package proto is the conversations between the programs: one file each,
// with its picture, its types, the client's half and the server's half.
//
// A conversation runs on a Unix socket below the queue directory. On a new
// connection the server says which conversation it speaks; then requests
// follow each other until either side closes. Requests and replies are
// attribute lists (package attr), message contents are records (package
// record). The names and their order are Postfix's.
//
//	S: protocol=trivial_rewrite_protocol
//	C: request=rewrite rule=local address=user
//	S: flags=0 address=user@example.com
//	C: request=...
package proto

import (
	"errors"
	"fmt"
	"io"

	"postroad/libmail/attr"
	"postroad/libmail/dsn"
	"postroad/libmail/ipc"
	"postroad/libmail/queue"
)

// Names of the conversations, as the server announces them. The misspelling
// of the verify service is Postfix's.
const (
	ProtocolCleanup  = "cleanup_protocol"
	ProtocolRewrite  = "trivial_rewrite_protocol"
	ProtocolDeliver  = "delivery_request_protocol"
	ProtocolBounce   = "delivery_status_protocol"
	ProtocolShowq    = "mail_queue_list_protocol"
	ProtocolFlush    = "queue_flush_protocol"
	ProtocolVerify   = "address_verification_prrotocol"
	ProtocolAnvil    = "anvil_protocol"
	ProtocolPostdrop = "postdrop_protocol"
	ProtocolProxymap = "proxymap_protocol"
)

// Notify flags of a recipient (RFC 3461 §4.1), summed.
const (
	NotifyNever   = 1
	NotifySuccess = 2
	NotifyFailure = 4
	NotifyDelay   = 8
)

// Return flags of a message (RFC 3461 §4.3).
const (
	RetFull    = 1
	RetHeaders = 2
)

// SendOpts of a message, summed: field 6 of the size record.
const (
	SendOptUTF8         = 1  // SMTPUTF8 requested (RFC 6531 §3.4)
	SendOptUTF8Header   = 2  // header holds UTF-8
	SendOptUTF8Sender   = 4  // sender holds UTF-8
	SendOptUTF8Rcpt     = 8  // a recipient of this request holds UTF-8
	SendOptNoRequireTLS = 16 // header TLS-Required: no (RFC 8689 §5)
	SendOptRequireTLS   = 32 // REQUIRETLS given (RFC 8689 §4)
)

// serve announces the conversation and calls one for each request until the
// peer closes between two requests or one fails.
func serve(conn *ipc.Conn, protocol string, one func(in *attr.Reader, out *attr.Writer) error) error {
	out := conn.Out()
	out.Str("protocol", protocol)
	out.End()
	if err := out.Flush(); err != nil {
		return err
	}
	for {
		err := conn.Await()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = one(conn.In(), out)
		}
		if err == nil {
			err = out.Flush()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", protocol, err)
		}
	}
}

// A Rcpt is one recipient of a queue file.
type Rcpt = queue.Rcpt

func writeRcpt(out *attr.Writer, r *Rcpt) {
	out.Str("original_recipient", r.Orig)
	out.Str("recipient", r.Address)
	out.Int("offset", r.Offset)
	out.Str("dsn_orig_rcpt", r.DSNOrig)
	out.Int("notify_flags", int64(r.Notify))
}

func readRcpt(in *attr.Reader) (r Rcpt) {
	r.Orig = in.Str("original_recipient")
	r.Address = in.Str("recipient")
	r.Offset = in.Int("offset")
	r.DSNOrig = in.Str("dsn_orig_rcpt")
	r.Notify = int(in.Int("notify_flags"))
	return r
}

func writeOutcome(out *attr.Writer, o dsn.Outcome) {
	out.Str("status", o.Status)
	out.Str("diag_type", o.DiagType)
	out.Str("diag_text", o.DiagText)
	out.Str("mta_type", o.MTAType)
	out.Str("mta_mname", o.MTAName)
	out.Str("action", o.Action)
	out.Str("reason", o.Reason)
}

func readOutcome(in *attr.Reader) (o dsn.Outcome) {
	o.Status = in.Str("status")
	o.DiagType = in.Str("diag_type")
	o.DiagText = in.Str("diag_text")
	o.MTAType = in.Str("mta_type")
	o.MTAName = in.Str("mta_mname")
	o.Action = in.Str("action")
	o.Reason = in.Str("reason")
	return o
}
