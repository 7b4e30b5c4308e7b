package main

import (
	"strings"

	"postroad/libmail/resolver"
)

// restrictions is what restriction lists may contain (postconf(5)
// smtpd_client_restrictions and the other lists).
var restrictions []restriction

var restrictionNames map[string]*restriction

func init() { // in init, because access tables name restrictions in turn
	restrictions = []restriction{
		{"permit", noArgument, permitAll},
		{"defer", noArgument, deferAll},
		{"reject", noArgument, rejectAll},
		{"defer_if_permit", noArgument, deferIfPermitted},
		{"defer_if_reject", noArgument, deferIfRejected},
		{"sleep", numberArgument, sleepFor},
		{"reject_unauth_pipelining", noArgument, rejectPipelining},
		{"reject_plaintext_session", noArgument, rejectPlaintext},
		{"check_policy_service", serverArgument, checkPolicy},

		{"permit_inet_interfaces", noArgument, permitInterfaces},
		{"permit_mynetworks", noArgument, permitMynetworks},
		{"permit_sasl_authenticated", noArgument, permitSASL},
		{"permit_tls_clientcerts", noArgument, permitCert},
		{"permit_tls_all_clientcerts", noArgument, permitCert},
		{"reject_unknown_client_hostname", noArgument, rejectUnknownClient},
		{"reject_unknown_client", noArgument, rejectUnknownClient},
		{"reject_unknown_reverse_client_hostname", noArgument, rejectUnknownReverse},
		{"check_client_access", tableArgument, checkClientAccess},
		{"check_reverse_client_hostname_access", tableArgument, checkReverseClientAccess},
		{"check_ccert_access", tableArgument, checkCertAccess},
		{"check_sasl_access", tableArgument, checkSASLAccess},
		{"check_client_a_access", tableArgument, serverCheck(resolver.A, ofClient)},
		{"check_client_mx_access", tableArgument, serverCheck(resolver.MX, ofClient)},
		{"check_client_ns_access", tableArgument, serverCheck(resolver.NS, ofClient)},
		{"check_reverse_client_hostname_a_access", tableArgument, serverCheck(resolver.A, ofReverse)},
		{"check_reverse_client_hostname_mx_access", tableArgument, serverCheck(resolver.MX, ofReverse)},
		{"check_reverse_client_hostname_ns_access", tableArgument, serverCheck(resolver.NS, ofReverse)},
		{"reject_rbl_client", domainArgument, rejectRBLClient},
		{"reject_rbl", domainArgument, rejectRBLClient},
		{"reject_rhsbl_client", domainArgument, rejectRHSBL(ofClientName)},
		{"reject_rhsbl_reverse_client", domainArgument, rejectRHSBL(ofReverse)},
		{"permit_dnswl_client", domainArgument, permitDNSWLClient},
		{"permit_rhswl_client", domainArgument, permitRHSWLClient},

		{"check_helo_access", tableArgument, checkHELOAccess},
		{"check_helo_a_access", tableArgument, serverCheck(resolver.A, ofHELO)},
		{"check_helo_mx_access", tableArgument, serverCheck(resolver.MX, ofHELO)},
		{"check_helo_ns_access", tableArgument, serverCheck(resolver.NS, ofHELO)},
		{"reject_invalid_helo_hostname", noArgument, rejectInvalidHELO},
		{"reject_invalid_hostname", noArgument, rejectInvalidHELO},
		{"reject_non_fqdn_helo_hostname", noArgument, rejectNonFQDNHELO},
		{"reject_non_fqdn_hostname", noArgument, rejectNonFQDNHELO},
		{"reject_unknown_helo_hostname", noArgument, rejectUnknownHELO},
		{"reject_unknown_hostname", noArgument, rejectUnknownHELO},
		{"reject_rhsbl_helo", domainArgument, rejectRHSBL(ofHELO)},

		{"check_sender_access", tableArgument, checkSenderAccess},
		{"check_sender_a_access", tableArgument, serverCheck(resolver.A, ofSender)},
		{"check_sender_mx_access", tableArgument, serverCheck(resolver.MX, ofSender)},
		{"check_sender_ns_access", tableArgument, serverCheck(resolver.NS, ofSender)},
		{"reject_authenticated_sender_login_mismatch", noArgument, rejectLoginMismatch},
		{"reject_unauthenticated_sender_login_mismatch", noArgument, rejectUnauthenticatedLogin},
		{"reject_known_sender_login_mismatch", noArgument, rejectKnownLoginMismatch},
		{"reject_non_fqdn_sender", noArgument, addressCheck(aboutSender, rejectNonFQDN)},
		{"reject_unknown_sender_domain", noArgument, addressCheck(aboutSender, rejectUnknownDomain)},
		{"reject_unknown_address", noArgument, addressCheck(aboutSender, rejectUnknownDomain)},
		{"reject_unverified_sender", noArgument, addressCheck(aboutSender, rejectUnverified)},
		{"reject_unlisted_sender", noArgument, rejectUnlistedSender},
		{"reject_rhsbl_sender", domainArgument, rejectRHSBL(ofSender)},

		{"check_recipient_access", tableArgument, checkRcptAccess},
		{"check_recipient_a_access", tableArgument, serverCheck(resolver.A, ofRcpt)},
		{"check_recipient_mx_access", tableArgument, serverCheck(resolver.MX, ofRcpt)},
		{"check_recipient_ns_access", tableArgument, serverCheck(resolver.NS, ofRcpt)},
		{"permit_auth_destination", noArgument, permitAuthDestination},
		{"permit_mx_backup", noArgument, permitMXBackup},
		{"reject_unauth_destination", noArgument, rejectUnauthDestination},
		{"defer_unauth_destination", noArgument, deferUnauthDestination},
		{"reject_non_fqdn_recipient", noArgument, addressCheck(aboutRcpt, rejectNonFQDN)},
		{"reject_unknown_recipient_domain", noArgument, addressCheck(aboutRcpt, rejectUnknownDomain)},
		{"reject_unverified_recipient", noArgument, addressCheck(aboutRcpt, rejectUnverified)},
		{"reject_unlisted_recipient", noArgument, rejectUnlistedRcpt},
		{"check_recipient_maps", noArgument, rejectUnlistedRcpt},
		{"reject_multi_recipient_bounce", noArgument, rejectMultiRcptBounce},
		{"reject_rhsbl_recipient", domainArgument, rejectRHSBL(ofRcpt)},

		{"check_etrn_access", tableArgument, checkETRNAccess},

		{"check_relay_domains", noArgument, removed("reject_unauth_destination")},
		{"permit_naked_ip_address", noArgument, removed("permit_mynetworks")},
		{"reject_maps_rbl", noArgument, removed("reject_rbl_client domain-name")},
	}
	restrictionNames = make(map[string]*restriction, len(restrictions))
	for i := range restrictions {
		restrictionNames[restrictions[i].name] = &restrictions[i]
	}
}

// findRestriction returns nil for a name that is no restriction.
func findRestriction(name string) *restriction {
	return restrictionNames[strings.ToLower(name)]
}

// removed is a restriction that Postfix 3.9 took away.
func removed(instead string) func(*session, *step, subject) verdict {
	return func(s *session, st *step, sub subject) verdict {
		s.log.Warning("support for restriction %q has been removed in %s 3.9; instead, specify %q", st.name, s.params.mailName, instead)
		return s.serverError()
	}
}
