package main

import (
	"context"
	"fmt"
	"time"

	"postroad/libmail/agent"
	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/smtpwire"
)

// A ledger takes what becomes of the recipients: *agent.Message.
type ledger interface {
	Report(r *proto.Rcpt, o dsn.Outcome, via agent.Via) (final bool)
	Expanded(r *proto.Rcpt) // another agent has reported it
	Waits(r *proto.Rcpt)    // another agent keeps it waiting
	Unreachable(o dsn.Outcome)
	Damaged()
}

// lines is the content of a message: *queue.Content.
type lines interface {
	Line() (line []byte, partial bool, err error)
}

// A job is one delivery request under way: one message for some recipients,
// on its way from server to server until each recipient is accounted for.
//
//	for each next hop, then each fallback relay
//	    for each address: connect, say hello, transfer
//	        each recipient is reported (sent, bounced, deferred),
//	        or stays for the next server
type job struct {
	*client
	*proto.Request
	ledger  ledger
	content func() lines
	start   time.Time

	left  []*recipient // not yet reported
	why   dsn.Outcome  // the last failure; empty: none
	stats tlsStats
	hop   bool // Unreachable was called

	finalHop        bool // no next hop after this one
	finalServer     bool // no server after this one: failures are reported
	finalAfterHello bool // and so it is once the handshake is done
	complete        bool // some server took the whole conversation
	detectLoops     bool
	require         requireLevel // REQUIRETLS enforcement

	folded   bool            // the log knows that lines were folded
	connDone time.Time       // when the present connection was ready
	visited  map[string]bool // addresses of kept connections that were used
	named    bool            // a connection goes by the name of the destination
}

// A recipient of a job. After a session each is done, or kept for the next
// server.
type recipient struct {
	*proto.Rcpt
	done bool
	kept bool
}

// open are the recipients of which the present session has said nothing yet.
func (j *job) open() []*recipient {
	var open []*recipient
	for _, r := range j.left {
		if !r.done && !r.kept {
			open = append(open, r)
		}
	}
	return open
}

// sweep forgets recipients that are done and opens the others for the next
// server.
func (j *job) sweep() {
	left := j.left[:0]
	for _, r := range j.left {
		if !r.done {
			r.kept = false
			left = append(left, r)
		}
	}
	j.left = left
}

// deliver accounts for every recipient of a request.
func (c *client) deliver(ctx context.Context, req *proto.Request, l ledger, content func() lines) {
	j := &job{client: c, Request: req, ledger: l, content: content, start: c.clock.Now()}
	for i := range req.Rcpts {
		j.left = append(j.left, &recipient{Rcpt: &req.Rcpts[i]})
	}
	if o, ok := j.refusedByFlags(); !ok {
		j.why = o
	} else {
		j.connect(ctx)
	}
	if len(j.left) > 0 {
		// What no server has decided is decided by the last failure.
		j.finalServer = true
		j.failAll(nil, j.why, throttle)
	}
}

// local is the Outcome of a failure that no server told us of.
func local(status, format string, args ...any) dsn.Outcome {
	return dsn.Outcome{Status: status, Reason: fmt.Sprintf(format, args...)}
}

// refused is the Outcome of a reply. A reply that is no refusal at all, a 2xx
// where mail should begin for example, is a protocol error.
func (s *session) refused(r smtpwire.Reply, format string, args ...any) dsn.Outcome {
	o := dsn.Outcome{
		Status: r.Status, Reason: fmt.Sprintf(format, args...),
		MTAType: "dns", MTAName: s.host, DiagType: "smtp", DiagText: r.OneLine(),
	}
	if o.Status == "" || o.Status[0] != '4' && o.Status[0] != '5' {
		o.Reason = "Protocol error: " + o.Reason
		o.Status = "5.5.0"
		s.protocolError()
	}
	// RFC 5321 §4.2.1: x0z is about syntax. Who hears that has lost the thread.
	if r.Code < 400 || r.Code > 599 || r.Code == 555 || r.Code >= 500 && r.Code < 510 {
		s.protocolError()
	}
	return o
}

// said is the Outcome of a refusal of one command.
func (s *session) said(r smtpwire.Reply, request string) dsn.Outcome {
	return s.refused(r, "host %s said: %s (in reply to %s)", s.nameAddr, r.OneLine(), request)
}

// failFlags say what a failure of all recipients means beyond them.
type failFlags uint8

const (
	throttle     failFlags = 1 << iota // the destination is out of order
	softNonFinal                       // a 5xx does not count while there is another server
	dontKeep                           // the connection must not be used again
)

// failAll decides about all open recipients after a failure: they wait for
// another server if the failure is temporary and there is one, else they are
// reported.
func (j *job) failAll(s *session, o dsn.Outcome, flags failFlags) {
	if o.Status == "" {
		o = local("4.3.0", "server unavailable or unable to receive mail")
	}
	j.why = o
	soft := o.Class() != '5'
	if flags&softNonFinal != 0 && !soft {
		soft = !j.finalServer
	}
	waits := soft || j.p.softBounce
	if waits && !j.finalServer {
		j.log.Info("%s: %s", j.QueueID, o.Reason)
		for _, r := range j.open() {
			r.kept = true
		}
	} else {
		if j.connDone.IsZero() {
			j.connDone = j.clock.Now()
		}
		for _, r := range j.open() {
			j.report(s, r, o)
		}
		if waits && flags&throttle != 0 && !j.complete && !j.hop {
			j.ledger.Unreachable(o)
			j.hop = true
		}
	}
	if s != nil && flags&throttle != 0 {
		s.throttled = true
	}
	if s != nil && flags&(throttle|dontKeep) != 0 {
		s.keepUntil = time.Time{}
	}
}

// failOne decides about one recipient.
func (j *job) failOne(s *session, r *recipient, o dsn.Outcome) {
	j.why = o
	if (o.Class() != '5' || j.p.softBounce) && !j.finalServer {
		j.log.Info("%s: %s", j.QueueID, o.Reason)
		r.kept = true
		return
	}
	j.report(s, r, o)
}

// sent reports a recipient that the server has taken.
func (j *job) sent(s *session, r *recipient, reply smtpwire.Reply) {
	action := dsn.Relayed
	if s.has(smtpwire.DSN) {
		r.Notify &^= proto.NotifySuccess // the server will tell (RFC 3461 §5.2.2)
	} else if j.p.finalDelivery && j.p.lmtp {
		action = dsn.Delivered
	}
	text := reply.OneLine()
	j.report(s, r, dsn.Outcome{
		Status: reply.Status, Action: action, Reason: text,
		MTAType: "dns", MTAName: s.host, DiagType: "smtp", DiagText: text,
	})
}

// report hands a recipient's end to the ledger.
func (j *job) report(s *session, r *recipient, o dsn.Outcome) {
	via := agent.Via{TLS: j.stats.String(), ConnDone: j.connDone}
	if s != nil {
		via.Relay, via.ConnUse = s.nameAddrPort, s.reused+1
	}
	if !j.p.logTLS {
		via.TLS = ""
	}
	r.done = true
	j.ledger.Report(r.Rcpt, o, via)
}
