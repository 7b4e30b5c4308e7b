package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"postroad/libmail/mailbox"
)

// A fetchKind is a data item of FETCH (RFC 3501 §6.4.5).
type fetchKind uint8

const (
	fetchFlags fetchKind = iota
	fetchUID
	fetchDate
	fetchSize
	fetchEnvelope
	fetchBody
	fetchStructure
	fetchModseq
	fetchPreview
	fetchSection
)

// A fetchItem is one thing that a client wants of a message.
type fetchItem struct {
	kind    fetchKind
	section *section
	lazy    bool // PREVIEW (LAZY)
}

// fetchWords are the items without arguments.
var fetchWords = map[string][]fetchItem{
	"ALL":           {{kind: fetchFlags}, {kind: fetchDate}, {kind: fetchSize}, {kind: fetchEnvelope}},
	"FAST":          {{kind: fetchFlags}, {kind: fetchDate}, {kind: fetchSize}},
	"FULL":          {{kind: fetchFlags}, {kind: fetchDate}, {kind: fetchSize}, {kind: fetchEnvelope}, {kind: fetchBody}},
	"FLAGS":         {{kind: fetchFlags}},
	"UID":           {{kind: fetchUID}},
	"INTERNALDATE":  {{kind: fetchDate}},
	"RFC822.SIZE":   {{kind: fetchSize}},
	"ENVELOPE":      {{kind: fetchEnvelope}},
	"BODYSTRUCTURE": {{kind: fetchStructure}},
	"MODSEQ":        {{kind: fetchModseq}},
	"RFC822":        {{kind: fetchSection, section: &section{label: "RFC822"}}},
	"RFC822.HEADER": {{kind: fetchSection, section: &section{label: "RFC822.HEADER", what: wantHeader, peek: true}}},
	"RFC822.TEXT":   {{kind: fetchSection, section: &section{label: "RFC822.TEXT", what: wantText}}},
}

// maxItems bounds the items of one FETCH.
const maxItems = 1000

// A fetching is a FETCH command at work.
type fetching struct {
	*session
	items   []fetchItem
	since   uint64 // CHANGEDSINCE
	gone    bool   // VANISHED
	seen    bool   // some item sets \Seen
	flags   bool   // FLAGS is among the items
	expunge bool   // some message was gone
	problem string // for a NO at the end
	text    []byte
}

func (s *session) fetch(p *parser) reply    { return s.fetchBy(p, byNumber) }
func (s *session) uidFetch(p *parser) reply { return s.fetchBy(p, byUID) }

func (s *session) fetchBy(p *parser, by numbering) reply {
	p.sp()
	set := p.set()
	p.sp()
	f := &fetching{session: s}
	f.parseItems(p)
	if p.is(' ') {
		f.parseModifiers(p)
	}
	if f.gone && (by != byUID || !s.qresync || f.since == 0) {
		p.fail("VANISHED needs UID FETCH, CHANGEDSINCE and QRESYNC")
	}
	if !p.end() {
		return reply{}
	}
	chosen, problem := s.resolve(set, by)
	if problem != "" {
		return bad(problem)
	}
	f.prepare(by)
	if f.gone {
		s.hub.mu.Lock()
		gone := s.hub.vanishedSince(f.since, set.normal(max(s.hub.box.UIDNext(), 2)-1))
		s.hub.mu.Unlock()
		if len(gone) > 0 {
			s.out.line("* VANISHED (EARLIER) ", setText(gone))
		}
	}
	for _, i := range chosen {
		if err := f.message(i); err != nil {
			return s.failed("fetch", err)
		}
		if s.leaving {
			return no("Connection is lost")
		}
	}
	switch {
	case f.problem != "":
		return no(f.problem)
	case f.expunge:
		return no("[EXPUNGEISSUED] Some of the requested messages no longer exist.")
	}
	return ok("Fetch completed.")
}

func (f *fetching) parseItems(p *parser) {
	if p.peek() == '(' {
		p.list(func() { f.parseItem(p) })
		return
	}
	f.parseItem(p)
}

func (f *fetching) parseItem(p *parser) {
	word := p.itemWord()
	if list, known := fetchWords[word]; known && p.peek() != '[' {
		f.items = append(f.items, list...)
		if len(f.items) > maxItems {
			p.fail("Too many items")
		}
		return
	}
	switch word {
	case "BODY":
		if p.peek() != '[' {
			f.items = append(f.items, fetchItem{kind: fetchBody})
			return
		}
		f.add(parseSection(p, "BODY"))
	case "BODY.PEEK":
		x := parseSection(p, "BODY")
		x.peek = true
		f.add(x)
	case "BINARY", "BINARY.PEEK":
		x := parseSection(p, "BINARY")
		x.peek, x.form = word != "BINARY", binaryForm
		f.add(x)
	case "BINARY.SIZE":
		x := parseSection(p, "BINARY.SIZE")
		x.peek, x.form = true, binarySize
		f.add(x)
	case "PREVIEW":
		item := fetchItem{kind: fetchPreview}
		if p.is(' ') { // a modifier, or the next item
			if p.peek() == '(' {
				p.list(func() {
					if w := p.word(); w != "LAZY" {
						p.fail("Unknown modifier")
					}
					item.lazy = true
				})
			} else {
				f.items = append(f.items, item)
				f.parseItem(p)
				return
			}
		}
		f.items = append(f.items, item)
	default:
		p.fail("Unknown parameter %s", word)
	}
}

