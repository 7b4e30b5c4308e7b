package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
)

// mailbox delivers to where a user's mail is kept, or says that there is no
// such user.
func (d *delivery) mailbox(u *mailUser) (final bool) {
	if !d.once("mailbox " + addr.Fold(u.local)) {
		return true
	}
	transport, err := d.choice(d.mailboxTransports.Find, u.user, d.mailboxTransport)
	if err != nil {
		return d.unavailable(u, err)
	}
	if transport != "" {
		return d.relay(u, transport)
	}
	if u.account == nil {
		return d.unknown(u)
	}
	shell, err := d.choice(d.mailboxCommands.Find, u.user, d.mailboxCommand)
	if err != nil {
		return d.unavailable(u, err)
	}
	if shell != "" {
		if u.account, err = d.commandRights(u.account); err != nil {
			return d.fail(u.recipient, "4.3.5", "%v", err)
		}
		return d.command(u, shell) // $name is for its shell, which has the names in its environment
	}
	return d.report(u.recipient, d.write(u.recipient, u.account, d.mailboxPath(u), "mailbox"))
}

// choice is a table's answer for a user, or else the parameter's value.
func (d *delivery) choice(find func(string) (string, bool, error), user, otherwise string) (string, error) {
	v, found, err := find(user)
	if err != nil || found {
		return v, err
	}
	return otherwise, nil
}

func (d *delivery) unavailable(u *mailUser, err error) (final bool) {
	d.env.Log.Warning("%s: %v", d.m.QueueID, err)
	return d.fail(u.recipient, "4.3.0", "mail system configuration error")
}

// mailboxPath is home_mailbox below the home directory, or the user's file or
// Maildir in mail_spool_directory. It ends in a slash for a Maildir.
func (d *delivery) mailboxPath(u *mailUser) string {
	if d.homeMailbox != "" {
		path := filepath.Join(u.account.Home, d.homeMailbox)
		if strings.HasSuffix(d.homeMailbox, "/") {
			path += "/"
		}
		return path
	}
	path := filepath.Join(d.spoolDir, u.account.Name)
	if strings.HasSuffix(d.spoolDir, "/") {
		path += "/"
	}
	return path
}

// write delivers to a file or Maildir as a user; purpose is "mailbox" or
// "file", for prepend_delivered_header.
func (d *delivery) write(s *recipient, as *privs.User, path, purpose string) dsn.Outcome {
	if d.m.TraceOnly() {
		return dsn.Outcome{Status: "2.0.0", Reason: "delivers to " + purpose}
	}
	action := proto.MDAMbox
	if strings.HasSuffix(path, "/") {
		action = proto.MDAMaildir
	}
	d.slots <- struct{}{}
	defer func() { <-d.slots }()
	var box []string
	if purpose == "mailbox" {
		box = d.mda.ShutIn(as)
	}
	r, err := d.mda.Ask(as, box, &proto.MDARequest{
		Action: action, Path: path, Head: d.head(s, purpose), Offset: d.m.Offset, Host: d.hostname,
		Sender: addr.Quote(s.sender), Locks: d.locks, Attempts: d.lockAttempts, Delay: d.lockDelay, Stale: d.lockStale,
		MaxSize: d.maxMailbox,
	}, d.m.File.File())
	if err != nil {
		return dsn.Of(fmt.Errorf("delivery as user %s: %w", as.Name, err))
	}
	return r.Outcome
}

// head is what goes before the message. The From_ line of a command is part
// of it; mda makes that of an mbox.
func (d *delivery) head(s *recipient, purpose string) string {
	var b strings.Builder
	if purpose == "command" {
		sender := addr.Quote(s.sender)
		if sender == "" {
			sender = "MAILER-DAEMON"
		}
		b.WriteString("From " + sender + "  " + d.env.Clock.Now().Format("Mon Jan _2 15:04:05 2006") + "\n")
	}
	b.WriteString("Return-Path: <" + addr.Quote(s.sender) + ">\n")
	if d.originalRcpt && s.rcpt.Orig != "" {
		b.WriteString("X-Original-To: " + addr.Quote(s.rcpt.Orig) + "\n")
	}
	if d.headers[purpose] || purpose == "mailbox" {
		b.WriteString("Delivered-To: " + addr.Quote(s.delivered) + "\n")
	}
	return b.String()
}
