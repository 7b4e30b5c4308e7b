package main

import "strconv"

// appendEnvelope adds a message's ENVELOPE (RFC 3501 §7.4.2).
func appendEnvelope(b []byte, p *part) []byte {
	b = append(b, '(')
	for i, name := range []string{"Date", "Subject"} {
		if i > 0 {
			b = append(b, ' ')
		}
		b = appendLast(b, p, name)
	}
	from := appendAddresses(nil, p.all("From"))
	b = append(append(b, ' '), from...)
	for _, name := range []string{"Sender", "Reply-To"} { // both are From when they are missing or empty
		list := appendAddresses(nil, p.all(name))
		if string(list) == "NIL" {
			list = from
		}
		b = append(append(b, ' '), list...)
	}
	for _, name := range []string{"To", "Cc", "Bcc"} {
		b = appendAddresses(append(b, ' '), p.all(name))
	}
	b = appendLast(append(b, ' '), p, "In-Reply-To")
	b = appendLast(append(b, ' '), p, "Message-ID")
	return append(b, ')')
}

func appendField(b []byte, p *part, name string) []byte {
	v, ok := p.get(name)
	if !ok {
		return append(b, "NIL"...)
	}
	return appendString(b, v)
}

// appendLast is appendField for headers of which the last one counts.
func appendLast(b []byte, p *part, name string) []byte {
	v, ok := p.last(name)
	if !ok {
		return append(b, "NIL"...)
	}
	return appendString(b, v)
}

func appendNString(b []byte, s string) []byte {
	if s == "" {
		return append(b, "NIL"...)
	}
	return appendString(b, s)
}

// appendAddresses adds an address list, NIL when it is empty.
func appendAddresses(b []byte, text string) []byte {
	list := parseAddresses(text)
	if len(list) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for _, a := range list {
		b = append(b, '(')
		b = appendNString(b, a.name)
		b = appendNString(append(b, ' '), a.route)
		if a.group == groupEnd {
			b = append(b, " NIL NIL)"...)
			continue
		}
		b = appendString(append(b, ' '), a.mailbox)
		b = appendNString(append(b, ' '), a.host)
		b = append(b, ')')
	}
	return append(b, ')')
}

// appendStructure adds a part's BODYSTRUCTURE, or its BODY without extension
// data (RFC 3501 §7.4.2).
func appendStructure(b []byte, p *part, form structureForm) []byte {
	b = append(b, '(')
	if p.main == "multipart" {
		if len(p.parts) == 0 { // the grammar wants one
			b = append(b, `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0`...)
			if form == withExtension {
				b = append(b, " NIL NIL NIL NIL"...)
			}
			b = append(b, ')')
		}
		for _, c := range p.parts {
			b = appendStructure(b, c, form)
		}
		b = appendString(append(b, ' '), p.sub)
		if form == withExtension {
			b = appendParams(append(b, ' '), p.params)
			b = appendRest(b, p)
		}
		return append(b, ')')
	}
	b = appendString(b, p.main)
	b = appendString(append(b, ' '), p.sub)
	params := p.params
	if p.main == "text" && p.param("charset") == "" {
		params = append(params[:len(params):len(params)], param{"charset", "us-ascii"})
	}
	b = appendParams(append(b, ' '), params)
	b = appendField(append(b, ' '), p, "Content-ID")
	b = appendField(append(b, ' '), p, "Content-Description")
	b = appendString(append(b, ' '), p.encoding())
	b = strconv.AppendInt(append(b, ' '), p.body.wire, 10)
	switch {
	case p.inner != nil:
		b = appendEnvelope(append(b, ' '), p.inner)
		b = appendStructure(append(b, ' '), p.inner, form)
		b = strconv.AppendInt(append(b, ' '), p.body.lines, 10)
	case p.main == "text":
		b = strconv.AppendInt(append(b, ' '), p.body.lines, 10)
	case p.main == "message" && p.sub == "rfc822": // encoded, which no message may be: as if it were empty
		b = append(b, ` (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0`...)
		if form == withExtension {
			b = append(b, " NIL NIL NIL NIL"...)
		}
		b = strconv.AppendInt(append(b, ") "...), p.body.lines, 10)
	}
	if form == withExtension {
		b = appendField(append(b, ' '), p, "Content-MD5")
		b = appendRest(b, p)
	}
	return append(b, ')')
}

// A structureForm tells BODY from BODYSTRUCTURE.
type structureForm bool

const (
	plainForm     structureForm = false
	withExtension structureForm = true
)

func appendParams(b []byte, list []param) []byte {
	if len(list) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i, p := range list {
		if i > 0 {
			b = append(b, ' ')
		}
		b = appendString(b, p.name)
		b = appendString(append(b, ' '), p.value)
	}
	return append(b, ')')
}

// appendRest adds disposition, language and location.
func appendRest(b []byte, p *part) []byte {
	b = append(b, ' ')
	value, _ := p.get("Content-Disposition")
	l := words{text: value}
	if w, ok := l.next(); ok && w.kind == 'a' {
		b = appendString(append(b, '('), w.text)
		b = appendParams(append(b, ' '), l.params())
		b = append(b, ')')
	} else {
		b = append(b, "NIL"...)
	}
	b = append(b, ' ')
	value, _ = p.get("Content-Language")
	l = words{text: value}
	var langs []byte
	for n := 0; n < maxParams; {
		w, ok := l.next()
		if !ok {
			break
		}
		if w.kind == 'a' {
			if n++; n > 1 {
				langs = append(langs, ' ')
			}
			langs = appendString(langs, w.text)
		}
	}
	if len(langs) == 0 {
		b = append(b, "NIL"...)
	} else {
		b = append(append(append(b, '('), langs...), ')')
	}
	return appendField(append(b, ' '), p, "Content-Location")
}
