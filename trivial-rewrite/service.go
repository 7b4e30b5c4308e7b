package main

import (
	"errors"
	"fmt"

	"postroad/libmail/conf"
	"postroad/libmail/proto"
	"postroad/libmail/table"
)

// A service answers the requests of all clients, any number at once. It is a
// proto.RewriteService.
type service struct {
	params
	log table.Logger

	dests          *table.Destinations
	aliasDomains   *table.MatchList
	mailboxDomains *table.MatchList
	relayDomains   *table.MatchList
	relocated      *table.Maps
	regular, probe *routes
}

// routes are the settings that an address probe may have of its own.
type routes struct {
	local, virtual, relay, fallback string // transport or transport:nexthop
	relayhost                       string

	senderTransport *table.Maps // sender_dependent_default_transport_maps
	senderRelay     *table.Maps // sender_dependent_relayhost_maps
	transport       *table.Maps
	transportParent table.Parents

	names routeNames
}

// routeNames are the names of these settings, for the log.
type routeNames struct {
	local, virtual, relay, fallback, relayhost string
	senderTransport, senderRelay, transport    string
}

var (
	regularNames = routeNames{
		"local_transport", "virtual_transport", "relay_transport", "default_transport", "relayhost",
		"sender_dependent_default_transport_maps", "sender_dependent_relayhost_maps", "transport_maps",
	}
	probeNames = routeNames{
		"address_verify_local_transport", "address_verify_virtual_transport", "address_verify_relay_transport",
		"address_verify_default_transport", "address_verify_relayhost",
		"address_verify_sender_dependent_default_transport_maps",
		"address_verify_sender_dependent_relayhost_maps", "address_verify_transport_maps",
	}
)

// newService opens the tables. stale is called when one has changed and can
// only be opened by a new process.
func newService(c *conf.Config, log table.Logger, stale func(table string)) (*service, error) {
	s := &service{params: newParams(c), log: log}
	o := table.Options{UTF8: s.utf8, Log: log, Delimiters: s.delimiters, Stale: stale, Proxy: proto.TableProxy(c),
		MaxReply: int(c.Size("socketmap_max_reply_size")), MaxQuery: int(c.Size("socketmap_max_query_size"))}
	var errs []error
	list := func(name string, kind table.ListKind) *table.MatchList {
		l, err := table.OpenMatchList(name, kind, c.String(name), parents(c, name), o)
		errs = append(errs, err)
		return l
	}
	maps := func(name string, trust table.Trust) *table.Maps {
		o := o
		o.Trust = trust
		o.Local = s.dests.MatchOrigin
		m, err := table.OpenMaps(name, c.List(name), o)
		errs = append(errs, err)
		return m
	}
	s.dests = &table.Destinations{
		Domains:   list("mydestination", table.StringList),
		Addresses: append(c.OwnAddresses(), c.ProxyAddresses()...),
		Origin:    c.String("myorigin"),
		UTF8:      s.utf8,
	}
	s.aliasDomains = list("virtual_alias_domains", table.StringList)
	s.mailboxDomains = list("virtual_mailbox_domains", table.StringList)
	s.relayDomains = list("relay_domains", table.DomainList)
	s.relocated = maps("relocated_maps", 0)
	for _, r := range []struct {
		to    **routes
		names routeNames
	}{{&s.regular, regularNames}, {&s.probe, probeNames}} {
		n := r.names
		*r.to = &routes{
			local: c.String(n.local), virtual: c.String(n.virtual), relay: c.String(n.relay),
			fallback: c.String(n.fallback), relayhost: c.String(n.relayhost),
			senderTransport: maps(n.senderTransport, table.NoSubstitution),
			senderRelay:     maps(n.senderRelay, table.NoSubstitution),
			transport:       maps(n.transport, table.NoSubstitution),
			transportParent: parents(c, "transport_maps"),
			names:           n,
		}
	}
	return s, errors.Join(errs...)
}

// parents says in which form a list or table has domains that match their
// subdomains.
func parents(c *conf.Config, feature string) table.Parents {
	return table.ParentsOf(feature, c.List("parent_domain_matches_subdomains"))
}

// Rewrite implements proto.RewriteService. address and result are in external
// (quoted) form.
func (s *service) Rewrite(rule, address string) (string, error) {
	switch {
	case address == "":
		s.log.Warning("rewrite_addr: null address")
		return "", nil
	case rule == proto.RuleLocal:
		return s.rewriteText(s.local, address), nil
	case rule == proto.RuleRemote:
		return s.rewriteText(s.remote, address), nil
	case rule == proto.RuleInval:
		return s.rewriteText(completion{origin: "invalid"}, address), nil
	}
	s.log.Warning("unknown context: %.100s", rule)
	return "", fmt.Errorf("unknown rewriting rule %.100q", rule)
}

// Resolve implements proto.RewriteService.
func (s *service) Resolve(sender, address string) proto.Resolved {
	return s.answer(s.regular, sender, address)
}

// ResolveProbe implements proto.RewriteService.
func (s *service) ResolveProbe(sender, address string) proto.Resolved {
	return s.answer(s.probe, sender, address)
}

// answer turns an error into "try again later". Who found it logged it.
func (s *service) answer(r *routes, sender, address string) proto.Resolved {
	result, err := s.resolve(r, sender, address)
	if err != nil {
		result.Flags |= proto.ResolveFail
	}
	return result
}
