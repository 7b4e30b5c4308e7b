package main

import (
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/proto"
	"postroad/libmail/resolver"
	"postroad/libmail/table"
)

// addressCheck makes a restriction of a check of the sender or the recipient;
// the null sender and a missing address pass.
func addressCheck(class string, check func(s *session, address, class string) verdict) func(*session, *step, subject) verdict {
	return func(s *session, st *step, sub subject) verdict {
		address := text(s.mail.recipient)
		if class == aboutSender {
			address = text(s.mail.sender)
		}
		if address == "" {
			return dunno
		}
		return check(s, address, class)
	}
}

// rejectNonFQDN wants a domain with a dot; address literals pass.
func rejectNonFQDN(s *session, address, class string) verdict {
	_, domain, _ := splitAt(address)
	if strings.HasPrefix(domain, "[") && strings.HasSuffix(domain, "]") {
		return dunno
	}
	if name := trimDot(domain); s.validDomain(name) && strings.Contains(name, ".") {
		return dunno
	}
	return s.refuse(policyTrouble, s.params.codes.nonFQDN, "4.5.2", "<%s>: %s rejected: need fully-qualified address", address, class)
}

// rejectUnknownDomain wants a domain with a mail server or an address. Our own
// domains and address literals pass.
func rejectUnknownDomain(s *session, address, class string) verdict {
	other := s.mail.sender
	if class == aboutSender {
		other = s.mail.recipient
	}
	r := s.resolve(other, address)
	if r.failed() {
		return s.lookupFailed(address)
	}
	_, domain, found := splitAt(r.Recipient)
	if !found || r.final() || strings.HasPrefix(domain, "[") && strings.HasSuffix(domain, "]") {
		return dunno
	}
	return s.rejectUnknownMailhost(resolver.ASCII(domain), address, class)
}

func (s *session) rejectUnknownMailhost(domain, address, class string) verdict {
	status, code := "4.1.2", 556
	nullStatus := "4.1.10" // RFC 7505 §4.1
	if class == aboutSender {
		status, code, nullStatus = "4.1.8", 550, "4.7.27" // RFC 7505 §4.2
	}
	_, err := s.dns.MX(s.ctx, domain)
	if resolver.IsNotFound(err) {
		_, err = s.dns.Addresses(s.ctx, domain)
	}
	switch kind := resolver.KindOf(err); {
	case err == nil:
		return dunno
	case kind == resolver.Policy:
		s.log.Warning("%s: MX or address lookup error: %s", domain, "DNS reply filter drops all results")
		return dunno
	case kind == resolver.NullMX:
		return s.refuse(policyTrouble, code, nullStatus, "<%s>: %s rejected: Domain %s does not accept mail (nullMX)", address, class, domain)
	case resolver.Temporary(err):
		return s.deferUnless(s.params.tempfailAddress, 450, status, "<%s>: %s rejected: Domain not found", address, class)
	default:
		return s.refuse(policyTrouble, s.params.codes.unknownAddress, status, "<%s>: %s rejected: %s",
			address, class, notFoundText(kind, "Domain not found"))
	}
}

// rejectUnverified asks the verify service whether mail to the address would
// arrive. The probe takes a while; we wait for it a little.
func rejectUnverified(s *session, address, class string) verdict {
	status, known, why := s.probe(address)
	codeDefer, codeReject := s.params.codes.unverifiedRcptDefer, s.params.codes.unverifiedRcpt
	act, reason, dsn := s.params.tempfailRcpt, s.params.unverifiedRcpt, "4.1.1"
	if class == aboutSender {
		codeDefer, codeReject = s.params.codes.unverifiedSenderDefer, s.params.codes.unverifiedSender
		act, reason, dsn = s.params.tempfailSender, s.params.unverifiedSender, "4.1.7"
	}
	if !known {
		return s.deferUnless(act, 450, dsn, "<%s>: %s rejected: address verification problem", address, class)
	}
	code := 0
	switch status {
	case proto.AddressDefer, proto.AddressTodo:
		code = codeDefer
	case proto.AddressBounce:
		code = codeReject
	}
	if code >= 400 && reason != "" {
		why = reason
	}
	switch {
	case code < 300:
		return dunno
	case code < 500:
		return s.deferUnless(act, code, dsn, "<%s>: %s rejected: unverified address: %.250s", address, class, why)
	}
	return s.refuse(policyTrouble, code, dsn, "<%s>: %s rejected: undeliverable address: %s", address, class, why)
}

