package main

import (
	"sync"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/record"
	"postroad/libmail/table"
)

// Answers of trivial-rewrite stay good for a while: a message asks for the
// same addresses several times, and so do the next ones.
const (
	rewriteAge = 30 * time.Second
	rewriteMax = 1000 // answers; when there are more all are forgotten
)

// A rewriter asks trivial-rewrite and remembers the answers.
type rewriter struct {
	ask func(rule, address string) (string, error)
	now func() time.Time

	mu    sync.Mutex
	known map[question]answer
}

type question struct{ rule, address string }

type answer struct {
	address string
	until   time.Time
}

func newRewriter(ask func(rule, address string) (string, error), now func() time.Time) *rewriter {
	return &rewriter{ask: ask, now: now, known: map[question]answer{}}
}

// do brings an address in external form into standard form.
func (r *rewriter) do(rule, address string) (string, error) {
	q := question{rule, address}
	now := r.now()
	r.mu.Lock()
	a, ok := r.known[q]
	r.mu.Unlock()
	if left := a.until.Sub(now); ok && left > 0 && left <= rewriteAge {
		return a.address, nil
	}
	result, err := r.ask(rule, address)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= rewriteMax {
		clear(r.known)
	}
	r.known[q] = answer{result, now.Add(rewriteAge)}
	return result, nil
}

// standard is rewriter.do for this message: without an answer the address
// stays, and the message is refused for now.
func (s *session) standard(rule, external string) string {
	result, err := s.rewrite.do(rule, external)
	if err != nil {
		s.log.Warning("%s: address rewriting problem for %s: %v -- message not accepted, try again later", s.id, external, err)
		s.errs |= proto.StatWrite
		return external
	}
	return result
}

// standardInternal is standard for an address in internal form, by the rules
// for addresses of this host.
func (s *session) standardInternal(address string) string {
	return addr.Unquote(s.standard(proto.RuleLocal, addr.Quote(address)))
}

// maxCanonical is how often canonical maps are applied to one address.
const maxCanonical = 10

// canonicalize maps an address in internal form until it maps to itself or
// to nothing.
func (s *session) canonicalize(address string, maps *table.Maps) string {
	for range maxCanonical {
		list, found, err := maps.MapAddress(address, s.propagateCanon, s.canon)
		if err != nil {
			s.lookupFailed(maps.Title(), addr.Quote(address))
			return address
		}
		if !found {
			return address
		}
		if len(list) > 1 {
			s.log.Warning("%s: multi-valued %s entry for %s", s.id, maps.Title(), addr.Quote(address))
		}
		before := address
		if address = list[0]; addr.EqualFold(before, address) {
			return address
		}
	}
	s.log.Warning("%s: unreasonable %s map nesting for %s -- message not accepted, try again later", s.id, maps.Title(), addr.Quote(address))
	return address
}

// canon is the rewriting that results of tables need.
func (s *session) canon(external string) (string, error) {
	return s.rewrite.do(proto.RuleLocal, external)
}

// A role is the part that an address plays.
type role int

const (
	envelopeFrom role = iota
	envelopeTo
	headerFrom
	headerTo
)

// has reports whether the classes include a role.
func (c classes) has(r role) bool {
	return [...]bool{c.envelopeSender, c.envelopeRcpt, c.headerSender, c.headerRcpt}[r]
}

// mapped applies the canonical maps and masquerading to an address in
// internal form.
func (s *session) mapped(address string, r role) string {
	if s.flags&proto.CleanupMap == 0 {
		return address
	}
	special, specialFor := s.senderCanonical, s.senderCanonFor
	if r == envelopeTo || r == headerTo {
		special, specialFor = s.rcptCanonical, s.rcptCanonFor
	}
	if !special.Empty() && specialFor.has(r) {
		address = s.canonicalize(address, special)
	}
	if !s.canonical.Empty() && s.canonFor.has(r) {
		address = s.canonicalize(address, s.canonical)
	}
	if len(s.masquerade) > 0 && s.masqueradeFor.has(r) {
		address = addr.Unquote(s.masqueraded(addr.Quote(address)))
	}
	return address
}

// rewriteHeader completes and maps the addresses of a header. The header is
// returned as it is unless an address changed.
func (s *session) rewriteHeader(f *message.Field, header []byte) []byte {
	r := headerFrom
	if f.Flags&message.RcptAddress != 0 {
		r = headerTo
	}
	name := message.HeaderName(header)
	list := addr.ParseList(string(header[name+1:]), s.maxTokens)
	changed := false
	for i := range list {
		if list[i].Kind != addr.Address {
			continue
		}
		before := list[i].External()
		after := s.standard(s.headerRules, before)
		if internal := addr.Unquote(after); s.mapsHeaders(r) {
			if m := s.mapped(internal, r); m != internal {
				after = addr.Quote(m)
			}
		}
		list[i].SetExternal(after)
		changed = changed || after != before
	}
	if !changed {
		return header
	}
	text, dropped := addr.Header(list, addr.Lines|addr.Trim)
	for _, d := range dropped {
		s.log.Warning("%s: stripping too many comments from address: %.100s...", s.id, d)
	}
	out := append(header[:name:name], ": "...)
	out = append(out, text...)
	message.FoldList(out)
	return out
}

// mapsHeaders reports whether any map applies to header addresses in a role.
func (s *session) mapsHeaders(r role) bool {
	return s.flags&proto.CleanupMap != 0 &&
		(!s.canonical.Empty() || !s.senderCanonical.Empty() || !s.rcptCanonical.Empty() || len(s.masquerade) > 0)
}

// envelopeSender takes the sender of the message. Mail from MAILER-DAEMON of
// this host is mail from nobody.
func (s *session) envelopeSender(address string) {
	address = s.standardInternal(address)
	if local, _, ok := addr.SplitDomain(address); ok && addr.EqualFold(local, addr.MailerDaemon) &&
		addr.EqualFold(address, s.standardInternal(addr.MailerDaemon)) {
		address = ""
	}
	address = s.mapped(address, envelopeFrom)
	if s.needsUTF8(address) {
		s.sendOpts |= proto.SendOptUTF8Sender
	}
	s.put(record.Sender, address)
	s.sender, s.senderSeen = address, true
	s.addBCC(s.senderBCC, address)
}
