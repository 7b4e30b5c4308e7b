package main

import (
	"strconv"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/record"
	"postroad/libmail/table"
)

// recipient takes a recipient of the message; what the envelope said about it
// before is in s.next.
func (s *session) recipient(address string) {
	if address == "" {
		address = s.emptyRcpt
	}
	clean := s.mapped(s.standardInternal(address), envelopeTo)
	s.needsUTF8(clean)
	p := s.next
	if p.dsnOrig == "" && clean != "" {
		kind := "rfc822;"
		if !addr.IsASCII(clean) && s.sendOpts&proto.SendOptUTF8 != 0 {
			kind = "utf-8;" // RFC 6533 §3
		}
		p.dsnOrig = kind + clean
	}
	s.putRcpt(p, clean)
	s.rcpt, s.rcptSeen = clean, true
	s.addBCC(s.rcptBCC, clean)
}

// addBCC adds the recipient that sender_bcc_maps or recipient_bcc_maps has
// for an address.
func (s *session) addBCC(maps *table.Maps, address string) {
	if s.flags&proto.CleanupBCC == 0 || address == "" || maps.Empty() {
		return
	}
	value, _, found, err := maps.FindAddress(address, table.FindDefault)
	if err != nil {
		s.lookupFailed(maps.Title(), "")
		return
	}
	if found {
		s.bcc(addr.Unquote(value))
	}
}

// bcc adds a recipient of ours, in internal form. It goes through the same
// maps as others; nobody is told of its delivery.
func (s *session) bcc(address string) {
	clean := s.mapped(s.standardInternal(address), envelopeTo)
	s.needsUTF8(clean)
	s.putRcpt(pending{orig: clean, notify: proto.NotifyNever}, clean)
}

// putRcpt writes a recipient, or what virtual_alias_maps makes of it. Each
// address is written once; the same address with another original recipient
// counts as another (enable_original_recipient).
func (s *session) putRcpt(p pending, address string) {
	list := []string{address}
	if s.flags&proto.CleanupMap != 0 && !s.aliases.Empty() {
		list = s.expand(address)
		if len(list) > 1 && s.traceFlags&proto.DeliverProbe != 0 {
			s.probed(p, address)
			return
		}
		// RFC 3461 §5.2.7.1: the list gets what the sender wanted to know but
		// for success, and the sender hears of the expansion.
		if p.notify&proto.NotifySuccess != 0 && (len(list) > 1 || list[0] != address) {
			s.expanded(p, address)
			if p.notify &^= proto.NotifySuccess; p.notify == 0 {
				p.notify = proto.NotifyNever
			}
		}
	}
	for _, a := range list {
		if s.duplicate(p, a) {
			continue
		}
		if p.notify != 0 {
			s.put(record.Attr, "notify_flags="+strconv.Itoa(p.notify))
		}
		if p.dsnOrig != "" {
			s.put(record.Attr, "dsn_orig_rcpt="+p.dsnOrig)
		}
		s.put(record.OrigRcpt, p.orig)
		s.put(record.Rcpt, a)
		s.rcptCount++
	}
}

// duplicate reports whether a recipient was written before, as far as
// duplicate_filter_limit lets us remember.
func (s *session) duplicate(p pending, address string) bool {
	key := address
	if s.originalRcpt {
		key = p.dsnOrig + "\n" + strconv.Itoa(p.notify) + "\n" + p.orig + "\n" + address
	}
	key = addr.Fold(key)
	if s.dups[key] {
		return true
	}
	if s.dups == nil {
		s.dups = map[string]bool{}
	}
	if s.duplicates <= 0 || len(s.dups) < s.duplicates {
		s.dups[key] = true
	}
	return false
}

// expanded tells the sender that an alias was expanded (RFC 3461 §6.2.7.3):
// an entry in the trace log, which the queue manager sends.
func (s *session) expanded(p pending, address string) {
	s.traced = true
	o := dsn.Outcome{Status: "2.0.0", Action: dsn.Expanded, Reason: "alias expanded"}
	if err := s.trace.Append(proto.BounceClean, s.id, p.rcpt(address, 0), o); err != nil {
		s.log.Warning("%s: trace logfile update error: %v", s.id, err)
		s.errs |= proto.StatWrite
	}
}

// probed answers an address probe: an alias with several members is
// deliverable, whatever its members are.
func (s *session) probed(p pending, address string) {
	o := dsn.Outcome{Status: "2.0.0", Action: dsn.Deliverable, Reason: "aliased to multiple recipients"}
	err := s.verify.Update(p.orig, proto.AddressOK, o.Reason)
	if err == nil && address != p.orig {
		err = s.verify.Update(address, proto.AddressOK, o.Reason)
	}
	if err != nil {
		s.log.Warning("%s: verify service update error: %v", s.id, err)
		s.errs |= proto.StatWrite
		return
	}
	s.logDelivery(p.rcpt(address, 0), o, dsn.Deliverable)
}

// rcpt is the recipient in the form that logs have.
func (p pending) rcpt(address string, offset int64) proto.Rcpt {
	return proto.Rcpt{Orig: p.orig, Address: address, Offset: offset, DSNOrig: p.dsnOrig, Notify: p.notify}
}

// logDelivery writes the log line of a recipient that ends here.
func (s *session) logDelivery(r proto.Rcpt, o dsn.Outcome, status string) {
	orig := r.Orig
	if strings.EqualFold(orig, r.Address) {
		orig = ""
	}
	s.log.Delivery(maillog.Delivery{
		ID: s.id, To: s.logged(r.Address), OrigTo: s.logged(orig), Relay: "none",
		Times: maillog.Times{Arrival: s.arrived(), Done: s.env.Clock.Now(), Decimals: s.decimals},
		DSN:   o.Status, Status: status, Text: o.Reason,
	})
}
