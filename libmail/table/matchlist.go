package table

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// A ListKind says what a match list is asked about.
type ListKind int

const (
	StringList   ListKind = iota // exact words: login names, mydestination
	DomainList                   // domains, perhaps with their subdomains: relay_domains
	NameAddrList                 // a client's name and its address: debug_peer_list
	AddressList                  // an address: mynetworks
)

// maxNesting is how deep files of a match list may name others.
const maxNesting = 10

// A MatchList is the value of a parameter such as mynetworks: words, domains,
// networks, type:name, /file, each with ! for "not". The first that matches
// decides. A nil MatchList matches nothing.
type MatchList struct {
	name    string
	kind    ListKind
	parents Parents
	o       Options
	items   []listItem
}

// A listItem is one element: a word, or a table.
type listItem struct {
	not   bool
	table Table
	text  string
	net   netip.Prefix // the network that text is, if it is one
	err   error        // why text is no network although it looks like one
}

// OpenMatchList reads a list. name is the parameter's, for the log. A /file
// that cannot be read, a table that cannot be opened and a bad network make
// Match fail when it comes to them, not OpenMatchList. A bare ! is an error
// here.
func OpenMatchList(name string, kind ListKind, text string, p Parents, o Options) (*MatchList, error) {
	l := &MatchList{name: name, kind: kind, parents: p, o: o}
	l.o.Fold = FoldNone // names are folded once, before the search
	if err := l.parse(text, false, 0); err != nil {
		l.Close() // the tables were only opened
		return nil, err
	}
	return l, nil
}

// parse adds the elements of text.
func (l *MatchList) parse(text string, not bool, depth int) error {
	for {
		item, rest := nextField(text)
		if item == "" {
			return nil
		}
		if item[0] == '#' {
			l.warn().Warning("%s: #comment after other text is not allowed: %s %.20s...", l.name, item, rest)
			return nil
		}
		text = rest
		no := not
		for strings.HasPrefix(item, "!") {
			no, item = !no, item[1:]
		}
		var err error
		switch {
		case item == "":
			err = fmt.Errorf("%s: no pattern after '!'", l.name)
		case item[0] == '/':
			err = l.file(item, no, depth+1)
		case item[0] != '[' && strings.Contains(item, ":"):
			var t Table
			if t, err = Open(item, l.o); err == nil {
				l.items = append(l.items, listItem{not: no, table: t})
			}
		default:
			l.word(fold(item, l.o.UTF8), no)
		}
		if err != nil {
			return err
		}
	}
}

// file adds what a /file holds.
func (l *MatchList) file(path string, not bool, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("%s: file %s is nested too deep", l.name, path)
	}
	f, err := os.Open(path)
	if err != nil {
		err = fmt.Errorf("open file %s: %w", path, cause(err))
		l.warn().Error("%v", err)
		t := &front{o: l.o, name: "non-existent:" + path, pattern: true}
		t.contents = &broken{t, err}
		l.items = append(l.items, listItem{not: not, table: t})
		return nil
	}
	defer f.Close() // it was only read
	src := NewSource(f, path, l.o.Log)
	for {
		line, _, ok := src.Next()
		if !ok {
			return src.Err()
		}
		if err := l.parse(line, not, depth); err != nil {
			return err
		}
	}
}

const (
	v4Chars = "01234567890."
	v6Chars = v4Chars + "abcdefABCDEF:"
)

// word adds a word, and the network that it may be.
func (l *MatchList) word(text string, not bool) {
	item := listItem{not: not, text: text}
	looksLikeNet := strings.ContainsAny(text, ":/") && strings.Trim(text, v6Chars+"[]/") == ""
	if looksLikeNet && (l.kind == AddressList || l.kind == NameAddrList) {
		item.net, item.err = parseNetwork(text)
	}
	l.items = append(l.items, item)
}

func (l *MatchList) warn() Logger {
	if l.o.Log == nil {
		return quiet{}
	}
	return l.o.Log
}

// Match reports whether the list matches what it is asked about: a name
// (StringList, DomainList), an address (AddressList), or either of the two;
// what is not asked about may be empty. An error is temporary, and logged.
func (l *MatchList) Match(name, addr string) (bool, error) {
	if l == nil {
		return false, nil
	}
	name, addr = fold(name, l.o.UTF8), fold(addr, l.o.UTF8)
	var ip netip.Addr
	if l.kind == AddressList || l.kind == NameAddrList {
		ip, _ = parseIP(addr)
	}
	for i := range l.items {
		it := &l.items[i]
		ok, err := l.matchItem(it, name, addr, ip)
		if err != nil {
			l.warn().Warning("%s: %v", l.name, err)
			return false, err
		}
		if ok {
			return !it.not, nil
		}
	}
	return false, nil
}

// matchItem asks one element.
func (l *MatchList) matchItem(it *listItem, name, addr string, ip netip.Addr) (ok bool, err error) {
	switch l.kind {
	case StringList:
		return l.matchWord(it, name)
	case DomainList:
		return l.matchDomain(it, name)
	case NameAddrList:
		if ok, err = l.matchDomain(it, name); ok || err != nil {
			return ok, err
		}
	case AddressList:
	}
	return l.matchAddress(it, addr, ip)
}

func (l *MatchList) matchWord(it *listItem, word string) (bool, error) {
	if it.table == nil {
		return word == it.text, nil
	}
	_, found, err := it.table.Lookup(word)
	return found, tableProblem(it.table, err)
}

// tableProblem is the error of a lookup for the log.
func tableProblem(t Table, err error) error {
	if err == nil {
		return nil
	}
	return lookupProblem{t.Name(), err}
}

// lookupProblem is the error of a table in a list, whose cause is logged
// already.
type lookupProblem struct {
	table string
	err   error
}

func (p lookupProblem) Error() string { return p.table + ": table lookup problem" }
func (p lookupProblem) Unwrap() error { return p.err }

// matchDomain matches a domain and its parents.
func (l *MatchList) matchDomain(it *listItem, name string) (bool, error) {
	if it.table == nil {
		above, ok := strings.CutSuffix(name, it.text)
		switch {
		case !ok || it.text == "":
			return false, nil
		case above == "":
			return true, nil
		case l.parents == PlainParents:
			return strings.HasSuffix(above, "."), nil
		}
		return it.text[0] == '.', nil
	}
	for key := name; key != ""; key = parent(key, l.parents) {
		if key != name && !fixed(it.table) {
			break
		}
		if _, found, err := it.table.Lookup(key); found || err != nil {
			return found, tableProblem(it.table, err)
		}
	}
	return false, nil
}

// matchAddress matches an address; text that is none matches nothing.
func (l *MatchList) matchAddress(it *listItem, addr string, ip netip.Addr) (bool, error) {
	if addr == "" || strings.Trim(addr, v6Chars) != "" {
		return false, nil
	}
	switch {
	case it.table != nil:
		return l.matchWord(it, addr)
	case addr == it.text || "["+addr+"]" == it.text:
		return true, nil
	case strings.Contains(addr, ":") != strings.Contains(it.text, ":"):
		return false, nil
	case it.err != nil:
		return false, it.err
	}
	return it.net.IsValid() && it.net.Contains(ip), nil
}

// Close closes the tables in the list.
func (l *MatchList) Close() error {
	if l == nil {
		return nil
	}
	var err error
	for i := range l.items {
		if t := l.items[i].table; t != nil {
			err = errors.Join(err, t.Close())
		}
	}
	return err
}
