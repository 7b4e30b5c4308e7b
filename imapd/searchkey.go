package main

import (
	"strings"
	"time"

	"postroad/libmail/mailbox"
)

// Bounds of a search.
const (
	maxKeys      = 1000
	maxKeyNested = 32
)

// A cost says what a key needs of a message; cheap keys are asked first.
type cost uint8

const (
	costFlags cost = iota
	costDate
	costHeader
	costBody
)

// A key is one search key (RFC 3501 §6.4.4).
type key struct {
	cost cost
	test func(c *candidate) (bool, error)
}

// A keyParser takes search keys.
type keyParser struct {
	*parser
	s       *session
	convert func(string) string // from the CHARSET to UTF-8
	n       int
	depth   int
	modseq  bool // MODSEQ is among the keys
	problem string
	now     time.Time
}

// flagKeys are the keys that ask for a flag.
var flagKeys = map[string]struct {
	flag mailbox.Flags
	set  bool
}{
	"ANSWERED": {mailbox.Answered, true}, "UNANSWERED": {mailbox.Answered, false},
	"DELETED": {mailbox.Trashed, true}, "UNDELETED": {mailbox.Trashed, false},
	"DRAFT": {mailbox.Draft, true}, "UNDRAFT": {mailbox.Draft, false},
	"FLAGGED": {mailbox.Flagged, true}, "UNFLAGGED": {mailbox.Flagged, false},
	"SEEN": {mailbox.Seen, true}, "UNSEEN": {mailbox.Seen, false},
}

// headerKeys are the keys that look into a header of the digest.
var headerKeys = map[string]int{"FROM": headFrom, "TO": headTo, "CC": headCc, "BCC": headBcc, "SUBJECT": headSubject}

// keys takes keys up to the end of the command or of a list; all must hold.
func (k *keyParser) keys() key {
	var list []key
	for k.err == nil {
		list = append(list, k.key())
		if k.peek() != ' ' {
			break
		}
		k.sp()
		if k.atEnd() {
			break
		}
	}
	return allOf(list)
}

// allOf holds when all keys do; the cheap ones are asked first.
func allOf(list []key) key {
	if len(list) == 1 {
		return list[0]
	}
	most := costFlags
	var sorted []key
	for c := costFlags; c <= costBody; c++ {
		for _, x := range list {
			if x.cost == c {
				sorted, most = append(sorted, x), c
			}
		}
	}
	return key{most, func(c *candidate) (bool, error) {
		for _, x := range sorted {
			if yes, err := x.test(c); !yes || err != nil {
				return false, err
			}
		}
		return true, nil
	}}
}

func (k *keyParser) key() key {
	if k.n++; k.n > maxKeys {
		k.fail("Too many search keys")
	}
	if k.depth++; k.depth > maxKeyNested {
		k.fail("Too deeply nested search keys")
	}
	defer func() { k.depth-- }()
	switch c := k.peek(); {
	case k.err != nil:
		return key{}
	case c == '(':
		k.skip()
		x := k.keys()
		k.want(')')
		return x
	case c >= '0' && c <= '9' || c == '*' || c == '$':
		return k.numbers(k.set(), byNumber)
	}
	word := k.word()
	if f, known := flagKeys[word]; known {
		return k.flag(f.flag, f.set)
	}
	if i, known := headerKeys[word]; known {
		k.sp()
		return k.header(i, k.text())
	}
	return k.other(word)
}

// other are the keys that are in no table.
func (k *keyParser) other(word string) key {
	switch word {
	case "ALL":
		return key{costFlags, func(*candidate) (bool, error) { return true, nil }}
	case "NEW":
		return key{costFlags, func(c *candidate) (bool, error) { return c.recent && c.flags&mailbox.Seen == 0, nil }}
	case "OLD":
		return key{costFlags, func(c *candidate) (bool, error) { return !c.recent, nil }}
	case "RECENT":
		return key{costFlags, func(c *candidate) (bool, error) { return c.recent, nil }}
	case "NOT":
		k.sp()
		x := k.key()
		return key{x.cost, func(c *candidate) (bool, error) {
			yes, err := x.test(c)
			return !yes, err
		}}
	case "OR":
		k.sp()
		x := k.key()
		k.sp()
		y := k.key()
		if y.cost < x.cost {
			x, y = y, x
		}
		return key{max(x.cost, y.cost), func(c *candidate) (bool, error) {
			if yes, err := x.test(c); yes || err != nil {
				return yes, err
			}
			return y.test(c)
		}}
	case "UID":
		k.sp()
		return k.numbers(k.set(), byUID)
	case "KEYWORD", "UNKEYWORD":
		k.sp()
		return k.keyword(k.atom(), word == "KEYWORD")
	case "LARGER", "SMALLER":
		k.sp()
		return k.size(k.number64(), word == "LARGER")
	case "OLDER", "YOUNGER": // RFC 5032
		k.sp()
		limit := k.now.Unix() - int64(k.number())
		younger := word == "YOUNGER"
		return key{costDate, func(c *candidate) (bool, error) {
			t, err := c.date()
			return (t >= limit) == younger, err
		}}
	case "BEFORE", "ON", "SINCE":
		k.sp()
		return k.dated(word, k.date(), costDate, func(c *candidate) (time.Time, bool, error) {
			t, err := c.date()
			return time.Unix(t, 0), true, err
		})
	case "SENTBEFORE", "SENTON", "SENTSINCE":
		k.sp()
		return k.dated(word[4:], k.date(), costHeader, (*candidate).sent)
	case "MODSEQ":
		return k.modseqKey()
	case "HEADER":
		k.sp()
		name := k.astring()
		k.sp()
		return k.anyHeader(name, k.text())
	case "BODY", "TEXT":
		k.sp()
		needle := fold(k.text())
		header := word == "TEXT"
		return key{costBody, func(c *candidate) (bool, error) { return c.contains(needle, header) }}
	}
	k.fail("Unknown argument %s", word)
	return key{}
}

