package main

import (
	"fmt"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/table"
)

// alias expands a recipient that alias_maps knows; done is false when it does
// not. A name does not expand within its own expansion.
func (d *delivery) alias(s *recipient) (final, done bool) {
	names := []string{s.local}
	if user, _, ok := d.delimiter.SplitLocal(s.local); ok {
		names = append(names, user)
	}
	for i, name := range names {
		if s.names["alias "+addr.Fold(name)] {
			continue
		}
		text, from, found, err := d.findAlias(name)
		if err != nil {
			d.env.Log.Warning("%s: %v", d.m.QueueID, err)
			return d.fail(s, "4.3.0", "alias database unavailable"), true
		}
		if found {
			ext := ""
			if i > 0 && d.propagate["alias"] {
				ext = s.local[len(name):]
			}
			return d.expandAlias(s, name, ext, text, from), true
		}
	}
	return false, false
}

// findAlias looks a name up in each alias map, the first that has it wins.
func (l *local) findAlias(name string) (text string, from table.Table, found bool, err error) {
	if l.aliases.Empty() {
		return "", nil, false, nil
	}
	for _, t := range l.aliases.Tables() {
		text, found, err = t.Lookup(quoteName(name))
		if err == nil && !found && quoteName(name) != name {
			text, found, err = t.Lookup(name)
		}
		if err != nil || found {
			return text, t, found, err
		}
	}
	return "", nil, false, nil
}

// quoteName is a local part as alias files have it as a key.
func quoteName(local string) string {
	return strings.TrimSuffix(addr.Quote(local+"@x"), "@x")
}

// expandAlias delivers to all that an alias stands for.
func (d *delivery) expandAlias(s *recipient, name, ext, text string, from table.Table) (final bool) {
	if !d.once("alias " + addr.Fold(name) + " " + s.sender) {
		return true // another way has led here
	}
	rights, err := d.tableRights(from)
	if err != nil {
		d.env.Log.Warning("%s: alias %s: %v", d.m.QueueID, name, err)
		return d.fail(s, "4.3.5", "alias database unavailable")
	}
	next := *s
	next.level++
	next.origin = "alias"
	next.names = with(s.names, "alias "+addr.Fold(name))
	next.rights = rights
	next.rcpt.Notify &^= proto.NotifySuccess
	if owner := d.owner(name); owner != "" {
		next.sender, next.listOwner = owner, true
		next.rcpt.Notify, next.rcpt.DSNOrig, next.rcpt.Orig = 0, "", ""
	} else if next.rcpt.Orig == "" {
		next.rcpt.Orig = s.rcpt.Address
	}
	list := tokens(text)
	if len(list) == 0 {
		return d.fail(s, "5.3.5", "alias %s has no members: see alias_maps", name)
	}
	return d.tokens(&next, list, ext)
}

// owner is the sender of mail to a list: owner-NAME where such an alias is,
// or what that stands for with expand_owner_alias. "" means no list.
func (d *delivery) owner(name string) string {
	if !d.ownerSpecial || strings.HasPrefix(addr.Fold(name), "owner-") || strings.HasSuffix(addr.Fold(name), "-request") {
		return ""
	}
	text, _, found, err := d.findAlias("owner-" + name)
	if err != nil || !found { // without an answer the original sender stays
		return ""
	}
	owner := "owner-" + name
	if list := tokens(text); d.expandOwner && len(list) == 1 && list[0].kind == address {
		owner = list[0].text
	}
	canon, err := d.rewrite.Rewrite(proto.RuleLocal, addr.Quote(owner))
	if err != nil {
		return owner
	}
	return addr.Unquote(canon)
}

// tableRights is whom |command and /file of an alias table run as: the owner
// of the table, or default_privs where that is root.
func (d *delivery) tableRights(t table.Table) (*privs.User, error) {
	owner := table.OwnerOf(t)
	switch {
	case !owner.Known:
		return nil, fmt.Errorf("%s: nobody knows whose it is", t.Name())
	case owner.UID == 0:
		return d.unprivileged()
	}
	return byUID(int(owner.UID))
}

// with is a set with one more member.
func with(set map[string]bool, name string) map[string]bool {
	more := make(map[string]bool, len(set)+1)
	for n := range set {
		more[n] = true
	}
	more[name] = true
	return more
}
