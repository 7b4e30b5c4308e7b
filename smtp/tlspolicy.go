package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/dsn"
	"postroad/libmail/resolver"
	"postroad/libmail/tlsconf"
)

// A tlsPolicy is what TLS has to do for one server of one destination.
type tlsPolicy struct {
	level      tlsconf.Level
	protocols  string
	grade      string
	exclude    []string // empty: those of main.cf
	servername string
	match      []string // names, or fingerprints
	anchors    *x509.CertPool
	reuse      bool
	tlsa       []tlsconf.Association
	base       string // TLSA base domain (RFC 7672 §2.2.2)

	// What a policy server adds for MTA-STS (RFC 8461).
	kind     string // "sts"
	patterns []string
	failure  string // why the policy cannot be met
}

// policyProblem is the failure of a policy that cannot be used.
var policyProblem = local("4.7.5", "client TLS configuration problem")

// findPolicy finds the policy for a server. An Outcome that is not empty
// means that the server must be left alone.
func (j *job) findPolicy(ctx context.Context, d destination, s server) (*tlsPolicy, dsn.Outcome) {
	t := &j.p.tls
	p := &tlsPolicy{level: t.level, reuse: t.reuse}
	var o dsn.Outcome
	switch {
	case j.tlsNotRequired():
		limit := tlsconf.May
		if t.wrapper {
			limit = tlsconf.Encrypt
		}
		p.level = min(p.level, limit)
	case !t.policies.Empty():
		o = j.lookupPolicy(p, d)
	case !t.perSite.Empty():
		o = j.lookupPerSite(p, d, s)
	}
	if o.Status != "" {
		return nil, o
	}
	if p.level == tlsconf.DANE || p.level == tlsconf.DANEOnly {
		if o = j.dane(ctx, p, d, s); o.Status != "" {
			return nil, o
		}
	}
	return p, j.completePolicy(p, d)
}

// completePolicy fills in what the policy leaves to main.cf.
func (j *job) completePolicy(p *tlsPolicy, d destination) dsn.Outcome {
	t := &j.p.tls
	if p.level <= tlsconf.None {
		return dsn.Outcome{}
	}
	protocols, grade, exclude := t.mustProtocols, t.mustGrade, []string{t.exclude, t.mustExclude}
	if p.level == tlsconf.May {
		protocols, grade, exclude = t.protocols, t.grade, []string{t.exclude}
	}
	if p.protocols == "" {
		p.protocols = protocols
	}
	if p.grade == "" {
		p.grade = grade
	}
	if p.exclude == nil {
		p.exclude = exclude
	}
	if p.servername == "" {
		p.servername = t.servername
	}
	switch p.level {
	case tlsconf.Fingerprint:
		if len(p.match) == 0 {
			p.match = t.fingerprints
		}
		if len(p.match) == 0 {
			j.log.Warning("nexthop domain %s: configured at fingerprint security level, but with no fingerprints to match.", d.text)
			return policyProblem
		}
	case tlsconf.Verify, tlsconf.Secure:
		if len(p.match) == 0 {
			p.match = t.secureMatch
			if p.level == tlsconf.Verify {
				p.match = t.verifyMatch
			}
		}
		if p.anchors == nil {
			p.anchors = t.anchors
		}
	}
	return dsn.Outcome{}
}

// lookupPolicy searches smtp_tls_policy_maps: by the next hop as it is
// written, and if that is a plain domain by its parents.
func (j *job) lookupPolicy(p *tlsPolicy, d destination) dsn.Outcome {
	name := d.text
	plain := !d.literal && addr.ValidHostname(resolver.ASCII(name))
	for name != "" {
		where := fmt.Sprintf("%s, next-hop destination %q", j.p.tls.policies.Title(), name)
		value, found, err := j.p.tls.policies.Find(name)
		if err != nil {
			j.log.Warning("%s: policy table lookup error: %v", where, err)
			return policyProblem
		}
		if found {
			if err := p.parse(value); err != nil {
				j.log.Warning("%s: %v", where, err)
				return policyProblem
			}
			return dsn.Outcome{}
		}
		i := strings.IndexByte(name[1:], '.')
		if !plain || i < 0 {
			return dsn.Outcome{}
		}
		name = name[1+i:]
	}
	return dsn.Outcome{}
}

// parse reads a policy: "level name=value ...". An attribute that is not
// understood spoils the policy, because it may be there for security.
func (p *tlsPolicy) parse(text string) error {
	words := conf.SplitList(text)
	if len(words) == 0 {
		return fmt.Errorf("invalid empty policy")
	}
	p.level = tlsconf.ParseLevel(words[0])
	if p.level == tlsconf.Invalid {
		return fmt.Errorf("invalid security level %q", words[0])
	}
	if p.level == tlsconf.None {
		return nil
	}
	seen := map[string]bool{}
	for _, w := range words[1:] {
		w = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(w, "{"), "}"))
		name, value, ok := strings.Cut(w, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if !ok || name == "" {
			return fmt.Errorf("malformed attribute/value pair %q: missing '='", w)
		}
		if once := name != "match" && name != "tafile" && name != "mx_host_pattern" && name != "policy_string" &&
			name != "connection_reuse" && name != "enable_rpk"; once && seen[name] {
			return fmt.Errorf("attribute %q is specified multiple times", name)
		}
		seen[name] = true
		if err := p.attribute(name, value); err != nil {
			return err
		}
	}
	if p.kind == "" && (seen["policy_ttl"] || seen["policy_domain"] || seen["policy_string"] || seen["mx_host_pattern"] || seen["policy_failure"]) {
		return fmt.Errorf("built-in policy has unexpected attribute policy_ttl, policy_domain, policy_string, mx_host_pattern or policy_failure")
	}
	return nil
}

