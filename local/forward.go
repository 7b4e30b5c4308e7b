package main

import (
	"strings"

	"postroad/libmail/conf"
	"postroad/libmail/proto"
)

// dotForward delivers as a user's .forward file says; done is false when
// there is none in force. The file must be the user's or root's, regular, and
// not writable by everybody; an empty one counts as none.
func (d *delivery) dotForward(u *mailUser) (final, done bool) {
	if d.homeRequired {
		r, err := d.mda.Ask(u.account, d.mda.ShutIn(u.account), &proto.MDARequest{Action: proto.MDAHome, Path: u.account.Home}, nil)
		if err != nil {
			return d.fail(u.recipient, "4.3.0", "cannot access home directory of %s: %v", u.user, err), true
		}
		if r.Outcome.Class() != '2' {
			return d.report(u.recipient, r.Outcome), true
		}
	}
	for _, path := range d.forwardFiles(u) {
		if u.names["forward "+path] {
			return false, false // we came from there: the mailbox
		}
		r, err := d.mda.Ask(u.account, d.boxWith(u, path), &proto.MDARequest{Action: proto.MDARead, Path: path, MaxSize: maxList}, nil)
		if err != nil {
			return d.fail(u.recipient, "4.3.0", "cannot read %s: %v", path, err), true
		}
		switch {
		case r.Outcome.Class() == '2' && !r.Found:
			continue
		case r.Outcome.Class() == '4':
			return d.report(u.recipient, r.Outcome), true
		case r.Outcome.Class() == '5':
			d.env.Log.Warning("%s: %s", d.m.QueueID, r.Outcome.Reason)
			return false, false
		case r.Owner != u.account.UID && r.Owner != 0:
			d.env.Log.Warning("%s: file %s has bad owner uid %d", d.m.QueueID, path, r.Owner)
			return false, false
		case r.Mode&0o002 != 0:
			d.env.Log.Warning("%s: file %s is world writable", d.m.QueueID, path)
			return false, false
		}
		list := tokens(string(r.Data))
		if len(list) == 0 {
			return false, false
		}
		if !d.once("forward " + path) {
			return true, true
		}
		next := *u.recipient
		next.level++
		next.origin = "forward"
		next.names = with(u.names, "forward "+path)
		next.delivered = u.rcpt.Address
		next.rcpt.Notify &^= proto.NotifySuccess
		if next.rcpt.Orig == "" {
			next.rcpt.Orig = u.rcpt.Address
		}
		if next.rights, err = d.commandRights(u.account); err != nil {
			return d.fail(u.recipient, "4.3.5", "%v", err), true
		}
		ext := ""
		if u.ext != "" && d.propagate["forward"] {
			ext = u.local[len(u.user):]
		}
		return d.tokens(&next, list, ext), true
	}
	return false, false
}

// boxWith is what the user's helper is shut in to read a file. forward_path
// may name files elsewhere; for those there is no box.
func (d *delivery) boxWith(u *mailUser, path string) []string {
	box := d.mda.ShutIn(u.account)
	for _, dir := range box {
		if strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") {
			return box
		}
	}
	return nil
}

// forwardFiles is forward_path for a user. An element whose $extension or
// other value is missing is left out.
func (d *delivery) forwardFiles(u *mailUser) []string {
	var files []string
	for _, element := range conf.SplitList(d.forwardPath) {
		if path, ok := d.expand(u, element, d.forwardFilter); ok && path != "" {
			files = append(files, path)
		}
	}
	return files
}

// expand puts a recipient's values in for $name. Characters outside filter
// become "_"; ok is false when a value is missing.
func (d *delivery) expand(u *mailUser, text, filter string) (result string, ok bool) {
	ok = true
	missing := func(name string) (string, bool) {
		v, known := d.macro(u, name)
		if !known {
			ok = false
			return "", true
		}
		return filtered(v, filter), v != ""
	}
	result, err := conf.Substitute(text, missing)
	return result, ok && err == nil
}

// macro is the value of a name in forward_path, luser_relay and the like.
func (d *delivery) macro(u *mailUser, name string) (value string, known bool) {
	if u.account == nil && (name == "home" || name == "shell") {
		return "", false
	}
	switch name {
	case "home":
		return u.account.Home, true
	case "user":
		return u.user, true
	case "shell":
		return u.account.Shell, true
	case "domain":
		return u.domain, true
	case "local":
		return u.local, true
	case "mailbox":
		return u.user, true
	case "recipient":
		return u.rcpt.Address, true
	case "extension":
		return u.ext, true
	case "recipient_delimiter":
		if u.ext == "" {
			return "", true
		}
		return string(u.local[len(u.user)]), true
	}
	return "", false
}

// filtered replaces what is not in allowed by "_".
func filtered(value, allowed string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(allowed, r) {
			return r
		}
		return '_'
	}, value)
}
