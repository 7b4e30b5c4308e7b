// Package login is the front half of a mail reader's session: it asks authd
// about the client and hands the connection over to the process that is the
// user.
//
// A front holds TLS and no mail. Without TLS the client's connection itself
// goes to the worker. With TLS the worker gets one end of a socket pair, and
// the front copies between it and the client until either side closes: keys
// and mail never share a process.
package login

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"postroad/libmail/conf"
	"postroad/libmail/proto"
	"postroad/libmail/sasl"
)

// Errors of a login; the text is for the client.
var (
	ErrRefused   = errors.New("authentication failed")
	ErrTemporary = errors.New("temporary authentication failure")
	ErrCancelled = errors.New("authentication cancelled")
)

// What one direction of a TLS session keeps while bytes flow, and while none
// do.
const (
	copyBuffer = 16 << 10
	waitBuffer = 1 << 10
)

// A Front serves the logins of one program.
type Front struct {
	Service string // "imap", "pop3"

	auth  *sasl.Dovecot
	userd *proto.UserdClient
}

// New makes a Front that asks private/auth and private/userd (postconf(5):
// auth_service_name, userd_service_name).
func New(c *conf.Config, service string) *Front {
	return &Front{Service: service,
		auth:  &sasl.Dovecot{Network: "unix", Address: "private/" + c.String("auth_service_name")},
		userd: proto.NewUserdClient("private/"+c.String("userd_service_name"), time.Minute)}
}

// Mechanisms lists what authd offers.
func (f *Front) Mechanisms(ctx context.Context) ([]sasl.Mechanism, error) {
	return f.auth.Mechanisms(ctx)
}

// A Client is a connection that wants to log in.
type Client struct {
	Conn    net.Conn // as the client speaks: TLS where there is TLS
	Raw     net.Conn // the TCP connection below it
	Session string   // NewSession
	Secured bool     // TLS, or from this host
}

// NewSession is a name for a session, for logs and for its ticket.
func NewSession() string {
	b := make([]byte, 9)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// An Identity is a client that logged in.
type Identity struct {
	User   string // as authd spells it
	ticket string
}

// Authenticate runs a SASL exchange: first is the initial response in base64,
// nil when the client gave none; ask sends a challenge and returns the
// response, both in base64.
func (f *Front) Authenticate(ctx context.Context, c *Client, mechanism string, first *string, ask func(challenge string) (string, error)) (Identity, error) {
	l := sasl.Login{Mechanism: mechanism, Service: f.Service, Encrypted: c.Secured, Session: c.Session}
	l.LocalIP, l.LocalPort, _ = net.SplitHostPort(c.Raw.LocalAddr().String())
	l.RemoteIP, l.PeerPort, _ = net.SplitHostPort(c.Raw.RemoteAddr().String())
	if first != nil {
		l.Response, l.HasResp = *first, true
	}
	talk, v := f.auth.Begin(ctx, l)
	for !v.Done {
		response, err := ask(v.Challenge)
		if err != nil {
			talk.Cancel()
			return Identity{}, err
		}
		v = talk.Continue(ctx, response)
	}
	switch {
	case v.Success && v.Ticket != "":
		return Identity{User: v.User, ticket: v.Ticket}, nil
	case v.Success:
		return Identity{User: v.User}, fmt.Errorf("%w: the authentication server gives no tickets", ErrTemporary)
	case v.Temporary:
		return Identity{User: v.User}, fmt.Errorf("%w: %s", ErrTemporary, v.Reason)
	}
	return Identity{User: v.User}, ErrRefused
}

// Plain is Authenticate with a name and a password, for LOGIN and USER.
func (f *Front) Plain(ctx context.Context, c *Client, name, password string) (Identity, error) {
	first := base64.StdEncoding.EncodeToString([]byte("\x00" + name + "\x00" + password))
	return f.Authenticate(ctx, c, "PLAIN", &first, func(string) (string, error) { return "", ErrCancelled })
}

// HandOver gives the client to the worker of its user and, with TLS, copies
// until the session ends. greeting is what the worker needs to answer the
// login, buffered what the client sent behind it. An error means that the
// client is still the front's.
func (f *Front) HandOver(c *Client, who Identity, greeting string, buffered []byte) error {
	h := &proto.Handover{Ticket: who.ticket, Session: c.Session, Service: f.Service, Greeting: greeting,
		Local: address(c.Raw.LocalAddr()), Remote: address(c.Raw.RemoteAddr()), Secured: c.Secured, Buffered: buffered}
	if c.Conn == c.Raw {
		file, err := proto.ConnFile(c.Raw)
		if err != nil {
			return err
		}
		defer file.Close() // the worker has its own
		return f.userd.HandOver(h, file)
	}
	ours, theirs, err := pair()
	if err != nil {
		return err
	}
	err = f.userd.HandOver(h, theirs)
	theirs.Close() // as above
	if err != nil {
		ours.Close() // unused
		return err
	}
	splice(c.Conn, ours)
	return nil
}

func address(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host + " " + port
}

// pair makes a connected pair of sockets.
func pair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "session")
	f := os.NewFile(uintptr(fds[0]), "session")
	defer f.Close() // FileConn made a copy
	if ours, err = net.FileConn(f); err != nil {
		theirs.Close() // unused
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	return ours, theirs, nil
}

// splice copies both ways until both sides have ended.
func splice(a, b net.Conn) {
	var both sync.WaitGroup
	for _, d := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			to, from := d[1], d[0]
			copyUntilEnd(to, from)
			if w, ok := to.(interface{ CloseWrite() error }); ok {
				_ = w.CloseWrite() // the other side may be gone already
			} else {
				to.Close() // as above
			}
		})
	}
	both.Wait()
	a.Close() // everything was copied or can't be
	b.Close()
}

var buffers = sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }}

// copyUntilEnd copies from one connection to another. It waits with a small
// buffer, so that thousands of idle sessions cost little, and takes a large one
// while much is coming.
func copyUntilEnd(to io.Writer, from io.Reader) {
	small := make([]byte, waitBuffer)
	var large *[]byte
	for {
		buf := small
		if large != nil {
			buf = *large
		}
		n, err := from.Read(buf)
		if n > 0 {
			if _, e := to.Write(buf[:n]); e != nil {
				err = e
			}
		}
		switch {
		case large == nil && n == len(small):
			large = buffers.Get().(*[]byte)
		case large != nil && n < len(small):
			buffers.Put(large)
			large = nil
		}
		if err != nil {
			if large != nil {
				buffers.Put(large)
			}
			return
		}
	}
}
