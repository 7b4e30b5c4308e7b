// Package agent is what every delivery agent does around its own delivery:
// take the request, open the message, account for each recipient.
//
// For each recipient of a request the agent calls Report once. Report makes
// the end durable before it is noted in the queue file:
//
//	delivered   (the agent has synced it)      -> log line -> recipient marked done
//	failed      bounce log entry, synced       -> log line -> recipient marked done
//	waits       defer log entry, synced        -> log line; the recipient stays
//
// A recipient without a Report waits too: silence delivers twice rather than
// losing mail.
package agent

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/dsn"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/server"
	"postroad/libmail/table"
)

// An Agent serves delivery requests with the settings that all delivery
// agents share.
type Agent struct {
	log        *maillog.Logger
	clock      server.Clock
	spool      *queue.Spool
	softBounce bool
	decimals   int
	doubleFrom string      // double_bounce_sender, whose mail is in no site log
	filter     *table.Maps // of outcomes; nil: none

	bounce, defers, trace recorder
	verify                updater
	flush                 func(proto.FlushRequest) (proto.FlushStatus, error)
}

// A recorder takes recipients into a log of the bounce service.
type recorder interface {
	Append(flags int, id string, r proto.Rcpt, o dsn.Outcome) error
}

// An updater takes the results of address probes.
type updater interface {
	Update(address string, s proto.AddressStatus, reason string) error
}

// New makes an Agent from the program's environment (postconf(5):
// soft_bounce, delay_logging_resolution_limit, and the names of the services
// that it talks to).
func New(env *server.Env) (*Agent, error) {
	o, err := queue.Settings(env.Conf)
	if err != nil {
		return nil, err
	}
	o.Warn, o.Now = env.Log.Warning, env.Clock.Now
	c, limit := env.Conf, env.Conf.Duration("ipc_timeout")
	filter, err := openFilter(c, env.Program, env.Log)
	if err != nil {
		return nil, err
	}
	service := func(class, name string) string { return class + "/" + c.String(name) }
	return &Agent{
		log:        env.Log,
		clock:      env.Clock,
		spool:      queue.New(o),
		softBounce: c.Bool("soft_bounce"),
		decimals:   c.Int("delay_logging_resolution_limit"),
		doubleFrom: doubleBounce(c),
		filter:     filter,
		bounce:     proto.NewBounceClient(service("private", "bounce_service_name"), limit),
		defers:     proto.NewBounceClient(service("private", "defer_service_name"), limit),
		trace:      proto.NewBounceClient(service("private", "trace_service_name"), limit),
		verify:     proto.NewVerifyClient(service("private", "address_verify_service_name"), limit),
		flush:      flusher(c, limit),
	}, nil
}

// doubleBounce is the address that undeliverable bounces come from.
func doubleBounce(c *conf.Config) string {
	sender := c.String("double_bounce_sender")
	if !strings.Contains(sender, "@") {
		sender += "@" + c.String("myorigin")
	}
	return sender
}

// flusher notes waiting mail with the flush service, where some destination
// is in fast_flush_domains at all.
func flusher(c *conf.Config, limit time.Duration) func(proto.FlushRequest) (proto.FlushStatus, error) {
	if len(c.List("fast_flush_domains")) == 0 {
		return func(proto.FlushRequest) (proto.FlushStatus, error) { return proto.FlushOK, nil }
	}
	return proto.NewFlushClient("public/"+c.String("flush_service_name"), limit).Do
}

// Service serves delivery requests: deliver is called for each, with the
// message open, and reports every recipient before it returns.
func (a *Agent) Service(deliver func(ctx context.Context, m *Message)) server.Service {
	return server.Stream(func(ctx context.Context, c *ipc.Conn) {
		err := proto.ServeDeliver(c, func(req *proto.Request) (dsn.Outcome, int) {
			return a.request(ctx, req, deliver)
		})
		if err != nil {
			a.log.Warning("%v", err)
		}
	})
}

// request serves one delivery request.
func (a *Agent) request(ctx context.Context, req *proto.Request, deliver func(context.Context, *Message)) (dsn.Outcome, int) {
	m := &Message{Request: req, agent: a, start: a.clock.Now(), reported: make([]bool, len(req.Rcpts))}
	file, err := a.spool.Open(req.QueueName, req.QueueID, queue.Shared)
	if err != nil {
		// Without the file nothing can be said about the recipients: qmgr
		// puts the message aside, or tries it again.
		level := a.log.Warning
		if errors.Is(err, fs.ErrNotExist) {
			level = a.log.Info
		}
		level("%s: open message: %v", req.QueueID, err)
		return dsn.Outcome{}, proto.DeliverDefer
	}
	m.File = file
	defer file.Close() // marks are written at once, nothing is left to flush
	deliver(ctx, m)
	for i, done := range m.reported {
		if !done {
			m.Report(&req.Rcpts[i], dsn.Outcome{Status: "4.3.0", Reason: "delivery agent gave no result"}, Via{})
		}
	}
	return m.hop, m.status
}

