package main

import (
	"context"
	"strings"
	"sync"

	"postroad/libmail/addr"
	"postroad/libmail/agent"
	"postroad/libmail/dsn"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
)

// maxNesting bounds how deep aliases and .forward files may lead.
const maxNesting = 100

// parallel bounds the mailboxes of one request that are written at once: the
// members of a list, whose syncs the file system then makes together.
const parallel = 20

// A delivery is one request: what its recipients and all that they expand to
// have in common.
type delivery struct {
	*local
	m       *agent.Message
	ctx     context.Context
	passed  map[string]bool // Delivered-To headers of the message, folded
	slots   chan struct{}   // parallel
	forward forwards

	mu   sync.Mutex
	seen map[string]bool // what was delivered to, for the duplicate filter
}

// A recipient is somebody to deliver to: one of the request, or what it
// expands to.
type recipient struct {
	rcpt      proto.Rcpt // for reports; Offset -1: not in the queue file
	top       *proto.Rcpt
	local     string // local part as given, without a leading backslash
	domain    string
	plain     bool // \name: the mailbox itself
	level     int
	origin    string          // "alias", "forward" or "include": where it stands
	names     map[string]bool // aliases and users that led here: they do not expand again
	rights    *privs.User     // for |command and /file; nil: not decided yet
	sender    string          // envelope sender of what is delivered
	listOwner bool            // an owner-alias replaced the sender
	delivered string          // for the Delivered-To header
}

// request delivers one request.
func (l *local) request(ctx context.Context, m *agent.Message) {
	d := &delivery{local: l, m: m, ctx: ctx, slots: make(chan struct{}, parallel), seen: map[string]bool{}}
	d.forward.d = d
	var err error
	if d.passed, err = passedThrough(m); err != nil {
		m.Damaged()
		return
	}
	for i := range m.Rcpts {
		r := &m.Rcpts[i]
		final := d.recipient(newRecipient(r, m))
		final = d.forward.finish() && final
		switch {
		case d.reportedItself(r):
		case final:
			m.Expanded(r)
		default:
			m.Waits(r)
		}
	}
}

// newRecipient is a recipient of the request.
func newRecipient(r *proto.Rcpt, m *agent.Message) *recipient {
	local, domain, _ := addr.SplitDomain(r.Address)
	s := &recipient{rcpt: *r, top: r, local: local, domain: domain, sender: m.Sender,
		names: map[string]bool{}, delivered: r.Address}
	if strings.HasPrefix(local, `\`) {
		s.plain, s.local = true, local[1:]
	}
	return s
}

// reportedItself reports whether the recipient was reported without being
// expanded.
func (d *delivery) reportedItself(r *proto.Rcpt) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen["reported "+r.Address]
}

// report accounts for a recipient. Only one that was not expanded is in the
// queue file; for all others the log has the last word.
func (d *delivery) report(s *recipient, o dsn.Outcome) (final bool) {
	if s.level == 0 {
		d.once("reported " + s.top.Address)
		return d.m.Report(s.top, o, agent.Via{Relay: "local"})
	}
	r := s.rcpt
	r.Offset = -1
	return d.m.Report(&r, o, agent.Via{Relay: "local"})
}

func (d *delivery) fail(s *recipient, status, format string, args ...any) (final bool) {
	return d.report(s, dsn.Of(dsn.Errorf(status, format, args...)))
}

// once reports whether something is seen for the first time in this request:
// duplicate_filter_limit bounds how much is remembered.
func (d *delivery) once(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen[key] {
		return false
	}
	if d.duplicates <= 0 || len(d.seen) < d.duplicates || strings.HasPrefix(key, "reported ") {
		d.seen[key] = true
	}
	return true
}

// recipient delivers to one recipient, in the order that the manual page
// gives. final is false when anything that it led to waits.
func (d *delivery) recipient(s *recipient) (final bool) {
	switch {
	case s.level > maxNesting:
		d.env.Log.Warning("%s: aliases nest too deep at %s", d.m.QueueID, s.rcpt.Address)
		return d.fail(s, "5.4.6", "unreasonable alias nesting")
	case d.passed[addr.Fold(s.rcpt.Address)]:
		return d.fail(s, "5.4.6", "mail forwarding loop for %s", s.rcpt.Address)
	}
	if !s.plain {
		if final, done := d.alias(s); done {
			return final
		}
		if s.level > 0 && (s.listOwner || s.origin == "include") {
			return d.forward.add(s) // as a message of its own: the list's rights end here
		}
	}
	user, ext, _ := d.delimiter.SplitLocal(s.local)
	account, err := d.account(user)
	if err != nil {
		return d.fail(s, "4.3.0", "cannot find user %s: %v", user, err)
	}
	if account == nil && ext != "" {
		if account, err = d.account(s.local); err != nil {
			return d.fail(s, "4.3.0", "cannot find user %s: %v", s.local, err)
		}
		if account != nil {
			user, ext = s.local, ""
		}
	}
	u := &mailUser{recipient: s, user: user, ext: ext, account: account}
	if !s.plain && account != nil {
		if final, done := d.dotForward(u); done {
			return final
		}
	}
	return d.mailbox(u)
}

// A mailUser is a recipient whose local part was divided, with its account.
type mailUser struct {
	*recipient
	user    string
	ext     string
	account *privs.User // nil: no such user
}

// all runs f for each of n members, parallel ones at once, and waits.
func (d *delivery) all(n int, f func(i int) (final bool)) (final bool) {
	if n == 1 {
		return f(0)
	}
	var group sync.WaitGroup
	results := make([]bool, n)
	for i := range n {
		group.Go(func() { results[i] = f(i) })
		if i%parallel == parallel-1 {
			group.Wait() // no more goroutines than a few for a list of any length
		}
	}
	group.Wait()
	for _, r := range results {
		if !r {
			return false
		}
	}
	return true
}
