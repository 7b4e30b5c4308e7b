package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
	"postroad/libmail/resolver"
)

// maxListText bounds the text that a DNS list gives as its reason, bytes.
const maxListText = 500

// A listing is what a DNS list says about an address or a domain.
type listing struct {
	addresses []netip.Addr // empty: not listed
	text      string
	failed    bool // the list did not answer
}

// lookupList asks a DNS list. domain is what main.cf says: "list.example" or
// "list.example=127.0.0.[2;4..8]", where only such answers count.
func (s *session) lookupList(what, domain string) listing {
	zone, pattern, filtered := strings.Cut(domain, "=")
	query := what + "." + zone
	now := s.clock.Now()
	l, cached := s.listings.get(query, now)
	if !cached {
		l = s.askList(query)
		s.listings.put(query, l, now)
	}
	if filtered && len(l.addresses) > 0 && !matchesAny(pattern, l.addresses) {
		l.addresses = nil
	}
	return l
}

// askList asks for the addresses of a name, and for the text if there are any.
// When the list is out of order its clients get the benefit of the doubt.
func (s *session) askList(query string) listing {
	answer, err := s.dns.IPv4(s.ctx, query)
	if err != nil {
		if !resolver.IsNotFound(err) {
			s.log.Warning("%s: RBL lookup error: %v", query, err)
			return listing{failed: true}
		}
		return listing{}
	}
	l := listing{addresses: answer.Records}
	if txt, err := s.dns.TXT(s.ctx, query); err == nil { // a list without text is a list
		l.text = strings.Join(txt.Records, " / ")
		for len(l.text) > maxListText || !utf8.ValidString(l.text) {
			l.text = strings.ToValidUTF8(l.text[:min(len(l.text), maxListText)], "?")
		}
	}
	return l
}

// reversed is an address in the order of a DNS list (RFC 5782 §2.1, §2.4).
func reversed(ip netip.Addr) string {
	var parts []string
	bytes := ip.AsSlice()
	for i := len(bytes) - 1; i >= 0; i-- {
		if ip.Is4() {
			parts = append(parts, strconv.Itoa(int(bytes[i])))
		} else {
			parts = append(parts, fmt.Sprintf("%x.%x", bytes[i]&15, bytes[i]>>4))
		}
	}
	return strings.Join(parts, ".")
}

// listedName is what is asked about a name: its domain in ASCII. Address
// literals and names with a number at the end are not asked about.
func listedName(name string) (string, bool) {
	_, domain, found := splitAt(name)
	if !found {
		domain = name
	}
	if domain == "" || domain[0] == '[' {
		return "", false
	}
	last := domain[strings.LastIndexByte(domain, '.')+1:]
	if strings.Trim(last, "0123456789") == "" {
		return "", false
	}
	domain = resolver.ASCII(domain)
	return domain, addr.ValidHostname(domain)
}

func rejectRBLClient(s *session, st *step, sub subject) verdict {
	if st.arg == "" || !s.client.ip.IsValid() {
		return dunno
	}
	l := s.lookupList(reversed(s.client.ip), st.arg)
	return s.rejectListed(st, l, subject{name: s.client.addr, class: aboutClient})
}

// rejectRHSBL makes a restriction that looks a name up in a list of domains.
func rejectRHSBL(of func(s *session) (string, subject)) func(*session, *step, subject) verdict {
	return func(s *session, st *step, sub subject) verdict {
		name, who := of(s)
		domain, ok := listedName(name)
		if st.arg == "" || name == unknown || !ok {
			return dunno
		}
		return s.rejectListed(st, s.lookupList(domain, st.arg), subject{name: name, class: who.class})
	}
}

func ofClientName(s *session) (string, subject) {
	return s.client.name, subject{name: s.client.name, class: aboutClient}
}

// rejectListed refuses what is on a list, with the reply of rbl_reply_maps or
// default_rbl_reply.
func (s *session) rejectListed(st *step, l listing, sub subject) verdict {
	if len(l.addresses) == 0 {
		return dunno
	}
	template, err := s.listReply(st.arg)
	if err != nil { // the table has logged it
		return s.serverError()
	}
	zone, _, _ := strings.Cut(st.arg, "=")
	more := func(name string) (string, bool) {
		switch name {
		case "rbl_code":
			return strconv.Itoa(s.params.codes.rbl), true
		case "rbl_domain":
			return zone, true
		case "rbl_reason", "rbl_txt":
			return l.text, true
		case "rbl_what":
			return sub.name, true
		case "rbl_class":
			return sub.class, true
		}
		return "", false
	}
	text, err := s.expand(template, more)
	if err != nil {
		s.log.Warning("bad rbl reply template for domain %s: %s", st.arg, template)
		if text, err = s.expand(s.params.rblReply, more); err != nil {
			return s.refuse(policyTrouble, 450, "4.7.1", "Service unavailable")
		}
	}
	r, ok := parseReply(text)
	if !ok {
		s.log.Warning("rbl response code configuration error: %s", text)
		return s.refuse(policyTrouble, 450, "4.7.1", "Service unavailable")
	}
	status, rest := dsn.Split(r.text, or(r.status, "4.7.1"))
	return s.refuse(policyTrouble, r.code, s.fitStatus(status, sub.class), "%s", or(rest, "Service unavailable"))
}

