package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
)

// maxList is the size of an :include: or .forward file that is read, bytes.
const maxList = 1 << 20

// tokens delivers to each member of a list. Members that are mailboxes are
// written several at once.
func (d *delivery) tokens(s *recipient, list []token, ext string) (final bool) {
	return d.all(len(list), func(i int) bool {
		t := list[i]
		switch t.kind {
		case command:
			return d.listCommand(s, t.text)
		case filename:
			return d.listFile(s, t.text)
		case include:
			return d.include(s, t.text, ext)
		}
		return d.member(s, t.text, ext)
	})
}

// member delivers to an address in a list: at once when it is a user of this
// host, else as a new message.
func (d *delivery) member(s *recipient, text, ext string) (final bool) {
	plain := strings.HasPrefix(text, `\`)
	text = strings.TrimPrefix(text, `\`)
	if ext != "" {
		if local, domain, ok := addr.SplitDomain(text); ok {
			text = local + ext + "@" + domain
		} else {
			text += ext
		}
	}
	canon, err := d.rewrite.Rewrite(proto.RuleLocal, addr.Quote(text))
	if err != nil {
		return d.fail(s, "4.3.0", "address rewriting is unavailable")
	}
	next := *s
	next.rcpt.Address = addr.Unquote(canon)
	route, err := d.rewrite.Resolve(s.sender, next.rcpt.Address)
	switch {
	case err != nil:
		return d.fail(&next, "4.3.0", "address resolver is unavailable")
	case route.Flags&proto.ResolveError != 0:
		return d.fail(&next, "5.1.3", "bad recipient address syntax")
	case route.Transport != d.service:
		return d.forward.add(&next)
	}
	next.level++
	next.plain = plain
	next.local, next.domain, _ = addr.SplitDomain(route.Recipient)
	if s.origin != "forward" {
		next.rights = nil // a user's own from here on
	}
	return d.recipient(&next)
}

// include reads a list of destinations from a file. What root owns runs as
// default_privs, all else as its owner.
func (d *delivery) include(s *recipient, path, ext string) (final bool) {
	if !d.once("include " + path) {
		return true
	}
	reader := s.rights
	if reader == nil {
		var err error
		if reader, err = d.unprivileged(); err != nil {
			return d.fail(s, "4.3.5", "%v", err)
		}
	}
	r, err := d.mda.Ask(reader, nil, &proto.MDARequest{Action: proto.MDAInclude, Path: path, MaxSize: maxList}, nil)
	if err != nil {
		return d.fail(s, "4.3.0", "cannot read :include: file %s: %v", path, err)
	}
	switch {
	case r.Outcome.Class() != '2':
		return d.report(s, r.Outcome)
	case !r.Found:
		return d.fail(s, "5.3.5", "cannot open include file %s: no such file or directory", path)
	case r.Mode&0o002 != 0:
		return d.fail(s, "5.7.1", "include file %s is writable by everybody", path)
	}
	next := *s
	next.origin = "include"
	next.level++
	if r.Owner != 0 && os.Geteuid() == 0 {
		if next.rights, err = byUID(r.Owner); err != nil {
			return d.fail(s, "5.7.1", "include file %s: unknown owner: %v", path, err)
		}
	}
	if !d.propagate["include"] {
		ext = ""
	}
	list := tokens(string(r.Data))
	if len(list) == 0 {
		return true
	}
	return d.tokens(&next, list, ext)
}

// listCommand runs a |command of a list.
func (d *delivery) listCommand(s *recipient, text string) (final bool) {
	if !d.toCommands[s.origin] {
		return d.fail(s, "5.7.1", "mail to command is restricted")
	}
	rights, err := d.rightsOf(s)
	if err != nil {
		return d.fail(s, "4.3.5", "%v", err)
	}
	if !d.once(fmt.Sprint("command ", rights.UID, " ", text)) {
		return true
	}
	user, ext, _ := d.delimiter.SplitLocal(s.local)
	return d.command(&mailUser{recipient: s, user: user, ext: ext, account: rights}, text)
}

// listFile delivers to a /file of a list: a Maildir when it ends in a slash.
func (d *delivery) listFile(s *recipient, path string) (final bool) {
	if !d.toFiles[s.origin] {
		return d.fail(s, "5.7.1", "mail to file is restricted")
	}
	rights, err := d.rightsOf(s)
	if err != nil {
		return d.fail(s, "4.3.5", "%v", err)
	}
	if !d.once(fmt.Sprint("file ", rights.UID, " ", path)) {
		return true
	}
	o := d.write(s, rights, path, "file")
	if o.Class() == '2' && !strings.HasSuffix(path, "/") {
		o.Reason = "delivered to file: " + path
	}
	return d.report(s, o)
}

// rightsOf is whom a list's commands and files run as.
func (d *delivery) rightsOf(s *recipient) (*privs.User, error) {
	if s.rights == nil {
		return nil, errors.New("nobody to act as for |command and /file in this list")
	}
	return s.rights, nil
}
