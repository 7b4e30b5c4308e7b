package proto

import (
	"fmt"
	"net"
	"os"
	"time"

	"postroad/libmail/attr"
	"postroad/libmail/ipc"
)

// The userd conversation: a front (imapd, pop3d) whose client has logged in
// hands its connection over to the worker that is the user.
//
//	C: ticket=... session=... service=imap greeting=a OK Logged in local=... remote=... secured=1 buffered=base64
//	C: the client's connection (a descriptor)
//	S: status=0 reason=
//
// userd checks the ticket, finds or starts the worker of the user's uid, and
// passes both on, with what it knows about the account:
//
//	C: user=alice@example.com home=/m/alice mail=maildir:... quota= session= service= greeting= ... buffered=
//	C: the descriptor
//	S: status=0 reason=
//
// The worker says the greeting: the first thing that the client hears from the
// process that is itself.

// A Handover is a client's connection that goes from the front to the worker.
type Handover struct {
	Ticket   string // for userd; empty for the worker
	Session  string // of the front, for the log
	Service  string // "imap", "pop3"
	Greeting string // the command's tag, or what the worker needs to answer the login
	Local    string // addresses as "IP port"
	Remote   string
	Secured  bool   // TLS, or on this host
	Buffered []byte // what the client sent behind its login

	// For the worker.
	User  string
	Home  string
	Mail  string // where the mail is: "maildir:/path", "mbox:/path"
	Quota string // quota rule, "" for none
}

// HandOver is the client's half of both conversations: connection goes with
// the request. The error says why it was not taken; the front then answers the
// client itself.
func HandOver(conn *ipc.Conn, h *Handover, connection *os.File) error {
	out, in := conn.Out(), conn.In()
	h.write(out)
	err := out.Flush()
	if err == nil {
		err = conn.SendFile(connection)
	}
	if err != nil {
		return err
	}
	status, reason := in.Int("status"), in.Str("reason")
	in.End()
	switch {
	case in.Err() != nil:
		return in.Err()
	case status != 0:
		return fmt.Errorf("not taken over: %s", reason)
	}
	return nil
}

// ServeHandover runs the server's half until the client closes. take owns the
// connection from then on, whatever it returns.
func ServeHandover(conn *ipc.Conn, take func(h *Handover, connection *os.File) error) error {
	for {
		if err := conn.Await(); err != nil {
			return nil // no more work
		}
		h, err := readHandover(conn.In())
		if err != nil {
			return err
		}
		f, err := conn.ReceiveFile()
		if err != nil {
			return err
		}
		var status int64
		reason := ""
		if err := take(h, f); err != nil {
			status, reason = -1, err.Error()
		}
		out := conn.Out()
		out.Int("status", status)
		out.Str("reason", reason)
		out.End()
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

func (h *Handover) write(out *attr.Writer) {
	out.Str("ticket", h.Ticket)
	out.Str("session", h.Session)
	out.Str("service", h.Service)
	out.Str("greeting", h.Greeting)
	out.Str("local", h.Local)
	out.Str("remote", h.Remote)
	var secured int64
	if h.Secured {
		secured = 1
	}
	out.Int("secured", secured)
	out.Data("buffered", h.Buffered)
	out.Str("user", h.User)
	out.Str("home", h.Home)
	out.Str("mail", h.Mail)
	out.Str("quota", h.Quota)
	out.End()
}

func readHandover(in *attr.Reader) (*Handover, error) {
	h := &Handover{}
	h.Ticket = in.Str("ticket")
	h.Session = in.Str("session")
	h.Service = in.Str("service")
	h.Greeting = in.Str("greeting")
	h.Local = in.Str("local")
	h.Remote = in.Str("remote")
	h.Secured = in.Int("secured") != 0
	h.Buffered = in.Data("buffered")
	h.User = in.Str("user")
	h.Home = in.Str("home")
	h.Mail = in.Str("mail")
	h.Quota = in.Str("quota")
	in.End()
	return h, in.Err()
}

// A UserdClient hands connections over to private/userd.
type UserdClient struct {
	path    string
	timeout time.Duration
}

// NewUserdClient talks to the service at path, usually "private/userd".
func NewUserdClient(path string, timeout time.Duration) *UserdClient {
	return &UserdClient{path, timeout}
}

// HandOver gives a client's connection away; see HandOver.
func (c *UserdClient) HandOver(h *Handover, connection *os.File) error {
	conn, err := ipc.Dial(c.path, c.timeout)
	if err != nil {
		return err
	}
	defer conn.Close() // the reply was read, or will not come
	return HandOver(conn, h, connection)
}

// ConnFile is the descriptor of a network connection, for SendFile.
func ConnFile(c net.Conn) (*os.File, error) {
	f, ok := c.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("%T has no descriptor", c)
	}
	return f.File()
}
