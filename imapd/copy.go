package main

import (
	"errors"
	"fmt"
	"io/fs"

	"postroad/libmail/mailbox"
)

func (s *session) copy(p *parser) reply    { return s.copyBy(p, byNumber, false) }
func (s *session) uidCopy(p *parser) reply { return s.copyBy(p, byUID, false) }
func (s *session) move(p *parser) reply    { return s.copyBy(p, byNumber, true) }
func (s *session) uidMove(p *parser) reply { return s.copyBy(p, byUID, true) }

// copyBy copies messages, all or none, with their flags and dates (RFC 3501
// §6.4.7), or moves them (RFC 6851).
func (s *session) copyBy(p *parser, by numbering, move bool) reply {
	p.sp()
	set := p.set()
	p.sp()
	name, problem := s.mailboxName(p)
	if !p.end() {
		return reply{}
	}
	if problem != "" {
		return no(problem)
	}
	chosen, problem := s.resolve(set, by)
	if problem != "" {
		return bad(problem)
	}
	if move && s.readOnly {
		return no("[NOPERM] Read-only mailbox.")
	}
	target, err := s.user.hub(name)
	if errors.Is(err, mailbox.ErrNoBox) {
		return no("[TRYCREATE] Mailbox doesn't exist")
	}
	if err != nil {
		return s.failed("copy", err)
	}
	list, moved, err := s.links(target, chosen)
	defer func() {
		for _, a := range list {
			a.Discard() // those that were added have another name by now
		}
	}()
	if errors.Is(err, fs.ErrNotExist) {
		s.refreshSoon()
		return no("[EXPUNGEISSUED] Some of the requested messages no longer exist.")
	}
	if err != nil {
		return s.failed("copy", err)
	}
	if len(list) == 0 {
		return ok("No messages found.")
	}
	if problem := s.overQuotaCopy(moved, move); problem != "" {
		return no(problem)
	}
	to, err := target.add(list)
	if err != nil {
		return s.failed("copy", err)
	}
	from := make([]uint32, len(moved))
	for i, m := range moved {
		from[i] = m.uid
	}
	code := fmt.Sprintf("[COPYUID %d %s %s]", target.validity(), setText(from), setText(to))
	if !move {
		return ok(code + " Copy completed.")
	}
	s.out.line("* OK ", code, " Moved UIDs.")
	if err := s.hub.expunge(moved); err != nil {
		return s.failed("move", err)
	}
	s.sync(allNews)
	if s.qresync {
		return ok(fmt.Sprintf("[HIGHESTMODSEQ %d] Move completed.", s.told))
	}
	return ok("Move completed.")
}

func (s *session) refreshSoon() {
	s.hub.mu.Lock()
	s.hub.dirty = true
	s.hub.mu.Unlock()
}

// links makes additions to the target of messages. Messages that were expunged
// meanwhile are an error: a copy is whole.
func (s *session) links(target *hub, chosen []int) (list []*mailbox.Addition, from []*message, err error) {
	for _, i := range chosen {
		m := s.view[i]
		wire, err := s.wireSize(m)
		if err != nil {
			return list, from, err
		}
		s.hub.mu.Lock()
		a, err := target.box.LinkAddition(s.hub.box, m.item, wire)
		s.hub.mu.Unlock()
		if err != nil {
			return list, from, err
		}
		list, from = append(list, a), append(from, m)
	}
	return list, from, nil
}
