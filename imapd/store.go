package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"postroad/libmail/mailbox"
)

// storeBatch is how many messages are changed under one lock.
const storeBatch = 200

// change changes a message's flags on disk and in memory. The lock is held.
func (h *hub) change(m *message, how mailbox.Change, flags mailbox.Flags, words []string, modseq uint64) error {
	if err := h.box.Store(m.item, how, flags, words); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			h.dirty = true
		}
		return err
	}
	if m.take(m.item) {
		m.modseq, h.modseq = modseq, modseq
		h.notify()
	}
	return nil
}

// A storing is a STORE command (RFC 3501 §6.4.6, RFC 7162 §3.1.3).
type storing struct {
	how       mailbox.Change
	silent    bool
	flags     mailbox.Flags
	words     []string
	unchanged bool
	since     uint64 // UNCHANGEDSINCE
}

func (s *session) store(p *parser) reply    { return s.storeBy(p, byNumber) }
func (s *session) uidStore(p *parser) reply { return s.storeBy(p, byUID) }

func (s *session) storeBy(p *parser, by numbering) reply {
	p.sp()
	set := p.set()
	p.sp()
	var x storing
	if p.peek() == '(' {
		p.list(func() {
			if w := p.word(); w != "UNCHANGEDSINCE" {
				p.fail("Unknown modifier %s", w)
			}
			p.sp()
			x.unchanged, x.since = true, uint64(p.number64())
		})
		p.sp()
	}
	word := p.word()
	word, x.silent = strings.CutSuffix(word, ".SILENT")
	switch word {
	case "FLAGS":
		x.how = mailbox.SetFlags
	case "+FLAGS":
		x.how = mailbox.AddFlags
	case "-FLAGS":
		x.how = mailbox.RemoveFlags
	default:
		p.fail("Invalid item %s", word)
	}
	var list []string
	p.sp()
	if list = p.flags(); !p.end() {
		return reply{}
	}
	var problem string
	if x.flags, x.words, problem = parseFlags(list); problem != "" {
		return bad(problem)
	}
	if s.readOnly {
		return no("[NOPERM] Read-only mailbox.")
	}
	chosen, problem := s.resolve(set, by)
	if problem != "" {
		return bad(problem)
	}
	if x.unchanged {
		s.enableCondstore()
	}
	return s.runStore(&x, chosen, by)
}

func (s *session) runStore(x *storing, chosen []int, by numbering) reply {
	var modified []uint32
	s.refresh().mu.Unlock()
	for len(chosen) > 0 {
		batch := chosen[:min(len(chosen), storeBatch)]
		chosen = chosen[len(batch):]
		text, late, err := s.storeSome(x, batch, by)
		s.out.Write(text) // the error sticks
		modified = append(modified, late...)
		if errors.Is(err, mailbox.ErrKeywords) {
			return no("[LIMIT] The mailbox has too many keywords.")
		}
		if err != nil {
			return s.failed("store", err)
		}
	}
	if len(modified) > 0 {
		return ok(fmt.Sprintf("[MODIFIED %s] Conditional store failed.", setText(modified)))
	}
	return ok("Store completed.")
}

// storeSome changes some messages and makes the text about them. late are the
// numbers of those that UNCHANGEDSINCE spares.
func (s *session) storeSome(x *storing, batch []int, by numbering) (text []byte, late []uint32, err error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	next := h.modseq + 1
	type told struct {
		i    int
		full bool // the flags, not only the modseq
	}
	var done []told
	for _, i := range batch {
		m := s.view[i]
		if m.gone {
			continue
		}
		if x.unchanged && m.modseq > x.since {
			if by == byUID {
				late = append(late, m.uid)
			} else {
				late = append(late, uint32(i+1))
			}
			continue
		}
		before := m.modseq
		stale := before > s.scanned && s.own[m] != before // somebody else changed it meanwhile
		switch err := h.change(m, x.how, x.flags, x.words, next); {
		case errors.Is(err, fs.ErrNotExist):
			continue // expunged by somebody else
		case err != nil:
			return text, late, err
		}
		if !x.silent || stale || s.condstore && m.modseq != before {
			done = append(done, told{i, !x.silent || stale})
		}
		s.own[m] = m.modseq
	}
	text = s.tellWords(text, h)
	for _, d := range done {
		m := s.view[d.i]
		if d.full {
			text = s.appendFlags(text, d.i, m, by == byUID)
			continue
		}
		text = fmt.Appendf(text, "* %d FETCH (", d.i+1)
		if by == byUID || s.qresync {
			text = fmt.Appendf(text, "UID %d ", m.uid)
		}
		text = fmt.Appendf(text, "MODSEQ (%d))\r\n", m.modseq)
	}
	return text, late, nil
}
