package main

import (
	"errors"
	"fmt"
	"strings"

	"postroad/libmail/proto"
	"postroad/libmail/table"
)

// Transports that have text in place of a next hop.
const (
	transportError = "error"
	transportRetry = "retry"
)

// classify finds the class of a domain (ADDRESS_CLASS_README) and with it
// transport and next hop.
//
//	ours                     local_transport, next hop is the domain
//	virtual_alias_domains    no user is left after alias expansion: an error
//	virtual_mailbox_domains  virtual_transport, next hop is the domain
//	relay_domains            relay_transport, next hop as below
//	all else                 default_transport or by sender; next hop is the
//	                         sender's relayhost, relayhost, or the domain
//
// "transport:nexthop" in main.cf decides the next hop in each class.
func (s *service) classify(r *routes, sender, domain string, ours bool, result *proto.Resolved) error {
	class, err := s.class(domain, ours)
	if err != nil {
		return err
	}
	result.Flags |= class
	route, blame := "", ""
	result.Nexthop = domain
	switch class {
	case proto.ClassLocal:
		route, blame = r.local, r.names.local
	case proto.ClassAlias:
		result.Transport, result.Nexthop = transportError, "5.1.1 User unknown"
		if s.showUnknownTable {
			result.Nexthop += " in virtual alias table"
		}
		return nil
	case proto.ClassVirtual:
		route, blame = r.virtual, r.names.virtual
	case proto.ClassRelay:
		route, blame = r.relay, r.names.relay
	default:
		if route, blame, err = s.senderTransport(r, sender); err != nil {
			return err
		}
	}
	if class == proto.ClassRelay || class == proto.ClassDefault {
		if result.Nexthop, err = s.relay(r, sender, domain); err != nil {
			return err
		}
	}
	transport, nexthop, _ := strings.Cut(route, ":")
	if transport == "" {
		s.log.Warning("file main.cf: parameter %s: null transport is not allowed", blame)
		return errors.New("null transport")
	}
	result.Transport = transport
	if nexthop != "" {
		result.Nexthop = nexthop
	}
	return nil
}

// class finds the class of a domain: the first list that has it decides.
func (s *service) class(domain string, ours bool) (proto.ResolveFlags, error) {
	if ours {
		s.warnBoth(domain, "mydestination", s.aliasDomains, "virtual_alias_domains")
		s.warnBoth(domain, "mydestination", s.mailboxDomains, "virtual_mailbox_domains")
		return proto.ClassLocal, nil
	}
	lists := []struct {
		list  *table.MatchList
		name  string
		class proto.ResolveFlags
	}{
		{s.aliasDomains, "virtual_alias_domains", proto.ClassAlias},
		{s.mailboxDomains, "virtual_mailbox_domains", proto.ClassVirtual},
		{s.relayDomains, "relay_domains", proto.ClassRelay},
	}
	for i, l := range lists {
		match, err := l.list.Match(domain, "")
		if err != nil {
			s.log.Warning("%s lookup failure", l.name)
			return 0, err
		}
		if match {
			for _, other := range lists[i+1:] {
				s.warnBoth(domain, l.name, other.list, other.name)
			}
			return l.class, nil
		}
	}
	return proto.ClassDefault, nil
}

// warnBoth warns of a domain that two lists have.
func (s *service) warnBoth(domain, has string, list *table.MatchList, name string) {
	if !s.helpful {
		return
	}
	// A list that cannot be read is no reason to warn of this.
	if match, err := list.Match(domain, ""); match && err == nil {
		s.log.Warning("do not list domain %s in BOTH %s and %s", domain, has, name)
	}
}

// senderTransport is the transport for foreign domains.
func (s *service) senderTransport(r *routes, sender string) (route, blame string, err error) {
	value, err := s.bySender(r.senderTransport, sender, s.transportNullKey)
	switch {
	case err != nil:
		return "", "", err
	case value == "":
		return r.fallback, r.names.fallback, nil
	case strings.EqualFold(value, "DUNNO"):
		return r.fallback, r.names.senderTransport, nil
	}
	return value, r.names.senderTransport, nil
}

// relay is the next hop for domains that are not delivered here.
func (s *service) relay(r *routes, sender, domain string) (string, error) {
	value, err := s.bySender(r.senderRelay, sender, s.relayNullKey)
	switch {
	case err != nil:
		return "", err
	case value != "" && !strings.EqualFold(value, "DUNNO"):
		return value, nil
	case r.relayhost != "":
		return r.relayhost, nil
	}
	return domain, nil
}

// bySender looks a sender up; nullKey stands for the null sender.
func (s *service) bySender(m *table.Maps, sender, nullKey string) (value string, err error) {
	if sender == "" {
		sender = nullKey
	}
	value, _, _, err = m.FindAddress(sender, table.FindDefault)
	if err != nil {
		s.log.Warning("%s lookup failure", m.Title())
		return "", fmt.Errorf("%s: %w", m.Title(), err)
	}
	return value, nil
}
