package main

import (
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/resolver"
)

func permitAll(s *session, st *step, sub subject) verdict { return s.allow(st.name, sub, "") }

func deferAll(s *session, st *step, sub subject) verdict {
	return s.refuse(policyTrouble, s.params.codes.deferAll, "4.3.2", "<%s>: %s rejected: Try again later", sub.name, sub.class)
}

func rejectAll(s *session, st *step, sub subject) verdict {
	return s.refuse(policyTrouble, s.params.codes.reject, "5.7.1", "<%s>: %s rejected: Access denied", sub.name, sub.class)
}

func deferIfPermitted(s *session, st *step, sub subject) verdict {
	return s.deferUnless(deferIfPermit, 450, "4.7.0", "<%s>: %s rejected: defer_if_permit requested", sub.name, sub.class)
}

func deferIfRejected(s *session, st *step, sub subject) verdict {
	return s.deferRefusal(450, "4.7.0", "<%s>: %s rejected: defer_if_reject requested", sub.name, sub.class)
}

func rejectPipelining(s *session, st *step, sub subject) verdict {
	if !s.pipes {
		return dunno
	}
	return s.refuse(protocolTrouble, 503, "5.5.0", "<%s>: %s rejected: Improper use of SMTP command pipelining", sub.name, sub.class)
}

func sleepFor(s *session, st *step, sub subject) verdict {
	seconds := 0
	for _, c := range []byte(st.arg) {
		seconds = min(seconds*10+int(c-'0'), 3600)
	}
	s.pause(time.Duration(seconds) * time.Second)
	return dunno
}

func rejectPlaintext(s *session, st *step, sub subject) verdict {
	if s.tls != nil {
		return dunno
	}
	return s.refuse(policyTrouble, s.params.codes.plaintext, "4.7.1", "Session encryption is required")
}

// rejectUnknownClient wants a name that leads back to the address (RFC 7372
// §3.4 for the status).
func rejectUnknownClient(s *session, st *step, sub subject) verdict {
	c := &s.client
	if c.nameStatus == nameOK {
		return dunno
	}
	code := 450
	if c.nameStatus >= namePermanent {
		code = s.params.codes.unknownClient
	}
	return s.refuse(policyTrouble, code, "4.7.25", "Client host rejected: cannot find your hostname, [%s]", c.addr)
}

func rejectUnknownReverse(s *session, st *step, sub subject) verdict {
	c := &s.client
	if c.reverseStatus == nameOK {
		return dunno
	}
	code := 450
	if c.reverseStatus == namePermanent {
		code = s.params.codes.unknownClient
	}
	return s.refuse(policyTrouble, code, "4.7.1", "Client host rejected: cannot find your reverse hostname, [%s]", c.addr)
}

func permitInterfaces(s *session, st *step, sub subject) verdict {
	if !s.isOwnAddress() {
		return dunno
	}
	return s.allow(st.name, about(sub, s.client.namaddr, aboutClient), "")
}

// isOwnAddress reports whether the client is this host.
func (s *session) isOwnAddress() bool {
	return s.client.ip.IsValid() && contains(s.ownAddresses, s.client.ip)
}

func permitMynetworks(s *session, st *step, sub subject) verdict {
	switch match, err := s.lists.mynetworks.Match(s.client.name, s.client.addr); {
	case err != nil: // the list has logged it
		return s.lookupFailed(sub.name)
	case match:
		return s.allow(st.name, about(sub, s.client.namaddr, aboutClient), "")
	}
	return dunno
}

func permitSASL(s *session, st *step, sub subject) verdict {
	if !s.authenticated() {
		return dunno
	}
	return s.allow(st.name, about(sub, s.client.namaddr, aboutClient), "")
}

func (s *session) authenticated() bool {
	return s.sasl.method != "" && !strings.EqualFold(s.sasl.method, "anonymous")
}

func permitCert(s *session, st *step, sub subject) verdict {
	v := s.trustedCert(st)
	if v == permit {
		return s.allow(st.name, about(sub, s.client.namaddr, aboutClient), "")
	}
	return v
}

