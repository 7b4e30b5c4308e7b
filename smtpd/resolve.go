package main

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/proto"
	"postroad/libmail/server"
)

// resolved is where mail for an address would go, as trivial-rewrite says. Its
// Recipient is in lower case.
type resolved struct{ proto.Resolved }

func (r resolved) failed() bool    { return r.Flags&proto.ResolveFail != 0 }
func (r resolved) malformed() bool { return r.Flags&proto.ResolveError != 0 }
func (r resolved) routed() bool    { return r.Flags&proto.ResolveRouted != 0 }
func (r resolved) final() bool     { return r.Flags&proto.ClassFinal != 0 }
func (r resolved) relay() bool     { return r.Flags&proto.ClassRelay != 0 }

// A rewriter is the trivial-rewrite service.
type rewriter interface {
	Rewrite(rule, address string) (string, error)
	Resolve(sender, address string) (proto.Resolved, error)
}

// addressResolver asks trivial-rewrite and remembers its answers for a short
// while: the checks of one recipient ask for the same address again and again.
type addressResolver struct {
	rewrite rewriter
	clock   server.Clock

	standard cache[string]
	answers  cache[resolved]
}

// resolve finds the route of an address. sender may be nil. Without an answer
// failed() is true.
func (a *addressResolver) resolve(sender *string, address string) (resolved, error) {
	from := ""
	if sender != nil {
		from = *sender
	}
	key := from + "\n" + address
	now := a.clock.Now()
	if r, ok := a.answers.get(key, now); ok {
		return r, nil
	}
	r, err := a.ask(from, address, now)
	if err != nil {
		return resolved{proto.Resolved{Flags: proto.ResolveFail}}, err
	}
	a.answers.put(key, r, now)
	return r, nil
}

func (a *addressResolver) ask(sender, address string, now time.Time) (r resolved, err error) {
	if sender, err = a.standardForm(sender, now); err != nil {
		return r, err
	}
	if address, err = a.standardForm(address, now); err != nil {
		return r, err
	}
	answer, err := a.rewrite.Resolve(sender, address)
	if err != nil {
		return r, err
	}
	answer.Recipient = addr.Fold(answer.Recipient)
	return resolved{answer}, nil
}

// standardForm completes an address in internal form.
func (a *addressResolver) standardForm(address string, now time.Time) (string, error) {
	if address == "" {
		return "", nil
	}
	if form, ok := a.standard.get(address, now); ok {
		return form, nil
	}
	form, err := a.rewrite.Rewrite(proto.RuleLocal, addr.Quote(address))
	if err != nil {
		return "", err
	}
	form = addr.Unquote(form)
	a.standard.put(address, form, now)
	return form, nil
}

func (s *session) resolve(sender *string, address string) resolved {
	r, err := s.resolver.resolve(sender, address)
	if err != nil {
		s.log.Warning("%v", err)
	}
	return r
}

// Bounds of a cache. What trivial-rewrite says may change with its tables.
const (
	cacheSize = 1000
	cacheTime = 30 * time.Second
)

// A cache is two maps of which the older one is dropped when the younger one is
// full or old. An entry lives for at most twice cacheTime.
type cache[V any] struct {
	mu         sync.Mutex
	young, old map[string]V
	since      time.Time
}

func (c *cache[V]) get(key string, now time.Time) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.age(now)
	if v, ok := c.young[key]; ok {
		return v, true
	}
	v, ok := c.old[key]
	return v, ok
}

func (c *cache[V]) put(key string, v V, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.age(now)
	if c.young == nil {
		c.young = map[string]V{}
	}
	c.young[key] = v
}

// age drops what is too old or too much.
func (c *cache[V]) age(now time.Time) {
	passed := now.Sub(c.since)
	if len(c.young) < cacheSize && passed < cacheTime && passed >= 0 {
		return
	}
	c.old, c.young, c.since = c.young, nil, now
	if passed >= 2*cacheTime || passed < 0 {
		c.old = nil
	}
}

// ownProbe recognizes the sender address of our own address verification, with
// or without its time stamp, and returns it without. Mail to it is always
// accepted: otherwise two hosts that probe each other refuse each other.
func (s *session) ownProbe(address string) (string, bool) {
	own := s.params.verifySender
	if own == "" || own == "<>" {
		return "", address == ""
	}
	own, err := s.resolver.standardForm(own, s.clock.Now())
	if err != nil {
		return "", false
	}
	local, domain, _ := strings.Cut(own, "@")
	n := len(local)
	if len(address) < n || !addr.EqualFold(address[:n], local) {
		return "", false
	}
	stamp, theirs, _ := strings.Cut(address[n:], "@")
	if !addr.EqualFold(theirs, domain) || !s.stampHolds(stamp) {
		return "", false
	}
	return own, true
}

// stampHolds checks the time stamp of a probe's sender address: it may be one
// address_verify_sender_ttl off.
func (s *session) stampHolds(stamp string) bool {
	ttl := int64(s.params.verifySenderTTL / time.Second)
	if ttl <= 0 {
		return stamp == ""
	}
	theirs, err := decodeBase31(stamp)
	ours := s.clock.Now().Unix() / ttl
	return err == nil && theirs >= ours-1 && theirs <= ours+1
}

// decodeBase31 reads a number as the verify service writes it: digits and
// consonants.
func decodeBase31(text string) (int64, error) {
	const digits = "0123456789BCDFGHJKLMNPQRSTVWXYZ"
	var n int64
	if text == "" || len(text) > 12 {
		return 0, strconv.ErrSyntax
	}
	for _, c := range []byte(strings.ToUpper(text)) {
		i := strings.IndexByte(digits, c)
		if i < 0 {
			return 0, strconv.ErrSyntax
		}
		n = n*31 + int64(i)
	}
	return n, nil
}
