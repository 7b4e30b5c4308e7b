package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"postroad/libmail/addr"
	"postroad/libmail/agent"
	"postroad/libmail/dsn"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/table"
)

// parallel bounds the mailboxes of one request that are written at once.
const parallel = 20

// A place is where the mail of one address goes.
type place struct {
	path  string
	owner *privs.User
}

// request delivers one request. A mailbox that two recipients lead to is
// written once.
func (v *virtual) request(_ context.Context, m *agent.Message) {
	var group sync.WaitGroup
	slots := make(chan struct{}, parallel)
	seen := map[string]bool{}
	for i := range m.Rcpts {
		r := &m.Rcpts[i]
		where, err := v.find(r.Address)
		switch {
		case err != nil:
			m.Report(r, dsn.Of(err), agent.Via{Relay: "virtual"})
			continue
		case seen[where.path]:
			m.Expanded(r)
			continue
		case m.TraceOnly():
			m.Report(r, dsn.Outcome{Status: "2.0.0", Reason: "delivers to mailbox"}, agent.Via{Relay: "virtual"})
			continue
		}
		seen[where.path] = true
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			m.Report(r, v.write(m, r, where), agent.Via{Relay: "virtual"})
		})
	}
	group.Wait()
}

// find looks an address up in the three tables.
func (v *virtual) find(address string) (place, error) {
	path, found, err := v.lookup(v.mailboxes, address)
	switch {
	case err != nil:
		return place{}, err
	case !found:
		return place{}, dsn.Errorf("5.1.1", "unknown user: %q", address)
	}
	uid, err := v.id(v.uids, "virtual_uid_maps", "uid", address)
	if err != nil {
		return place{}, err
	}
	gid, err := v.id(v.gids, "virtual_gid_maps", "gid", address)
	if err != nil {
		return place{}, err
	}
	if uid < v.minUID {
		v.env.Log.Warning("virtual_uid_maps: recipient %s: uid %d is below virtual_minimum_uid %d", address, uid, v.minUID)
		return place{}, dsn.Errorf("4.3.5", "mail system configuration error")
	}
	if path, err = v.join(path); err != nil {
		v.env.Log.Warning("virtual_mailbox_maps: recipient %s: %v", address, err)
		return place{}, dsn.Errorf("4.3.5", "mail system configuration error")
	}
	return place{path: path, owner: &privs.User{Name: address, UID: uid, GID: gid, Groups: []int{gid}, Home: v.base}}, nil
}

// join puts a table's path below virtual_mailbox_base, and refuses one that
// leads out of it.
func (v *virtual) join(path string) (string, error) {
	for _, part := range strings.Split(path, "/") {
		if part == ".." {
			return "", fmt.Errorf("path %q leads out of virtual_mailbox_base", path)
		}
	}
	base := strings.TrimRight(v.base, "/")
	if v.base == "" || strings.HasPrefix(path, base+"/") && base != "" { // userdb: says the whole path
		return path, nil
	}
	return base + "/" + strings.TrimLeft(path, "/"), nil
}

// lookup finds an address: with extension, without, and its @domain. A table
// that can't be asked makes the mail wait.
func (v *virtual) lookup(maps *table.Maps, address string) (value string, found bool, err error) {
	value, _, found, err = maps.FindAddress(address, table.FindFull|table.FindNoExtension|table.FindAtDomain)
	if err != nil {
		v.env.Log.Warning("%v", err)
		return "", false, dsn.Errorf("4.3.5", "mail system configuration error")
	}
	return value, found, nil
}

// id finds a uid or gid.
func (v *virtual) id(maps *table.Maps, param, what, address string) (int, error) {
	value, found, err := v.lookup(maps, address)
	if err != nil {
		return 0, err
	}
	n, bad := strconv.Atoi(value)
	if !found || bad != nil || n <= 0 {
		v.env.Log.Warning("%s: recipient %s: %s not found or bad: %q", param, address, what, value)
		return 0, dsn.Errorf("4.3.5", "mail system configuration error")
	}
	return n, nil
}

// write delivers to one mailbox as its owner.
func (v *virtual) write(m *agent.Message, r *proto.Rcpt, where place) dsn.Outcome {
	action := proto.MDAMbox
	if strings.HasSuffix(where.path, "/") {
		action = proto.MDAMaildir
	}
	reply, err := v.mda.Ask(where.owner, v.mda.ShutIn(where.owner), &proto.MDARequest{
		Action: action, Path: where.path, Head: v.head(m, r), Offset: m.Offset, Host: v.hostname,
		Sender: addr.Quote(m.Sender), Locks: v.locks, Attempts: v.lockAttempts, Delay: v.lockDelay, Stale: v.lockStale,
		MaxSize: v.maxSize,
	}, m.File.File())
	if err != nil {
		return dsn.Of(fmt.Errorf("delivery as uid %d: %w", where.owner.UID, err))
	}
	return reply.Outcome
}

// head is what goes before the message.
func (v *virtual) head(m *agent.Message, r *proto.Rcpt) string {
	var b strings.Builder
	b.WriteString("Return-Path: <" + addr.Quote(m.Sender) + ">\n")
	if v.originalRcpt && r.Orig != "" {
		b.WriteString("X-Original-To: " + addr.Quote(r.Orig) + "\n")
	}
	b.WriteString("Delivered-To: " + addr.Quote(r.Address) + "\n")
	return b.String()
}
