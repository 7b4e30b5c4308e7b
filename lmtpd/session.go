package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/sasl"
	"postroad/libmail/smtpwire"
)

// commandLimit bounds a command line, in bytes.
const commandLimit = 4096

// A reply is one LMTP reply. Handlers return it; only the loop writes it.
type reply struct {
	code   int
	status string // enhanced status code
	text   string
	hangup bool
}

// A session is one client until it leaves.
type session struct {
	*lmtpd
	ctx    context.Context
	conn   net.Conn
	r      *bufio.Reader
	w      *bufio.Writer
	line   []byte // scratch
	client string // for the log and Received
	name   string // of LHLO
	errors int

	mail *envelope // nil: no MAIL yet
}

// An envelope is a mail transaction.
type envelope struct {
	sender string
	utf8   bool
	rcpts  []rcpt
}

// A rcpt is a recipient that was accepted.
type rcpt struct {
	address string
	folder  string // "" for the inbox
	who     sasl.Account
}

// commands is the command table (RFC 2033 §4). RFC 2033 §4.1 wants 500 for HELO
// and EHLO, which are not in it.
var commands map[string]func(*session, []smtpwire.Token) reply

func init() { // in init, because DATA leads back to the table
	commands = map[string]func(*session, []smtpwire.Token) reply{
		"LHLO": (*session).lhlo,
		"MAIL": (*session).mailFrom,
		"RCPT": (*session).rcptTo,
		"DATA": (*session).data,
		"RSET": (*session).rset,
		"NOOP": func(*session, []smtpwire.Token) reply { return reply{code: 250, status: "2.0.0", text: "Ok"} },
		"VRFY": func(*session, []smtpwire.Token) reply { return reply{code: 252, status: "2.5.2", text: "Try RCPT"} },
		"QUIT": func(*session, []smtpwire.Token) reply {
			return reply{code: 221, status: "2.0.0", text: "Bye", hangup: true}
		},
	}
}

// timed renews the time limit with each read and write.
type timed struct {
	net.Conn
	limit time.Duration
}

func (t timed) Read(p []byte) (int, error) {
	if err := t.SetReadDeadline(time.Now().Add(t.limit)); err != nil {
		return 0, err
	}
	return t.Conn.Read(p)
}

func (t timed) Write(p []byte) (int, error) {
	if err := t.SetWriteDeadline(time.Now().Add(t.limit)); err != nil {
		return 0, err
	}
	return t.Conn.Write(p)
}

func newSession(ctx context.Context, d *lmtpd, c net.Conn) *session {
	s := &session{lmtpd: d, ctx: ctx, conn: c, client: "local"}
	if host, _, err := net.SplitHostPort(c.RemoteAddr().String()); err == nil {
		s.client = host
	}
	t := timed{c, d.timeout}
	s.r, s.w = bufio.NewReaderSize(t, 16<<10), bufio.NewWriterSize(t, 4<<10)
	return s
}

// run talks with the client until it leaves.
func (s *session) run() {
	r := reply{code: 220, text: s.hostname + " LMTP postroad"}
	for {
		if err := s.say(r); err != nil || r.hangup {
			return // the client is gone, or has been told
		}
		var end bool
		if r, end = s.next(); end {
			return
		}
		if r.code >= 400 {
			s.errors++
		}
		if s.errors > s.errorLimit && !r.hangup {
			r = reply{code: 421, status: "4.7.0", text: s.hostname + " Error: too many errors", hangup: true}
		}
	}
}

// say writes one reply, which leaves when nothing more of the client is here
// (RFC 2920 §3.2).
func (s *session) say(r reply) error {
	if r.code == 0 {
		return s.w.Flush() // the command has replied for itself
	}
	if _, err := s.w.Write(smtpwire.AppendReply(nil, r.code, r.status, r.text)); err != nil {
		return err
	}
	if s.r.Buffered() > 0 && !r.hangup {
		return nil
	}
	return s.w.Flush()
}

