package addr

import "slices"

// ParseList makes a tree of a header address list (RFC 5322 §3.4): the words
// of each address become one Address token, everything else stays beside it.
// Phrases, comments, groups, source routes and nearly every malformation are
// accepted; what cannot be understood is left as it stands. Where a comma is
// missing between two addresses one is added. Text after the first limit
// tokens is dropped; 0 is no limit (header_address_token_limit).
func ParseList(text string, limit int) []Token {
	p := parser{in: Scan(text, limit), wordAllowed: true}
	p.at = len(p.in) - 1
	for p.at >= 0 {
		p.step()
	}
	p.flush()
	slices.Reverse(p.out)
	return p.out
}

// A parser reads tokens from right to left: an address ends where something
// that cannot belong to it begins, and the right end of a group or of <…>
// tells what follows to the left. Both lists are in reverse order.
type parser struct {
	in          []Token
	at          int     // the next token; in[at+1:] is read
	word        []Token // what may become an address
	out         []Token // what is decided
	wordAllowed bool    // the next word may begin here without a comma after it
	inGroup     bool    // a ; was seen, so a : may open a group
}

// step takes one token, or with < > : all that it governs.
func (p *parser) step() {
	t := p.in[p.at]
	p.at--
	switch {
	case t.Kind == Comment: // to the right of the address
		p.out = append(p.out, t)
	case t.Kind == ';':
		p.flushSeparated()
		p.out = append(p.out, t)
		p.inGroup, p.wordAllowed = true, true
	case t.Kind == ':' && p.inGroup:
		p.flush()
		p.out = append(p.out, Token{Kind: GroupStart})
		p.skip(",")
	case t.Kind == '>':
		p.flushSeparated()
		p.out = append(p.out, t)
		p.route()
		p.skip(">;,:")
		if p.at >= 0 && p.in[p.at].Kind == ':' && !p.inGroup {
			p.out = append(p.out, p.in[p.at]) // it ends the phrase and is no part of an address
			p.at--
		}
		p.wordAllowed = true
	case t.Kind == Atom || t.Kind == QuotedString || t.Kind == Literal:
		if !p.wordAllowed {
			p.flushSeparated()
		}
		p.word = append(p.word, t)
		p.wordAllowed = false
	case t.Kind == ',':
		p.flush()
		p.out = append(p.out, t)
		p.wordAllowed = true
	default:
		p.word = append(p.word, t)
		p.wordAllowed = true
	}
}

// route takes the address between < and >, and the <. Comments inside go to
// its right.
func (p *parser) route() {
	for ; p.at >= 0 && p.in[p.at].Kind != '<'; p.at-- {
		if p.in[p.at].Kind == Comment {
			p.out = append(p.out, p.in[p.at])
		} else {
			p.word = append(p.word, p.in[p.at])
		}
	}
	p.flush()
}

// skip passes tokens on unchanged up to one of the operators in stop: a
// phrase before <…> or the name of a group.
func (p *parser) skip(stop string) {
	for ; p.at >= 0; p.at-- {
		for i := 0; i < len(stop); i++ {
			if p.in[p.at].Kind == Kind(stop[i]) {
				return
			}
		}
		p.out = append(p.out, p.in[p.at])
	}
}

// flush makes an Address of the words that are waiting, if there are any.
func (p *parser) flush() bool {
	if len(p.word) == 0 {
		return false
	}
	list := slices.Clone(p.word)
	slices.Reverse(list)
	p.out = append(p.out, Token{Kind: Address, List: list, packed: true})
	p.word = p.word[:0]
	return true
}

// flushSeparated is flush with a comma to the left of the address.
func (p *parser) flushSeparated() {
	if p.flush() {
		p.out = append(p.out, Token{Kind: ','})
	}
}
