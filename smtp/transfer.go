package main

import (
	"errors"
	"io"
	"time"

	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/smtpwire"
)

// A step is a command of a mail transaction, in order.
type step int

const (
	stepXforwardName step = iota
	stepXforwardProto
	stepMail
	stepRcpt
	stepData
	stepDot
	stepAbort
	stepQuit
)

// steps say how each step is told in a log, and how long it may take.
var steps = []struct {
	doing   string
	request string
	limit   func(p *params) time.Duration
}{
	{"sending XFORWARD name/address", "XFORWARD name/address command", func(p *params) time.Duration { return p.xforward }},
	{"sending XFORWARD protocol/helo_name", "XFORWARD helo/protocol command", func(p *params) time.Duration { return p.xforward }},
	{"sending MAIL FROM", "MAIL FROM command", func(p *params) time.Duration { return p.mail }},
	{"sending RCPT TO", "RCPT TO command", func(p *params) time.Duration { return p.rcpt }},
	{"sending DATA command", "DATA command", func(p *params) time.Duration { return p.dataInit }},
	{"sending end of data -- message may be sent more than once", "end of DATA command", func(p *params) time.Duration { return p.dataDone }},
	{"sending final RSET", "final RSET command", func(p *params) time.Duration { return p.rset }},
	{"sending QUIT", "QUIT command", func(p *params) time.Duration { return p.quit }},
}

// A transaction sends one message over a session. Commands run ahead of
// replies as far as the server allows it (RFC 2920):
//
//	MAIL RCPT RCPT ... DATA      in one piece, then all replies
//	the content and the dot      then one reply, or with LMTP one a recipient
//
// A recipient is reported as sent only after the reply to the dot.
type transaction struct {
	*job
	s         *session
	ahead     []sentCommand // sent, without reply yet
	bytes     int           // of these commands
	accepted  []*recipient
	refused   bool // MAIL was
	data      bool // the server waits for content
	dataReply smtpwire.Reply
	dataBad   bool // DATA was refused
	heard     bool // a reply has come in this transaction
	failure   error
	failedAt  step
	inContent bool
}

type sentCommand struct {
	step step
	rcpt *recipient
}

// A transferEnd says what a kept connection was good for.
type transferEnd int

const (
	sessionUsed transferEnd = iota
	sessionGone             // the server had closed it before it was used
)

// transfer sends the message and accounts for every open recipient.
func (j *job) transfer(s *session) transferEnd {
	if s.features.MaxSize > 0 && s.features.MaxSize < j.Size {
		j.failAll(s, local("5.3.4", "message size %d exceeds size limit %d of server %s", j.Size, s.features.MaxSize, s.nameAddr), 0)
		j.complete = true
		return sessionUsed
	}
	t := &transaction{job: j, s: s}
	j.connDone = time.Time{}
	done := t.envelope()
	if t.gone() {
		return sessionGone
	}
	if done {
		t.message()
	}
	if t.failure != nil {
		doing := steps[t.failedAt].doing
		if t.inContent {
			doing = "sending message body"
		}
		j.stream(s, t.failure, doing)
		return sessionUsed
	}
	if !s.broken {
		j.complete = true
	}
	return sessionUsed
}

// gone reports whether a kept connection broke before the server said
// anything about this message.
func (t *transaction) gone() bool {
	return t.s.reused > 0 && !t.heard && t.failure != nil && !errors.Is(t.failure, errData)
}

// ready reads replies if the server does not want another command of n bytes
// before.
func (t *transaction) ready(n int) bool {
	if len(t.ahead) > 0 && (!t.s.has(smtpwire.Pipelining) || t.bytes+n+2 > pipelineBuffer) {
		return t.drain()
	}
	return true
}

// send sends a command as soon as the server is ready for it.
func (t *transaction) send(at step, r *recipient, command string) bool {
	if !t.ready(len(command)) {
		return false
	}
	t.s.command(command)
	t.ahead = append(t.ahead, sentCommand{at, r})
	t.bytes += len(command) + 2
	return true
}