// probe asks for the status of an address until it is known or we lose
// patience (address_verify_poll_count).
func (s *session) probe(address string) (status proto.AddressStatus, known bool, why string) {
	for polls := 1; ; polls++ {
		status, why, err := s.verify.Query(address)
		if err != nil {
			s.log.Warning("verify service failure: %v", err)
			return 0, false, ""
		}
		if status != proto.AddressTodo || polls >= s.limits().verifyPolls || s.ctx.Err() != nil {
			return status, true, why
		}
		s.pause(s.params.verifyPollDelay)
	}
}

// A loginRule says whose sender address is looked up in
// smtpd_sender_login_maps.
type loginRule uint8

const (
	ofAuthenticated loginRule = iota // it must be the client's own
	ofAnonymous                      // it must not be anybody's
)

// rejectLoginMismatch wants an authenticated client to own its sender address.
func rejectLoginMismatch(s *session, st *step, sub subject) verdict {
	return s.loginMatches(st, ofAuthenticated)
}

// rejectUnauthenticatedLogin wants the owner of an address to authenticate.
func rejectUnauthenticatedLogin(s *session, st *step, sub subject) verdict {
	return s.loginMatches(st, ofAnonymous)
}

// rejectKnownLoginMismatch is both, for senders that have an owner.
func rejectKnownLoginMismatch(s *session, st *step, sub subject) verdict {
	if s.sasl.user != "" {
		return s.loginMatches(st, ofAuthenticated)
	}
	return s.loginMatches(st, ofAnonymous)
}

func (s *session) loginMatches(st *step, rule loginRule) verdict {
	if !s.params.saslEnable {
		s.log.Warning("restriction `%s' ignored: no SASL support", st.name)
		return dunno
	}
	sender := text(s.mail.sender)
	if sender == "" || s.tables.senderLogin.Empty() || (rule == ofAnonymous) == (s.sasl.user != "") {
		return dunno
	}
	r := s.resolve(s.mail.recipient, sender)
	if r.failed() {
		return s.lookupFailed(sender)
	}
	owners, _, found, err := s.tables.senderLogin.FindAddress(r.Recipient, table.FindDefault)
	switch {
	case err != nil: // the table has logged it
		return s.lookupFailed(sender)
	case rule == ofAnonymous && found:
		return s.refuse(policyTrouble, 553, "5.7.1", "<%s>: Sender address rejected: not logged in", sender)
	case rule == ofAnonymous, !found && st.name == "reject_known_sender_login_mismatch":
		return dunno
	}
	for _, owner := range conf.SplitWords(owners) {
		if found && addr.EqualFold(owner, s.sasl.user) {
			return dunno
		}
	}
	return s.refuse(policyTrouble, 553, "5.7.1", "<%s>: Sender address rejected: not owned by user %s", sender, s.sasl.user)
}

// rejectMultiRcptBounce wants a bounce to have one recipient.
func rejectMultiRcptBounce(s *session, st *step, sub subject) verdict {
	limit := 1
	if s.where == "RCPT" {
		limit = 0 // the one that is being asked about is not counted yet
	}
	if s.mail.sender == nil || *s.mail.sender != "" || s.mail.rcpts <= limit {
		return dunno
	}
	return s.refuse(policyTrouble, s.params.codes.multiRcptBounce, "5.5.3", "<%s>: %s rejected: Multi-recipient bounce", sub.name, sub.class)
}