// A Message is a delivery request under way.
type Message struct {
	*proto.Request
	File *queue.Message // open and locked

	agent *Agent
	start time.Time

	mu       sync.Mutex
	status   int
	hop      dsn.Outcome
	reported []bool
}

// Content reads the message as it is in the queue, with LF line ends.
func (m *Message) Content() *queue.Content { return m.File.Content(m.Offset) }

// Damaged makes qmgr set the message aside: its content can't be read.
func (m *Message) Damaged() {
	if err := m.File.MarkCorrupt(); err != nil {
		m.agent.log.Warning("%s: mark corrupt: %v", m.QueueID, err)
	}
	m.deferred()
}

// Unreachable tells qmgr that the whole destination is out of order: it sends
// no more mail there for a while.
func (m *Message) Unreachable(o dsn.Outcome) { m.hop = o }

// TraceOnly reports whether the request asks what would become of the
// recipients, without a delivery.
func (m *Message) TraceOnly() bool { return m.Flags&proto.DeliverTraceOnly != 0 }

// Via says how a delivery went out, for the log line.
type Via struct {
	Relay    string    // "local", "mx.example.com[192.0.2.1]:25"; "" is "none"
	ConnDone time.Time // when the connection was ready; zero: no connection
	ConnUse  int       // how often it was used, 1 for a new one
	TLS      string    // TLS feature status, "" for agents without
}

// Report accounts for one recipient of the request: class 2 was delivered, 5
// failed for good, all else waits; final is false when it waits. The recipient
// need not be one of m.Rcpts: what an alias or list expands to is reported with
// Offset -1, and Expanded accounts for the recipient itself. Report may be
// called by several goroutines, for different recipients.
func (m *Message) Report(r *proto.Rcpt, o dsn.Outcome, via Via) (final bool) {
	m.account(r)
	o = m.agent.filtered(o)
	if via.Relay == "" {
		via.Relay = "none"
	}
	switch o.Class() {
	case '2':
		return m.sent(r, o, via)
	case '5':
		return m.failed(r, o, via)
	}
	return m.waits(r, o, via)
}

// Expanded ends a recipient of the request that stood for others, all of
// which were reported with a final result.
func (m *Message) Expanded(r *proto.Rcpt) {
	m.account(r)
	m.done(r)
}

// Waits keeps a recipient of the request that stood for others, some of which
// wait; they are in the log already.
func (m *Message) Waits(r *proto.Rcpt) {
	m.account(r)
	m.deferred()
}

// account notes that a recipient of the request has a result.
func (m *Message) account(r *proto.Rcpt) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.Rcpts {
		if r == &m.Rcpts[i] {
			m.reported[i] = true
		}
	}
}

// deferred makes the request end with work left.
func (m *Message) deferred() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status = proto.DeliverDefer
}

// sent ends a recipient whose delivery is durable.
func (m *Message) sent(r *proto.Rcpt, o dsn.Outcome, via Via) (final bool) {
	a := m.agent
	if o.Action == "" {
		o.Action = dsn.Delivered
	}
	status := "sent"
	var err error
	switch {
	case m.Flags&proto.DeliverProbe != 0:
		o.Action, status = dsn.Deliverable, "deliverable"
		err = a.verify.Update(r.Address, proto.AddressOK, o.Reason)
	case m.Flags&proto.DeliverVerify != 0:
		o.Action, status = dsn.Deliverable, "deliverable"
		err = m.trace(r, o, via)
	case m.Flags&(proto.DeliverRecord|proto.DeliverDelayed) != 0 || r.Notify&proto.NotifySuccess != 0:
		err = m.trace(r, o, via)
	}
	if err != nil { // the delivery stands; its report comes with the second one
		return m.waits(r, dsn.Outcome{Status: "4.3.0", Reason: "delivery report failed: " + err.Error()}, via)
	}
	m.line(r, o, via, status)
	m.done(r)
	return true
}

