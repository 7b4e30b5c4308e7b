package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/text/encoding/htmlindex"

	"postroad/libmail/mailbox"
	mailtext "postroad/libmail/message"
)

// A candidate is a message that is looked at by a search.
type candidate struct {
	s      *session
	i      int
	m      *message
	flags  mailbox.Flags
	words  []string
	modseq uint64
	recent bool

	f    *os.File
	head *part
	tree *part
}

func (c *candidate) date() (int64, error) {
	c.s.hub.mu.Lock()
	defer c.s.hub.mu.Unlock()
	return c.s.hub.internalDate(c.m)
}

func (c *candidate) digest(level digestLevel) (*digest, error) { return c.s.digest(c.m, level) }

// sent is the time in the Date header, in its own zone.
func (c *candidate) sent() (time.Time, bool, error) {
	d, err := c.digest(digestHeader)
	if err != nil {
		return time.Time{}, false, err
	}
	t, err := mailtext.ParseDate(d.header(headDate))
	return t, err == nil, nil
}

func (c *candidate) open() (err error) {
	if c.f == nil {
		c.s.hub.mu.Lock()
		c.f, err = c.s.hub.box.OpenItem(c.m.item)
		c.s.hub.mu.Unlock()
	}
	return err
}

func (c *candidate) close() {
	if c.f != nil {
		c.f.Close() // it was only read
	}
}

func (c *candidate) header() (*part, error) {
	if c.tree != nil {
		return c.tree, nil
	}
	err := c.open()
	if c.head == nil && err == nil {
		c.head, err = parseHeader(io.NewSectionReader(c.f, 0, 1<<62))
	}
	return c.head, err
}

// contains looks for a folded text in the text parts, and in the header too.
func (c *candidate) contains(needle string, header bool) (bool, error) {
	if err := c.open(); err != nil {
		return false, err
	}
	if c.tree == nil {
		tree, err := parseMessage(io.NewSectionReader(c.f, 0, 1<<62))
		if err != nil {
			return false, err
		}
		c.tree = tree
	}
	if header && c.tree.headerContains(needle) {
		return true, nil
	}
	return c.tree.eachText(c.f, func(_ *part, r io.Reader) (bool, error) { return findText(r, needle) })
}

// headerContains looks into the headers of a message and of its parts.
func (p *part) headerContains(needle string) bool {
	for i := range p.fields {
		if strings.Contains(fold(p.fields[i].name+": "+decodeHeader(p.fields[i].value)), needle) {
			return true
		}
	}
	for _, c := range p.parts {
		if c.headerContains(needle) {
			return true
		}
	}
	return p.inner != nil && p.inner.headerContains(needle)
}

// A searching is a SEARCH, SORT or THREAD command.
type searching struct {
	by       numbering
	extended bool // RETURN was there
	min, max bool
	all      bool
	count    bool
	save     bool
	key      key
	modseq   bool
	highest  uint64
}

func (s *session) search(p *parser) reply    { return s.searchBy(p, byNumber) }
func (s *session) uidSearch(p *parser) reply { return s.searchBy(p, byUID) }

func (s *session) searchBy(p *parser, by numbering) reply {
	x := &searching{by: by}
	p.sp()
	s.parseReturn(p, x)
	problem := s.parseKeys(p, x, "")
	if !p.end() {
		s.forget(x)
		return reply{}
	}
	if problem != "" {
		s.forget(x)
		return no(problem)
	}
	found, err := s.run(x)
	if err != nil {
		s.forget(x)
		return s.failed("search", err)
	}
	s.answer(x, "SEARCH", found)
	return ok("Search completed.")
}

// forget empties the saved result when a command that should set it fails
// (RFC 5182 §2.1).
func (s *session) forget(x *searching) {
	if x.save {
		s.saved = nil
	}
}

// parseReturn takes "RETURN (...) " (RFC 4731 §3.1).
func (s *session) parseReturn(p *parser, x *searching) {
	if !p.comes("RETURN ") {
		return
	}
	p.word()
	p.sp()
	x.extended = true
	p.list(func() {
		switch w := p.word(); w {
		case "MIN":
			x.min = true
		case "MAX":
			x.max = true
		case "ALL":
			x.all = true
		case "COUNT":
			x.count = true
		case "SAVE":
			x.save = true
		default:
			p.fail("Unknown return option %s", w)
		}
	})
	p.sp()
	if !x.min && !x.max && !x.count && !x.save {
		x.all = true
	}
}

