package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"postroad/libmail/maillog"
	"postroad/libmail/server"
	"postroad/libmail/smtpwire"
)

// Stages of a session, as the log and policy servers call them; between two
// commands the stage is the command's name.
const (
	atConnect = "CONNECT"
	atUnknown = "UNKNOWN"
	inData    = "DATA content"
	inBDAT    = "BDAT content"
	atEnd     = "END-OF-MESSAGE"
)

// A session is the conversation with one client. It runs on one goroutine.
type session struct {
	*service
	ctx    context.Context
	wire   *wire
	client client
	alone  bool // sendmail -bs: no access control, mail goes to postdrop
	passed bool // by postscreen, which has greeted the client already

	tls   *tlsState // nil: plain text
	sasl  saslState
	pipes bool // improper pipelining was seen

	xclientAllowed  bool
	xforwardAllowed bool
	bareLF          bareLF
	discard         smtpwire.Keywords // EHLO keywords that this client does not get
	discardErr      error             // they could not be looked up

	where        string // stage
	helo         string // "" before HELO
	protocol     string // SMTP or ESMTP
	accessDenied *reply // client restrictions refused the connection
	errors       int    // counted errors since the last message
	junk         int    // commands that do nothing since the last message
	notes        []string
	stats        map[string]*count
	anvilCounted bool // this connection is counted

	mail  transaction
	etrn  string     // argument of ETRN while it is decided about
	rules evaluation // state of access control

	trouble trouble  // since the history began
	history []string // of the conversation, if somebody is to see it
	aborted string   // why the session broke off
}

// count is how often a command came and how often it worked.
type count struct{ good, all int }

// errQuiet ends a session without a further word.
var errQuiet = errors.New("session ends")

// serve runs a session to its end.
func (sv *service) serve(ctx context.Context, conn net.Conn, alone bool) {
	s := &session{service: sv, ctx: ctx, alone: alone, where: atConnect, protocol: "SMTP", stats: map[string]*count{}}
	s.wire = newWire(conn, s.pace, &sv.buffers)
	sv.idlers.add(s.wire.timed)
	defer sv.idlers.remove(s.wire.timed)
	err := s.identify(conn)
	s.log.Connect(s.client.namaddr)
	if err == nil {
		s.access()
		err = s.talk()
	}
	s.leave(err)
	s.log.Info("disconnect from %s%s", s.client.namaddr, s.statistics())
}

// identify finds out who the client is.
func (s *session) identify(conn net.Conn) error {
	c := &s.client
	passed := server.Passed(s.ctx)
	var err error
	switch {
	case passed != nil:
		s.passed = true
		err = c.fromPassed(passed)
	case s.params.proxyProtocol != "" && !s.alone:
		err = s.proxied(conn)
	case !c.fromConn(conn):
		*c = localClient()
		return nil
	}
	if err != nil {
		s.log.Warning("%v", err)
		*c = unknownClient()
		return errHeader
	}
	s.lookupNames(s.ctx)
	c.setNamaddr(s.params.portLogging)
	return nil
}

// errHeader is a connection whose client a proxy did not name.
var errHeader = errors.New("no information from the proxy")

// access decides what this client may do beyond others. XCLIENT cannot change
// who may use XCLIENT and XFORWARD.
func (s *session) access() {
	s.discard = s.params.discardKeywords
	if s.alone {
		return
	}
	s.xclientAllowed = s.listed(s.lists.xclient)
	s.xforwardAllowed = s.listed(s.lists.xforward)
	s.chooseBareLF()
	if value, found, err := s.tables.discardKeywords.Find(s.client.addr); err != nil {
		s.discardErr = err
	} else if found {
		s.discard, _ = smtpwire.ParseKeywords(value) // unknown words are for other versions
	}
}

// chooseBareLF sets what becomes of lines that end in LF alone.
func (s *session) chooseBareLF() {
	s.bareLF = bareLF{}
	if !s.alone && s.params.bareLF.strictEnd && !s.listed(s.lists.bareLFExclusions) {
		s.bareLF = s.params.bareLF
	}
}

// limits are the present ones: they are narrower under stress.
func (s *session) limits() *limits {
	if s.stress() {
		return &s.params.stressed
	}
	return &s.params.calm
}

func (s *session) pace() pace {
	l := s.limits()
	return pace{timeout: l.timeout, requests: l.perRequest}
}

// talk greets the client and answers its commands until the end.
func (s *session) talk() error {
	if s.params.tls.wrapper && !s.alone {
		if err := s.wrap(); err != nil {
			return err
		}
	}
	if err := s.finish(s.greet()); err != nil {
		return err
	}
	for {
		s.forgetHistory(s.params.historyLimit)
		s.wire.timed.request(0)
		if s.errors >= s.limits().hardErrorLimit {
			s.trouble |= protocolTrouble
			s.write(&reply{code: 421, status: "4.7.0", text: s.params.hostname + " Error: too many errors"}) // the client may be gone
			return errTooMany
		}
		line, r, err := s.readCommand()
		if err != nil {
			return err
		}
		if r == nil {
			again := s.command(line)
			r = &again
		}
		if err := s.finish(*r); err != nil {
			return err
		}
	}
}

var errTooMany = errors.New("too many errors")

// finish writes a reply, and does what the command asks for after it.
func (s *session) finish(r reply) error {
	for {
		then := r.then
		if r.restart {
			r = s.greet()
		}
		if err := s.write(&r); err != nil {
			return err
		}
		switch {
		case r.hangup:
			return errQuiet
		case then == nil:
			return nil
		}
		r = then(s)
	}
}

