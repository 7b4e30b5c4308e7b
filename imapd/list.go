package main

import (
	"slices"
	"strings"

	"postroad/libmail/mailbox"
)

// specialUses are the standard folders (RFC 6154 §2).
var specialUses = []struct{ name, use string }{
	{"Drafts", `\Drafts`},
	{"Sent", `\Sent`},
	{"Junk", `\Junk`},
	{"Trash", `\Trash`},
	{"Archive", `\Archive`},
}

func specialUse(name string) string {
	for _, s := range specialUses {
		if strings.EqualFold(s.name, name) {
			return s.use
		}
	}
	return ""
}

// maxPatterns bounds the patterns of one LIST.
const maxPatterns = 64

// A listing is a LIST or LSUB command (RFC 3501 §6.3.8, RFC 5258).
type listing struct {
	word     string // LIST, XLIST or LSUB
	patterns []string

	subscribed, recursive, special                 bool // selection
	wantChildren, wantSubscribed, wantUse, extends bool // return
	remote                                         bool
	status                                         []string // items of RETURN (STATUS ...)
}

func (s *session) list(p *parser) reply {
	l := &listing{word: "LIST"}
	p.sp()
	if p.peek() == '(' {
		l.extends = true
		l.selection(p)
		p.sp()
	}
	reference := p.astring()
	p.sp()
	if p.peek() == '(' {
		l.extends = true
		p.list(func() {
			if len(l.patterns) >= maxPatterns {
				p.fail("Too many patterns")
			}
			l.patterns = append(l.patterns, p.pattern())
		})
	} else {
		l.patterns = []string{p.pattern()}
	}
	if p.is(' ') {
		if w := p.word(); w != "RETURN" {
			p.fail("Unknown parameter %s", w)
		}
		l.extends = true
		p.sp()
		l.returns(p)
	}
	if !p.end() {
		return reply{}
	}
	if !l.extends && l.patterns[0] == "" {
		s.out.line(`* LIST (\Noselect) "." ""`)
		return ok("List completed.")
	}
	return s.runList(l, reference)
}

func (s *session) lsub(p *parser) reply {
	l := &listing{word: "LSUB", subscribed: true}
	p.sp()
	reference := p.astring()
	p.sp()
	l.patterns = []string{p.pattern()}
	if !p.end() {
		return reply{}
	}
	return s.runList(l, reference)
}

// selection takes the options in front (RFC 5258 §3.1).
func (l *listing) selection(p *parser) {
	p.list(func() {
		switch w := p.word(); w {
		case "SUBSCRIBED":
			l.subscribed, l.wantSubscribed = true, true
		case "RECURSIVEMATCH":
			l.recursive = true
		case "REMOTE":
			l.remote = true // there are none
		case "SPECIAL-USE":
			l.special, l.wantUse = true, true
		default:
			p.fail("Unknown select option %s", w)
		}
	})
	if l.recursive && !l.subscribed && !l.special {
		p.fail("RECURSIVEMATCH must not be the only selection option")
	}
}

// returns takes the options behind (RFC 5258 §3.2, RFC 5819).
func (l *listing) returns(p *parser) {
	p.list(func() {
		switch w := p.word(); w {
		case "CHILDREN":
			l.wantChildren = true
		case "SUBSCRIBED":
			l.wantSubscribed = true
		case "SPECIAL-USE":
			l.wantUse = true
		case "STATUS":
			p.sp()
			l.status = parseStatusItems(p)
		default:
			p.fail("Unknown return option %s", w)
		}
	})
}

// A listed is a name that may be shown.
type listed struct {
	exists, subscribed bool
	child              bool // a subscribed or special inferior exists
}