// drain reads the replies to all commands so far.
func (t *transaction) drain() bool {
	for _, c := range t.ahead {
		t.s.timed.begin(steps[c.step].limit(t.p), 0)
		r, err := t.s.reply()
		if err != nil {
			t.failure, t.failedAt = err, c.step
			return false
		}
		if !t.heard && t.s.reused > 0 && r.Code == 421 {
			t.failure, t.failedAt = io.EOF, c.step // it was about to close anyway
			return false
		}
		t.heard = true
		t.take(c, r)
	}
	t.ahead, t.bytes = t.ahead[:0], 0
	return true
}

// take does what a reply to one command means.
func (t *transaction) take(c sentCommand, r smtpwire.Reply) {
	switch c.step {
	case stepXforwardName, stepXforwardProto:
		if r.Code/100 != 2 {
			t.log.Warning("host %s said: %s (in reply to %s)", t.s.nameAddrPort, r.OneLine(), steps[c.step].request)
		}
	case stepMail:
		if r.Code/100 != 2 {
			t.failAll(t.s, t.s.said(r, steps[c.step].request), 0)
			t.refused = true
		}
	case stepRcpt:
		t.takeRcpt(c.rcpt, r)
	case stepData:
		t.data, t.dataReply = r.Code/100 == 3, r
		if !t.data {
			if len(t.accepted) > 0 {
				t.failAll(t.s, t.s.said(r, steps[c.step].request), 0)
			}
			t.dataBad = true
		}
	}
}

func (t *transaction) takeRcpt(rcpt *recipient, r smtpwire.Reply) {
	switch {
	case t.refused: // all recipients are accounted for
	case r.Code/100 != 2:
		t.failOne(t.s, rcpt, t.s.said(r, steps[stepRcpt].request))
	default:
		t.accepted = append(t.accepted, rcpt)
		if t.probe() && t.p.verifyTarget == stepRcpt {
			t.sent(t.s, rcpt, r)
		}
	}
}

// probe reports whether the message must not be delivered.
func (t *transaction) probe() bool { return t.Flags&proto.DeliverTraceOnly != 0 }

// envelope sends everything before the content. True means that the server
// waits for the content.
func (t *transaction) envelope() bool {
	for _, at := range []step{stepXforwardName, stepXforwardProto} {
		if command := t.xforward(at); command != "" && !t.send(at, nil, command) {
			return false
		}
	}
	if t.earlyReply() {
		return false
	}
	mail, err := t.mailCommand()
	if err != nil {
		t.failure = err
		return false
	}
	t.connDone = t.clock.Now()
	if !t.send(stepMail, nil, mail) {
		return false
	}
	for _, r := range t.open() {
		command, err := t.rcptCommand(r)
		if err != nil {
			t.failure = err
			return false
		}
		if !t.ready(len(command)) {
			return false
		}
		if t.refused {
			return t.abort()
		}
		t.send(stepRcpt, r, command)
	}
	if t.probe() && t.p.verifyTarget == stepRcpt {
		return t.drain() && t.abort()
	}
	if !t.ready(len("DATA")) {
		return false
	}
	if len(t.ahead) == 0 && (t.refused || len(t.accepted) == 0) {
		return t.abort()
	}
	if !t.send(stepData, nil, "DATA") || !t.drain() {
		return false
	}
	switch {
	case t.dataBad:
		return t.abort()
	case t.probe():
		// The server waits for a message that does not come: leave.
		t.s.broken = true
		for _, r := range t.accepted {
			t.dataReply.Status = "2.0.0"
			t.sent(t.s, r, t.dataReply)
		}
		return false
	}
	return true
}

// earlyReply looks for an answer to MAIL before it is asked: somebody has put
// commands in front of ours (smtp_tls_block_early_mail_reply). The failure is
// accounted for.
func (t *transaction) earlyReply() bool {
	if !t.p.tls.blockEarly || t.s.secure == nil || t.s.quiet() {
		return false
	}
	t.log.Warning("server %s violates %s_tls_block_early_mail_reply policy", t.s.nameAddr, t.p.prefix)
	t.s.broken, t.heard = true, true
	t.failAll(t.s, local("4.7.0", "unexpected server message"), throttle)
	return true
}

// abort ends a transaction that has come to nothing. It always returns false:
// there is no message to send.
func (t *transaction) abort() bool {
	if t.s.broken || t.failure != nil || len(t.ahead) > 0 && !t.drain() {
		return false
	}
	if t.data {
		// The server took DATA behind refused recipients: it waits for a dot
		// (RFC 2920 §3.1), and whatever it says about it does not matter.
		t.s.command(".")
	} else {
		t.s.command("RSET")
	}
	t.s.timed.begin(t.p.rset, 0)
	if _, err := t.s.reply(); err != nil {
		t.s.broken = true // all recipients are accounted for
	}
	return false
}