// parseKeys takes the charset and the keys. The problem is for a NO.
func (s *session) parseKeys(p *parser, x *searching, charset string) (problem string) {
	if charset == "" && p.comes("CHARSET ") {
		p.word()
		p.sp()
		charset = p.astring()
		p.sp()
	}
	convert := func(text string) string { return text }
	if charset != "" && !strings.EqualFold(charset, "UTF-8") && !strings.EqualFold(charset, "US-ASCII") {
		if !knownCharset(charset) {
			problem = "[BADCHARSET (UTF-8 US-ASCII)] Unknown charset"
		} else if enc, err := htmlindex.Get(strings.ToLower(charset)); err == nil {
			convert = func(text string) string {
				out, err := enc.NewDecoder().String(text)
				if err != nil {
					return text
				}
				return out
			}
		}
	}
	k := &keyParser{parser: p, s: s, convert: convert, now: time.Now()}
	x.key = k.keys()
	if x.modseq = k.modseq; x.modseq && p.err == nil {
		s.enableCondstore()
	}
	return problem
}

// run finds the positions of the messages that the keys choose.
func (s *session) run(x *searching) (found []int, err error) {
	s.refresh().mu.Unlock()
	for i, m := range s.view {
		c := &candidate{s: s, i: i, m: m}
		s.hub.mu.Lock()
		c.flags, c.words, c.modseq, c.recent = m.flags, m.words, m.modseq, s.recent[m]
		s.hub.mu.Unlock()
		yes, err := x.key.test(c)
		c.close()
		if errors.Is(err, fs.ErrNotExist) {
			continue // expunged by somebody else
		}
		if err != nil {
			return nil, err
		}
		if yes {
			found = append(found, i)
			x.highest = max(x.highest, c.modseq)
		}
	}
	return found, nil
}

// numbers are what the client calls messages.
func (s *session) numbers(by numbering, positions []int) []uint32 {
	out := make([]uint32, len(positions))
	for k, i := range positions {
		if by == byUID {
			out[k] = s.view[i].uid
		} else {
			out[k] = uint32(i + 1)
		}
	}
	return out
}

// answer writes the result: rising for SEARCH, sorted for SORT.
func (s *session) answer(x *searching, word string, found []int) {
	numbers := s.numbers(x.by, found)
	if x.save {
		s.save(x, found)
	}
	if !x.extended {
		text := []byte("* " + word)
		for _, n := range numbers {
			text = fmt.Appendf(text, " %d", n)
		}
		if x.modseq && len(numbers) > 0 {
			text = fmt.Appendf(text, " (MODSEQ %d)", x.highest)
		}
		s.out.Write(append(text, "\r\n"...)) // the error sticks
		return
	}
	if x.save && !x.min && !x.max && !x.all && !x.count {
		return
	}
	text := "* ESEARCH (TAG " + str(s.tag) + ")"
	if x.by == byUID {
		text += " UID"
	}
	if n := len(numbers); n > 0 {
		if x.min {
			text += fmt.Sprintf(" MIN %d", numbers[0])
		}
		if x.max {
			text += fmt.Sprintf(" MAX %d", numbers[n-1])
		}
		if x.all {
			text += " ALL " + setText(numbers)
		}
	}
	if x.count {
		text += fmt.Sprintf(" COUNT %d", len(numbers))
	}
	if x.modseq && len(numbers) > 0 {
		text += fmt.Sprintf(" MODSEQ %d", x.highest)
	}
	s.out.line(text)
}

// save keeps the result for "$" (RFC 5182 §2.4): with only MIN or MAX, these.
func (s *session) save(x *searching, found []int) {
	keep := found
	if n := len(found); n > 0 && !x.all && !x.count && (x.min || x.max) {
		keep = nil
		if x.min {
			keep = append(keep, found[0])
		}
		if x.max && (n > 1 || !x.min) {
			keep = append(keep, found[n-1])
		}
	}
	s.saved = []uint32{}
	for _, i := range keep {
		s.saved = append(s.saved, s.view[i].uid)
	}
}
