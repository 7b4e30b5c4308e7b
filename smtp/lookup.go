package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"postroad/libmail/dsn"
	"postroad/libmail/resolver"
)

// A server is one address where a destination takes mail.
type server struct {
	host string // MX host name, or the domain itself
	addr netip.Addr
	pref int
	port int
	best bool // of the best preference
	mx   mxInfo
}

// mxInfo says how a server was found, for DANE.
type mxInfo struct {
	used   bool   // through MX records
	secure bool   // which are secure
	qname  string // name asked for
	rname  string // name that the MX records belong to
	base   string // secure name of the host after CNAMEs, or ""
}

// found is what a lookup has found.
type found struct {
	servers  []server
	bestPref int  // preference of the first
	self     bool // this host is one of the servers
}

// lookup finds the servers of a destination, the best first (RFC 5321 §5.1).
// Without servers the Outcome says why.
func (j *job) lookup(ctx context.Context, d destination) (found, dsn.Outcome) {
	noMX := d.literal || j.p.dnsLevel == dnsDisabled
	if !noMX && slices.Contains(j.p.srvServices, d.service) {
		f, o := j.lookupService(ctx, d)
		return f, o
	}
	if noMX || j.p.lmtp {
		return j.lookupHost(ctx, d.domain, d.port)
	}
	return j.lookupMX(ctx, d)
}

// dnsOutcome is the Outcome of a failed lookup.
func dnsOutcome(err error, notFound string) dsn.Outcome {
	status := "4.4.3"
	switch resolver.KindOf(err) {
	case resolver.NotFound, resolver.NoData:
		status = notFound
	case resolver.NullMX, resolver.NullSRV:
		status = "5.1.0"
	case resolver.Refused:
		status = "5.4.3"
	case resolver.BadReply:
		status = "5.4.4"
	case resolver.Policy:
		status = "4.7.0"
	}
	return local(status, "%s", err)
}

// lookupMX follows MX records, or the address of the domain where there are
// none.
func (j *job) lookupMX(ctx context.Context, d destination) (found, dsn.Outcome) {
	mx, err := j.dns.MX(ctx, d.domain)
	switch kind := resolver.KindOf(err); {
	case err == nil:
	case kind == resolver.NotFound, kind == resolver.NoData:
		return j.lookupHost(ctx, d.domain, d.port)
	case j.p.ignoreMXError && kind != resolver.NullMX && kind != resolver.Policy:
		return j.lookupHost(ctx, d.domain, d.port)
	default:
		return found{}, dnsOutcome(err, "")
	}
	info := mxInfo{used: true, secure: mx.Secure, qname: strings.TrimSuffix(resolver.ASCII(d.domain), "."), rname: mx.Name}
	servers, o := j.addresses(ctx, mx.Records, d.port, info)
	if len(servers) == 0 {
		if j.p.deferNoMXAddress && o.Class() == '5' {
			o.Status = "4" + o.Status[1:]
		}
		j.log.Warning("no MX host for %s has a valid address record", d.domain)
		return found{}, o
	}
	f, o := j.cutAtSelf(servers, int(mx.Records[0].Pref), d.domain)
	f.servers = j.order(f.servers)
	return f.first(), o
}

// first notes the best preference.
func (f found) first() found {
	if len(f.servers) > 0 {
		f.bestPref = f.servers[0].pref
	}
	return f
}

// addresses looks up all hosts of MX or SRV records. As long as one has an
// address, failures of the others do not matter; if none has, a temporary
// failure outweighs a permanent one.
func (j *job) addresses(ctx context.Context, hosts []resolver.Host, port int, info mxInfo) ([]server, dsn.Outcome) {
	var servers []server
	var why dsn.Outcome
	for _, h := range hosts {
		list, o := j.hostAddresses(ctx, h.Name, why)
		if o.Status != "" {
			why = o
		}
		for _, s := range list {
			s.pref, s.port, s.mx = int(h.Pref), port, info.withBase(s.mx)
			if h.Port != 0 {
				s.port = int(h.Port)
			}
			servers = append(servers, s)
		}
	}
	if len(servers) > 0 {
		why = dsn.Outcome{}
	}
	return servers, why
}

func (m mxInfo) withBase(host mxInfo) mxInfo {
	m.base = host.base
	return m
}

// hostAddresses looks up one host. before is the failure of hosts before it,
// which decides whether this one's may be permanent.
func (j *job) hostAddresses(ctx context.Context, host string, before dsn.Outcome) ([]server, dsn.Outcome) {
	answer, err := j.dns.Addresses(ctx, host)
	if err != nil {
		o := dnsOutcome(err, "5.4.4")
		if before.Status != "" && before.Class() != '5' && o.Class() == '5' {
			o.Status = "4" + o.Status[1:]
		}
		return nil, o
	}
	name, base := host, ""
	if answer.Secure {
		base = answer.Name
	}
	if j.p.cnameOverrides {
		name = answer.Name
	}
	servers := make([]server, len(answer.Records))
	for i, a := range answer.Records {
		servers[i] = server{host: name, addr: a, mx: mxInfo{base: base}}
	}
	return servers, dsn.Outcome{}
}