// next reads and obeys one command.
func (s *session) next() (r reply, end bool) {
	select {
	case <-s.env.Stopping():
		if s.mail == nil {
			return reply{code: 421, status: "4.3.2", text: s.hostname + " Service shutting down", hangup: true}, false
		}
	default:
	}
	line, ending, scratch, err := smtpwire.ReadLine(s.r, s.line, commandLimit)
	s.line = scratch
	if err != nil {
		var limit net.Error
		if errors.As(err, &limit) && limit.Timeout() {
			return reply{code: 421, status: "4.4.2", text: s.hostname + " Error: timeout exceeded", hangup: true}, false
		}
		return r, true
	}
	if ending == smtpwire.Partial {
		if err := smtpwire.SkipLine(s.r, 1<<20); err != nil {
			return r, true
		}
		return reply{code: 500, status: "5.5.2", text: "Error: line too long"}, false
	}
	args := smtpwire.AppendTokens(nil, string(line))
	if len(args) == 0 {
		return reply{code: 500, status: "5.5.2", text: "Error: bad syntax"}, false
	}
	act, known := commands[strings.ToUpper(args[0].Text)]
	if !known {
		return reply{code: 500, status: "5.5.1", text: "Error: command not recognized"}, false
	}
	return act(s, args), false
}

// lhlo begins the session anew (RFC 2033 §4.1).
func (s *session) lhlo(args []smtpwire.Token) reply {
	if len(args) != 2 || args[1].Bad {
		return reply{code: 501, text: "Syntax: LHLO hostname"}
	}
	s.name, s.mail = args[1].Text, nil
	size := "SIZE"
	if s.sizeLimit > 0 {
		size = fmt.Sprintf("SIZE %d", s.sizeLimit)
	}
	return reply{code: 250, text: strings.Join([]string{s.hostname, "PIPELINING", size, "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"}, "\n")}
}

// mailFrom begins a transaction.
func (s *session) mailFrom(args []smtpwire.Token) reply {
	switch {
	case s.name == "":
		return reply{code: 503, status: "5.5.1", text: "Error: send LHLO first"}
	case s.mail != nil:
		return reply{code: 503, status: "5.5.1", text: "Error: nested MAIL command"}
	case len(args) < 3 || !strings.EqualFold(args[1].Text, "FROM:"):
		return reply{code: 501, status: "5.5.4", text: "Syntax: MAIL FROM:<address>"}
	}
	m := &envelope{}
	for _, a := range args[3:] {
		if r, ok := s.mailParam(m, smtpwire.ParseParam(a.Text)); !ok {
			return r
		}
	}
	path, rest, err := addr.ParsePath(args[2].Text, m.charset())
	if err != nil || rest != "" || path.Domain == "" && path.Local != "" {
		return reply{code: 501, status: "5.1.7", text: "Bad sender address syntax"}
	}
	m.sender = path.Internal()
	s.mail = m
	return reply{code: 250, status: "2.1.0", text: "Ok"}
}

// mailParam takes one parameter of MAIL.
func (s *session) mailParam(m *envelope, p smtpwire.Param) (r reply, ok bool) {
	switch {
	case p.Key == "SIZE":
		size, ok := smtpwire.ParseSize(p.Value)
		switch {
		case !ok:
			return reply{code: 501, status: "5.5.4", text: "Bad message size syntax"}, false
		case s.sizeLimit > 0 && size > s.sizeLimit:
			return reply{code: 552, status: "5.3.4", text: "Message size exceeds fixed limit"}, false
		}
	case p.Key == "BODY" && (strings.EqualFold(p.Value, "7BIT") || strings.EqualFold(p.Value, "8BITMIME")):
	case p.Key == "SMTPUTF8" && !p.Has:
		m.utf8 = true
	default:
		return reply{code: 555, status: "5.5.4", text: "Unsupported option: " + smtpwire.Printable(p.Key)}, false
	}
	return r, true
}

func (m *envelope) charset() addr.Charset {
	if m.utf8 {
		return addr.UTF8
	}
	return addr.ASCII
}

