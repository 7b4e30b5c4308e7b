package main

import (
	"strings"

	"postroad/libmail/proto"
	"postroad/libmail/table"
)

// mapTransport lets transport_maps decide: the keys are user+ext@domain,
// user@domain, domain, .parent (or parent), and * for everything else
// (transport(5)).
func (s *service) mapTransport(r *routes, domain string, result *proto.Resolved) error {
	if r.transport.Empty() {
		return nil
	}
	strategy := table.FindFull | table.FindNoExtension | table.FindDomain | table.FindDotParents
	if r.transportParent == table.PlainParents {
		strategy = strategy&^table.FindDotParents | table.FindParents
	}
	value, _, found, err := r.transport.FindAddress(result.Recipient, strategy)
	if !found && err == nil {
		value, found, err = r.transport.Find("*")
	}
	if err != nil {
		s.log.Warning("%s lookup failure", r.names.transport)
		return err
	}
	if found {
		setRoute(value, domain, result)
	}
	return nil
}

// setRoute applies an entry of transport_maps:
//
//	:                  nothing changes
//	:nexthop           the transport stays
//	transport          the next hop becomes the recipient's domain; with the
//	transport:         error and retry transports, a text
//	transport:nexthop
func setRoute(value, domain string, result *proto.Resolved) {
	transport, nexthop, _ := strings.Cut(value, ":")
	if transport != "" {
		result.Transport = transport
		result.Nexthop = domain
		if transport == transportError || transport == transportRetry {
			result.Nexthop = "Address is undeliverable"
		}
	}
	if nexthop != "" {
		result.Nexthop = nexthop
	}
}
