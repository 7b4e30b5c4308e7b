package main

import (
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/table"
)

// resolve says where mail for an address in internal form goes:
//
//  1. take our own domains off until a foreign one, or none, is left;
//  2. refuse what is no address;
//  3. the class of the domain decides transport and next hop (class.go);
//  4. transport_maps may decide otherwise (transport.go);
//  5. who has moved gets no mail (relocated_maps).
//
// An error means that there is no answer now; it is logged.
func (s *service) resolve(r *routes, sender, address string) (result proto.Resolved, err error) {
	recipient, ours, err := s.strip(address)
	if err != nil {
		return result, err
	}
	if recipient, ours, err = s.checkSyntax(recipient, ours); err != nil {
		if errors.Is(err, errSyntax) {
			return proto.Resolved{Recipient: recipient, Flags: proto.ResolveError | proto.ClassDefault}, nil
		}
		return result, err
	}
	result.Recipient = recipient
	_, domain, _ := addr.SplitDomain(recipient)
	if isRouted(recipient, domain) {
		result.Flags |= proto.ResolveRouted
	}
	if err := s.classify(r, sender, domain, ours, &result); err != nil {
		return result, err
	}
	if result.Flags&proto.ClassAlias == 0 {
		if err := s.mapTransport(r, domain, &result); err != nil {
			return result, err
		}
	}
	if err := s.moved(&result); err != nil {
		return result, err
	}
	// A command could take the recipient for an option. Administrators can
	// forget "--" in master.cf, so it is stopped here.
	if !s.minUser && strings.HasPrefix(recipient, "-") {
		result.Flags |= proto.ResolveError
	}
	return result, nil
}

// strip takes domains of ours off the end of an address, and takes what is
// left for an address again: user%site@ours is user@site, and so is
// "user@site"@ours in quotes, so that nobody relays through us in disguise.
// ours says that in the end no foreign domain was left; the recipient then
// has the last domain that was taken off.
func (s *service) strip(address string) (recipient string, ours bool, err error) {
	t := addr.NewAddress(addr.Quote(address))
	var taken []addr.Token // "@" and the last domain of ours
	for range len(address) + 100 {
		if last(t.List, at) >= 0 {
			t.List = trimDot(t.List)
		}
		if n := len(t.List); s.nullDomain && n > 0 && t.List[n-1].Kind == at {
			t.List = t.List[:n-1]
		}
		if i := last(t.List, at); i >= 0 {
			if i+1 < len(t.List) {
				match, err := s.dests.Match(addr.Internal(t.List[i+1:]))
				if err != nil {
					return "", false, err
				}
				if !match {
					return t.Internal(), false, nil
				}
			}
			t.List, taken = t.List[:i], t.List[i:]
		}
		switch {
		case s.hasOperator(t.List):
			t.List = s.rewrite(s.local, t.List)
		case s.dequote && s.openQuotes(&t):
			t.List = s.rewrite(s.local, t.List)
		case len(t.List) == 0 || len(t.List) == 1 && isEmpty(t.List[0]):
			// An empty local part is the mail system itself, as in the
			// From: of its own messages.
			t.SetExternal(s.emptyRecipient)
		case taken == nil:
			t.List = join(t.List, at, s.hostname)
		default:
			t.List = append(t.List[:len(t.List):len(t.List)], taken...)
			return t.Internal(), true, nil
		}
	}
	s.log.Warning("resolve_addr: <%s>: giving up", address)
	return "", false, errors.New("address has too many levels")
}

// hasOperator reports whether a local part routes by itself.
func (s *service) hasOperator(list []addr.Token) bool {
	return last(list, at) >= 0 || s.swapBangpath && last(list, bang) >= 0 || s.percentHack && last(list, percent) >= 0
}

// openQuotes takes a quoted local part with routing operators apart.
func (s *service) openQuotes(t *addr.Token) bool {
	if len(t.List) != 1 || t.List[0].Kind != addr.QuotedString {
		return false
	}
	text := t.List[0].Text
	if strings.Contains(text, "@") {
		t.SetExternal(addr.Quote(text))
		return true
	}
	if i := strings.LastIndexByte(text, '%'); s.percentHack && i >= 0 {
		t.SetExternal(addr.Quote(text[:i] + "@" + text[i+1:]))
		return true
	}
	if s.swapBangpath && strings.Contains(text, "!") {
		t.SetExternal(text)
		return true
	}
	return false
}

var errSyntax = errors.New("bad address syntax")

// checkSyntax refuses what is no domain. With resolve_numeric_domain a bare
// network address becomes an address literal, which may be ours.
func (s *service) checkSyntax(recipient string, ours bool) (string, bool, error) {
	local, domain, _ := addr.SplitDomain(recipient)
	switch {
	case strings.HasPrefix(domain, "["):
		if _, err := addr.ParseLiteral(domain); err != nil {
			return recipient, ours, errSyntax
		}
		return recipient, ours, nil
	case s.utf8 && !utf8.ValidString(recipient):
		return recipient, ours, errSyntax
	case s.validDomain(domain):
		return recipient, ours, nil
	}
	if _, err := netip.ParseAddr(domain); err != nil || !s.numericDomain {
		return recipient, ours, errSyntax
	}
	literal := "[" + domain + "]"
	match, err := s.dests.Match(literal)
	return local + "@" + literal, ours || match, err
}

// validDomain reports whether a domain can be a host name, with or without
// the characters of RFC 5890.
func (s *service) validDomain(domain string) bool {
	if s.utf8 && !addr.IsASCII(domain) {
		ascii, err := addr.DomainToASCII(domain)
		return err == nil && addr.ValidHostname(ascii)
	}
	return addr.ValidHostname(domain)
}

// isRouted reports whether the local part of a recipient would route further
// on another host, whatever this one makes of ! and %.
func isRouted(recipient, domain string) bool {
	i := strings.IndexAny(recipient, "@!%")
	return i >= 0 && recipient[i+1:] != domain
}

// moved turns mail for users who have moved away.
func (s *service) moved(result *proto.Resolved) error {
	text, _, found, err := s.relocated.FindAddress(result.Recipient, table.FindDefault)
	if err != nil {
		s.log.Warning("relocated_maps lookup failure")
		return err
	}
	if !found {
		return nil
	}
	result.Transport = transportError
	if s.relocatedPrefix {
		result.Nexthop = "5.1.6 User has moved to " + text
		return nil
	}
	status, reason := dsn.Split(text, "")
	if status == "" || reason == "" {
		s.log.Warning("relocated_maps result must contain RFC 3463 status and text: '%.100s'", text)
		status, reason = "5.2.0", "Mailbox is unavailable"
	}
	result.Nexthop = status + " " + reason
	return nil
}
