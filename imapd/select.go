package main

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"postroad/libmail/mailbox"
)

const noSuchBox = "[NONEXISTENT] Mailbox doesn't exist"

// treeName brings a client's mailbox name into the form of the tree.
func (s *session) treeName(text string) (name, problem string) {
	if s.utf8 {
		text = mailbox.EncodeMUTF7(strings.ToValidUTF8(text, ""))
	}
	name, err := mailbox.CheckName(text)
	if err != nil {
		return "", "[CANNOT] Invalid mailbox name"
	}
	return name, ""
}

// fromTree is the UTF-8 form of a name.
func fromTree(name string) (string, bool) {
	text, err := mailbox.DecodeMUTF7(name)
	return text, err == nil
}

// A resync is what a client still knows of a mailbox (RFC 7162 §3.2.5).
type resync struct {
	given    bool
	validity uint32
	modseq   uint64
	known    numberSet
	hasKnown bool
}

func (s *session) selectBox(p *parser) reply { return s.open(p, false) }

func (s *session) examine(p *parser) reply { return s.open(p, true) }

// open selects a mailbox (RFC 3501 §6.3.1).
func (s *session) open(p *parser, readOnly bool) reply {
	p.sp()
	name, problem := s.mailboxName(p)
	condstore := false
	var sync resync
	if !p.atEnd() {
		p.sp()
		p.list(func() {
			switch w := p.word(); w {
			case "CONDSTORE":
				condstore = true
			case "QRESYNC":
				p.sp()
				sync = parseResync(p)
			default:
				p.fail("Unknown parameter %s", w)
			}
		})
	}
	if sync.given && !s.qresync {
		p.fail("QRESYNC not enabled")
	}
	if !p.end() {
		return reply{}
	}
	if s.hub != nil {
		s.detach()
		s.out.line("* OK [CLOSED] Previous mailbox closed.")
	}
	if condstore {
		s.condstore = true
	}
	if problem != "" {
		return no(problem)
	}
	for range 3 { // a hub may be closed before we are in it
		h, err := s.user.hub(name)
		switch {
		case errors.Is(err, mailbox.ErrNoBox):
			return no(noSuchBox)
		case err != nil:
			return s.failed("open mailbox "+name, err)
		}
		if s.attach(h, readOnly, sync) {
			if readOnly {
				return ok("[READ-ONLY] Examine completed.")
			}
			return ok("[READ-WRITE] Select completed.")
		}
	}
	return no("[UNAVAILABLE] Mailbox can't be opened now.")
}

// failed logs an error and makes a reply of it that says no more than needed.
func (s *session) failed(what string, err error) reply {
	s.log.Warning("imap(%s): %s: %v", s.user.name, what, err)
	if isFull(err) {
		return no("[OVERQUOTA] Not enough disk space")
	}
	return no("[SERVERBUG] Internal error occurred. Refer to server log for more information.")
}

func parseResync(p *parser) (r resync) {
	r.given = true
	p.want('(')
	r.validity = p.number()
	p.sp()
	r.modseq = uint64(p.number64())
	if p.is(' ') {
		if p.peek() != '(' {
			r.known, r.hasKnown = p.set(), true
			if !p.is(' ') {
				p.want(')')
				return r
			}
		}
		p.want('(') // what numbers some UIDs have: a hint that we don't need
		p.set()
		p.sp()
		p.set()
		p.want(')')
	}
	p.want(')')
	return r
}

// attach makes a hub the session's mailbox and tells about it.
func (s *session) attach(h *hub, readOnly bool, sync resync) bool {
	h.u.watch.drain()
	h.mu.Lock()
	if err := h.refresh(); err != nil {
		s.log.Warning("imap(%s): %s: %v", s.user.name, h.name, err)
	}
	if h.deleted != "" {
		h.mu.Unlock()
		return false
	}
	s.hub, s.readOnly = h, readOnly
	s.news = make(chan struct{}, 1)
	h.sessions[s] = s.news
	s.own, s.recent = map[*message]uint64{}, map[*message]bool{}
	s.view = append([]*message(nil), h.msgs...)
	unseen := 0
	for i, m := range s.view {
		s.claim(h, m)
		if unseen == 0 && m.flags&mailbox.Seen == 0 {
			unseen = i + 1
		}
	}
	s.scanned, s.told = h.modseq, h.modseq
	s.words = len(h.box.Keywords())
	text := s.appendWords(nil, h)
	text = fmt.Appendf(text, "* %d EXISTS\r\n* %d RECENT\r\n", len(s.view), len(s.recent))
	if unseen > 0 {
		text = fmt.Appendf(text, "* OK [UNSEEN %d] First unseen.\r\n", unseen)
	}
	text = fmt.Appendf(text, "* OK [UIDVALIDITY %d] UIDs valid\r\n* OK [UIDNEXT %d] Predicted next UID\r\n* OK [HIGHESTMODSEQ %d] Highest\r\n",
		h.box.UIDValidity(), h.box.UIDNext(), h.modseq)
	if sync.given && sync.validity == h.box.UIDValidity() {
		text = s.appendResync(text, h, sync)
	}
	h.mu.Unlock()
	s.out.Write(text) // the error sticks
	return true
}

