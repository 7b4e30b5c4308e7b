package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/tlsconf"
)

// connect tries server after server until no recipient is left or no server.
func (j *job) connect(ctx context.Context) {
	if path, ok := strings.CutPrefix(j.Nexthop, "unix:"); ok && j.p.lmtp {
		j.connectUnix(ctx, path)
		return
	}
	nexthop := j.Nexthop
	if j.p.lmtp {
		nexthop = strings.TrimPrefix(nexthop, "inet:")
	}
	if j.p.protocols == 0 {
		j.why = local("4.4.4", "all network protocols are disabled")
		return
	}
	own := destinations(nexthop)
	all := append(slices.Clone(own), j.p.fallbackRelay...)
	last := 0
	for i, text := range all {
		if len(j.left) == 0 {
			return
		}
		last = i
		j.finalHop = i == len(all)-1
		d, err := j.p.parseDestination(text)
		if err != nil {
			j.log.Warning("%v", err)
			j.why = local("4.3.5", "Server configuration error")
			continue
		}
		j.connectInet(ctx, d, &tally{first: i == 0})
		if j.finalHop {
			break
		}
	}
	j.leftover(own, all, last)
}

// leftover mends the failure of recipients that no server would decide about:
// what may be a mistake in our own settings must not bounce mail.
func (j *job) leftover(own, all []string, last int) {
	if len(j.left) == 0 || j.why.Status == "" || j.why.Class() != '5' {
		return
	}
	switch {
	case last >= len(own):
		j.log.Warning("%s configuration problem", j.p.prefix+"_fallback_relay")
		j.why.Status = "4.3.5"
	case len(all) > 0 && !j.p.lmtp && j.p.relayhost != "" && all[0] == j.p.relayhost:
		j.log.Warning("relayhost configuration problem")
		j.why.Status = "4.3.5"
	case !j.p.lmtp && j.why.Status == "5.4.6" && j.p.bestMX != "":
		j.passOn()
	}
}

// passOn gives the recipients to the transport for domains whose best mail
// exchanger is this host (best_mx_transport).
func (j *job) passOn() {
	transport, nexthop, _ := strings.Cut(j.p.bestMX, ":")
	if nexthop == "" {
		nexthop = j.Nexthop
	}
	for _, r := range j.open() {
		req, rcpt := *j.Request, *r.Rcpt
		rcpt.Offset = -1 // it is marked here
		req.Nexthop, req.Rcpts = nexthop, []proto.Rcpt{rcpt}
		status, err := j.pass(transport, &req)
		switch {
		case err != nil: // it is reported as any other that is left
			j.log.Warning("%s: pass to %s: %v", j.QueueID, transport, err)
			j.why = local("4.3.0", "mail transport unavailable")
			continue
		case status == proto.DeliverFinal:
			j.ledger.Expanded(r.Rcpt)
		default:
			j.ledger.Waits(r.Rcpt)
		}
		r.done = true
	}
	j.sweep()
}

// connectUnix delivers over a socket of this host (LMTP).
func (j *job) connectUnix(ctx context.Context, path string) {
	if len(j.p.fallbackRelay) > 0 {
		j.log.Warning("ignoring \"%s = %s\" setting for non-TCP connections",
			j.p.prefix+"_fallback_relay", strings.Join(j.p.fallbackRelay, " "))
	}
	j.finalHop, j.finalServer, j.finalAfterHello = true, true, true
	j.require = j.requireFor(j.p.myhost)
	d := destination{text: path, domain: path}
	policy, o := j.findPolicy(ctx, d, server{host: j.p.myhost})
	if o.Status != "" {
		j.log.Warning("TLS policy lookup error for %s: %s", path, o.Reason)
		j.why = o
		return
	}
	if policy.level == tlsconf.May { // mere encryption to ourselves is good for nothing
		policy.level = tlsconf.None
	}
	keys := j.keysFor(d, server{host: path}, policy)
	for {
		j.stats.begin(policy.level.String(), j.require)
		s := j.pool.take(keys.host)
		if s == nil {
			if s, o = j.dialUnix(ctx, path); s == nil {
				j.why = o
				j.log.Info("%s", o.Reason)
				return
			}
			j.keepable(s, d)
		}
		s.policy, s.dest, s.nexthop, s.hostKey = policy, path, j.p.myhost, keys.host
		if j.converse(s) != again {
			return
		}
	}
}

// A tally counts what was tried for one next hop.
type tally struct {
	addresses, sessions int
	first               bool // it is the first of the next hops
}

// connectInet delivers to one next hop.
func (j *job) connectInet(ctx context.Context, d destination, tries *tally) {
	j.detectLoops = !j.p.lmtp && d.port == 25
	j.require = j.requireFor(d.domain)
	if tries.first && j.mayReuse(d) && !j.reuseDestination(d, tries) {
		return
	}
	f, o := j.lookup(ctx, d)
	if f.self || o.Status == "5.4.6" {
		j.finalHop = true // backups that are no MX hosts would loop as well
	}
	if len(f.servers) == 0 {
		j.why = o
		return
	}
	for i := 0; i < len(f.servers) && len(j.left) > 0; i++ {
		sv := f.servers[i]
		if j.visited[sv.addr.String()] {
			continue // just done, over a kept connection
		}
		sv.best = sv.pref == f.bestPref
		tries.addresses++
		last := i == len(f.servers)-1 || reached(tries.addresses, j.p.addressLimit)
		if j.connectServer(ctx, d, sv, tries, last) == stop || last {
			return
		}
	}
}