// message sends the content, the dot, and takes what the server says to it.
func (t *transaction) message() {
	if len(t.accepted) == 0 {
		t.abort()
		return
	}
	t.inContent = true
	t.s.timed.begin(t.p.dataXfer, t.p.minRate)
	early := t.s.r.Buffered() > 0 // somebody speaks out of turn
	switch err := t.body(); {
	case err == nil:
	case t.contentFailure(err):
		return
	default:
		t.failure = err
		t.premature()
		return
	}
	t.inContent = false
	t.failedAt = stepDot
	t.s.command(".")
	ends := !t.keeps() && t.s.has(smtpwire.Pipelining)
	if ends {
		t.s.command("QUIT")
		t.s.quitSent = true
	}
	for i, n := 0, t.dotReplies(); i < n; i++ {
		t.s.timed.begin(t.p.dataDone, 0)
		r, err := t.s.reply()
		if err != nil {
			t.failure = err
			return
		}
		if early && r.Code/100 == 2 {
			// It may be an answer to anything. To send twice is better than
			// to believe it.
			t.failure = io.ErrUnexpectedEOF
			t.log.Warning("%s: host %s spoke before the end of data: %s", t.QueueID, t.s.nameAddrPort, r.OneLine())
			return
		}
		t.takeDot(i, r)
	}
	if ends && !t.p.skipQuitReply {
		t.s.timed.begin(t.p.quit, 0)
		_, _ = t.s.reply() // whatever it says
	}
}

// dotReplies is how many replies follow the dot: with LMTP one for each
// accepted recipient (RFC 2033 §4.2).
func (t *transaction) dotReplies() int {
	if t.p.lmtp {
		return len(t.accepted)
	}
	return 1
}

// takeDot takes a reply to the dot.
func (t *transaction) takeDot(i int, r smtpwire.Reply) {
	good := r.Code/100 == 2
	switch {
	case t.p.lmtp && good:
		t.sent(t.s, t.accepted[i], r)
	case t.p.lmtp:
		t.failOne(t.s, t.accepted[i], t.s.said(r, steps[stepDot].request))
	case good:
		for _, rcpt := range t.accepted {
			t.sent(t.s, rcpt, r)
		}
	default:
		t.failAll(t.s, t.s.said(r, steps[stepDot].request), 0)
	}
}

// keeps reports whether the session will wait for another message.
func (t *transaction) keeps() bool {
	return t.clock.Now().Before(t.s.keepUntil) && !reached(t.s.reused, t.p.keepCount)
}

// premature looks for the reason of a server that has hung up in the middle
// of the content. Only a refusal counts: the dot was not sent.
func (t *transaction) premature() {
	if isTimeout(t.failure) {
		return
	}
	t.s.w.Reset(t.s.conn)
	t.s.timed.begin(t.p.dataDone, 0)
	r, err := t.s.readReply()
	if err != nil || r.Code/100 != 4 && r.Code/100 != 5 {
		return
	}
	t.failure = nil
	t.s.broken = true
	if t.p.lmtp {
		for _, rcpt := range t.accepted {
			t.failOne(t.s, rcpt, t.s.said(r, steps[stepDot].request))
		}
		return
	}
	t.failAll(t.s, t.s.said(r, steps[stepDot].request), 0)
}

// contentFailure accounts for content that cannot be sent, through no fault
// of the server. The session is in the middle of DATA and must end.
func (t *transaction) contentFailure(err error) bool {
	var mime mimeError
	switch {
	case errors.As(err, &mime):
		t.failAll(t.s, local("5.6.0", "%s", mime), 0)
	case errors.Is(err, queue.ErrCorrupt):
		t.log.Warning("%s: %v", t.QueueID, err)
		t.failAll(t.s, local("5.3.0", "unreadable mail queue entry"), 0)
		t.ledger.Damaged()
	case errors.Is(err, errData):
		t.failure = nil
		t.stream(t.s, err, "")
	default:
		return false
	}
	t.s.broken = true
	return true
}