func (f *fetching) add(x *section) {
	f.items = append(f.items, fetchItem{kind: fetchSection, section: x})
}

// itemWord takes the name of an item, which ends before a section.
func (p *parser) itemWord() string {
	var b []byte
	for c := p.peek(); p.err == nil && !atomSpecial[c] && c != '[' && len(b) < 64; c = p.peek() {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		b = append(b, c)
		p.skip()
	}
	if len(b) == 0 {
		p.fail("Missing argument")
	}
	return string(b)
}

// parseModifiers takes CHANGEDSINCE and VANISHED (RFC 7162 §3.1.4, §3.2.6).
func (f *fetching) parseModifiers(p *parser) {
	p.list(func() {
		switch w := p.word(); w {
		case "CHANGEDSINCE":
			p.sp()
			f.since = max(uint64(p.number64()), 1) // 0 is illegal, but is sent
			f.items = append(f.items, fetchItem{kind: fetchModseq})
		case "VANISHED":
			f.gone = true
		default:
			p.fail("Unknown modifier %s", w)
		}
	})
}

// prepare adds what goes without saying, and drops what is there twice.
func (f *fetching) prepare(by numbering) {
	if by == byUID {
		f.items = append([]fetchItem{{kind: fetchUID}}, f.items...)
	}
	seen := map[fetchKind]bool{}
	kept := f.items[:0]
	for _, it := range f.items {
		if it.kind != fetchSection {
			if seen[it.kind] {
				continue
			}
			seen[it.kind] = true
		} else if !it.section.peek {
			f.seen = true
		}
		if it.kind == fetchModseq {
			f.enableCondstore()
		}
		kept = append(kept, it)
	}
	if f.condstore && seen[fetchFlags] && !seen[fetchModseq] {
		kept = append(kept, fetchItem{kind: fetchModseq})
	}
	f.items, f.flags = kept, seen[fetchFlags]
	f.seen = f.seen && !f.readOnly
}

// message answers for one message.
func (f *fetching) message(i int) error {
	m, h := f.view[i], f.hub
	h.mu.Lock()
	if f.since > 0 && m.modseq <= f.since || m.gone && f.since > 0 {
		h.mu.Unlock()
		return nil
	}
	newlySeen := f.seen && m.flags&mailbox.Seen == 0 && !m.gone
	if newlySeen {
		if err := h.change(m, mailbox.AddFlags, mailbox.Seen, nil, h.modseq+1); err == nil {
			f.own[m] = m.modseq
		} else if !errors.Is(err, fs.ErrNotExist) {
			newlySeen = false
			f.log.Warning("imap(%s): %v", f.user.name, err)
		}
	}
	h.mu.Unlock()
	src := &source{session: f.session, m: m}
	defer src.close()
	if err := src.ready(f.items); errors.Is(err, fs.ErrNotExist) {
		f.expunge = true
		h.mu.Lock()
		h.dirty = true
		h.mu.Unlock()
		return nil
	} else if err != nil {
		return err
	}
	f.text = fmt.Appendf(f.text[:0], "* %d FETCH (", i+1)
	start := len(f.text)
	for _, it := range f.items {
		if len(f.text) > start {
			f.text = append(f.text, ' ')
		}
		if it.kind == fetchSection {
			f.out.Write(f.text) // the error sticks
			start, f.text = -1, f.text[:0]
			if err := src.send(it.section); errors.Is(err, errEncoding) {
				f.problem = "[UNKNOWN-CTE] The part has an unknown transfer encoding."
			} else if err != nil {
				return err
			}
			continue
		}
		if err := f.simple(it, m, src); err != nil {
			return err
		}
	}
	if newlySeen && !f.flags {
		h.mu.Lock()
		if f.condstore {
			f.text = fmt.Appendf(f.text, " MODSEQ (%d)", m.modseq)
		}
		f.text = f.appendFlagList(append(f.text, " FLAGS "...), m)
		h.mu.Unlock()
	}
	f.text = append(f.text, ")\r\n"...)
	_, err := f.out.Write(f.text)
	return err
}

// simple adds an item that is no section of the message.
func (f *fetching) simple(it fetchItem, m *message, src *source) error {
	switch it.kind {
	case fetchUID:
		f.text = strconv.AppendUint(append(f.text, "UID "...), uint64(m.uid), 10)
	case fetchFlags:
		f.hub.mu.Lock()
		f.text = f.appendFlagList(append(f.text, "FLAGS "...), m)
		if m.modseq > f.scanned {
			f.own[m] = m.modseq
		}
		f.hub.mu.Unlock()
	case fetchModseq:
		f.hub.mu.Lock()
		f.text = fmt.Appendf(f.text, "MODSEQ (%d)", m.modseq)
		f.hub.mu.Unlock()
	case fetchDate:
		f.text = time.Unix(src.date, 0).AppendFormat(append(f.text, "INTERNALDATE "...), `"_2-Jan-2006 15:04:05 -0700"`)
	case fetchSize:
		f.text = strconv.AppendInt(append(f.text, "RFC822.SIZE "...), src.wire, 10)
	case fetchEnvelope:
		f.text = append(append(f.text, "ENVELOPE "...), src.digest.envelope...)
	case fetchBody:
		f.text = append(append(f.text, "BODY "...), src.digest.body...)
	case fetchStructure:
		f.text = append(append(f.text, "BODYSTRUCTURE "...), src.digest.structure...)
	case fetchPreview:
		f.text = appendString(append(f.text, "PREVIEW "...), src.digest.preview)
	}
	return nil
}