// rcptTo accepts a recipient who is a user now.
func (s *session) rcptTo(args []smtpwire.Token) reply {
	switch {
	case s.mail == nil:
		return reply{code: 503, status: "5.5.1", text: "Error: need MAIL command"}
	case len(args) < 3 || !strings.EqualFold(args[1].Text, "TO:"):
		return reply{code: 501, status: "5.5.4", text: "Syntax: RCPT TO:<address>"}
	case len(args) > 3:
		return reply{code: 555, status: "5.5.4", text: "Unsupported option: " + smtpwire.Printable(args[3].Text)}
	case len(s.mail.rcpts) >= s.rcptLimit:
		return reply{code: 452, status: "4.5.3", text: "Error: too many recipients"}
	}
	path, rest, err := addr.ParsePath(args[2].Text, s.mail.charset())
	if err != nil || rest != "" || path.Local == "" {
		return reply{code: 501, status: "5.1.3", text: "Bad recipient address syntax"}
	}
	to := rcpt{address: path.Internal()}
	to.who, to.folder, err = s.find(to.address)
	shown := "<" + smtpwire.Printable(addr.Quote(to.address)) + ">"
	switch {
	case errors.Is(err, sasl.ErrUnknownUser):
		s.env.Log.Info("reject: RCPT from %s: 550 5.1.1 %s: User unknown", s.client, shown)
		return reply{code: 550, status: "5.1.1", text: shown + ": User unknown"}
	case err != nil:
		s.env.Log.Warning("RCPT from %s: %s: %v", s.client, shown, err)
		return reply{code: 451, status: "4.3.0", text: shown + ": Temporary lookup failure"}
	}
	s.mail.rcpts = append(s.mail.rcpts, to)
	return reply{code: 250, status: "2.1.5", text: "Ok"}
}

// find finds the user of an address, as it is and then without its extension,
// which may name a folder.
func (s *session) find(address string) (who sasl.Account, folder string, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
	defer cancel()
	if who, err = s.auth.Account(ctx, address, "lmtp"); !errors.Is(err, sasl.ErrUnknownUser) {
		return who, "", err
	}
	user, extension, ok := s.delimiters.Strip(address)
	if !ok {
		return who, "", err
	}
	if who, err = s.auth.Account(ctx, user, "lmtp"); s.folders {
		folder = extension[1:] // without its delimiter
	}
	return who, folder, err
}

func (s *session) rset([]smtpwire.Token) reply {
	s.mail = nil
	return reply{code: 250, status: "2.0.0", text: "Ok"}
}

// data receives a message and replies for each recipient (RFC 2033 §4.2).
func (s *session) data(args []smtpwire.Token) reply {
	switch {
	case s.mail == nil:
		return reply{code: 503, status: "5.5.1", text: "Error: need MAIL command"}
	case len(s.mail.rcpts) == 0:
		return reply{code: 503, status: "5.5.1", text: "Error: no valid recipients"} // RFC 2033 §4.2
	case len(args) != 1:
		return reply{code: 501, status: "5.5.4", text: "Syntax: DATA"}
	}
	m := s.mail
	s.mail = nil
	if _, err := s.w.Write(smtpwire.AppendReply(nil, 354, "", "End data with <CR><LF>.<CR><LF>")); err != nil {
		return reply{hangup: true}
	}
	if err := s.w.Flush(); err != nil {
		return reply{hangup: true}
	}
	message, err := s.receive()
	switch {
	case errors.Is(err, errTooLarge):
		return s.sayAll(m, reply{code: 552, status: "5.3.4", text: "Message size exceeds fixed limit"})
	case errors.Is(err, errSpool):
		s.env.Log.Warning("message from %s: %v", s.client, err)
		return s.sayAll(m, reply{code: 452, status: "4.3.1", text: "Insufficient system storage"})
	case err != nil:
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			s.env.Log.Info("lost connection in DATA from %s: %v", s.client, err)
		}
		return reply{hangup: true}
	}
	defer message.Close() // an unlinked file: it is gone
	for _, r := range s.deliver(m, message) {
		if err := s.sayOne(r); err != nil {
			return reply{hangup: true}
		}
	}
	return reply{}
}

// sayAll gives each recipient the same reply.
func (s *session) sayAll(m *envelope, r reply) reply {
	for range m.rcpts {
		if err := s.sayOne(r); err != nil {
			return reply{hangup: true}
		}
	}
	return reply{}
}

func (s *session) sayOne(r reply) error {
	_, err := s.w.Write(smtpwire.AppendReply(nil, r.code, r.status, r.text))
	return err
}