// text takes a string in the command's charset.
func (k *keyParser) text() string { return k.convert(k.astring()) }

func (k *keyParser) flag(f mailbox.Flags, set bool) key {
	return key{costFlags, func(c *candidate) (bool, error) { return (c.flags&f != 0) == set, nil }}
}

func (k *keyParser) keyword(name string, set bool) key {
	return key{costFlags, func(c *candidate) (bool, error) {
		for _, w := range c.words {
			if strings.EqualFold(w, name) {
				return set, nil
			}
		}
		return !set, nil
	}}
}

func (k *keyParser) size(n int64, larger bool) key {
	return key{costDate, func(c *candidate) (bool, error) {
		size, err := c.s.wireSize(c.m)
		if larger {
			return size > n, err
		}
		return size < n, err
	}}
}

// numbers is a set of messages.
func (k *keyParser) numbers(set numberSet, by numbering) key {
	if k.err != nil {
		return key{}
	}
	if set.saved {
		in := map[uint32]bool{}
		for _, uid := range k.s.saved {
			in[uid] = true
		}
		return key{costFlags, func(c *candidate) (bool, error) { return in[c.m.uid], nil }}
	}
	if by == byNumber {
		spans := set.normal(uint32(len(k.s.view)))
		return key{costFlags, func(c *candidate) (bool, error) { return contains(spans, uint32(c.i+1)), nil }}
	}
	last := uint32(0)
	if n := len(k.s.view); n > 0 {
		last = k.s.view[n-1].uid
	}
	spans := set.normal(last)
	return key{costFlags, func(c *candidate) (bool, error) { return contains(spans, c.m.uid), nil }}
}

// date takes a date (RFC 3501 §9).
func (k *keyParser) date() time.Time {
	var text string
	if k.peek() == '"' {
		text = k.quoted()
	} else {
		text = k.atom()
	}
	t, err := time.Parse("2-Jan-2006", text)
	if err != nil {
		k.fail("Invalid search date parameter")
	}
	return t
}

// dated compares days, each in the zone of its own time.
func (k *keyParser) dated(word string, day time.Time, c cost, get func(*candidate) (time.Time, bool, error)) key {
	return key{c, func(c *candidate) (bool, error) {
		t, known, err := get(c)
		if !known || err != nil {
			return false, err
		}
		d := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
		switch word {
		case "BEFORE":
			return d.Before(day), nil
		case "ON":
			return d.Equal(day), nil
		}
		return !d.Before(day), nil
	}}
}

// modseqKey is MODSEQ [entry type] n (RFC 7162 §3.1.5); the entry changes
// nothing here, as there is one modseq for all flags.
func (k *keyParser) modseqKey() key {
	k.sp()
	if k.peek() == '"' {
		k.quoted()
		k.sp()
		k.atom()
		k.sp()
	}
	n := uint64(k.number64())
	k.modseq = true
	return key{costFlags, func(c *candidate) (bool, error) { return c.modseq >= n, nil }}
}

// header looks for text in a header of the digest. Addresses are looked at as
// they stand there, and without comments and folding.
func (k *keyParser) header(i int, text string) key {
	needle := fold(text)
	return key{costHeader, func(c *candidate) (bool, error) {
		d, err := c.digest(digestHeader)
		if err != nil {
			return false, err
		}
		if d.headers[i] == noHeader {
			return false, nil
		}
		raw := d.headers[i]
		if strings.Contains(fold(decodeHeader(raw)), needle) {
			return true, nil
		}
		if i == headSubject {
			return false, nil
		}
		for _, a := range parseAddresses(raw) {
			if strings.Contains(fold(decodeHeader(a.name)+" <"+a.mailbox+"@"+a.host+">"), needle) {
				return true, nil
			}
		}
		return false, nil
	}}
}

// anyHeader looks for text in any header; an empty text asks whether the
// header is there.
func (k *keyParser) anyHeader(name, text string) key {
	if i, known := headerKeys[strings.ToUpper(name)]; known {
		return k.header(i, text)
	}
	needle := fold(text)
	return key{costBody, func(c *candidate) (bool, error) {
		tree, err := c.header()
		if err != nil {
			return false, err
		}
		for i := range tree.fields {
			if strings.EqualFold(tree.fields[i].name, name) && strings.Contains(fold(decodeHeader(tree.fields[i].value)), needle) {
				return true, nil
			}
		}
		return false, nil
	}}
}
