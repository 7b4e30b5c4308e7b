package addr

// maxNonAddress is how many bytes of comments and phrases one address may
// carry before Header drops them: old mail software copied them to buffers
// of fixed size (CERT CA-2003-07).
const maxNonAddress = 250

// Format says how Header writes a list.
type Format uint8

const (
	// Lines puts a newline instead of a blank after each comma.
	Lines Format = 1 << iota
	// Trim drops comments and phrases of an address that has more than 250
	// bytes of them; <address> remains.
	Trim
)

// Internal writes tokens without quotes.
func Internal(list []Token) string { return string(appendInternal(nil, list, false)) }

// External writes tokens as they stand in a header: words are separated by
// one blank where they were apart, local parts are quoted as they need it.
func External(list []Token) string { return string(appendExternal(nil, list, false)) }

// Header writes a list with a format, and returns what Trim replaced.
func Header(list []Token, f Format) (text string, dropped []string) {
	w := writer{format: f}
	w.list(list, false)
	return string(w.out), w.dropped
}

func appendInternal(dst []byte, list []Token, packed bool) []byte {
	for i := range list {
		switch t := &list[i]; t.Kind {
		case Address:
			dst = appendInternal(dst, t.List, t.packed)
		case Comment, Atom, QuotedString:
			dst = append(dst, t.Text...)
		case Literal:
			dst = append(append(append(dst, '['), t.Text...), ']')
		case GroupStart:
			dst = append(dst, ':')
		default:
			dst = append(dst, byte(t.Kind))
		}
		if !packed && blankAfter(list, i) {
			dst = append(dst, ' ')
		}
	}
	return dst
}

func appendExternal(dst []byte, list []Token, packed bool) []byte {
	w := writer{out: dst}
	w.list(list, packed)
	return w.out
}

// A writer writes the external form. Between two commas it knows where the
// text began and how long the address in it is.
type writer struct {
	out     []byte
	format  Format
	dropped []string

	start   int    // of the text since the last comma
	address *Token // the address in it, or nil
	length  int    // of that address
}

func (w *writer) list(list []Token, packed bool) {
	w.start = len(w.out)
	for i := range list {
		if list[i].Kind == ',' {
			w.comma()
			continue
		}
		w.token(list, i)
		if !packed && blankAfter(list, i) {
			w.out = append(w.out, ' ')
		}
	}
	w.trim()
}

func (w *writer) comma() {
	w.trim()
	sep := byte(' ')
	if w.format&Lines != 0 {
		sep = '\n'
	}
	w.out = append(w.out, ',', sep)
	w.start, w.address, w.length = len(w.out), nil, 0
}

func (w *writer) token(list []Token, i int) {
	switch t := &list[i]; t.Kind {
	case Address:
		quoted := QuoteWith(t.Internal(), EightBitClean)
		w.address, w.length = t, len(quoted)
		w.out = append(w.out, quoted...)
	case Atom, Comment:
		w.out = append(w.out, t.Text...)
	case QuotedString:
		w.out = append(w.out, '"')
		w.escaped(t.Text, "\"\\\r\n")
		w.out = append(w.out, '"')
	case Literal:
		w.out = append(w.out, '[')
		w.escaped(t.Text, "\\\r\n")
		w.out = append(w.out, ']')
	case GroupStart:
		w.out = append(w.out, ':')
	case '<':
		if i+1 < len(list) && list[i+1].Kind == '>' {
			w.address, w.length = t, 0
		}
		w.out = append(w.out, '<')
	default:
		w.out = append(w.out, byte(t.Kind))
	}
}

// escaped writes text with a backslash before each byte of set.
func (w *writer) escaped(text, set string) {
	for i := 0; i < len(text); i++ {
		for j := 0; j < len(set); j++ {
			if text[i] == set[j] {
				w.out = append(w.out, '\\')
				break
			}
		}
		w.out = append(w.out, text[i])
	}
}

// trim replaces what was written since the last comma by <address> when it
// holds too much else. Text without an address stays.
func (w *writer) trim() {
	if w.format&Trim == 0 || w.address == nil || len(w.out)-w.length <= w.start+maxNonAddress {
		return
	}
	w.dropped = append(w.dropped, string(w.out[w.start:]))
	w.out = append(w.out[:w.start], '<')
	if w.address.Kind == Address {
		w.out = append(w.out, QuoteWith(w.address.Internal(), EightBitClean)...)
	}
	w.out = append(w.out, '>')
}

// blankAfter reports whether a blank follows token i: after a comma and the
// name of a group, before <, and between two words.
func blankAfter(list []Token, i int) bool {
	if i+1 == len(list) {
		return false
	}
	t, next := list[i].Kind, list[i+1].Kind
	return t == ',' || t == GroupStart || next == '<' || isWord(t) && isWord(next)
}

func isWord(k Kind) bool { return k >= Atom && k <= Address }
