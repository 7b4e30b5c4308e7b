package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// The transports that end a delivery without trying it: error bounces, retry
// defers, both with their next hop as the reason.
const (
	errorTransport = "error"
	retryTransport = "retry"
)

// A resolver answers where mail goes; it is trivial-rewrite.
type resolver interface {
	Rewrite(rule, address string) (string, error)
	Resolve(sender, address string) (proto.Resolved, error)
	ResolveProbe(sender, address string) (proto.Resolved, error)
}

// A route is a recipient and where its mail goes.
type route struct {
	rcpt               proto.Rcpt
	transport, nexthop string
}

func (r *route) to(transport, nexthop string) { r.transport, r.nexthop = transport, nexthop }

// A router finds routes. Many goroutines may use it.
type router struct {
	settings func() *settings
	clock    clock
	log      *maillog.Logger
	resolver resolver
	wait     func(time.Duration) // before another attempt at the resolver
	cache    resolveCache
}

// routes finds the routes of the recipients that were read from f, sorted so
// that those of one destination are neighbours.
func (r *router) routes(msg *message, f *queue.Message, rcpts []queue.Rcpt) []route {
	if msg.env.Redirect != "" && len(rcpts) > 0 {
		// One recipient in place of all others.
		rcpts = rcpts[:1]
		rcpts[0].Address = r.rewrite(msg.env.Redirect)
		msg.next, msg.unread = 0, 0
	}
	list := make([]route, 0, len(rcpts))
	for _, rcpt := range rcpts {
		x := route{rcpt: proto.Rcpt(rcpt)}
		class := r.route(msg, &x)
		if class&proto.ClassLocal != 0 && r.isDoubleBounce(x.rcpt.Address) {
			r.discard(msg, f, &x)
			continue
		}
		list = append(list, x)
	}
	slices.SortFunc(list, byDestination)
	return list
}

// route finds the route of one recipient, by falling precedence.
func (r *router) route(msg *message, x *route) (class proto.ResolveFlags) {
	set := r.settings()
	traceOnly := msg.trace&proto.DeliverTraceOnly != 0
	if filter := msg.env.Filter; filter != "" && msg.env.Redirect == "" && !traceOnly {
		x.to(r.filter(set, filter, x.rcpt.Address))
	} else {
		class = r.resolve(msg, x)
	}
	if x.rcpt.Address == "" {
		x.to(errorTransport, "5.1.3 null recipient address")
		class = 0
	}
	if msg.forceExpire {
		x.to(retryTransport, "4.7.0 message is administratively expired")
		class = 0
	}
	if !msg.anyway && slices.Contains(set.deferTransports, x.transport) {
		x.to(retryTransport, "4.3.2 deferred transport")
	}
	return class
}

// filter splits a content filter into transport and next hop. Without a next
// hop it is default_filter_nexthop, or the recipient's domain.
func (r *router) filter(set *settings, filter, address string) (transport, nexthop string) {
	transport, nexthop, _ = strings.Cut(filter, ":")
	if nexthop == "" {
		nexthop = set.filterNexthop
	}
	if nexthop == "" {
		_, nexthop, _ = addr.SplitDomain(address)
	}
	if nexthop == "" {
		nexthop = set.hostname
	}
	return transport, nexthop
}

// resolve asks trivial-rewrite, and asks again until it answers: mail is not
// put off because another program is just being restarted.
func (r *router) resolve(msg *message, x *route) proto.ResolveFlags {
	ask := r.resolver.Resolve
	probe := msg.trace&proto.DeliverProbe != 0
	if probe {
		ask = r.resolver.ResolveProbe
	}
	key := resolveKey{msg.env.Sender, x.rcpt.Address, probe}
	res, known := r.cache.get(key, r.clock.Elapsed())
	if !known {
		r.persist(func() (err error) {
			res, err = ask(msg.env.Sender, x.rcpt.Address)
			if res.Flags&proto.ResolveFail != 0 {
				err = nil // an answer of its own kind
			}
			return err
		})
		r.cache.put(key, res, r.clock.Elapsed())
	}
	switch {
	case res.Flags&proto.ResolveFail != 0:
		x.to(retryTransport, "4.3.0 address resolver failure")
	case res.Flags&proto.ResolveError != 0:
		x.to(errorTransport, "5.1.3 bad address syntax")
	default:
		x.to(res.Transport, res.Nexthop)
		x.rcpt.Address = res.Recipient
		return res.Flags
	}
	return 0
}