// trace notes for the sender's report what became of a recipient, and by
// which way.
func (m *Message) trace(r *proto.Rcpt, o dsn.Outcome, via Via) error {
	if via.Relay != "" && via.Relay != "none" {
		o.Reason = "delivery via " + via.Relay + ": " + o.Reason
	}
	return m.agent.trace.Append(proto.BounceClean, m.QueueID, *r, o)
}

// failed ends a recipient that can't be delivered.
func (m *Message) failed(r *proto.Rcpt, o dsn.Outcome, via Via) (final bool) {
	a := m.agent
	var err error
	status := "bounced"
	switch {
	case m.Flags&proto.DeliverProbe != 0:
		o.Action, status = dsn.Undeliverable, "undeliverable"
		err = a.verify.Update(r.Address, proto.AddressBounce, o.Reason)
	case m.Flags&proto.DeliverVerify != 0:
		o.Action, status = dsn.Undeliverable, "undeliverable"
		err = m.trace(r, o, via)
	case a.softBounce:
		o.Status = "4" + o.Status[1:]
		o.Action = dsn.Delayed
		m.logged(r, o, via, "SOFTBOUNCE")
		return false
	default:
		if o.Action == "" {
			o.Action = dsn.Failed
		}
		err = a.bounce.Append(proto.BounceClean, m.QueueID, *r, o)
	}
	if err != nil {
		a.log.Warning("%s: bounce service failure: %v", m.QueueID, err)
		return m.waits(r, dsn.Outcome{Status: "4.3.0", Reason: "bounce failed"}, via)
	}
	m.line(r, o, via, status)
	m.done(r)
	return true
}

// waits keeps a recipient for a later try.
func (m *Message) waits(r *proto.Rcpt, o dsn.Outcome, via Via) (final bool) {
	if !dsn.Valid(o.Status) {
		o.Status = "4.3.0"
	}
	var err error
	switch {
	case m.Flags&proto.DeliverProbe != 0:
		o.Action = dsn.Undeliverable
		err = m.agent.verify.Update(r.Address, proto.AddressDefer, o.Reason)
	case m.Flags&proto.DeliverVerify != 0:
		o.Action = dsn.Undeliverable
		err = m.trace(r, o, via)
	default:
		o.Action = dsn.Delayed
		m.logged(r, o, via, "deferred")
		return false
	}
	if err != nil {
		m.agent.log.Warning("%s: report of %s: %v", m.QueueID, r.Address, err)
		m.deferred()
		return false
	}
	m.line(r, o, via, "undeliverable")
	m.done(r)
	return true
}

// logged puts a waiting recipient into the defer log, and its message into
// the log of the site that it waits for.
func (m *Message) logged(r *proto.Rcpt, o dsn.Outcome, via Via, status string) {
	a := m.agent
	m.deferred()
	if err := a.defers.Append(proto.BounceClean, m.QueueID, *r, o); err != nil {
		// The recipient stays in the queue file, only its reason is unknown.
		a.log.Warning("%s: defer service failure: %v", m.QueueID, err)
	}
	m.line(r, o, via, status)
	if _, domain, ok := addr.SplitDomain(r.Address); ok && r.Address != a.doubleFrom {
		if _, err := a.flush(proto.FlushRequest{Verb: proto.FlushAdd, Site: domain, QueueID: m.QueueID}); err != nil {
			a.log.Warning("%s: flush service failure: %v", m.QueueID, err)
		}
	}
}

// done marks a recipient in the queue file.
func (m *Message) done(r *proto.Rcpt) {
	if m.Flags&proto.DeliverSuccess == 0 {
		return
	}
	if err := m.File.MarkDone(r.Offset); err != nil {
		// The recipient is tried again: twice is better than never.
		m.agent.log.Warning("%s: mark %s done: %v", m.QueueID, r.Address, err)
		m.deferred()
	}
}

// line writes the log line of a recipient.
func (m *Message) line(r *proto.Rcpt, o dsn.Outcome, via Via, status string) {
	handover := m.Stats.Handover
	if handover.IsZero() {
		handover = m.start
	}
	m.agent.log.Delivery(maillog.Delivery{
		ID: m.QueueID, To: addr.Quote(r.Address), OrigTo: addr.Quote(r.Orig),
		Relay: via.Relay, ConnUse: via.ConnUse, TLS: via.TLS,
		Times: maillog.Times{Arrival: m.Stats.Arrival, Active: m.Stats.Active, Handover: handover,
			ConnDone: via.ConnDone, Done: m.agent.clock.Now(), Decimals: m.agent.decimals},
		DSN: o.Status, Status: status, Text: o.Reason,
	})
}

// Log is the agent's mail log.
func (a *Agent) Log() *maillog.Logger { return a.log }
