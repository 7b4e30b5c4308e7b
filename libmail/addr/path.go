package addr

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// A Charset says whether an address may hold UTF-8.
type Charset uint8

const (
	// ASCII is RFC 5321.
	ASCII Charset = iota
	// UTF8 is RFC 6531 §3.3: UTF-8 in local parts and U-labels in domains.
	UTF8
)

// ErrSyntax is returned for every address that the grammar does not allow.
var ErrSyntax = errors.New("address syntax")

// maxPath bounds what ParsePath looks at; a command line is shorter.
const maxPath = 4096

// A Path is a reverse-path or forward-path (RFC 5321 §4.1.2).
type Path struct {
	Route  []string // domains of the source route, which RFC 5321 §C says to ignore
	Local  string   // without quotes
	Domain string   // name or [literal] as written; empty for the null path and <postmaster>
}

// Internal is the address in internal form; empty for the null path.
func (p Path) Internal() string {
	if p.Domain == "" {
		return p.Local
	}
	return p.Local + "@" + p.Domain
}

// ParsePath reads a path at the start of s by the strict grammar of RFC 5321
// §4.1.2 and returns what follows it. It accepts the null path <> and the
// bare <postmaster>; whether they may stand here is for the caller to say.
func ParsePath(s string, cs Charset) (p Path, rest string, err error) {
	if len(s) > maxPath || s == "" || s[0] != '<' {
		return Path{}, s, ErrSyntax
	}
	g := grammar{text: s, at: 1, cs: cs}
	if strings.HasPrefix(s, "<>") {
		return Path{}, s[2:], nil
	}
	if strings.HasPrefix(s, "<@") {
		if p.Route, err = g.route(); err != nil {
			return Path{}, s, err
		}
	}
	if p.Local, err = g.local(); err != nil {
		return Path{}, s, err
	}
	if g.take('@') {
		if p.Domain, err = g.domain(); err != nil {
			return Path{}, s, err
		}
	} else if p.Route != nil || !asciiEqualFold(p.Local, Postmaster) {
		return Path{}, s, ErrSyntax
	}
	if !g.take('>') {
		return Path{}, s, ErrSyntax
	}
	return p, s[g.at:], nil
}

// ParseMailbox reads local-part@domain, all of s, by the same grammar
// (RFC 5321 §4.1.2, Mailbox).
func ParseMailbox(s string, cs Charset) (local, domain string, err error) {
	if len(s) > maxPath {
		return "", "", ErrSyntax
	}
	g := grammar{text: s, cs: cs}
	if local, err = g.local(); err != nil {
		return "", "", err
	}
	if !g.take('@') {
		return "", "", ErrSyntax
	}
	if domain, err = g.domain(); err != nil || g.at != len(s) {
		return "", "", ErrSyntax
	}
	return local, domain, nil
}

// A grammar reads the parts of a path from left to right.
type grammar struct {
	text string
	at   int
	cs   Charset
}

func (g *grammar) take(c byte) bool {
	if g.at < len(g.text) && g.text[g.at] == c {
		g.at++
		return true
	}
	return false
}

// route reads "@a,@b:".
func (g *grammar) route() ([]string, error) {
	var hops []string
	for {
		if !g.take('@') {
			return nil, ErrSyntax
		}
		d, err := g.domain()
		if err != nil {
			return nil, err
		}
		hops = append(hops, d)
		if g.take(':') {
			return hops, nil
		}
		if !g.take(',') {
			return nil, ErrSyntax
		}
	}
}

// local reads a dot-string or a quoted string.
func (g *grammar) local() (string, error) {
	if g.take('"') {
		return g.quoted()
	}
	start := g.at
	for {
		n := g.atom()
		if n == 0 {
			return "", ErrSyntax
		}
		g.at += n
		if !g.take('.') {
			break
		}
	}
	return g.text[start:g.at], nil
}

// atom is the length of the atext that comes next (RFC 5322 §3.2.3).
func (g *grammar) atom() int {
	n := 0
	for s := g.text[g.at:]; n < len(s); {
		c := s[n]
		if c < 0x80 {
			if !isLetter(c) && !isDigit(c) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) < 0 {
				break
			}
			n++
			continue
		}
		size := g.runeLen(s[n:])
		if size == 0 {
			break
		}
		n += size
	}
	return n
}

// runeLen is the size of a UTF-8 character that may stand here, or 0.
func (g *grammar) runeLen(s string) int {
	r, size := utf8.DecodeRuneInString(s)
	if g.cs != UTF8 || r == utf8.RuneError && size <= 1 {
		return 0
	}
	return size
}

// quoted reads the rest of a quoted string (RFC 5321 §4.1.2, Quoted-string).
func (g *grammar) quoted() (string, error) {
	var out []byte
	for g.at < len(g.text) {
		c := g.text[g.at]
		g.at++
		switch {
		case c == '"':
			return string(out), nil
		case c == '\\':
			if g.at == len(g.text) {
				return "", ErrSyntax
			}
			if c = g.text[g.at]; c < ' ' || c > '~' {
				return "", ErrSyntax
			}
			g.at++
		case c >= 0x80:
			size := g.runeLen(g.text[g.at-1:])
			if size == 0 {
				return "", ErrSyntax
			}
			out = append(out, g.text[g.at-1:g.at-1+size-1]...)
			g.at += size - 1
			c = g.text[g.at-1]
		case c < ' ' || c == 0x7f:
			return "", ErrSyntax
		}
		out = append(out, c)
	}
	return "", ErrSyntax
}

// domain reads a name or an address literal.
func (g *grammar) domain() (string, error) {
	start := g.at
	if g.take('[') {
		end := strings.IndexByte(g.text[g.at:], ']')
		if end < 0 {
			return "", ErrSyntax
		}
		g.at += end + 1
		lit := g.text[start:g.at]
		if _, err := ParseLiteral(lit); err != nil {
			return "", ErrSyntax
		}
		return lit, nil
	}
	for g.at < len(g.text) && strings.IndexByte("@,:>", g.text[g.at]) < 0 {
		g.at++
	}
	name := g.text[start:g.at]
	if isASCII(name) {
		if !ValidHostname(name) {
			return "", ErrSyntax
		}
		return name, nil
	}
	if _, err := DomainToASCII(name); g.cs != UTF8 || err != nil {
		return "", ErrSyntax
	}
	return name, nil
}