// listReply is the reply template of a list, with or without its filter.
func (s *session) listReply(domain string) (string, error) {
	zone, _, filtered := strings.Cut(domain, "=")
	template, found, err := s.tables.rblReply.Find(domain)
	if err == nil && !found && filtered {
		template, found, err = s.tables.rblReply.Find(zone)
	}
	if !found {
		template = s.params.rblReply
	}
	return template, err
}

func permitDNSWLClient(s *session, st *step, sub subject) verdict {
	if st.arg == "" || !s.client.ip.IsValid() {
		return dunno
	}
	return s.permitListed(st, sub, reversed(s.client.ip), s.client.addr)
}

func permitRHSWLClient(s *session, st *step, sub subject) verdict {
	domain, ok := listedName(s.client.name)
	if st.arg == "" || s.client.name == unknown || !ok {
		return dunno
	}
	return s.permitListed(st, sub, domain, s.client.name)
}

// permitListed permits a client that a list speaks for. At RCPT it does so only
// for recipients of ours: no list may make us a relay.
func (s *session) permitListed(st *step, sub subject, query, what string) verdict {
	if s.where == "RCPT" && s.mail.recipient != nil {
		switch yes, known := s.ours(*s.mail.recipient); {
		case !known:
			return s.lookupFailed(*s.mail.recipient)
		case !yes:
			return dunno
		}
	}
	l := s.lookupList(query, st.arg)
	switch {
	case l.failed:
		return s.deferRefusal(450, "4.7.1", "<%s>: %s rejected: Service unavailable", what, aboutClient)
	case len(l.addresses) > 0:
		return s.allow(st.name, about(sub, s.client.namaddr, aboutClient), "")
	}
	return dunno
}

// An octetFilter is a pattern such as "127.0.0.[1;4..8]": four octets, each a
// number or a list of numbers and ranges.
type octetFilter [4][]octetRange

type octetRange struct{ low, high byte }

func parseFilter(pattern string) (f octetFilter, err error) {
	rest := pattern
	for i := range f {
		if i > 0 {
			var ok bool
			if rest, ok = strings.CutPrefix(rest, "."); !ok {
				return f, fmt.Errorf("bad address pattern %q: want four octets", pattern)
			}
		}
		part, after := rest, ""
		if inner, ok := strings.CutPrefix(rest, "["); ok {
			if part, after, ok = strings.Cut(inner, "]"); !ok {
				return f, fmt.Errorf("bad address pattern %q: missing ']'", pattern)
			}
		} else if n := strings.IndexByte(rest, '.'); n >= 0 {
			part, after = rest[:n], rest[n:]
		}
		rest = after
		for _, text := range strings.Split(part, ";") {
			r, err := parseRange(text)
			if err != nil {
				return f, fmt.Errorf("bad address pattern %q: %w", pattern, err)
			}
			f[i] = append(f[i], r)
		}
	}
	if rest != "" {
		return f, fmt.Errorf("bad address pattern %q: text after four octets", pattern)
	}
	return f, nil
}

// parseRange reads "4" or "4..8".
func parseRange(text string) (octetRange, error) {
	low, high, isRange := strings.Cut(text, "..")
	if !isRange {
		high = low
	}
	from, err1 := strconv.ParseUint(low, 10, 8)
	to, err2 := strconv.ParseUint(high, 10, 8)
	if err1 != nil || err2 != nil || from > to {
		return octetRange{}, fmt.Errorf("%q is no octet and no range of octets", text)
	}
	return octetRange{byte(from), byte(to)}, nil
}

func (f *octetFilter) matches(octets [4]byte) bool {
	for i, octet := range octets {
		if !slices.ContainsFunc(f[i], func(r octetRange) bool { return r.low <= octet && octet <= r.high }) {
			return false
		}
	}
	return true
}

// checkList finds fault with the argument of a list restriction.
func checkList(domain string) error {
	_, pattern, filtered := strings.Cut(domain, "=")
	if !filtered {
		return nil
	}
	_, err := parseFilter(pattern)
	return err
}

// matchesAny reports whether an address passes the filter of a list. The
// filter was checked when the restriction was read.
func matchesAny(pattern string, addresses []netip.Addr) bool {
	f, err := parseFilter(pattern)
	return err == nil && slices.ContainsFunc(addresses, func(a netip.Addr) bool { return a.Is4() && f.matches(a.As4()) })
}
