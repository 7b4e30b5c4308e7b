package resolver

import (
	"context"
	"net/netip"
	"slices"
	"strings"
)

// Addresses returns the addresses of a host: IPv4 before IPv6, each as the
// server ordered them. A numerical host name stands for itself. Names are
// completed and sources chosen as the Options say. One family's failure
// does not matter while the other has addresses.
func (r *Resolver) Addresses(ctx context.Context, host string) (Answer[netip.Addr], error) {
	if a, err := netip.ParseAddr(host); err == nil && r.opt.Protocols.Allows(a) {
		return Answer[netip.Addr]{Records: []netip.Addr{a.Unmap()}, Name: host}, nil
	}
	var answer Answer[netip.Addr]
	var err error
	if r.opt.Sources&DNS != 0 {
		answer, err = r.families(ctx, host, r.opt.Search)
		if err == nil || !IsNotFound(err) || r.opt.Sources&Native == 0 {
			return answer, err
		}
	}
	return r.native(ctx, host)
}

// native does what the C library does for a host name: /etc/hosts, then
// the name service with the search list.
func (r *Resolver) native(ctx context.Context, host string) (Answer[netip.Addr], error) {
	if hosts, err := r.hosts.get(); err == nil {
		var found []netip.Addr
		for _, a := range hosts.addrs[strings.ToLower(strings.TrimSuffix(host, "."))] {
			if r.opt.Protocols.Allows(a) {
				found = append(found, a)
			}
		}
		if len(found) > 0 {
			return Answer[netip.Addr]{Records: found, Name: host}, nil
		}
	}
	answer, err := r.families(ctx, host, DefNames|DNSrch)
	if err != nil {
		e := &Error{Kind: KindOf(err), Name: host, Type: A, Err: err}
		why := "Name or service not known"
		switch {
		case e.Temporary():
			why = "Temporary failure in name resolution"
		case e.Kind == NoData:
			why = "No address associated with hostname"
		}
		e.Text = "unable to look up host " + printable(host) + ": " + why
		return answer, e
	}
	return answer, nil
}

// families asks for each wanted address family at the same time.
func (r *Resolver) families(ctx context.Context, host string, s Search) (Answer[netip.Addr], error) {
	type result struct {
		answer Answer[netip.Addr]
		err    error
	}
	ask := func(t Type) (res result) {
		res.answer, res.err = r.searchAddr(ctx, host, t, s)
		return res
	}
	var results []result
	switch r.opt.Protocols & All {
	case IPv4:
		results = []result{ask(A)}
	case IPv6:
		results = []result{ask(AAAA)}
	default:
		v6 := make(chan result, 1)
		go func() { v6 <- ask(AAAA) }()
		results = []result{ask(A), <-v6}
	}
	var sum Answer[netip.Addr]
	var failure error
	for _, res := range results {
		if res.err != nil {
			// Of two failures of equal rank the last is told.
			if precedence(res.err) >= precedence(failure) {
				failure = res.err
			}
			continue
		}
		if len(sum.Records) == 0 {
			sum.Name, sum.Secure, sum.TTL = res.answer.Name, res.answer.Secure, res.answer.TTL
		}
		sum.Secure = sum.Secure && res.answer.Secure
		sum.TTL = min(sum.TTL, res.answer.TTL)
		sum.Records = append(sum.Records, res.answer.Records...)
	}
	if len(sum.Records) > 0 {
		return sum, nil
	}
	return sum, failure
}

// precedence ranks failures; "no such name" and "no such record" are one
// rank, as they are in h_errno's users.
func precedence(err error) Kind {
	if IsNotFound(err) {
		return NoData
	}
	return KindOf(err)
}

// searchAddr asks for host and its completions in the order of the C
// library's res_search.
func (r *Resolver) searchAddr(ctx context.Context, host string, t Type, s Search) (Answer[netip.Addr], error) {
	if s == 0 {
		return lookup(ctx, r, host, t, decodeAddr)
	}
	conf, err := r.conf.get()
	if err != nil {
		return Answer[netip.Addr]{}, &Error{Kind: ServFail, Name: host, Type: t, Err: err}
	}
	var answer Answer[netip.Addr]
	var failure error
	for _, name := range conf.candidates(host, s) {
		answer, err = lookup(ctx, r, name, t, decodeAddr)
		if err == nil || !IsNotFound(err) {
			return answer, err
		}
		// "No such record" for one completion outlives "no such name" for the others.
		if failure == nil || KindOf(err) > KindOf(failure) {
			failure = err
		}
	}
	return Answer[netip.Addr]{}, failure
}

// candidates returns the names to ask for.
func (c *resolvConf) candidates(host string, s Search) []string {
	if strings.HasSuffix(host, ".") {
		return []string{strings.TrimSuffix(host, ".")}
	}
	dots := strings.Count(host, ".")
	var names []string
	if dots >= c.ndots {
		names = append(names, host)
	}
	if dots == 0 && s&DefNames != 0 || dots > 0 && s&DNSrch != 0 {
		for _, domain := range c.search {
			names = append(names, host+"."+domain)
			if s&DNSrch == 0 {
				break
			}
		}
	}
	if !slices.Contains(names, host) {
		names = append(names, host)
	}
	return names
}
