package main

import (
	"context"
	"fmt"

	"postroad/libmail/dsn"
	"postroad/libmail/resolver"
	"postroad/libmail/tlsconf"
)

// A daneLack says why DANE cannot be used for a server.
type daneLack int

const (
	lackConfigured daneLack = iota // our own settings are against it
	lackPublished                  // the destination has not got it
	lackUsable                     // it has, but nothing that we understand
)

// dane fetches the TLSA records of a server (RFC 7672 §2.2). Where there are
// none the level "dane" goes down to what opportunistic TLS can do, and
// "dane-only" leaves the server alone.
func (j *job) dane(ctx context.Context, p *tlsPolicy, d destination, s server) dsn.Outcome {
	if lack := j.daneObstacle(); lack != "" {
		return j.withoutDANE(p, lackConfigured, fmt.Sprintf("%s: %s %s", d.text, p.level, lack))
	}
	insecureMX := s.mx.used && !s.mx.secure
	if insecureMX && (p.level == tlsconf.DANEOnly || j.p.tls.insecureMX <= tlsconf.May) {
		return j.withoutDANE(p, lackPublished, "non DNSSEC destination")
	}
	records, base, err := j.tlsa(ctx, s)
	switch {
	case err != nil:
		return local("4.7.5", "TLSA lookup error for %s:%d", s.host, s.port)
	case len(records) == 0:
		return j.withoutDANE(p, lackPublished, "no TLSA records found")
	}
	for _, r := range records {
		a := tlsconf.Association{Usage: r.Usage, Selector: r.Selector, Matching: r.Matching, Data: r.Data}
		if a.Usable() {
			p.tlsa = append(p.tlsa, a)
		}
	}
	if len(p.tlsa) == 0 {
		return j.withoutDANE(p, lackUsable, "TLSA records unusable")
	}
	if insecureMX {
		if j.p.tls.insecureMX == tlsconf.Encrypt {
			p.tlsa = nil
			return j.withoutDANE(p, lackUsable, "Verification not possible, MX RRset is insecure")
		}
		p.level = tlsconf.HalfDANE
	}
	p.base, p.match = base, []string{base}
	if s.mx.used {
		p.match = append(p.match, s.mx.rname, s.mx.qname)
	}
	return dsn.Outcome{}
}

// daneObstacle names the setting that rules DANE out, or "".
func (j *job) daneObstacle() string {
	switch {
	case j.p.dnsLevel != dnsSecure || j.p.dns.Sources&resolver.DNS == 0:
		return "configured with dnssec lookups disabled"
	case !j.p.lmtp && j.p.ignoreMXError:
		return "configured with MX lookup errors ignored"
	case j.p.dns.Search != 0:
		return "is incompatible with the dns resolver options"
	}
	return ""
}

// withoutDANE goes on without DANE, or not at all.
func (j *job) withoutDANE(p *tlsPolicy, lack daneLack, why string) dsn.Outcome {
	if lack == lackConfigured {
		j.log.Warning("%s", why)
	}
	switch {
	case p.level == tlsconf.DANE && lack == lackUsable:
		p.level = tlsconf.Encrypt
	case p.level == tlsconf.DANE:
		p.level = tlsconf.May
	case lack == lackConfigured:
		return policyProblem
	default:
		return local("4.7.5", "%s", why)
	}
	return dsn.Outcome{}
}

// tlsa looks the records up under the host's secure name after CNAMEs, then
// under the name itself. Records that are not secure do not count.
func (j *job) tlsa(ctx context.Context, s server) ([]resolver.TLSARecord, string, error) {
	names := []string{}
	if s.mx.base != "" {
		names = append(names, s.mx.base)
		if s.mx.base != s.host {
			names = append(names, s.host)
		}
	} else if j.p.tls.forceTLSA {
		names = append(names, s.host)
	}
	for _, name := range names {
		answer, err := j.dns.TLSA(ctx, fmt.Sprintf("_%d._tcp.%s", s.port, name))
		switch {
		case err == nil && answer.Secure:
			return answer.Records, name, nil
		case err != nil && !resolver.IsNotFound(err):
			return nil, "", err
		}
	}
	return nil, "", nil
}
