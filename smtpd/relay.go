package main

import (
	"net/netip"
	"strings"

	"postroad/libmail/resolver"
)

// ours reports whether mail for an address ends here or is relayed by us on
// purpose: its domain is in mydestination, virtual_alias_domains,
// virtual_mailbox_domains or relay_domains. A source route makes that
// uncertain, unless allow_untrusted_routing says otherwise. This is what keeps
// us from being an open relay.
func (s *session) ours(address string) (yes, known bool) {
	r := s.resolve(s.mail.sender, address)
	switch {
	case r.failed():
		return false, false
	case !strings.Contains(r.Recipient, "@"):
		return true, true
	case r.routed() && !s.params.allowUntrustedRouting:
		return false, true
	}
	return r.final() || r.relay(), true
}

func permitAuthDestination(s *session, st *step, sub subject) verdict {
	if s.mail.recipient == nil {
		return dunno
	}
	switch yes, known := s.ours(*s.mail.recipient); {
	case !known:
		return s.lookupFailed(*s.mail.recipient)
	case yes:
		return s.allow(st.name, about(sub, *s.mail.recipient, aboutRcpt), "")
	}
	return dunno
}

func rejectUnauthDestination(s *session, st *step, sub subject) verdict {
	return s.refuseRelaying(s.params.codes.relay, "5.7.1")
}

func deferUnauthDestination(s *session, st *step, sub subject) verdict {
	return s.refuseRelaying(s.params.codes.relay-100, "4.7.1")
}

func (s *session) refuseRelaying(code int, status string) verdict {
	if s.mail.recipient == nil {
		return dunno
	}
	switch yes, known := s.ours(*s.mail.recipient); {
	case !known:
		return s.lookupFailed(*s.mail.recipient)
	case yes:
		return dunno
	}
	return s.refuse(policyTrouble, code, status, "<%s>: Relay access denied", *s.mail.recipient)
}

// permitMXBackup permits mail for domains that name this host as a mail
// exchanger, but not as a best one (permit_mx_backup_networks).
func permitMXBackup(s *session, st *step, sub subject) verdict {
	if s.mail.recipient == nil {
		return dunno
	}
	recipient := *s.mail.recipient
	who := about(sub, recipient, aboutRcpt)
	switch yes, known := s.ours(recipient); {
	case !known:
		return s.lookupFailed(recipient)
	case yes:
		return s.allow(st.name, who, "")
	}
	r := s.resolve(s.mail.sender, recipient)
	_, domain, _ := splitAt(r.Recipient)
	if r.routed() && !s.params.allowUntrustedRouting || strings.HasPrefix(domain, "[") {
		return dunno
	}
	answer, err := s.dns.MX(s.ctx, resolver.ASCII(domain))
	if err != nil {
		if resolver.Temporary(err) {
			s.deferRefusal(450, "4.4.4", "<%s>: %s rejected: Unable to look up mail exchanger information: %v", recipient, aboutRcpt, err)
		}
		return dunno
	}
	best := 0
	for best < len(answer.Records) && answer.Records[best].Pref == answer.Records[0].Pref {
		best++
	}
	if s.isExchanger(answer.Records, who) && !s.isExchanger(answer.Records[:best], who) &&
		(s.params.permitMXNetworks == "" || s.inNetworks(answer.Records[:best], who)) {
		return s.allow(st.name, who, "")
	}
	return dunno
}

// isExchanger reports whether one of the hosts is this one, by name or address.
func (s *session) isExchanger(hosts []resolver.Host, who subject) bool {
	for _, h := range hosts {
		if local, err := s.isLocal(h.Name); err == nil && local {
			return true
		}
	}
	for _, h := range hosts {
		for _, ip := range s.exchangerAddresses(s.native, h.Name, who) {
			if contains(s.ownAddresses, ip) || contains(s.proxyAddresses, ip) {
				return true
			}
		}
	}
	return false
}

// inNetworks reports whether all addresses of the hosts are in
// permit_mx_backup_networks.
func (s *session) inNetworks(hosts []resolver.Host, who subject) bool {
	for _, h := range hosts {
		addresses := s.exchangerAddresses(s.dns, h.Name, who)
		for _, ip := range addresses {
			match, err := s.lists.relayMX.Match(h.Name, ip.String())
			if err != nil {
				s.deferRefusal(450, "4.4.4", "<%s>: %s rejected: Unable to verify host %s as mail exchanger", who.name, who.class, h.Name)
			}
			if err != nil || !match {
				return false
			}
		}
		if len(addresses) == 0 {
			return false
		}
	}
	return true
}

// exchangerAddresses looks up a mail exchanger. Without an answer refusals
// become temporary.
func (s *session) exchangerAddresses(from *resolver.Resolver, host string, who subject) []netip.Addr {
	answer, err := from.Addresses(s.ctx, host)
	if err != nil {
		s.deferRefusal(450, "4.4.4", "<%s>: %s rejected: Unable to look up mail exchanger host %s: %s", who.name, who.class, host, lookupText(err))
		return nil
	}
	var list []netip.Addr
	for _, ip := range answer.Records {
		list = append(list, ip.Unmap())
	}
	return list
}

// rewriteContext decides whether headers are completed with our own domain
// (local_header_rewrite_clients).
func (s *session) rewriteContext() (string, *reply) {
	for i := range s.rulers.rewriteClients {
		st := &s.rulers.rewriteClients[i]
		yes, err := s.rewriteClient(st)
		if err != nil { // the list has logged it
			s.logEvent("reject", "451 4.3.0 Temporary lookup error")
			return "", &reply{code: 451, status: "4.3.0", text: "Temporary lookup error", class: resourceTrouble}
		}
		if yes {
			return "local", nil
		}
	}
	return "remote", nil
}

func (s *session) rewriteClient(st *step) (bool, error) {
	switch {
	case st.maps != nil:
		_, found, err := st.maps.Find(s.client.addr)
		return found, err
	case st.name == "permit_inet_interfaces":
		return s.isOwnAddress(), nil
	case st.name == "permit_mynetworks":
		return s.lists.mynetworks.Match(s.client.name, s.client.addr)
	case st.name == "permit_sasl_authenticated":
		return s.authenticated(), nil
	case st.name == "permit_tls_clientcerts", st.name == "permit_tls_all_clientcerts":
		return s.trustedCert(st) == permit, nil
	}
	s.log.Warning("parameter local_header_rewrite_clients: invalid request: %s", st.name)
	return false, nil
}