func (p *tlsPolicy) attribute(name, value string) error {
	empty := fmt.Errorf("attribute %q has empty value", name)
	switch name {
	case "ciphers":
		if value == "" {
			return empty
		}
		p.grade = value
	case "protocols":
		p.protocols = value
	case "servername":
		if value != "hostname" && value != "nexthop" && !addr.ValidHostname(value) {
			return fmt.Errorf("\"%s=%s\" specifies an invalid hostname", name, value)
		}
		p.servername = value
	case "match":
		return p.addMatch(value, empty)
	case "exclude":
		p.exclude = []string{value}
	case "tafile":
		if p.level < tlsconf.Verify {
			return fmt.Errorf("attribute %q invalid at security level %q", name, p.level)
		}
		if p.anchors == nil {
			p.anchors = x509.NewCertPool()
		}
		return tlsconf.AddCAs(p.anchors, value)
	case "connection_reuse":
		return yesNo(name, value, &p.reuse)
	case "enable_rpk":
		var ignored bool // raw public keys are unknown to crypto/tls
		return yesNo(name, value, &ignored)
	case "policy_type":
		p.kind = strings.ToLower(value)
	case "mx_host_pattern":
		p.patterns = append(p.patterns, strings.ToLower(value))
	case "policy_failure":
		p.failure = value
	case "policy_ttl", "policy_domain", "policy_string":
		// For reports to the domain, which are not made.
	default:
		return fmt.Errorf("invalid attribute name: %q", name)
	}
	return nil
}

func (p *tlsPolicy) addMatch(value string, empty error) error {
	switch {
	case value == "":
		return empty
	case p.level == tlsconf.Fingerprint:
		p.match = append(p.match, strings.Split(value, "|")...)
	case p.level >= tlsconf.Verify:
		p.match = append(p.match, strings.Split(value, ":")...)
	default:
		return fmt.Errorf("attribute %q invalid at security level %q", "match", p.level)
	}
	return nil
}

func yesNo(name, value string, to *bool) error {
	switch strings.ToLower(value) {
	case "yes":
		*to = true
	case "no":
		*to = false
	default:
		return fmt.Errorf("attribute %q has bad value: %q", name, value)
	}
	return nil
}

// allowsHost reports whether a policy of MTA-STS lets mail go to an MX host
// (RFC 8461 §4.1).
func (j *job) allowsHost(p *tlsPolicy, host string) bool {
	if !j.p.tls.stsPatterns || p.kind != "sts" || len(p.patterns) == 0 || p.level < tlsconf.Verify {
		return true
	}
	p.match = []string{"hostname"}
	host = strings.ToLower(resolver.ASCII(host))
	for _, pattern := range p.patterns {
		if pattern == host {
			return true
		}
		if _, rest, ok := strings.Cut(host, "."); ok && strings.HasPrefix(pattern, "*.") && rest == pattern[2:] {
			return true
		}
	}
	j.log.Warning("MX name '%s' does not match STS MX pattern", host)
	return false
}

// perSiteLevels are the words of smtp_tls_per_site. Of the next hop's and
// the host's the later one here wins.
var perSiteLevels = []struct {
	word  string
	level tlsconf.Level
}{
	{"MAY", tlsconf.May},
	{"NONE", tlsconf.None},
	{"MUST_NOPEERMATCH", tlsconf.Encrypt},
	{"MUST", tlsconf.Verify},
}

// lookupPerSite searches the old smtp_tls_per_site.
func (j *job) lookupPerSite(p *tlsPolicy, d destination, s server) dsn.Outcome {
	best := -1
	for _, name := range []string{d.text, s.host} {
		value, found, err := j.p.tls.perSite.Find(name)
		if err != nil {
			j.log.Warning("%s: %q: per-site table lookup error: %v", j.p.tls.perSite.Title(), name, err)
			return local("4.3.0", "Temporary lookup error")
		}
		if !found {
			continue
		}
		rank := -1
		for i, l := range perSiteLevels {
			if strings.EqualFold(value, l.word) {
				rank = i
			}
		}
		if rank < 0 {
			j.log.Warning("%s: unknown TLS policy '%s' for %s", j.p.tls.perSite.Title(), value, name)
			return policyProblem
		}
		best = max(best, rank)
	}
	if best >= 0 && !(best == 0 && p.level > tlsconf.May) {
		p.level = perSiteLevels[best].level
	}
	return dsn.Outcome{}
}
