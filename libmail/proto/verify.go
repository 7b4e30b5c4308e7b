package proto

import (
	"fmt"
	"time"

	"postroad/libmail/attr"
	"postroad/libmail/ipc"
)

// The verify conversation: smtpd asks whether an address is deliverable, and
// the delivery agents report what became of a probe.
//
//	C: request=query address=a@example.com
//	S: status=0 recipient_status=3 reason=...
//
//	C: request=update address=a@example.com recipient_status=0 reason=...
//	S: status=0

// An AddressStatus is what is known about an address.
type AddressStatus int

// The values of an AddressStatus.
const (
	AddressOK     AddressStatus = iota // deliverable
	AddressDefer                       // not known: delivery of a probe was deferred
	AddressBounce                      // undeliverable
	AddressTodo                        // a probe is under way
)

// A VerifyService answers the conversation. An error makes the request fail;
// the service logs it.
type VerifyService interface {
	Query(address string) (AddressStatus, string, error)
	Update(address string, s AddressStatus, reason string) error
}

// A VerifyClient asks private/verify over kept connections; it has the
// methods of VerifyService.
type VerifyClient struct {
	IPC *ipc.Client
}

// NewVerifyClient talks to the service at path, usually
// "private/$address_verify_service_name".
func NewVerifyClient(path string, timeout time.Duration) *VerifyClient {
	return &VerifyClient{&ipc.Client{Path: path, Protocol: ProtocolVerify, Timeout: timeout}}
}

// Query asks for the status of an address, and why.
func (c *VerifyClient) Query(address string) (s AddressStatus, reason string, err error) {
	var status int64
	err = c.IPC.Do(func(conn *ipc.Conn) error {
		out, in := conn.Out(), conn.In()
		out.Str("request", "query")
		out.Str("address", address)
		out.End()
		if err := out.Flush(); err != nil {
			return err
		}
		status = in.Int("status")
		s = AddressStatus(in.Int("recipient_status"))
		reason = in.Str("reason")
		in.End()
		return in.Err()
	})
	if err == nil && status != 0 {
		err = fmt.Errorf("%s: query for %s failed", c.IPC.Path, address)
	}
	return s, reason, err
}

// Update reports the result of a probe.
func (c *VerifyClient) Update(address string, s AddressStatus, reason string) error {
	var status int64
	err := c.IPC.Do(func(conn *ipc.Conn) error {
		out, in := conn.Out(), conn.In()
		out.Str("request", "update")
		out.Str("address", address)
		out.Int("recipient_status", int64(s))
		out.Str("reason", reason)
		out.End()
		if err := out.Flush(); err != nil {
			return err
		}
		status = in.Int("status")
		in.End()
		return in.Err()
	})
	if err == nil && status != 0 {
		err = fmt.Errorf("%s: update for %s failed", c.IPC.Path, address)
	}
	return err
}

// ServeVerify runs the server's half until the client closes.
func ServeVerify(conn *ipc.Conn, s VerifyService) error {
	return serve(conn, ProtocolVerify, func(in *attr.Reader, out *attr.Writer) error {
		request, address := in.Str("request"), in.Str("address")
		switch request {
		case "query":
			in.End()
			if in.Err() != nil {
				break
			}
			known, reason, err := s.Query(address)
			out.Int("status", failed(err))
			out.Int("recipient_status", int64(known))
			out.Str("reason", reason)
			out.End()
		case "update":
			known, reason := AddressStatus(in.Int("recipient_status")), in.Str("reason")
			in.End()
			if in.Err() != nil {
				break
			}
			out.Int("status", failed(s.Update(address, known, reason)))
			out.End()
		default:
			if in.Err() == nil {
				return fmt.Errorf("unknown request %.100q", request)
			}
		}
		return in.Err()
	})
}

// failed is the status attribute of a reply: 0, or -1 for an error that the
// service has logged.
func failed(err error) int64 {
	if err != nil {
		return -1
	}
	return 0
}
