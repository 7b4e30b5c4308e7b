package main

import (
	"errors"
	"io/fs"
	"sync"

	"postroad/libmail/mailbox"
	"postroad/libmail/maillog"
)

// maxHubs is how many mailboxes of a user stay open without a session.
const maxHubs = 64

// A user is whose mail it is: the mailboxes that are open.
type user struct {
	name  string
	quota quotaRule
	limit int64 // message_size_limit, bytes; 0 for none
	log   *maillog.Logger
	tree  *mailbox.Tree
	watch *watcher

	mu   sync.Mutex
	hubs map[string]*hub
}

// openUser opens a user's mail. Whoever comes for the first time gets the
// standard folders.
func openUser(name, root string, w *watcher, log *maillog.Logger) (*user, error) {
	tree, fresh, err := mailbox.OpenTree(root)
	if err != nil {
		return nil, err
	}
	u := &user{name: name, log: log, tree: tree, watch: w, hubs: map[string]*hub{}}
	if fresh {
		names := []string{mailbox.Inbox}
		for _, s := range specialUses {
			if err := tree.Create(s.name); err != nil && !errors.Is(err, mailbox.ErrBoxHere) {
				return nil, err
			}
			names = append(names, s.name)
		}
		if err := tree.Subscribe(names...); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// hub opens a mailbox; mailbox.ErrNoBox when there is none.
func (u *user) hub(name string) (*hub, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if h := u.hubs[name]; h != nil {
		return h, nil
	}
	if !u.tree.Exists(name) {
		return nil, mailbox.ErrNoBox
	}
	h := &hub{u: u, name: name, dir: u.tree.Dir(name)}
	if err := h.load(); err != nil {
		u.watch.remove(h)
		if errors.Is(err, fs.ErrNotExist) {
			err = mailbox.ErrNoBox
		}
		return nil, err
	}
	if len(u.hubs) >= maxHubs {
		u.shed()
	}
	u.hubs[name] = h
	return h, nil
}

// shed closes mailboxes without sessions. The lock is held.
func (u *user) shed() {
	for name, h := range u.hubs {
		h.mu.Lock()
		idle := len(h.sessions) == 0
		if idle {
			h.deleted = "Mailbox was closed"
			h.index.close(h)
		}
		h.mu.Unlock()
		if idle {
			delete(u.hubs, name)
			u.watch.remove(h)
		}
	}
}

// close writes what is known about the mailboxes.
func (u *user) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.shed()
}

// remove deletes a mailbox; its sessions end.
func (u *user) remove(name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if h := u.hubs[name]; h != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
	}
	if err := u.tree.Delete(name); err != nil {
		return err
	}
	if h := u.hubs[name]; h != nil {
		h.deleted = "Mailbox was deleted"
		h.index.forget()
		h.notify()
		delete(u.hubs, name)
		go u.watch.remove(h) // its lock comes before the hub's
	}
	return nil
}

// rename renames a mailbox and its inferiors. Sessions stay where they are.
func (u *user) rename(from, to string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var moved []*hub
	for name, h := range u.hubs {
		if name == from || len(name) > len(from) && name[:len(from)+1] == from+mailbox.Separator {
			h.mu.Lock()
			defer h.mu.Unlock()
			moved = append(moved, h)
		}
	}
	if err := u.tree.Rename(from, to); err != nil {
		return err
	}
	for _, h := range moved {
		delete(u.hubs, h.name)
		h.name = to + h.name[len(from):]
		h.dir = u.tree.Dir(h.name)
		h.box.Moved(h.dir)
		u.hubs[h.name] = h
	}
	return nil
}
