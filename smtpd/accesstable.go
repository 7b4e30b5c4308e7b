package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/resolver"
	"postroad/libmail/smtpwire"
	"postroad/libmail/table"
)

// tableTrouble is what a table counts as that gives no answer (access(5)).
const tableTrouble = "451 4.3.5 Server configuration error"

// found acts on the result of a lookup; more says that nothing was found and
// that the next key may be tried.
func (s *session) found(st *step, key, value string, ok bool, err error, sub subject) (v verdict, more bool) {
	if err != nil { // the table has logged it
		value, ok = tableTrouble, true
	}
	if !ok {
		return dunno, true
	}
	return s.decide(accessHit{table: st.arg, value: value, key: key, sub: sub}), false
}

// byKey looks up one key as it is.
func (s *session) byKey(st *step, key string, sub subject) (verdict, bool) {
	value, ok, err := st.maps.Find(key)
	return s.found(st, key, value, ok, err, sub)
}

// byDomain looks up a name and its parents.
func (s *session) byDomain(st *step, domain string, sub subject) (verdict, bool) {
	if isIP(domain) {
		return s.byKey(st, domain, sub)
	}
	value, ok, err := st.maps.FindDomain(domain, s.accessParents)
	return s.found(st, domain, value, ok, err, sub)
}

// byIP looks up an address and its networks.
func (s *session) byIP(st *step, ip string, sub subject) (verdict, bool) {
	value, ok, err := st.maps.FindIP(ip)
	return s.found(st, ip, value, ok, err, sub)
}

// byNameAndIP looks up a host by its name, then by its address.
func (s *session) byNameAndIP(st *step, name, ip string, sub subject) verdict {
	v, more := s.byDomain(st, name, sub)
	if more {
		v, _ = s.byIP(st, ip, sub)
	}
	return v
}

// byAddress looks up a mail address. A recipient with a source route gets no
// permission from a table: where the mail would go is uncertain.
func (s *session) byAddress(st *step, address string, sub subject) verdict {
	other := s.mail.sender
	if sub.class == aboutSender {
		other = s.mail.recipient
	}
	r := s.resolve(other, address)
	if r.failed() {
		return s.lookupFailed(address)
	}
	if !strings.Contains(r.Recipient, "@") {
		s.log.Warning("no @domain in address: %s", r.Recipient)
		return dunno
	}
	how := table.FindFull | table.FindNoExtension | table.FindDomain | table.FindLocalAt
	if s.accessParents == table.PlainParents {
		how |= table.FindParents
	} else {
		how |= table.FindDotParents
	}
	value, _, ok, err := st.maps.FindAddress(r.Recipient, how)
	v, _ := s.found(st, r.Recipient, value, ok, err, sub)
	if v == permit && sub.class == aboutRcpt && r.routed() && !s.params.allowUntrustedRouting {
		return dunno
	}
	return v
}

func checkClientAccess(s *session, st *step, sub subject) verdict {
	return s.byNameAndIP(st, s.client.name, s.client.addr, about(sub, s.client.namaddr, aboutClient))
}

func checkReverseClientAccess(s *session, st *step, sub subject) verdict {
	name := s.client.reverseName
	v := s.byNameAndIP(st, name, s.client.addr, about(sub, name, aboutReverse))
	return s.forbidPermit(st, v, name)
}

func checkHELOAccess(s *session, st *step, sub subject) verdict {
	if s.helo == "" {
		return dunno
	}
	v, _ := s.byDomain(st, s.helo, about(sub, s.helo, aboutHELO))
	return v
}

func checkSenderAccess(s *session, st *step, sub subject) verdict {
	sender := s.mail.sender
	switch {
	case sender == nil:
		return dunno
	case *sender == "":
		v, _ := s.byKey(st, s.params.nullKey, about(sub, "", aboutSender))
		return v
	}
	return s.byAddress(st, *sender, about(sub, *sender, aboutSender))
}

func checkRcptAccess(s *session, st *step, sub subject) verdict {
	if s.mail.recipient == nil {
		return dunno
	}
	return s.byAddress(st, *s.mail.recipient, about(sub, *s.mail.recipient, aboutRcpt))
}

func checkETRNAccess(s *session, st *step, sub subject) verdict {
	if s.etrn == "" {
		return dunno
	}
	v, _ := s.byDomain(st, s.etrn, about(sub, s.etrn, aboutETRN))
	return v
}

func checkSASLAccess(s *session, st *step, sub subject) verdict {
	if !s.params.saslEnable {
		s.log.Warning("restriction `%s' ignored: no SASL support", st.name)
		return dunno
	}
	if s.sasl.user == "" {
		return dunno
	}
	v, _ := s.byKey(st, s.sasl.user, about(sub, smtpwire.Printable(s.sasl.user), aboutLogin))
	return v
}

// checkCertAccess looks up the fingerprints of the client's certificate and of
// its public key, in the order of the table's search_order.
func checkCertAccess(s *session, st *step, sub subject) verdict {
	if s.tls == nil || !s.tls.peer.Present {
		if !s.params.tls.asksCert {
			s.log.Warning("%s is requested, but \"smtpd_tls_ask_ccert = no\"", st.name)
		}
		return dunno
	}
	order := st.order
	if len(order) == 0 {
		order = []string{"cert_fingerprint", "pubkey_fingerprint"}
	}
	for _, what := range order {
		key := ""
		switch what {
		case "cert_fingerprint":
			key = s.tls.peer.FingerprintCert
		case "pubkey_fingerprint":
			key = s.tls.peer.FingerprintPubkey
		default:
			s.log.Warning("%s: unexpected action '%s' in '%s'", st.name, what, st.arg)
			return s.serverError()
		}
		if key == "" {
			continue
		}
		if v, more := s.byKey(st, key, about(sub, s.tls.peer.Subject, aboutCert)); !more && v != dunno {
			return v
		}
	}
	return dunno
}