// readCommand reads one command line. A reply instead of a line answers what is
// no command at all.
func (s *session) readCommand() (line string, r *reply, err error) {
	s.wire.timed.setIdle(s.mail.sender == nil)
	raw, ending, err := s.readLine(s.params.lineLimit)
	s.wire.timed.setIdle(false)
	if err != nil {
		return "", nil, err
	}
	text := string(raw)
	s.remember("In:  ", text)
	if ending == smtpwire.Partial {
		return "", s.tooLong(text, s.params.lineLimit), nil
	}
	if ending == smtpwire.BareLF && s.bareLF.strictEnd {
		if s.bareLF.reject {
			s.logEvent("reject", "bare <LF> received")
			r := protocolError(s.params.bareLFCode, "5.5.2", "%s Error: bare <LF> received", s.params.hostname)
			r.hangup = true
			return "", &r, nil
		}
		s.noteBareLF()
	}
	return text, nil, nil
}

func (s *session) noteBareLF() {
	if s.bareLF.note && len(s.notes) == 0 {
		s.notes = append(s.notes, "bare_lf")
	}
}

// readLine reads a line that has at most limit bytes.
func (s *session) readLine(limit int) ([]byte, smtpwire.Ending, error) {
	line, ending, scratch, err := smtpwire.ReadLine(s.wire.reader(), s.wire.scratch, limit)
	if cap(scratch) <= commandBuffer {
		s.wire.scratch = scratch
	}
	return line, ending, err
}

// tooLong skips the rest of a line. It counts as an error, so that nobody can
// go on like that for ever.
func (s *session) tooLong(begin string, limit int) *reply {
	s.log.Warning("%s: request longer than %d: %.30s...", s.client.namaddr, limit, maillog.Printable(begin))
	r := protocolError(500, "5.5.2", "%s Error: command too long", s.params.hostname)
	if err := smtpwire.SkipLine(s.wire.reader(), limit); err != nil {
		if errors.Is(err, smtpwire.ErrLineTooLong) {
			s.log.Warning("disabling input from %s", s.client.namaddr)
		}
		r.hangup = true
	}
	s.errors++
	return &r
}

// improperPipelining reports input that came before the client was asked for it.
func (s *session) improperPipelining() bool {
	if s.pipes || s.alone {
		return false
	}
	early := s.wire.peek(100)
	if len(early) == 0 {
		return false
	}
	s.pipes = true
	s.log.Info("improper command pipelining after %s from %s: %s", s.where, s.client.namaddr, escape(early))
	return true
}

var synchronization = reply{code: 554, status: "5.5.0", text: "Error: SMTP protocol synchronization", hangup: true}

// greet counts the connection and makes the first reply of a session.
func (s *session) greet() reply {
	if s.tls == nil && !s.passed && s.improperPipelining() && s.params.forbidPipelining {
		return synchronization
	}
	if r := s.countConnection(); r != nil {
		return *r
	}
	if !s.alone && !s.params.delayReject {
		if r := s.checkClient(); r != nil {
			s.errors++
			denied := *r
			s.accessDenied = &denied
			return denied
		}
	}
	s.activateSASL()
	return reply{code: 220, text: s.params.banner}
}

// leave logs why a session ended and forgets the client.
func (s *session) leave(err error) {
	s.uncountConnection()
	reason := ""
	var limit interface{ Timeout() bool }
	switch {
	case err == nil, errors.Is(err, errQuiet):
	case errors.Is(err, errHeader):
		s.write(&reply{code: 421, status: "4.3.0", text: s.params.hostname + " Server local error"}) // the client may be gone
	case errors.Is(err, errTooMany):
		reason = "too many errors"
	case errors.Is(err, errStopping):
		s.write(&reply{code: 421, status: "4.3.2", text: s.params.hostname + " Service not available, closing transmission channel"}) // the client may be gone
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &limit) && limit.Timeout():
		reason = "timeout"
		s.wire.timed.request(0)
		s.write(&reply{code: 421, status: "4.4.2", text: s.params.hostname + " Error: timeout exceeded"}) // the client may be gone
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		reason = "lost connection"
	default:
		reason = "lost connection"
		s.log.Debug("%s: %v", s.client.namaddr, err)
	}
	s.wire.w.Flush() // the client may be gone
	s.logEnd(reason)
	s.aborted = reason
	s.forgetHistory(0)
	s.resetMail()
	s.closeTLS()
	s.wire.release()
}

// logEnd tells after which command a session broke off.
func (s *session) logEnd(reason string) {
	if reason == "" {
		return
	}
	id := s.queueID()
	switch s.where {
	case inData:
		s.log.Info("%s: %s after DATA (%d bytes) from %s", id, reason, s.mail.size+int64(s.wire.buffered()), s.client.namaddr)
	case inBDAT:
		s.log.Info("%s: %s after BDAT (%d bytes) from %s", id, reason, s.mail.size+int64(s.mail.chunks.Held()), s.client.namaddr)
	case atEnd:
		if reason == "lost connection" {
			return // the message is safe, QUIT is a courtesy
		}
		fallthrough
	default:
		s.log.Info("%s: %s after %s from %s", id, reason, s.where, s.client.namaddr)
	}
}

// queueID is what log lines about this session begin with.
func (s *session) queueID() string {
	if s.mail.id == "" {
		return "NOQUEUE"
	}
	return s.mail.id
}

// pause waits, but not beyond the end of the process.
func (s *session) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
	}
}
