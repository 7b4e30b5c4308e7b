package main

import (
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// A node is a place in a thread: a message, or one that is only referred to.
type node struct {
	i        int // position in the view; -1: none
	id       string
	subject  string
	reply    bool
	date     int64
	parent   *node
	children []*node
}

func (s *session) thread(p *parser) reply    { return s.threadBy(p, byNumber) }
func (s *session) uidThread(p *parser) reply { return s.threadBy(p, byUID) }

func (s *session) threadBy(p *parser, by numbering) reply {
	x := &searching{by: by}
	p.sp()
	how := p.word()
	p.sp()
	charset := p.astring()
	p.sp()
	if how != "REFERENCES" && how != "ORDEREDSUBJECT" && how != "REFS" {
		p.fail("Unknown thread algorithm %s", how)
	}
	problem := s.parseKeys(p, x, charset)
	if !p.end() {
		return reply{}
	}
	if problem != "" {
		return no(problem)
	}
	found, err := s.run(x)
	if err != nil {
		return s.failed("thread", err)
	}
	nodes, refs, err := s.nodes(found)
	if err != nil {
		return s.failed("thread", err)
	}
	var roots []*node
	switch how {
	case "ORDEREDSUBJECT":
		roots = orderedSubject(nodes)
	case "REFERENCES":
		roots = groupSubjects(prune(linkReferences(nodes, refs)))
		sortThreads(roots)
	default:
		roots = prune(linkReferences(nodes, refs))
		sortThreads(roots)
		slices.SortStableFunc(roots, func(a, b *node) int { return compareInt(a.latest(), b.latest()) })
	}
	text := []byte("* THREAD")
	if len(roots) > 0 {
		text = append(text, ' ')
	}
	for _, r := range roots {
		text = s.appendThread(append(text, '('), r, by)
		text = append(text, ')')
	}
	s.out.Write(append(text, "\r\n"...)) // the error sticks
	return ok("Thread completed.")
}

func compareInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// nodes makes a node of each message, and lists what each refers to.
func (s *session) nodes(found []int) (nodes []*node, refs [][]string, err error) {
	for _, i := range found {
		m := s.view[i]
		d, err := s.digest(m, digestHeader)
		if errors.Is(err, fs.ErrNotExist) {
			continue // expunged by somebody else
		}
		if err != nil {
			return nil, nil, err
		}
		n := &node{i: i}
		if n.date, err = s.sentDate(m); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		base, isReply := baseSubject(d.header(headSubject))
		n.subject, n.reply = fold(base), isReply
		if ids := messageIDs(d.header(headMessageID)); len(ids) > 0 {
			n.id = ids[0]
		}
		list := messageIDs(d.header(headReferences))
		if len(list) == 0 {
			if list = messageIDs(d.header(headInReplyTo)); len(list) > 1 {
				list = list[:1]
			}
		}
		nodes, refs = append(nodes, n), append(refs, list)
	}
	return nodes, refs, nil
}

// maxReferences bounds the references of one message.
const maxReferences = 1000

// messageIDs takes the message ids out of a header, normalized: no comments,
// no quotes that are not needed (RFC 5256 §4).
func messageIDs(text string) (ids []string) {
	for len(ids) < maxReferences {
		_, rest, found := strings.Cut(text, "<")
		if !found {
			return ids
		}
		var b strings.Builder
		l := words{text: rest}
		for l.at < len(rest) && rest[l.at] != '>' {
			c := rest[l.at]
			l.at++
			switch c {
			case '"':
				b.WriteString(l.quoted())
			case '(':
				l.comment()
			case ' ', '\t', '<':
			default:
				b.WriteByte(c)
			}
		}
		if id := b.String(); l.at < len(rest) && strings.Contains(id, "@") {
			ids = append(ids, id)
		}
		text = rest[min(l.at, len(rest)):]
	}
	return ids
}

// linkReferences makes trees by the references (RFC 5256 §3, steps 1 and 2).
func linkReferences(nodes []*node, refs [][]string) (roots []*node) {
	byID := map[string]*node{}
	var all []*node
	get := func(id string) *node {
		n := byID[id]
		if n == nil {
			n = &node{i: -1, id: id}
			byID[id] = n
			all = append(all, n)
		}
		return n
	}
	for k, m := range nodes {
		n := m
		switch old := byID[m.id]; {
		case m.id == "" || old != nil && old.i >= 0: // none, or a double: unique
			all = append(all, n)
		case old != nil: // was only referred to
			old.i, old.subject, old.reply, old.date = m.i, m.subject, m.reply, m.date
			n = old
		default:
			byID[m.id] = n
			all = append(all, n)
		}
		var last *node
		for _, id := range refs[k] {
			r := get(id)
			if last != nil && r.parent == nil && !r.above(last) && r != last {
				r.setParent(last)
			}
			last = r
		}
		n.setParent(nil) // what the message says itself counts more than what others say about it
		if last != nil && !n.above(last) {
			n.setParent(last)
		}
	}
	for _, n := range all {
		if n.parent == nil {
			roots = append(roots, n)
		}
	}
	return roots
}

// above reports whether n is an ancestor of x.
func (n *node) above(x *node) bool {
	for ; x != nil; x = x.parent {
		if x == n {
			return true
		}
	}
	return false
}

func (n *node) setParent(p *node) {
	if n.parent != nil {
		n.parent.children = slices.DeleteFunc(n.parent.children, func(c *node) bool { return c == n })
	}
	if n.parent = p; p != nil {
		p.children = append(p.children, n)
	}
}

// prune drops places without a message (RFC 5256 §3, step 4).
func prune(roots []*node) (kept []*node) {
	for _, r := range roots {
		r.children = pruneBelow(r)
		switch {
		case r.i >= 0:
			kept = append(kept, r)
		case len(r.children) == 1:
			c := r.children[0]
			c.parent = nil
			kept = append(kept, c)
		case len(r.children) > 1:
			kept = append(kept, r)
		}
	}
	return kept
}

// pruneBelow replaces empty places by their children. It keeps its own stack,
// as threads may be deep.
func pruneBelow(root *node) (kept []*node) {
	var order []*node
	stack := []*node{root}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		order = append(order, n)
		stack = append(stack, n.children...)
	}
	for k := len(order) - 1; k >= 0; k-- {
		n := order[k]
		var list []*node
		for _, c := range n.children {
			if c.i >= 0 {
				list = append(list, c)
				continue
			}
			for _, g := range c.children {
				g.parent = n
				list = append(list, g)
			}
		}
		n.children = list
	}
	return root.children
}

