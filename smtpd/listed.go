package main

import (
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/table"
)

// checkRcptListed refuses a recipient that does not exist, once a recipient:
// it is the implicit last restriction (smtpd_reject_unlisted_recipient).
func (s *session) checkRcptListed() verdict {
	if s.params.noUnknownCheck || s.rules.rcptListed || text(s.mail.recipient) == "" {
		return dunno
	}
	if s.rules.warnIfReject == 0 {
		s.rules.rcptListed = true
	}
	return s.exists(*s.mail.recipient, aboutRcpt)
}

// checkSenderListed refuses a sender in our domains that does not exist.
func (s *session) checkSenderListed() verdict {
	if s.params.noUnknownCheck || s.rules.senderListed || text(s.mail.sender) == "" {
		return dunno
	}
	if s.rules.warnIfReject == 0 {
		s.rules.senderListed = true
	}
	return s.exists(*s.mail.sender, aboutSender)
}

func rejectUnlistedRcpt(s *session, st *step, sub subject) verdict { return s.checkRcptListed() }

func rejectUnlistedSender(s *session, st *step, sub subject) verdict { return s.checkSenderListed() }

// A userTable is where the addresses of one class of domains are listed.
type userTable struct {
	class proto.ResolveFlags
	maps  func(t *tables) *table.Maps
	code  func(c *codes) int
	name  string
}

var userTables = []userTable{
	{proto.ClassLocal, func(t *tables) *table.Maps { return t.localRcpts }, func(c *codes) int { return c.unknownLocal }, "local recipient table"},
	{proto.ClassVirtual, func(t *tables) *table.Maps { return t.virtualMailbox }, func(c *codes) int { return c.unknownVirtual }, "virtual mailbox table"},
	{proto.ClassRelay, func(t *tables) *table.Maps { return t.relayRcpts }, func(c *codes) int { return c.unknownRelay }, "relay recipient table"},
}

// exists refuses an address in our domains that no table knows. An address
// that some rewriting table changes is not followed: it counts as known.
func (s *session) exists(address, class string) verdict {
	other, unknownStatus := s.mail.sender, "1.1"
	rewriting := []*table.Maps{s.tables.rcptCanonical, s.tables.canonical, s.tables.virtualAlias}
	if class == aboutSender {
		other, unknownStatus = s.mail.recipient, "1.0"
		rewriting = append(rewriting, s.tables.senderCanonical)
	}
	r := s.resolve(other, address)
	if r.failed() {
		return s.lookupFailed(address)
	}
	for _, maps := range rewriting {
		if found, err := s.inTable(maps, r.Recipient); err != nil {
			return s.lookupFailed(address) // the table has logged it
		} else if found {
			return dunno
		}
	}
	switch r.Transport {
	case "error":
		return s.refuseRoute(r, address, class, 550, "5."+unknownStatus)
	case "retry":
		return s.refuseRoute(r, address, class, 450, "4."+unknownStatus)
	}
	for _, u := range userTables {
		maps := u.maps(&s.tables)
		if r.Flags&proto.ClassMask != u.class || maps.Empty() || u.class == proto.ClassLocal && s.special(r.Recipient) {
			continue
		}
		found, err := s.inTable(maps, r.Recipient)
		if err != nil {
			return s.lookupFailed(address) // the table has logged it
		}
		if !found {
			where := ""
			if s.params.showTable {
				where = " in " + u.name
			}
			return s.refuse(bounceTrouble, u.code(&s.params.codes), "5."+unknownStatus, "<%s>: %s rejected: User unknown%s", address, class, where)
		}
	}
	return dunno
}

func (s *session) inTable(maps *table.Maps, address string) (bool, error) {
	if maps.Empty() {
		return false, nil
	}
	_, _, found, err := maps.FindAddress(address, table.FindDefault)
	return found, err
}

// refuseRoute refuses an address that resolves to the error or retry
// transport, whose nexthop is the reason.
func (s *session) refuseRoute(r resolved, address, class string, code int, status string) verdict {
	if r.Flags&proto.ClassAlias != 0 && code >= 500 {
		code = s.params.codes.unknownAlias
	}
	status, why := dsn.Split(r.Nexthop, status)
	return s.refuse(bounceTrouble, code, s.fitStatus(status, class), "<%s>: %s rejected: %s", address, class, why)
}

// special reports the local addresses that exist without a table: queue
// manager and bounce use them.
func (s *session) special(address string) bool {
	local, _, found := strings.Cut(address, "@")
	return found && (addr.EqualFold(local, s.params.doubleBounce) || addr.EqualFold(local, addr.Postmaster) || addr.EqualFold(local, addr.MailerDaemon))
}
