package main

import (
	"strings"
	"sync"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/agent"
	"postroad/libmail/dsn"
	"postroad/libmail/proto"
)

// relays asks other delivery agents to deliver in our place.
type relays struct {
	limit time.Duration

	mu      sync.Mutex
	clients map[string]*proto.DeliverClient
}

func newRelays(limit time.Duration) *relays {
	return &relays{limit: limit, clients: map[string]*proto.DeliverClient{}}
}

func (r *relays) deliver(transport string, req *proto.Request) (status int, err error) {
	r.mu.Lock()
	c := r.clients[transport]
	if c == nil {
		c = proto.NewDeliverClient("private/"+transport, r.limit)
		r.clients[transport] = c
	}
	r.mu.Unlock()
	_, status, err = c.Deliver(req)
	return status, err
}

// relay hands a recipient to another transport, "lmtp:unix:private/lmtp" for
// example: mailbox_transport and fallback_transport. The other agent logs the
// result; the recipient is marked here.
func (d *delivery) relay(u *mailUser, destination string) (final bool) {
	transport, nexthop, _ := strings.Cut(destination, ":")
	if transport == "" || strings.Contains(transport, "/") {
		return d.fail(u.recipient, "4.3.5", "mail system configuration error: transport %q", destination)
	}
	if nexthop == "" {
		nexthop = u.domain
	}
	req := *d.m.Request
	req.Nexthop = nexthop
	req.Sender = u.sender
	r := u.rcpt
	r.Offset = -1
	req.Rcpts = []proto.Rcpt{r}
	status, err := d.deliver(transport, &req)
	if err != nil {
		return d.report(u.recipient, dsn.Outcome{Status: "4.3.0", Reason: "mail transport unavailable: " + err.Error()})
	}
	return status == proto.DeliverFinal
}

// forwards collects the recipients that become a new message, by sender and
// Delivered-To.
type forwards struct {
	d  *delivery
	mu sync.Mutex

	groups map[forwardKey][]*recipient
	order  []forwardKey
}

type forwardKey struct{ sender, delivered string }

// add puts a recipient into a new message; whether it is final is known at
// finish.
func (f *forwards) add(s *recipient) (final bool) {
	if !f.d.once("indirect " + addr.Fold(s.rcpt.Address)) {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.groups == nil {
		f.groups = map[forwardKey][]*recipient{}
	}
	key := forwardKey{s.sender, s.delivered}
	if f.groups[key] == nil {
		f.order = append(f.order, key)
	}
	f.groups[key] = append(f.groups[key], s)
	return true
}

// finish queues the new messages. A recipient is reported as sent only when
// its message is on stable storage.
func (f *forwards) finish() (final bool) {
	final = true
	for _, key := range f.order {
		group := f.groups[key]
		var o dsn.Outcome
		if f.d.m.TraceOnly() {
			o = dsn.Outcome{Status: "2.0.0", Reason: "forwards to " + group[0].rcpt.Address}
		} else if id, err := f.d.forwardMessage(key, group); err != nil {
			f.d.env.Log.Warning("%s: forward: %v", f.d.m.QueueID, err)
			o = dsn.Outcome{Status: "4.3.0", Reason: "unable to forward message"}
		} else {
			o = dsn.Outcome{Status: "2.0.0", Action: dsn.Relayed, Reason: "forwarded as " + id}
		}
		r := *group[0].top // it stands for all that it expanded to
		r.Offset = -1
		r.Notify &^= proto.NotifySuccess // the new message carries it
		final = f.d.m.Report(&r, o, agent.Via{Relay: "local"}) && final
	}
	f.groups, f.order = nil, nil
	return final
}
