package main

import (
	"errors"
	"strconv"
	"strings"

	"postroad/libmail/mailbox"
)

// nameCommand runs a command whose only argument is a mailbox name.
func (s *session) nameCommand(p *parser, done string, run func(name string) error) reply {
	p.sp()
	name, problem := s.mailboxName(p)
	if p.is(' ') { // CREATE ... (USE (...)), which changes nothing here
		s.skipOptions(p)
	}
	if !p.end() {
		return reply{}
	}
	if problem != "" {
		return no(problem)
	}
	if err := run(name); err != nil {
		return s.refused(done, err)
	}
	return ok(done + " completed.")
}

// skipOptions takes a list of options, with lists in it.
func (s *session) skipOptions(p *parser) {
	depth := 0
	var one func()
	one = func() {
		if p.peek() != '(' {
			p.flags()
			return
		}
		if depth++; depth > maxLists {
			p.fail("Too deeply nested")
			return
		}
		p.list(one)
		depth--
	}
	one()
}

// refused makes a reply of what the tree says.
func (s *session) refused(what string, err error) reply {
	switch {
	case errors.Is(err, mailbox.ErrBoxHere):
		return no("[ALREADYEXISTS] Mailbox already exists")
	case errors.Is(err, mailbox.ErrNoBox):
		return no(noSuchBox)
	case errors.Is(err, mailbox.ErrName):
		return no("[CANNOT] Invalid mailbox name")
	case errors.Is(err, mailbox.ErrInbox):
		return no("[CANNOT] INBOX can't be " + strings.ToLower(what) + "d.")
	}
	return s.failed(strings.ToLower(what), err)
}

func (s *session) create(p *parser) reply {
	return s.nameCommand(p, "Create", s.user.tree.Create)
}

func (s *session) delete(p *parser) reply {
	return s.nameCommand(p, "Delete", func(name string) error {
		if s.hub != nil && s.hub.name == name {
			s.detach()
		}
		return s.user.remove(name)
	})
}

func (s *session) rename(p *parser) reply {
	p.sp()
	from, problem := s.mailboxName(p)
	p.sp()
	to, problem2 := s.mailboxName(p)
	if !p.end() {
		return reply{}
	}
	if problem+problem2 != "" {
		return no("[CANNOT] Invalid mailbox name")
	}
	if err := s.user.rename(from, to); err != nil {
		return s.refused("Rename", err)
	}
	return ok("Rename completed.")
}

func (s *session) subscribe(p *parser) reply {
	return s.nameCommand(p, "Subscribe", func(name string) error {
		if !s.user.tree.Exists(name) {
			return mailbox.ErrNoBox
		}
		return s.user.tree.Subscribe(name)
	})
}

func (s *session) unsubscribe(p *parser) reply {
	return s.nameCommand(p, "Unsubscribe", s.user.tree.Unsubscribe)
}

// statusItems are what STATUS can tell (RFC 3501 §6.3.10, RFC 7162, RFC 8438,
// RFC 7889).
var statusItems = map[string]bool{"MESSAGES": true, "RECENT": true, "UIDNEXT": true, "UIDVALIDITY": true,
	"UNSEEN": true, "DELETED": true, "SIZE": true, "HIGHESTMODSEQ": true, "APPENDLIMIT": true}

func parseStatusItems(p *parser) (items []string) {
	p.list(func() {
		w := p.word()
		if !statusItems[w] || len(items) > len(statusItems) {
			p.fail("Invalid status item %s", w)
		}
		items = append(items, w)
	})
	if len(items) == 0 {
		p.fail("Empty status list")
	}
	return items
}

func (s *session) status(p *parser) reply {
	p.sp()
	name, problem := s.mailboxName(p)
	p.sp()
	items := parseStatusItems(p)
	if !p.end() {
		return reply{}
	}
	if problem != "" {
		return no(problem)
	}
	for _, it := range items {
		if it == "HIGHESTMODSEQ" {
			s.enableCondstore()
		}
	}
	if err := s.showStatus(name, items); err != nil {
		return s.refused("Status", err)
	}
	return ok("Status completed.")
}

// showStatus writes the STATUS response of a mailbox.
func (s *session) showStatus(name string, items []string) error {
	h, err := s.user.hub(name)
	if err != nil {
		return err
	}
	h.u.watch.drain()
	h.mu.Lock()
	if err := h.refresh(); err != nil {
		h.mu.Unlock()
		return err
	}
	msgs := h.msgs
	counts := map[string]uint64{"MESSAGES": uint64(len(msgs)), "UIDNEXT": uint64(h.box.UIDNext()),
		"UIDVALIDITY": uint64(h.box.UIDValidity()), "HIGHESTMODSEQ": h.modseq, "APPENDLIMIT": uint64(s.user.limit)}
	var unknown []*message
	for _, m := range msgs {
		if m.recent {
			counts["RECENT"]++
		}
		if m.flags&mailbox.Seen == 0 {
			counts["UNSEEN"]++
		}
		if m.flags&mailbox.Trashed != 0 {
			counts["DELETED"]++
		}
		if m.item.Wire >= 0 {
			counts["SIZE"] += uint64(m.item.Wire)
		} else {
			unknown = append(unknown, m)
		}
	}
	h.mu.Unlock()
	var text []string
	for _, it := range items {
		if it == "SIZE" {
			if counts[it], err = s.addSizes(h, unknown, counts[it]); err != nil {
				return err
			}
		}
		if it == "APPENDLIMIT" && s.user.limit == 0 {
			text = append(text, it+" NIL")
			continue
		}
		text = append(text, it+" "+strconv.FormatUint(counts[it], 10))
	}
	s.out.line("* STATUS ", s.showName(name), " (", strings.Join(text, " "), ")")
	return nil
}

// addSizes reads the messages whose names don't tell their size.
func (s *session) addSizes(h *hub, list []*message, sum uint64) (uint64, error) {
	other := &session{user: s.user, log: s.log, hub: h}
	for _, m := range list {
		n, err := other.wireSize(m)
		if err != nil && !m.gone {
			return 0, err
		}
		sum += uint64(n)
	}
	return sum, nil
}
