package message

// tspecials end a token of a MIME header (RFC 2045 §5.1); specials do so in
// other headers (RFC 5322 §3.2.3).
const (
	tspecials = "()<>@,;:\\\"/[]?="
	specials  = "()<>@,;:\\\".[]"
)

// maxWords is how many words of a parameter are looked at: name = value.
const maxWords = 3

// A word is one lexical element of a MIME header.
type word struct {
	kind byte // 'a' for a token, '"' for a quoted string, else the special itself
	text []byte
}

// is compares a token without regard to case.
func (w word) is(name string) bool {
	return w.kind == 'a' && equalFold(w.text, name)
}

func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// contentType takes type, subtype and boundaries from the collected
// Content-Type header (RFC 2045 §5). All boundary parameters count, though
// only one is legal: with several, what is a boundary would depend on the
// reader, and content could hide between them.
func (w *Walker) contentType() {
	l := lexer{text: w.header[HeaderName(w.header)+1:]}
	words, ok := l.item()
	if !ok || len(words) == 0 {
		w.cur.main = typeOther
		return
	}
	sub := word{}
	if len(words) == maxWords && words[1].kind == '/' {
		sub = words[2]
	}
	switch {
	case words[0].is("text"):
		w.cur.main, w.cur.sub = typeText, subOther
		if sub.is("plain") {
			w.cur.sub = subPlain
		}
	case words[0].is("message"):
		w.cur.main, w.cur.sub = typeMessage, messageSubtype(sub)
	case words[0].is("multipart"):
		w.cur.main = typeMultipart
		level := boundary{main: typeText, sub: subPlain}
		if sub.is("digest") { // RFC 2046 §5.1.5
			level = boundary{main: typeMessage, sub: subRFC822}
		}
		w.boundaries(&l, level)
	}
}

func messageSubtype(sub word) mediaSubtype {
	switch {
	case sub.is("rfc822"):
		return subRFC822
	case sub.is("partial"):
		return subPartial
	case sub.is("external-body"):
		return subExternalBody
	case sub.is("global"): // RFC 6532 §3.7
		return subGlobal
	}
	return subOther
}

// boundaries opens a level for each boundary parameter.
func (w *Walker) boundaries(l *lexer, level boundary) {
	for {
		words, ok := l.item()
		if !ok {
			return
		}
		if len(words) < maxWords || !words[0].is("boundary") || words[1].kind != '=' {
			continue
		}
		if len(w.open) > w.opt.NestingLimit+1 {
			w.report(TooDeep, w.header)
			continue
		}
		text := words[2].text
		level.text = append([]byte(nil), text[:min(len(text), w.opt.BoundaryLimit)]...)
		w.open = append(w.open, level)
	}
}

// contentEncoding takes the encoding from the collected
// Content-Transfer-Encoding header (RFC 2045 §6). An unknown one changes
// nothing.
func (w *Walker) contentEncoding() {
	l := lexer{text: w.header[HeaderName(w.header)+1:]}
	t, ok := l.token()
	if !ok {
		return
	}
	for _, e := range encodings {
		if t.is(e.name) {
			w.cur.enc, w.cur.domain = e.enc, e.domain
			return
		}
	}
}

// A lexer takes the words of a header value apart, comments removed.
type lexer struct {
	text []byte
	at   int
	done bool
	buf  [maxWords]word
}

// item returns the first words up to the next semicolon. ok is false at the
// end of the value; an empty item after the last semicolon does not count.
func (l *lexer) item() (words []word, ok bool) {
	words = l.buf[:0]
	for {
		w, more := l.next(tspecials)
		if !more {
			return words, len(words) > 0
		}
		if w.kind == ';' {
			return words, true
		}
		if len(words) < maxWords {
			words = append(words, w)
		}
	}
}

// token returns the first word of an unstructured list of specials.
func (l *lexer) token() (word, bool) { return l.next(specials) }

// next returns the next word; ok is false at the end of the value.
func (l *lexer) next(special string) (w word, ok bool) {
	for l.at < len(l.text) {
		c := l.text[l.at]
		l.at++
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		case c == '(':
			l.comment()
		case c == '"':
			return word{'"', l.quoted()}, true
		case c < ' ' || c == 0x7f || contains(special, c):
			return word{c, l.text[l.at-1 : l.at]}, true
		default:
			start := l.at - 1
			for l.at < len(l.text) && !endsToken(l.text[l.at], special) {
				l.at++
			}
			return word{'a', l.text[start:l.at]}, true
		}
	}
	return word{}, false
}

func endsToken(c byte, special string) bool {
	return c <= ' ' || c == 0x7f || contains(special, c)
}

func contains(set string, c byte) bool {
	for i := 0; i < len(set); i++ {
		if set[i] == c {
			return true
		}
	}
	return false
}

// comment skips a comment after its first parenthesis (RFC 5322 §3.2.2).
func (l *lexer) comment() {
	for depth := 1; l.at < len(l.text) && depth > 0; l.at++ {
		switch l.text[l.at] {
		case '(':
			depth++
		case ')':
			depth--
		case '\\':
			if l.at++; l.at == len(l.text) {
				return
			}
		}
	}
}

// quoted takes a quoted string after its first quote: backslashes removed,
// blanks before a line end too.
func (l *lexer) quoted() []byte {
	var out []byte
	for l.at < len(l.text) {
		c := l.text[l.at]
		l.at++
		if c == '"' {
			break
		}
		if c == '\n' {
			for len(out) > 0 && contains(" \t\r\n", out[len(out)-1]) {
				out = out[:len(out)-1]
			}
			continue
		}
		if c == '\\' {
			if l.at == len(l.text) {
				break
			}
			c = l.text[l.at]
			l.at++
		}
		out = append(out, c)
	}
	return out
}