func (s *session) runList(l *listing, reference string) reply {
	names, err := s.user.tree.Names()
	if err != nil {
		return s.failed("list mailboxes", err)
	}
	subs, err := s.user.tree.Subscriptions()
	if err != nil {
		return s.failed("list subscriptions", err)
	}
	var patterns []string
	for _, pat := range l.patterns {
		pat = reference + pat
		if s.utf8 {
			pat = mailbox.EncodeMUTF7(pat)
		}
		if len(pat) >= 5 && strings.EqualFold(pat[:5], mailbox.Inbox) && (len(pat) == 5 || pat[5] == '.') {
			pat = mailbox.Inbox + pat[5:]
		}
		patterns = append(patterns, pat)
	}
	all := collect(names, subs)
	var keys []string
	for name := range all {
		keys = append(keys, name)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if (a == mailbox.Inbox) != (b == mailbox.Inbox) {
			if a == mailbox.Inbox {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, name := range keys {
		matches := slices.ContainsFunc(patterns, func(pat string) bool { return matchName(pat, name) })
		if !matches && name == mailbox.Inbox {
			matches = slices.ContainsFunc(patterns, func(pat string) bool { return matchName(strings.ToUpper(pat), name) })
		}
		if matches {
			s.showListed(l, name, all, patterns)
		}
	}
	return ok(l.word[:1] + strings.ToLower(l.word[1:]) + " completed.")
}

// collect puts mailboxes, subscriptions and the levels above them together.
func collect(names, subs []string) map[string]*listed {
	all := map[string]*listed{}
	get := func(name string) *listed {
		if all[name] == nil {
			all[name] = &listed{}
		}
		return all[name]
	}
	above := func(name string, f func(*listed)) {
		for i := strings.LastIndexByte(name, '.'); i > 0; i = strings.LastIndexByte(name[:i], '.') {
			f(get(name[:i]))
		}
	}
	for _, n := range names {
		get(n).exists = true
		above(n, func(*listed) {})
	}
	for _, n := range subs {
		get(n).subscribed = true
		above(n, func(p *listed) { p.child = true })
	}
	return all
}

// hasChildren reports whether a mailbox below name exists.
func hasChildren(name string, all map[string]*listed) bool {
	for n, x := range all {
		if x.exists && strings.HasPrefix(n, name+mailbox.Separator) {
			return true
		}
	}
	return false
}

// showListed writes the line of one name, if the selection takes it.
func (s *session) showListed(l *listing, name string, all map[string]*listed, patterns []string) {
	x := all[name]
	children := hasChildren(name, all)
	var attrs []string
	info := ""
	switch {
	case l.word == "LSUB":
		if !x.subscribed {
			if !x.child || !strings.HasSuffix(patterns[0], "%") {
				return
			}
			attrs = append(attrs, `\Noselect`)
		}
	case l.subscribed:
		deeper := l.recursive && x.child && hiddenChild(name, all, patterns)
		if !x.subscribed && !deeper {
			return
		}
		if deeper {
			info = ` ("CHILDINFO" ("SUBSCRIBED"))`
		}
		if !x.exists {
			attrs = append(attrs, `\NonExistent`)
		}
	case !x.exists && !children:
		return // only a subscription
	case !x.exists:
		attrs = append(attrs, `\NonExistent`, `\Noselect`)
	}
	use := specialUse(name)
	if l.special && use == "" {
		return
	}
	if x.subscribed && (l.wantSubscribed || l.subscribed) && l.word != "LSUB" {
		attrs = append(attrs, `\Subscribed`)
	}
	if l.word != "LSUB" && (!l.extends || l.wantChildren || !l.subscribed) {
		if children {
			attrs = append(attrs, `\HasChildren`)
		} else {
			attrs = append(attrs, `\HasNoChildren`)
		}
	}
	if use != "" && x.exists && l.word != "LSUB" && (l.wantUse || !l.extends || !l.subscribed) {
		attrs = append(attrs, use)
	}
	s.out.line("* ", l.word, " (", strings.Join(attrs, " "), `) "." `, s.showName(name), info)
	if l.status != nil && x.exists {
		s.showStatus(name, l.status) // one that can't be had is left out (RFC 5819 §2)
	}
}

// hiddenChild reports whether a subscribed name below this one does not match
// the patterns itself (RFC 5258 §3.5).
func hiddenChild(name string, all map[string]*listed, patterns []string) bool {
	for n, x := range all {
		if x.subscribed && strings.HasPrefix(n, name+mailbox.Separator) &&
			!slices.ContainsFunc(patterns, func(pat string) bool { return matchName(pat, n) }) {
			return true
		}
	}
	return false
}

// matchName compares a name with a pattern: "*" stands for anything, "%" for
// anything within one level (RFC 3501 §6.3.8). Its time is bounded by the
// product of the lengths.
func matchName(pattern, name string) bool {
	row := make([]bool, len(name)+1) // row[i]: the pattern so far matches name[:i]
	row[0] = true
	for _, c := range []byte(pattern) {
		switch c {
		case '*', '%':
			for i := 1; i <= len(name); i++ {
				row[i] = row[i] || row[i-1] && (c == '*' || name[i-1] != mailbox.Separator[0])
			}
		default:
			for i := len(name); i > 0; i-- {
				row[i] = row[i-1] && name[i-1] == c
			}
			row[0] = false
		}
	}
	return row[len(name)]
}