// first is the first message of a thread: its root, or the first child of a
// root without one.
func (n *node) first() *node {
	if n.i < 0 && len(n.children) > 0 {
		first := n.children[0]
		for _, c := range n.children[1:] {
			if compareNodes(c, first) < 0 {
				first = c
			}
		}
		return first
	}
	return n
}

func (n *node) latest() int64 {
	latest := n.date
	for stack := []*node{n}; len(stack) > 0; {
		x := stack[len(stack)-1]
		stack = append(stack[:len(stack)-1], x.children...)
		if x.i >= 0 {
			latest = max(latest, x.date)
		}
	}
	return latest
}

// groupSubjects joins threads with the same base subject (RFC 5256 §3, step
// 5).
func groupSubjects(roots []*node) []*node {
	slices.SortStableFunc(roots, func(a, b *node) int { return compareNodes(a.first(), b.first()) })
	table := map[string]*node{}
	for _, r := range roots {
		f := r.first()
		if f.subject == "" {
			continue
		}
		old := table[f.subject]
		if old == nil || r.i < 0 && old.i >= 0 || old.i >= 0 && r.i >= 0 && old.reply && !r.reply {
			table[f.subject] = r
		}
	}
	var out []*node
	moved := map[*node]bool{}
	replaced := map[*node]*node{}
	for _, r := range roots {
		f := r.first()
		t := table[f.subject]
		if f.subject == "" || t == nil || t == r {
			continue
		}
		switch {
		case t.i < 0 && r.i < 0:
			for _, c := range r.children {
				c.parent = t
			}
			t.children = append(t.children, r.children...)
		case t.i < 0:
			r.parent = t
			t.children = append(t.children, r)
		case r.reply && !t.reply:
			r.parent = t
			t.children = append(t.children, r)
		default:
			dummy := &node{i: -1, subject: f.subject}
			for _, c := range []*node{t, r} {
				c.parent = dummy
				dummy.children = append(dummy.children, c)
			}
			table[f.subject], replaced[t] = dummy, dummy
		}
		moved[r] = true
	}
	for _, r := range roots {
		if moved[r] {
			continue
		}
		if d := replaced[r]; d != nil {
			r = d
		}
		out = append(out, r)
	}
	return out
}

func compareNodes(a, b *node) int {
	if c := compareInt(a.date, b.date); c != 0 {
		return c
	}
	return a.i - b.i
}

// sortThreads sorts roots and siblings by their sent date (RFC 5256 §3, steps
// 3 and 6).
func sortThreads(roots []*node) {
	less := func(a, b *node) int { return compareNodes(a.first(), b.first()) }
	slices.SortStableFunc(roots, less)
	for stack := slices.Clone(roots); len(stack) > 0; {
		n := stack[len(stack)-1]
		stack = append(stack[:len(stack)-1], n.children...)
		slices.SortStableFunc(n.children, less)
	}
}

// orderedSubject makes a thread of each base subject, one level deep (RFC 5256
// §3).
func orderedSubject(nodes []*node) (roots []*node) {
	slices.SortStableFunc(nodes, compareNodes)
	bySubject := map[string]*node{}
	for _, n := range nodes {
		if first := bySubject[n.subject]; first != nil {
			first.children = append(first.children, n)
			continue
		}
		bySubject[n.subject] = n
		roots = append(roots, n)
	}
	return roots
}

// appendThread writes a thread (RFC 5256 §4). A chain is written in a loop, so
// that only branches nest.
func (s *session) appendThread(text []byte, n *node, by numbering) []byte {
	for first := true; ; first = false {
		if n.i >= 0 {
			if !first {
				text = append(text, ' ')
			}
			number := uint64(n.i + 1)
			if by == byUID {
				number = uint64(s.view[n.i].uid)
			}
			text = strconv.AppendUint(text, number, 10)
		}
		switch len(n.children) {
		case 0:
			return text
		case 1:
			n = n.children[0]
			continue
		}
		if n.i >= 0 {
			text = append(text, ' ')
		}
		for _, c := range n.children {
			text = s.appendThread(append(text, '('), c, by)
			text = append(text, ')')
		}
		return text
	}
}
