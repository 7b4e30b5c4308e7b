package proto

import (
	"fmt"
	"sync"
	"time"

	"postroad/libmail/attr"
	"postroad/libmail/ipc"
)

// The anvil conversation: smtpd counts what each client does, and learns how
// much that is in the current time unit. The identifier is "service:address".
//
//	C: request=connect ident=smtp:192.0.2.1
//	S: status=0 count=3 rate=12
//	C: request=message ident=smtp:192.0.2.1
//	S: status=0 rate=7
//	C: request=disconnect ident=smtp:192.0.2.1
//	S: status=0
//	C: request=lookup ident=smtp:192.0.2.1
//	S: status=0 count= rate= mail= rcpt= newtls= auth=
//
// Connections are counted for as long as the conversation lives: when smtpd
// dies, its clients are gone.

// Verbs of the anvil conversation.
const (
	AnvilConnect    = "connect"
	AnvilDisconnect = "disconnect"
	AnvilMessage    = "message"
	AnvilRecipient  = "recipient"
	AnvilNewTLS     = "newtls"
	AnvilTLSStatus  = "newtls_status" // does not count
	AnvilAuth       = "auth"
	AnvilLookup     = "lookup" // does not count
)

// anvilReplies are the attributes that answer each verb, after status.
var anvilReplies = map[string][]string{
	AnvilConnect:    {"count", "rate"},
	AnvilDisconnect: {},
	AnvilMessage:    {"rate"},
	AnvilRecipient:  {"rate"},
	AnvilNewTLS:     {"rate"},
	AnvilTLSStatus:  {"rate"},
	AnvilAuth:       {"rate"},
	AnvilLookup:     {"count", "rate", "mail", "rcpt", "newtls", "auth"},
}

// AnvilCounts are the numbers of one client; a reply fills those that its
// verb asks for.
type AnvilCounts struct {
	Count                    int // simultaneous connections
	Rate                     int // of the event that was counted, in anvil_rate_time_unit; of connections for AnvilLookup
	Mail, Rcpt, NewTLS, Auth int
}

func (c *AnvilCounts) field(name string) *int {
	switch name {
	case "count":
		return &c.Count
	case "rate":
		return &c.Rate
	case "mail":
		return &c.Mail
	case "rcpt":
		return &c.Rcpt
	case "newtls":
		return &c.NewTLS
	case "auth":
		return &c.Auth
	}
	panic("anvil counter " + name)
}

// An AnvilClient counts for one smtpd process, over the one connection whose
// end tells anvil that the process is gone.
type AnvilClient struct {
	path    string
	timeout time.Duration

	mu   sync.Mutex // held for a whole request
	conn *ipc.Conn  // nil until the first request and after an error
}

// NewAnvilClient talks to the service at path, usually
// "private/$anvil_service_name".
func NewAnvilClient(path string, timeout time.Duration) *AnvilClient {
	return &AnvilClient{path: path, timeout: timeout}
}

// Do counts an event, or looks up, for a client. A request that fails on an
// old connection is made once more on a new one.
func (c *AnvilClient) Do(verb, ident string) (AnvilCounts, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		if n, err := c.ask(verb, ident); err == nil {
			return n, nil
		}
	}
	conn, err := ipc.Dial(c.path, c.timeout)
	if err != nil {
		return AnvilCounts{}, err
	}
	c.conn = conn
	if got := conn.In().Str("protocol"); conn.In().Err() == nil && got != ProtocolAnvil {
		c.hangUp()
		return AnvilCounts{}, fmt.Errorf("%s: server speaks %.100q, not %s", c.path, got, ProtocolAnvil)
	}
	conn.In().End()
	return c.ask(verb, ident)
}

// Close ends the connection, and with it the counts of this process.
func (c *AnvilClient) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.hangUp()
	}
}

func (c *AnvilClient) hangUp() {
	c.conn.Close() // of no more use; its error adds nothing
	c.conn = nil
}

// ask makes one request on the connection there is.
func (c *AnvilClient) ask(verb, ident string) (n AnvilCounts, err error) {
	fields, known := anvilReplies[verb]
	if !known {
		panic("anvil request " + verb)
	}
	out, in := c.conn.Out(), c.conn.In()
	out.Str("request", verb)
	out.Str("ident", ident)
	out.End()
	if err = out.Flush(); err == nil {
		if status := in.Int("status"); status != 0 && in.Err() == nil {
			err = fmt.Errorf("status %d", status)
		}
		for _, f := range fields {
			*n.field(f) = int(in.Int(f))
		}
		in.End()
	}
	if err == nil {
		err = in.Err()
	}
	if err != nil {
		c.hangUp()
		return AnvilCounts{}, fmt.Errorf("%s: %s: %w", c.path, verb, err)
	}
	return n, nil
}

// ServeAnvil runs the server's half until the client closes.
func ServeAnvil(conn *ipc.Conn, do func(verb, ident string) AnvilCounts) error {
	return serve(conn, ProtocolAnvil, func(in *attr.Reader, out *attr.Writer) error {
		verb, ident := in.Str("request"), in.Str("ident")
		in.End()
		if in.Err() != nil {
			return in.Err()
		}
		fields, known := anvilReplies[verb]
		if !known {
			return fmt.Errorf("unknown request %.100q", verb)
		}
		n := do(verb, ident)
		out.Int("status", 0)
		for _, f := range fields {
			out.Int(f, int64(*n.field(f)))
		}
		out.End()
		return nil
	})
}
