package main

import (
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
)

// unknown ends mail for a user that this host does not have: another
// transport, luser_relay, or back to the sender. Mail for the postmaster is
// never sent back: without an alias it is dropped with a warning.
func (d *delivery) unknown(u *mailUser) (final bool) {
	transport, err := d.choice(d.fallbacks.Find, u.user, d.fallbackTransport)
	if err != nil {
		return d.unavailable(u, err)
	}
	if transport != "" {
		return d.relay(u, transport)
	}
	if d.luserRelay != "" && !u.names["luser_relay"] {
		return d.luser(u)
	}
	if name := addr.Fold(u.user); name == addr.Fold(addr.MailerDaemon) || name == addr.Fold(addr.Postmaster) {
		d.env.Log.Warning("%s: undeliverable mail for %s is dropped: make an alias for it", d.m.QueueID, u.user)
		return d.report(u.recipient, dsn.Outcome{Status: "2.0.0", Reason: "discarded"})
	}
	if u.names["alias "+addr.Fold(u.user)] {
		return d.fail(u.recipient, "5.4.6", "alias database loop for %s", u.user)
	}
	return d.fail(u.recipient, "5.1.1", "unknown user: %q", u.user)
}

// luser delivers an unknown user's mail to luser_relay: an address, a |command
// or a /file, with $user and so on put in.
func (d *delivery) luser(u *mailUser) (final bool) {
	text, ok := d.expand(u, d.luserRelay, d.commandFilter)
	if !ok {
		return d.fail(u.recipient, "4.3.5", "luser_relay: unknown $name in %q", d.luserRelay)
	}
	next := *u.recipient
	next.level++
	next.origin = "alias"
	next.names = with(u.names, "luser_relay")
	if next.rcpt.Orig == "" {
		next.rcpt.Orig = u.rcpt.Address
	}
	rights, err := d.unprivileged()
	if err != nil {
		return d.fail(u.recipient, "4.3.5", "%v", err)
	}
	next.rights = rights
	if !strings.ContainsAny(text, "|/@") {
		text = strings.ToLower(text)
	}
	return d.tokens(&next, tokens(text), "")
}