// rewrite brings an address into standard form.
func (r *router) rewrite(address string) (result string) {
	r.persist(func() (err error) {
		result, err = r.resolver.Rewrite(proto.RuleLocal, addr.Quote(address))
		return err
	})
	return addr.Unquote(result)
}

// persist makes attempts until one succeeds.
func (r *router) persist(attempt func() error) {
	for pause := 100 * time.Millisecond; ; pause = min(4*pause, 10*time.Second) {
		err := attempt()
		if err == nil {
			return
		}
		r.log.Warning("problem talking to the address resolver: %v", err)
		r.wait(pause)
	}
}

// isDoubleBounce reports whether a local address is the one that
// undeliverable bounces come from, and where nobody reads mail.
func (r *router) isDoubleBounce(address string) bool {
	local, _, _ := addr.SplitDomain(address)
	return addr.EqualFold(local, r.settings().doubleBounce)
}

// discard ends a recipient here.
func (r *router) discard(msg *message, f *queue.Message, x *route) {
	o := dsn.Outcome{Status: "2.0.0", Reason: "undeliverable postmaster notification discarded"}
	r.logRcpt(msg, &x.rcpt, o, "sent")
	if err := f.MarkDone(x.rcpt.Offset); err != nil {
		r.log.Warning("%s: %v", msg.id, err) // it is discarded again, should the file stay
	}
}

// logRcpt writes the log line of a recipient that no agent has seen.
func (r *router) logRcpt(msg *message, rcpt *proto.Rcpt, o dsn.Outcome, status string) {
	set := r.settings()
	now := r.clock.Now()
	r.log.Delivery(maillog.Delivery{
		ID: msg.id, To: set.logForm(rcpt.Address), OrigTo: set.logForm(rcpt.Orig), Relay: "none",
		Times: maillog.Times{Arrival: msg.env.Arrival, Active: msg.active, Handover: now, Done: now, Decimals: set.decimals},
		DSN:   o.Status, Status: status, Text: o.Reason,
	})
}

// byDestination sorts by transport and next hop, then by recipient domain and
// recipient, so that one delivery holds recipients of one domain.
func byDestination(a, b route) int {
	if c := cmp.Compare(a.transport, b.transport); c != 0 {
		return c
	}
	if c := cmp.Compare(a.nexthop, b.nexthop); c != 0 {
		return c
	}
	_, domainA, _ := addr.SplitDomain(a.rcpt.Address)
	_, domainB, _ := addr.SplitDomain(b.rcpt.Address)
	if c := cmp.Compare(addr.Fold(domainA), addr.Fold(domainB)); c != 0 {
		return c
	}
	return cmp.Compare(a.rcpt.Address, b.rcpt.Address)
}

// reasonNexthop is the next hop with which error and retry tell a reason.
func reasonNexthop(o dsn.Outcome) string { return fmt.Sprintf("%s %s", o.Status, o.Reason) }

// isUTF8 reports whether an address needs SMTPUTF8 (RFC 6531 §3.1).
func isUTF8(address string) bool { return !addr.IsASCII(address) && utf8.ValidString(address) }

// A resolveCache remembers answers for a second: a burst of mail to few
// recipients asks once, and a changed table is seen as if the message had
// come a second earlier.
type resolveCache struct {
	mu   sync.Mutex
	list map[resolveKey]resolveAnswer
}

type resolveKey struct {
	sender, address string
	probe           bool
}

type resolveAnswer struct {
	proto.Resolved
	until time.Duration
}

const (
	resolveCacheTime = time.Second
	resolveCacheSize = 1000
)

func (c *resolveCache) get(k resolveKey, now time.Duration) (proto.Resolved, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, known := c.list[k]
	return a.Resolved, known && now < a.until
}

func (c *resolveCache) put(k resolveKey, res proto.Resolved, now time.Duration) {
	if res.Flags&(proto.ResolveFail|proto.ResolveError) != 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.list == nil || len(c.list) >= resolveCacheSize {
		c.list = make(map[resolveKey]resolveAnswer)
	}
	c.list[k] = resolveAnswer{res, now + resolveCacheTime}
}
