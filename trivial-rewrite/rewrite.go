package main

import (
	"slices"

	"postroad/libmail/addr"
)

// A completion is what is appended to an address that is not complete. Where a
// part is empty nothing is appended.
type completion struct {
	origin string // to an address without @
	domain string // to a domain without a dot
}

// The operators of an address.
const (
	at      = addr.Kind('@')
	bang    = addr.Kind('!')
	percent = addr.Kind('%')
	colon   = addr.Kind(':')
	dot     = addr.Kind('.')
)

// rewriteText brings an address in external form into standard form. The null
// address stays "".
func (s *service) rewriteText(c completion, address string) string {
	t := addr.NewAddress(address)
	t.List = s.rewrite(c, t.List)
	return addr.QuoteWith(t.Internal(), addr.EightBitClean)
}

// rewrite applies the rules in their order:
//
//	""                     stays
//	@                      ""
//	@site,@site:user@site  user@site         source route (RFC 5321 appendix C)
//	site!user              user@site         without @, swap_bangpath
//	user%site              user@site         without @, allow_percent_hack
//	user                   user@origin       without @, append_at_myorigin
//	user@site              user@site.domain  without dot, append_dot_mydomain
//	user@site.             user@site
func (s *service) rewrite(c completion, list []addr.Token) []addr.Token {
	switch {
	case len(list) == 1 && isEmpty(list[0]):
		return list
	case len(list) == 1 && list[0].Kind == at:
		return []addr.Token{{Kind: addr.QuotedString}}
	case len(list) > 0 && list[0].Kind == at:
		if i := first(list, colon); i >= 0 && i < len(list)-1 {
			list = list[i+1:]
		}
	}
	if last(list, at) < 0 {
		list = s.addDomain(c, list)
	}
	if s.appendDotDomain && c.domain != "" {
		if i := last(list, at); i >= 0 && i < len(list)-1 && first(list[i:], addr.Literal) < 0 && first(list[i:], dot) < 0 {
			list = join(list, dot, c.domain)
		}
	}
	return trimDot(list)
}

// addDomain applies the rules for addresses without @.
func (s *service) addDomain(c completion, list []addr.Token) []addr.Token {
	if i := first(list, bang); s.swapBangpath && i >= 0 {
		return slices.Concat(list[i+1:], []addr.Token{{Kind: at}}, list[:i])
	}
	if i := last(list, percent); s.percentHack && i >= 0 {
		list = slices.Clone(list)
		list[i].Kind = at
		return list
	}
	if s.appendAtOrigin && c.origin != "" {
		return join(list, at, c.origin)
	}
	return list
}

// trimDot takes one dot off the end of a domain, but leaves .. and @. alone:
// their senders shall see what is wrong.
func trimDot(list []addr.Token) []addr.Token {
	n := len(list)
	if n >= 2 && list[n-1].Kind == dot && list[n-2].Kind != dot && list[n-2].Kind != at {
		return list[:n-1]
	}
	return list
}

// isEmpty reports whether t is "".
func isEmpty(t addr.Token) bool { return t.Kind == addr.QuotedString && t.Text == "" }

// join appends an operator and the tokens of a text.
func join(list []addr.Token, op addr.Kind, text string) []addr.Token {
	return slices.Concat(list, []addr.Token{{Kind: op}}, addr.Scan(text, 0))
}

// first and last are where a kind of token stands, or -1.
func first(list []addr.Token, k addr.Kind) int {
	return slices.IndexFunc(list, func(t addr.Token) bool { return t.Kind == k })
}

func last(list []addr.Token, k addr.Kind) int {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Kind == k {
			return i
		}
	}
	return -1
}