// about makes the subject of an access check; lists in its result keep the
// default table check of the list around it.
func about(sub subject, name, class string) subject {
	return subject{name, class, sub.bare}
}

// forbidPermit refuses an OK that rests on what a client says of itself.
func (s *session) forbidPermit(st *step, v verdict, target string) verdict {
	if v != permit || s.mail.actions.discard {
		return v
	}
	s.log.Warning("restriction %s returns OK for %s", st.name, target)
	s.log.Warning("this is not allowed for security reasons")
	s.log.Warning("use DUNNO instead of OK if you want to make an exception")
	return s.serverError()
}

// maxServerAddresses bounds the addresses of one name's servers that are looked
// up in an access table.
const maxServerAddresses = 100

// serverAccess looks up the mail or name servers of a name, or its addresses:
// by name, then by address.
func (s *session) serverAccess(st *step, name string, kind resolver.Type, sub subject) verdict {
	_, domain, found := splitAt(name)
	if !found {
		domain = name
	}
	if strings.HasPrefix(domain, "[") {
		return s.literalAccess(st, domain, kind, sub)
	}
	domain = resolver.ASCII(domain)
	servers, ok := s.servers(domain, kind)
	if !ok {
		return dunno
	}
	count := 0
	for _, host := range servers {
		if isIP(host) {
			if v, more := s.byIP(st, host, sub); !more {
				return v
			}
			continue
		}
		if kind != resolver.A {
			if v, more := s.byDomain(st, host, sub); !more {
				return v
			}
		}
		if v, more := s.hostAccess(st, host, kind, sub, &count); !more {
			return v
		}
	}
	return dunno
}

// hostAccess looks up the addresses of a server; count is how many there have
// been.
func (s *session) hostAccess(st *step, host string, kind resolver.Type, sub subject, count *int) (v verdict, more bool) {
	answer, err := s.native.Addresses(s.ctx, host)
	if err != nil {
		if kind != resolver.A {
			s.log.Warning("Unable to look up %v host %s for %s %s: %s", kind, host, sub.class, sub.name, lookupText(err))
		}
		return dunno, true
	}
	for _, ip := range answer.Records {
		if *count++; *count > maxServerAddresses {
			s.log.Warning("%v server address count limit (%d) exceeded for %s %s -- ignoring the remainder",
				kind, maxServerAddresses, sub.class, sub.name)
			return dunno, false
		}
		if v, more := s.byIP(st, ip.Unmap().String(), sub); !more {
			return v, false
		}
	}
	return dunno, true
}

// literalAccess takes an address literal for its own mail server.
func (s *session) literalAccess(st *step, literal string, kind resolver.Type, sub subject) verdict {
	ip, err := addr.ParseLiteral(literal)
	if err != nil || kind == resolver.NS {
		return dunno
	}
	v, _ := s.byIP(st, ip.Unmap().String(), sub)
	return v
}

// servers finds the servers of a domain. A domain without MX is its own mail
// server; the name servers of a name may be those of a parent.
func (s *session) servers(domain string, kind resolver.Type) ([]string, bool) {
	var hosts []string
	var err error
	switch kind {
	case resolver.A:
		return []string{domain}, true
	case resolver.MX:
		var mx resolver.Answer[resolver.Host]
		mx, err = s.dns.MX(s.ctx, domain)
		for _, h := range mx.Records {
			hosts = append(hosts, h.Name)
		}
		if resolver.IsNotFound(err) {
			return []string{domain}, true
		}
	case resolver.NS:
		hosts, err = s.nameServers(s.ctx, domain)
	}
	if resolver.KindOf(err) == resolver.NullMX {
		return nil, false
	}
	if err != nil {
		s.log.Warning("Unable to look up %v host for %s: %v", kind, domain, err)
		return nil, false
	}
	return hosts, true
}

func (s *session) nameServers(ctx context.Context, domain string) ([]string, error) {
	for {
		answer, err := s.dns.NS(ctx, domain)
		_, parent, more := strings.Cut(domain, ".")
		if err == nil || !resolver.IsNotFound(err) || !more || parent == "" {
			return answer.Records, err
		}
		domain = parent
	}
}

// serverCheck makes a check_*_{a,mx,ns}_access restriction of what it is about.
func serverCheck(kind resolver.Type, of func(s *session) (name string, sub subject)) func(*session, *step, subject) verdict {
	return func(s *session, st *step, sub subject) verdict {
		name, who := of(s)
		if name == "" || name == unknown {
			return dunno
		}
		v := s.serverAccess(st, name, kind, about(sub, who.name, who.class))
		return s.forbidPermit(st, v, name)
	}
}

// What such a check may be about.
func ofClient(s *session) (string, subject) {
	return s.client.name, subject{name: s.client.namaddr, class: aboutClient}
}

func ofReverse(s *session) (string, subject) {
	return s.client.reverseName, subject{name: s.client.reverseName, class: aboutReverse}
}

func ofHELO(s *session) (string, subject) { return s.helo, subject{name: s.helo, class: aboutHELO} }

func ofSender(s *session) (string, subject) {
	name := text(s.mail.sender)
	return name, subject{name: name, class: aboutSender}
}

func ofRcpt(s *session) (string, subject) {
	name := text(s.mail.recipient)
	return name, subject{name: name, class: aboutRcpt}
}

// text is an address, or "" for none and for the null address.
func text(address *string) string {
	if address == nil {
		return ""
	}
	return *address
}

// parseIP reads a client address.
func parseIP(text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err == nil && ip.Zone() != "" {
		err = errors.New("address with a zone")
	}
	return ip.Unmap(), err
}
