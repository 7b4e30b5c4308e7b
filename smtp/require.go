package main

import (
	"fmt"
	"net/netip"
	"strings"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/resolver"
	"postroad/libmail/table"
)

// A requireLevel says how far REQUIRETLS (RFC 8689) is enforced for a
// destination (smtp_requiretls_policy).
type requireLevel int

const (
	requireError         requireLevel = iota - 1 // the policy cannot be read
	requireDisabled                              // as if not requested
	requireOpportunistic                         // ask a server that can, demand nothing
	requireTLSOnly                               // demand STARTTLS
	requireEnforced                              // demand REQUIRETLS and a matching certificate
)

var requireNames = map[string]requireLevel{
	"disable": requireDisabled, "opportunistic": requireOpportunistic,
	"opportunistic+starttls": requireTLSOnly, "enforce": requireEnforced, "error": requireError,
}

// requirePolicy is the parsed smtp_requiretls_policy: levels, and tables that
// give a level for a next hop; the first that applies counts.
type requirePolicy struct {
	name  string
	log   *maillog.Logger
	items []requireItem
}

type requireItem struct {
	level requireLevel
	table *table.Maps // nil: level
	fixed bool        // parents of the name are looked up too
}

// read parses the policy. tables are opened now.
func (p *requirePolicy) read(s *source, text string) {
	p.name = s.prefix + "_requiretls_policy"
	if log, ok := s.tables.Log.(*maillog.Logger); ok {
		p.log = log
	}
	for _, word := range conf.SplitList(text) {
		if level, ok := requireNames[strings.ToLower(word)]; ok {
			p.items = append(p.items, requireItem{level: level})
			continue
		}
		if !strings.Contains(word, ":") {
			s.failAll(p.name, fmt.Errorf("unknown policy action: %q", word))
			continue
		}
		m, err := table.OpenMaps(p.name, []string{word}, s.tables)
		s.failAll(p.name, err)
		kind, _, _ := strings.Cut(word, ":")
		patterns := kind == "regexp" || kind == "pcre" || kind == "cidr"
		p.items = append(p.items, requireItem{table: m, fixed: !patterns})
	}
}

// level finds the enforcement level for a next hop.
func (p *requirePolicy) level(nexthop string) requireLevel {
	for _, item := range p.items {
		if item.table == nil {
			return item.level
		}
		name := resolver.ASCII(nexthop)
		_, err := netip.ParseAddr(name)
		for name != "" {
			value, found, lookupErr := item.table.Find(name)
			if lookupErr != nil {
				p.log.Warning("%s: lookup error -- ignoring the remainder of this policy: %v", p.name, lookupErr)
				return requireError
			}
			if found {
				level, ok := requireNames[strings.ToLower(value)]
				if !ok {
					p.log.Warning("%s: unknown policy action: %q -- ignoring the remainder of the policy", p.name, value)
					return requireError
				}
				return level
			}
			if !item.fixed || err == nil {
				break // patterns see the whole name, an address has no parents
			}
			i := strings.IndexByte(name[1:], '.')
			if i < 0 {
				break
			}
			name = name[1+i:]
		}
	}
	return requireEnforced
}

// tlsNotRequired reports whether the sender prefers delivery to security
// (RFC 8689 §5, TLS-Required: no).
func (j *job) tlsNotRequired() bool {
	return j.p.tlsRequired && j.SendOpts&proto.SendOptNoRequireTLS != 0 &&
		!(j.p.requireTLS && j.SendOpts&proto.SendOptRequireTLS != 0)
}

// requireFor is the REQUIRETLS level of this message for a next hop.
func (j *job) requireFor(nexthop string) requireLevel {
	if !j.p.requireTLS || j.SendOpts&proto.SendOptRequireTLS == 0 {
		return requireDisabled
	}
	return j.p.requireTLSPolicy.level(nexthop)
}

// needsUTF8 reports whether the message cannot be sent without SMTPUTF8
// (RFC 6531 §3.2).
func (j *job) needsUTF8() bool {
	const derived = proto.SendOptUTF8Header | proto.SendOptUTF8Sender | proto.SendOptUTF8Rcpt
	return j.SendOpts&proto.SendOptUTF8 != 0 && j.SendOpts&derived != 0
}
