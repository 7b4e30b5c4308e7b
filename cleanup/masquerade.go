package main

import (
	"strings"
	"unicode/utf8"

	"postroad/libmail/addr"
	"postroad/libmail/proto"
)

// A masqueradeRule hides the subdomains of a domain, or with ! protects them
// from the rules that follow.
type masqueradeRule struct {
	domain string // folded
	keep   bool
}

func masqueradeRules(words []string) (rules []masqueradeRule) {
	for _, w := range words {
		domain := strings.TrimLeft(w, "!")
		if domain != "" {
			rules = append(rules, masqueradeRule{addr.Fold(domain), (len(w)-len(domain))%2 == 1})
		}
	}
	return rules
}

// masqueraded replaces the domain of an address, in external form, by the
// first parent domain that has a rule. Users in masquerade_exceptions keep
// theirs.
func (s *session) masqueraded(address string) string {
	local, domain, ok := addr.SplitDomain(address)
	if !ok {
		return address
	}
	except, err := s.masqueradeExcept.Match(local, "")
	if err != nil {
		s.lookupFailed("masquerade_exceptions", "")
	}
	if except {
		return address
	}
	domain = addr.Fold(domain)
	for _, r := range s.masquerade {
		if domain == r.domain {
			return address
		}
		if strings.HasSuffix(domain, "."+r.domain) {
			if r.keep {
				return address
			}
			return local + "@" + r.domain
		}
	}
	return address
}

// needsUTF8 reports whether an address holds UTF-8, and asks for SMTPUTF8 if
// this message may (smtputf8_autodetect_classes).
func (s *session) needsUTF8(address string) bool {
	if !s.utf8 || addr.IsASCII(address) || !utf8.ValidString(address) {
		return false
	}
	if s.flags&proto.CleanupAutoUTF8 != 0 {
		s.sendOpts |= proto.SendOptUTF8
	}
	return true
}
