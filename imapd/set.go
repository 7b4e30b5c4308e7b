package main

import (
	"slices"
	"strconv"
)

// star stands for "*" in a set: the largest number in use.
const star = 0

// A span is first:last, in the order that the client gave them.
type span struct{ first, last uint32 }

// A numberSet is a sequence set (RFC 3501 §9) of message numbers or UIDs.
type numberSet struct {
	spans []span
	saved bool // "$": the result of the last SEARCH (RFC 5182)
}

// set takes a sequence set.
func (p *parser) set() (s numberSet) {
	if p.is('$') {
		s.saved = true
		return s
	}
	for p.err == nil {
		r := span{first: p.setNumber()}
		r.last = r.first
		if p.is(':') {
			r.last = p.setNumber()
		}
		if len(s.spans) >= maxSet {
			p.fail("Too many ranges in a set")
		}
		s.spans = append(s.spans, r)
		if !p.is(',') {
			break
		}
	}
	return s
}

func (p *parser) setNumber() uint32 {
	if p.is('*') {
		return star
	}
	n := p.number()
	if n == 0 {
		p.fail("Invalid messageset")
	}
	return n
}

// normal makes spans that rise and don't touch, with "*" as the largest.
func (s numberSet) normal(largest uint32) []span {
	out := make([]span, 0, len(s.spans))
	for _, r := range s.spans {
		if r.first == star {
			r.first = largest
		}
		if r.last == star {
			r.last = largest
		}
		if r.first > r.last {
			r.first, r.last = r.last, r.first
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b span) int { return int(int64(a.first) - int64(b.first)) })
	joined := out[:0]
	for _, r := range out {
		if n := len(joined); n > 0 && (r.first <= joined[n-1].last || r.first == joined[n-1].last+1) {
			joined[n-1].last = max(joined[n-1].last, r.last)
			continue
		}
		joined = append(joined, r)
	}
	return joined
}

// spansOf makes spans of rising numbers.
func spansOf(numbers []uint32) (spans []span) {
	for _, n := range numbers {
		if k := len(spans); k > 0 && spans[k-1].last+1 == n {
			spans[k-1].last = n
			continue
		}
		spans = append(spans, span{n, n})
	}
	return spans
}

// setText writes numbers as a set, in their order; runs that rise become
// ranges.
func setText(numbers []uint32) string {
	var b []byte
	for _, r := range spansOf(numbers) {
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.first), 10)
		if r.last != r.first {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(r.last), 10)
		}
	}
	return string(b)
}

// contains reports whether a number is in normal spans.
func contains(spans []span, n uint32) bool {
	_, found := slices.BinarySearchFunc(spans, n, func(r span, n uint32) int {
		switch {
		case r.last < n:
			return -1
		case r.first > n:
			return 1
		}
		return 0
	})
	return found
}