// lookupHost finds the addresses of one host.
func (j *job) lookupHost(ctx context.Context, host string, port int) (found, dsn.Outcome) {
	servers, o := j.hostAddresses(ctx, host, dsn.Outcome{})
	if j.detectLoops && slices.ContainsFunc(servers, j.isSelf) {
		return found{}, local("5.4.6", "mail for %s loops back to myself", host)
	}
	for i := range servers {
		servers[i].port = port
	}
	return found{servers: j.order(servers)}.first(), o
}

// lookupService follows SRV records (use_srv_lookup), and falls back to
// other records where that is allowed.
func (j *job) lookupService(ctx context.Context, d destination) (found, dsn.Outcome) {
	name := fmt.Sprintf("_%s._tcp.%s", d.service, d.domain)
	srv, err := j.dns.SRV(ctx, resolver.ASCII(name))
	fallback := j.p.srvFallback
	var f found
	var o dsn.Outcome
	switch kind := resolver.KindOf(err); {
	case err == nil:
		var servers []server
		servers, o = j.addresses(ctx, srv.Records, d.port, mxInfo{used: true, secure: srv.Secure, qname: d.domain, rname: srv.Name})
		if len(servers) == 0 {
			j.log.Warning("no SRV host for %s has a valid address record", name)
			break
		}
		f, o = j.cutAtSelf(servers, int(srv.Records[0].Pref), name)
		f.servers = j.balanced(f.servers)
		f = f.first()
	default:
		o = dnsOutcome(err, "5.4.4")
		fallback = fallback || j.p.ignoreSRVError && !resolver.IsNotFound(err) &&
			kind != resolver.NullSRV && kind != resolver.Policy
	}
	if len(f.servers) > 0 || !fallback {
		return f, o
	}
	j.log.Info("skipping SRV lookup for %s: %s", name, o.Reason)
	if j.p.lmtp {
		return j.lookupHost(ctx, d.domain, d.port)
	}
	return j.lookupMX(ctx, d)
}

// isSelf reports whether mail sent to a server comes back to this host.
func (j *job) isSelf(s server) bool { return slices.Contains(j.p.own, s.addr) }

// cutAtSelf takes this host and all servers of its preference and worse off
// the list: mail to them would loop (RFC 5321 §5.1). The list is in order of
// preference.
func (j *job) cutAtSelf(servers []server, listedPref int, name string) (found, dsn.Outcome) {
	at := -1
	if j.detectLoops {
		at = slices.IndexFunc(servers, j.isSelf)
	}
	if at < 0 {
		return found{servers: servers}, dsn.Outcome{}
	}
	best := servers[0].pref
	keep := slices.IndexFunc(servers, func(s server) bool { return s.pref == servers[at].pref })
	if keep > 0 {
		return found{servers: servers[:keep], self: true}, dsn.Outcome{}
	}
	if best != listedPref { // better hosts are listed, but have no address
		return found{self: true}, local("4.4.4", "unable to find primary relay for %s", name)
	}
	return found{self: true}, local("5.4.6", "mail for %s loops back to myself", name)
}

// order shuffles servers of equal preference and puts the preferred address
// family first among them.
func (j *job) order(servers []server) []server {
	if len(servers) < 2 {
		return servers
	}
	if j.p.randomize {
		rand.Shuffle(len(servers), func(a, b int) { servers[a], servers[b] = servers[b], servers[a] })
	}
	rank := func(s server) int {
		if j.p.preference != 0 && !j.p.preference.Allows(s.addr) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(servers, func(a, b server) int {
		if a.pref != b.pref {
			return a.pref - b.pref
		}
		return rank(a) - rank(b)
	})
	return j.balanced(servers)
}

// balanced shortens a list that is longer than smtp_mx_address_limit in a way
// that leaves both address families a share of the tries.
func (j *job) balanced(servers []server) []server {
	limit := j.p.addressLimit
	if limit <= 0 || !j.p.balance || len(servers) <= limit {
		return servers
	}
	v4 := 0
	for _, s := range servers {
		if s.addr.Is4() {
			v4++
		}
	}
	v6 := len(servers) - v4
	if v4 == 0 || v6 == 0 {
		return servers
	}
	half := limit / 2
	switch {
	case v6 <= half:
		v4 = limit - v6
	case v4 <= half:
		v6 = limit - v4
	default:
		v4 = half
		if servers[0].addr.Is4() {
			v4 = (limit + 1) / 2
		}
		v6 = limit - v4
	}
	kept := servers[:0]
	for _, s := range servers {
		room := &v6
		if s.addr.Is4() {
			room = &v4
		}
		if *room > 0 {
			*room--
			kept = append(kept, s)
		}
	}
	return kept
}