// trustedCert permits a client with a certificate of a known authority
// (permit_tls_all_clientcerts), or whose fingerprint is in relay_clientcerts.
func (s *session) trustedCert(st *step) verdict {
	if s.tls == nil {
		return dunno
	}
	peer := s.tls.peer
	if peer.Trusted && st.name == "permit_tls_all_clientcerts" {
		return permit
	}
	if !peer.Present {
		if !s.params.tls.asksCert {
			s.log.Warning("%s is requested, but \"smtpd_tls_ask_ccert = no\"", st.name)
		}
		return dunno
	}
	for _, print := range []string{peer.FingerprintPubkey, peer.FingerprintCert} {
		if print == "" {
			continue
		}
		_, found, err := s.tables.relayCerts.Find(print)
		if err != nil {
			s.log.Warning("relay_clientcerts: lookup error for fingerprint '%s': %v", print, err)
			return s.lookupFailed(s.client.namaddr)
		}
		if found {
			return permit
		}
	}
	return dunno
}

// trimDot takes off a final dot, but not one of two.
func trimDot(name string) string {
	if n := len(name); n > 1 && name[n-1] == '.' && name[n-2] != '.' {
		return name[:n-1]
	}
	return name
}

func rejectInvalidHELO(s *session, st *step, sub subject) verdict {
	switch {
	case s.helo == "":
		return dunno
	case s.helo[0] == '[':
		return s.rejectInvalidLiteral()
	}
	if name := trimDot(s.helo); addr.ValidHostname(name) || isIP(name) {
		return dunno
	}
	return s.refuse(policyTrouble, s.params.codes.invalidHostname, "5.5.2", "<%s>: %s rejected: Invalid name", s.helo, aboutHELO)
}

func (s *session) rejectInvalidLiteral() verdict {
	if _, err := addr.ParseLiteral(s.helo); err == nil {
		return dunno
	}
	return s.refuse(policyTrouble, s.params.codes.invalidHostname, "5.5.2", "<%s>: %s rejected: invalid ip address", s.helo, aboutHELO)
}

func rejectNonFQDNHELO(s *session, st *step, sub subject) verdict {
	switch {
	case s.helo == "":
		return dunno
	case s.helo[0] == '[':
		return s.rejectInvalidLiteral()
	}
	if name := trimDot(s.helo); s.validDomain(name) && strings.Contains(name, ".") {
		return dunno
	}
	return s.refuse(policyTrouble, s.params.codes.nonFQDN, "5.5.2", "<%s>: %s rejected: need fully-qualified hostname", s.helo, aboutHELO)
}

// validDomain accepts UTF-8 only from a client that asked for SMTPUTF8.
func (s *session) validDomain(name string) bool {
	if addr.IsASCII(name) || !s.mail.utf8 {
		return addr.ValidHostname(name)
	}
	_, err := addr.DomainToASCII(name)
	return err == nil
}

// rejectUnknownHELO wants a name with an address or a mail server.
func rejectUnknownHELO(s *session, st *step, sub subject) verdict {
	switch {
	case s.helo == "":
		return dunno
	case s.helo[0] == '[':
		return s.rejectInvalidLiteral()
	}
	_, err := s.dns.Addresses(s.ctx, s.helo)
	if resolver.IsNotFound(err) {
		_, err = s.dns.MX(s.ctx, s.helo)
	}
	switch kind := resolver.KindOf(err); {
	case err == nil, kind == resolver.NullMX:
		return dunno
	case kind == resolver.Policy:
		s.log.Warning("%s: address or MX lookup error: %s", s.helo, "DNS reply filter drops all results")
		return dunno
	case resolver.Temporary(err):
		return s.deferUnless(s.params.tempfailHelo, 450, "4.7.1", "<%s>: %s rejected: Host not found", s.helo, aboutHELO)
	default:
		return s.refuse(policyTrouble, s.params.codes.unknownHostname, "4.7.1", "<%s>: %s rejected: %s",
			s.helo, aboutHELO, notFoundText(kind, "Host not found"))
	}
}

func notFoundText(kind resolver.Kind, text string) string {
	if kind == resolver.BadReply {
		return "Malformed DNS server reply"
	}
	return text
}
