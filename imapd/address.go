package main

import "strings"

// maxAddresses bounds an address list.
const maxAddresses = 10_000

// An address is one element of an address list (RFC 5322 §3.4). A group
// begins with one that has a name only in mailbox and ends with an empty one
// (RFC 3501 §7.4.2).
type address struct {
	name, route, mailbox, host string
	group                      groupMark
}

type groupMark uint8

const (
	noGroup groupMark = iota
	groupStart
	groupEnd
)

// An addressList parses tolerantly: whatever is not an address is skipped or
// becomes a mailbox without a domain.
type addressList struct {
	words
	list []address
}

// missingDomain is what Dovecot shows for an address without a domain; clients
// expect a string there, as NIL is the mark of a group.
const (
	missingDomain  = "MISSING_DOMAIN"
	missingMailbox = "MISSING_MAILBOX"
)

func parseAddresses(text string) []address {
	l := &addressList{words: words{text: text}}
	inGroup := false
	for len(l.list) < maxAddresses {
		phrase, comment := l.phrase()
		c := byte(0)
		if l.at < len(l.text) {
			c = l.text[l.at]
			l.at++
		}
		switch c {
		case ':':
			l.list = append(l.list, address{mailbox: join(phrase, true), group: groupStart})
			inGroup = true
			continue
		case '<':
			a := l.routeAddr()
			a.name = join(phrase, true)
			l.list = append(l.list, a)
			continue
		case '@':
			host, more := l.domain()
			if comment == "" {
				comment = more
			}
			l.list = append(l.list, address{name: comment, mailbox: join(phrase, false), host: host})
			continue
		}
		if len(phrase) > 1 && phrase[1].spaced { // a name without an address
			l.list = append(l.list, address{name: join(phrase, true), mailbox: missingMailbox, host: missingDomain})
		} else if len(phrase) > 0 {
			l.list = append(l.list, address{name: comment, mailbox: join(phrase, false), host: missingDomain})
		}
		if inGroup && (c == ';' || c == 0) {
			l.list = append(l.list, address{group: groupEnd})
			inGroup = false
		}
		if c == 0 {
			break
		}
	}
	return l.list
}

// A piece is a word of a phrase; spaced means that blanks stood before it.
type piece struct {
	text   string
	spaced bool
}

func join(pieces []piece, blanks bool) string {
	var b strings.Builder
	for i, p := range pieces {
		if i > 0 && p.spaced && blanks {
			b.WriteByte(' ')
		}
		b.WriteString(p.text)
	}
	return b.String()
}

// phrase takes words up to a special that ends a phrase, and the last comment
// among them.
func (l *addressList) phrase() (pieces []piece, comment string) {
	spaced := false
	for l.at < len(l.text) {
		c := l.text[l.at]
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			l.at++
			spaced = true
			continue
		case c == '(':
			l.at++
			comment = l.comment()
			spaced = true
			continue
		case strings.IndexByte(":<@,;", c) >= 0:
			return pieces, comment
		case c == '"':
			l.at++
			pieces = append(pieces, piece{l.quoted(), spaced})
		case strings.IndexByte(")>[]\\", c) >= 0:
			l.at++ // not legal here
			continue
		default:
			start := l.at
			for l.at < len(l.text) && strings.IndexByte(" \t\r\n(:<@,;\")>[]\\", l.text[l.at]) < 0 {
				l.at++
			}
			pieces = append(pieces, piece{l.text[start:l.at], spaced})
		}
		spaced = false
	}
	return pieces, comment
}

// routeAddr takes what stands in angle brackets.
func (l *addressList) routeAddr() (a address) {
	pieces, _ := l.phrase()
	for len(pieces) == 0 && l.at < len(l.text) && (l.text[l.at] == '@' || l.text[l.at] == ',') { // a route (RFC 5322 §4.4)
		if l.text[l.at] == '@' {
			l.at++
			host, _ := l.domain()
			if a.route != "" {
				a.route += ","
			}
			a.route += "@" + host
		} else {
			l.at++
		}
		if l.at < len(l.text) && l.text[l.at] == ':' {
			l.at++
			pieces, _ = l.phrase()
			break
		}
	}
	if a.mailbox, a.host = join(pieces, false), missingDomain; a.mailbox == "" {
		a.mailbox = missingMailbox
	}
	if l.at < len(l.text) && l.text[l.at] == '@' {
		l.at++
		a.host, _ = l.domain()
	}
	for l.at < len(l.text) && l.text[l.at] != '>' && l.text[l.at] != ',' {
		l.at++
	}
	if l.at < len(l.text) && l.text[l.at] == '>' {
		l.at++
	}
	return a
}

// domain takes a domain or a domain literal, and the comment behind it.
func (l *addressList) domain() (host, comment string) {
	var b strings.Builder
	for l.at < len(l.text) {
		c := l.text[l.at]
		switch {
		case c == '(':
			l.at++
			comment = l.comment()
		case c == '[':
			end := strings.IndexByte(l.text[l.at:], ']')
			if end < 0 {
				end = len(l.text) - l.at - 1
			}
			b.WriteString(l.text[l.at : l.at+end+1])
			l.at += end + 1
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			l.at++
		case strings.IndexByte(",;:<>@\")", c) >= 0:
			return b.String(), comment
		default:
			b.WriteByte(c)
			l.at++
		}
	}
	return b.String(), comment
}