// appendResync tells what has changed since the client was here (RFC 7162
// §3.2.5).
func (s *session) appendResync(text []byte, h *hub, r resync) []byte {
	known := []span{{1, max(h.box.UIDNext(), 2) - 1}}
	if r.hasKnown && !r.known.saved {
		known = r.known.normal(max(h.box.UIDNext(), 2) - 1)
	}
	if gone := h.vanishedSince(r.modseq, known); len(gone) > 0 {
		text = fmt.Appendf(text, "* VANISHED (EARLIER) %s\r\n", setText(gone))
	}
	for i, m := range s.view {
		if m.modseq > r.modseq && contains(known, m.uid) {
			text = s.appendFlags(text, i, m, true)
		}
	}
	return text
}

// vanishedSince are the UIDs among known that were expunged after a modseq;
// when we have forgotten that far back, all that are not here. The lock is
// held.
func (h *hub) vanishedSince(modseq uint64, known []span) (gone []uint32) {
	if modseq >= h.goneFrom {
		for _, v := range h.gone {
			if v.modseq > modseq && contains(known, v.uid) {
				gone = append(gone, v.uid)
			}
		}
		sort.Slice(gone, func(i, j int) bool { return gone[i] < gone[j] })
		return gone
	}
	limit := h.box.UIDNext() - 1
	i := 0
	for _, r := range known {
		for uid := uint64(r.first); uid <= uint64(min(r.last, limit)); uid++ {
			for i < len(h.msgs) && uint64(h.msgs[i].uid) < uid {
				i++
			}
			if i == len(h.msgs) || uint64(h.msgs[i].uid) != uid {
				gone = append(gone, uint32(uid))
			}
		}
	}
	return gone
}

func (s *session) unselect(p *parser) reply {
	if !p.end() {
		return reply{}
	}
	s.detach()
	return ok("Unselect completed.")
}

// closeBox leaves the mailbox and expunges without a word (RFC 3501 §6.4.2).
func (s *session) closeBox(p *parser) reply {
	if !p.end() {
		return reply{}
	}
	if !s.readOnly {
		if err := s.expungeDeleted(func(*message) bool { return true }); err != nil {
			return s.failed("expunge", err)
		}
	}
	text := "Close completed."
	if s.qresync {
		s.hub.mu.Lock()
		text = fmt.Sprintf("[HIGHESTMODSEQ %d] %s", s.hub.modseq, text)
		s.hub.mu.Unlock()
	}
	s.detach()
	return ok(text)
}

// expungeDeleted removes messages that are marked \Deleted.
func (s *session) expungeDeleted(among func(*message) bool) error {
	h := s.refresh()
	var list []*message
	for _, m := range s.view {
		if m.flags&mailbox.Trashed != 0 && !m.gone && among(m) {
			list = append(list, m)
		}
	}
	h.mu.Unlock()
	return h.expunge(list)
}

func (s *session) expunge(p *parser) reply {
	if !p.end() {
		return reply{}
	}
	return s.expungeSome(func(*message) bool { return true })
}

// uidExpunge removes only some of the marked messages (RFC 4315 §2.1).
func (s *session) uidExpunge(p *parser) reply {
	p.sp()
	set := p.set()
	if !p.end() {
		return reply{}
	}
	chosen, problem := s.resolve(set, byUID)
	if problem != "" {
		return bad(problem)
	}
	in := map[*message]bool{}
	for _, i := range chosen {
		in[s.view[i]] = true
	}
	return s.expungeSome(func(m *message) bool { return in[m] })
}

func (s *session) expungeSome(among func(*message) bool) reply {
	if s.readOnly {
		return no("[NOPERM] Read-only mailbox.")
	}
	if err := s.expungeDeleted(among); err != nil {
		return s.failed("expunge", err)
	}
	s.sync(allNews)
	if s.qresync {
		return ok(fmt.Sprintf("[HIGHESTMODSEQ %d] Expunge completed.", s.told))
	}
	return ok("Expunge completed.")
}

// A numbering says what the numbers of a set are.
type numbering uint8

const (
	byNumber numbering = iota
	byUID
)

// resolve turns a set into positions in the view, rising. Message numbers that
// do not exist are a mistake of the client's; UIDs that do not exist are none.
func (s *session) resolve(set numberSet, by numbering) (positions []int, problem string) {
	n := uint32(len(s.view))
	if set.saved {
		for _, uid := range s.saved {
			if i := s.position(uid); i >= 0 {
				positions = append(positions, i)
			}
		}
		return positions, ""
	}
	if by == byNumber {
		if n == 0 {
			return nil, "Invalid messageset"
		}
		for _, r := range set.normal(n) {
			if r.last > n {
				return nil, "Invalid messageset"
			}
			for i := r.first; i <= r.last; i++ {
				positions = append(positions, int(i-1))
			}
		}
		return positions, ""
	}
	if n == 0 {
		return nil, ""
	}
	for _, r := range set.normal(s.view[n-1].uid) {
		i := sort.Search(len(s.view), func(i int) bool { return s.view[i].uid >= r.first })
		for ; i < len(s.view) && s.view[i].uid <= r.last; i++ {
			positions = append(positions, i)
		}
	}
	return positions, ""
}

// position is where a UID is in the view, or -1.
func (s *session) position(uid uint32) int {
	i := sort.Search(len(s.view), func(i int) bool { return s.view[i].uid >= uid })
	if i < len(s.view) && s.view[i].uid == uid {
		return i
	}
	return -1
}