// reached reports whether a count is at its limit; 0 is no limit.
func reached(n, limit int) bool { return limit > 0 && n >= limit }

// A turn says how to go on after a server.
type turn int

const (
	goOn  turn = iota
	again      // the same server, in plaintext or with a new connection
	stop       // smtp_mx_session_limit is reached
)

// connectServer delivers to one address. last says that no other address of
// this next hop will be tried.
func (j *job) connectServer(ctx context.Context, d destination, sv server, tries *tally, last bool) turn {
	policy, ok := j.serverPolicy(ctx, d, sv)
	if !ok {
		return goOn
	}
	wanted := policy.level
	for {
		j.stats.begin(wanted.String(), j.require)
		keys := j.keysFor(d, sv, policy)
		var s *session
		if j.mayReuse(d) {
			s = j.pool.take(keys.host)
		}
		if s == nil {
			var o dsn.Outcome
			if s, o = j.dial(ctx, sv); s == nil {
				j.why = o
				j.log.Info("%s", o.Reason)
				return goOn
			}
			j.keepable(s, d)
		}
		s.policy, s.dest, s.nexthop, s.bestMX = policy, d.text, d.domain, sv.best
		s.destKey, s.hostKey = "", keys.host
		if tries.first && !j.named { // a fallback relay must not pass for the destination
			s.destKey = keys.dest
		}
		// Until the handshake is done a server is none of the sessions that
		// smtp_mx_session_limit counts.
		lastSession := reached(tries.sessions+1, j.p.sessionLimit)
		j.finalServer = j.finalHop && last
		j.finalAfterHello = j.finalHop && (last || lastSession)
		switch r := j.converse(s); {
		case r == again:
			if s.retryPlain {
				plain := *policy
				plain.level = tlsconf.None
				policy = &plain
			}
		case s.talked:
			tries.sessions++
			if lastSession {
				return stop
			}
			return goOn
		default:
			return goOn
		}
	}
}

// serverPolicy finds the TLS policy for a server and checks that it may be
// used at all. On false the reason is noted.
func (j *job) serverPolicy(ctx context.Context, d destination, sv server) (*tlsPolicy, bool) {
	policy, o := j.findPolicy(ctx, d, sv)
	if o.Status == "" {
		j.stats.begin(policy.level.String(), j.require)
		o = j.requireAllows(policy, sv)
	} else {
		j.stats.begin("unknown", j.require)
	}
	if o.Status != "" {
		j.why = o
		j.log.Warning("TLS policy lookup for %s/%s: %s", d.text, sv.host, o.Reason)
		return nil, false
	}
	if j.p.tls.wrapper && !policy.level.Mandatory() {
		j.log.Warning("%s_tls_wrappermode requires \"%s_tls_security_level = encrypt\" (or stronger)", j.p.prefix, j.p.prefix)
		return nil, false
	}
	return policy, j.allowsHost(policy, sv.host)
}

// requireAllows checks the TLS level against what REQUIRETLS demands.
func (j *job) requireAllows(p *tlsPolicy, s server) dsn.Outcome {
	switch {
	case j.require == requireError:
		return local("4.7.10", "REQUIRETLS policy configuration error. The last attempted server was %s", s.host)
	case j.require == requireEnforced && !p.level.MustMatch():
		j.stats.required("nocertmatch", violation)
		return local("5.7.10", "Sender requested REQUIRETLS, but my configured TLS security level '%s' disables "+
			"certificate matching. The last attempted server was %s", p.level, s.host)
	case j.require == requireTLSOnly && p.level == tlsconf.None:
		j.stats.required("noencryption", violation)
		return local("5.7.10", "Sender requested REQUIRETLS, but my configured TLS security level '%s' disables "+
			"encryption. The last attempted server was %s", p.level, s.host)
	}
	return dsn.Outcome{}
}

// keepable lets a new connection be kept, where connections to the
// destination are.
func (j *job) keepable(s *session, d destination) {
	if j.mayReuse(d) {
		s.keepUntil = j.clock.Now().Add(j.p.keepTime)
	}
}

// converse runs one session: hello if it is new, the message, and then it is
// kept or ended. again means that the same server is to be tried once more:
// a kept connection had gone before anything was said, or TLS has failed and
// plaintext is allowed.
func (j *job) converse(s *session) turn {
	s.job = j
	j.connDone = time.Time{}
	fresh := s.reused == 0
	if fresh && !j.hello(s) {
		j.finish(s)
		return afterTLS(s)
	}
	s.talked = true
	j.finalServer = j.finalServer || j.finalAfterHello
	if fresh {
		s.stats = j.stats
	} else {
		j.stats = s.stats
	}
	if j.transfer(s) == sessionGone {
		s.drop()
		return again
	}
	if !fresh {
		if j.visited == nil {
			j.visited = map[string]bool{}
		}
		j.visited[s.addr] = true
	}
	j.finish(s)
	return afterTLS(s)
}

func afterTLS(s *session) turn {
	if s.retryPlain {
		return again
	}
	return goOn
}

// finish ends a session or keeps it for the next message.
func (j *job) finish(s *session) {
	j.notifyPostmaster(s)
	j.sweep()
	j.connDone = time.Time{}
	if !s.throttled {
		j.named = true // later servers of this job are second choice
	}
	expired := !j.clock.Now().Before(s.keepUntil) || reached(s.reused, j.p.keepCount)
	s.job = nil
	switch {
	case s.broken || s.quitSent:
		s.drop()
	case expired:
		s.end()
	default:
		j.pool.put(s)
	}
}
