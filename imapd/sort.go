package main

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	mailtext "postroad/libmail/message"
)

// maxSortKeys bounds the keys of SORT.
const maxSortKeys = 16

// A sortKey is a sort criterion (RFC 5256 §3, RFC 5957).
type sortKey struct {
	word    string
	reverse bool
}

var sortWords = map[string]bool{"ARRIVAL": true, "CC": true, "DATE": true, "DISPLAYFROM": true, "DISPLAYTO": true,
	"FROM": true, "SIZE": true, "SUBJECT": true, "TO": true}

func (s *session) sort(p *parser) reply    { return s.sortBy(p, byNumber) }
func (s *session) uidSort(p *parser) reply { return s.sortBy(p, byUID) }

func (s *session) sortBy(p *parser, by numbering) reply {
	x := &searching{by: by}
	p.sp()
	s.parseReturn(p, x)
	var keys []sortKey
	reverse := false
	p.list(func() {
		w := p.word()
		if w == "REVERSE" && !reverse {
			reverse = true
			return
		}
		if !sortWords[w] || len(keys) >= maxSortKeys {
			p.fail("Unknown sort argument %s", w)
		}
		keys = append(keys, sortKey{w, reverse})
		reverse = false
	})
	if reverse || len(keys) == 0 {
		p.fail("Missing sort argument")
	}
	p.sp()
	charset := p.astring()
	p.sp()
	problem := s.parseKeys(p, x, charset)
	if !p.end() {
		return reply{}
	}
	if problem != "" {
		return no(problem)
	}
	found, err := s.run(x)
	if err == nil {
		found, err = s.sorted(found, keys)
	}
	if err != nil {
		return s.failed("sort", err)
	}
	s.answer(x, "SORT", found)
	return ok("Sort completed.")
}

// A sortable is a message with the values of the sort keys.
type sortable struct {
	i       int
	numbers []int64
	texts   []string
}

// sorted puts messages in order; equal ones stay in the order of the mailbox.
func (s *session) sorted(found []int, keys []sortKey) ([]int, error) {
	list := make([]sortable, 0, len(found))
	for _, i := range found {
		v := sortable{i: i, numbers: make([]int64, len(keys)), texts: make([]string, len(keys))}
		for k, key := range keys {
			if err := s.sortValue(&v, k, key.word); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		list = append(list, v)
	}
	slices.SortStableFunc(list, func(a, b sortable) int {
		for k, key := range keys {
			c := strings.Compare(a.texts[k], b.texts[k])
			if c == 0 && a.numbers[k] != b.numbers[k] {
				c = 1
				if a.numbers[k] < b.numbers[k] {
					c = -1
				}
			}
			if key.reverse {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	out := make([]int, len(list))
	for k, v := range list {
		out[k] = v.i
	}
	return out, nil
}

// sortValue finds the value of one key.
func (s *session) sortValue(v *sortable, k int, word string) (err error) {
	m := s.view[v.i]
	switch word {
	case "ARRIVAL":
		s.hub.mu.Lock()
		defer s.hub.mu.Unlock()
		v.numbers[k], err = s.hub.internalDate(m)
		return err
	case "SIZE":
		v.numbers[k], err = s.wireSize(m)
		return err
	case "DATE":
		v.numbers[k], err = s.sentDate(m)
		return err
	}
	d, err := s.digest(m, digestHeader)
	if err != nil {
		return err
	}
	switch word {
	case "SUBJECT":
		base, _ := baseSubject(d.header(headSubject))
		v.texts[k] = fold(base)
	case "FROM":
		v.texts[k] = firstMailbox(d.header(headFrom))
	case "TO":
		v.texts[k] = firstMailbox(d.header(headTo))
	case "CC":
		v.texts[k] = firstMailbox(d.header(headCc))
	case "DISPLAYFROM":
		v.texts[k] = firstDisplay(d.header(headFrom))
	case "DISPLAYTO":
		v.texts[k] = firstDisplay(d.header(headTo))
	}
	return nil
}

// sentDate is the Date header as a time, else INTERNALDATE (RFC 5256 §2.2).
func (s *session) sentDate(m *message) (int64, error) {
	d, err := s.digest(m, digestHeader)
	if err != nil {
		return 0, err
	}
	if t, err := mailtext.ParseDate(d.header(headDate)); err == nil {
		return t.Unix(), nil
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.hub.internalDate(m)
}

// firstMailbox is the local part of the first address (RFC 5256 §3).
func firstMailbox(text string) string {
	for _, a := range parseAddresses(text) {
		if a.group != groupEnd {
			return fold(a.mailbox)
		}
	}
	return ""
}

// firstDisplay is the name of the first address, else the address (RFC 5957).
func firstDisplay(text string) string {
	for _, a := range parseAddresses(text) {
		switch {
		case a.group == groupEnd:
		case a.name != "":
			return fold(decodeHeader(a.name))
		case a.group == groupStart:
			return fold(decodeHeader(a.mailbox))
		default:
			return fold(a.mailbox + "@" + a.host)
		}
	}
	return ""
}

// baseSubject strips what replies and forwards add (RFC 5256 §2.1); it
// reports whether that was anything that makes a reply or forward.
func baseSubject(raw string) (base string, isReply bool) {
	s := strings.Join(strings.Fields(decodeHeader(raw)), " ")
	for {
		for { // trailing (fwd)
			t := strings.TrimRight(s, " ")
			if n := len(t) - len("(fwd)"); n >= 0 && strings.EqualFold(t[n:], "(fwd)") {
				s, isReply = t[:n], true
				continue
			}
			s = t
			break
		}
		for {
			before := s
			s = strings.TrimLeft(s, " ")
			if t, ok := cutLeader(s); ok {
				s, isReply = t, true
			} else if t, ok := cutBlob(s); ok && strings.TrimSpace(t) != "" {
				s = t
			}
			if s == before {
				break
			}
		}
		if len(s) > 6 && strings.EqualFold(s[:5], "[fwd:") && s[len(s)-1] == ']' {
			s, isReply = s[5:len(s)-1], true
			continue
		}
		return s, isReply
	}
}

// cutLeader strips "[blob] re [blob]:" and the like.
func cutLeader(s string) (string, bool) {
	for {
		t, ok := cutBlob(s)
		if !ok {
			break
		}
		s = t
	}
	found := false
	for _, w := range []string{"re", "fwd", "fw"} {
		if len(s) >= len(w) && strings.EqualFold(s[:len(w)], w) {
			s, found = s[len(w):], true
			break
		}
	}
	if !found {
		return "", false
	}
	s = strings.TrimLeft(s, " ")
	if t, ok := cutBlob(s); ok {
		s = t
	}
	return strings.CutPrefix(s, ":")
}

// cutBlob strips "[...] ".
func cutBlob(s string) (string, bool) {
	if !strings.HasPrefix(s, "[") {
		return s, false
	}
	end := strings.IndexAny(s[1:], "[]")
	if end < 0 || s[1+end] != ']' {
		return s, false
	}
	return strings.TrimLeft(s[end+2:], " "), true
}
