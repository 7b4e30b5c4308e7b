package addr

import "strings"

// QuoteFlags change how a local part is quoted.
type QuoteFlags uint8

const (
	// EightBitClean leaves bytes above 127 alone (RFC 6532 §3.2).
	EightBitClean QuoteFlags = 1 << iota
	// ExposeAt leaves an @ in the local part without quotes, for addresses
	// that a router will take apart again.
	ExposeAt
	// BareLocal says that the text is a local part only: an @ does not end it.
	BareLocal
)

// Quote gives the external form for headers, lookup tables and log lines
// (RFC 5322 §3.4.1): a local part that is no dot-string becomes a quoted
// string. A source route before the local part is left alone, and so is the
// empty address, the null sender.
func Quote(internal string) string {
	if internal == "" {
		return ""
	}
	return QuoteWith(internal, EightBitClean)
}

// QuoteWith is Quote with other flags than EightBitClean.
func QuoteWith(internal string, f QuoteFlags) string {
	start := routeLen(internal)
	end := len(internal)
	if f&BareLocal == 0 {
		if i := strings.LastIndexByte(internal[start:], '@'); i >= 0 {
			end = start + i
		}
	}
	local := internal[start:end]
	if isDotString(local, f) {
		return internal
	}
	return internal[:start] + quotedString(local, f, "\"\\\r") + internal[end:]
}

// QuoteSMTP gives the external form for SMTP commands (RFC 5321 §4.1.2). It
// knows no source routes.
func QuoteSMTP(internal string) string { return QuoteSMTPWith(internal, EightBitClean) }

// QuoteSMTPWith is QuoteSMTP with other flags than EightBitClean.
func QuoteSMTPWith(internal string, f QuoteFlags) string {
	end := len(internal)
	if i := strings.LastIndexByte(internal, '@'); i >= 0 {
		end = i
	}
	if isDotString(internal[:end], f) {
		return internal
	}
	return quotedString(internal[:end], f, "\"\\\r\n") + internal[end:]
}

// Unquote gives the internal form of an external one. Quotes and backslashes
// go, except after the last @ that stands outside quotes: a domain is never
// changed. Unbalanced quotes and a backslash at the end are tolerated.
func Unquote(external string) string {
	if !strings.ContainsAny(external, "\"\\") {
		return external
	}
	start := routeLen(external)
	out := make([]byte, start, len(external))
	copy(out, external)
	inQuote := false
	atSource, atDest := -1, 0
	for i := start; i < len(external); i++ {
		switch c := external[i]; {
		case c == '"':
			inQuote = !inQuote
			continue
		case c == '@' && !inQuote:
			atSource, atDest = i, len(out)
		case c == '\\':
			if i+1 == len(external) {
				continue
			}
			i++
		}
		out = append(out, external[i])
	}
	if atSource >= 0 {
		out = append(out[:atDest], external[atSource:]...)
	}
	return string(out)
}

// routeLen is the length of a source route "@a,@b:" at the start of an
// address, or 0 (RFC 5321 §4.1.2, A-d-l).
func routeLen(s string) int {
	if strings.HasPrefix(s, "@") {
		return strings.IndexByte(s, ':') + 1
	}
	return 0
}

// isDotString reports whether a local part needs no quotes: atoms with dots
// between them (RFC 5321 §4.1.2, Dot-string; RFC 5322 §3.2.3, dot-atom).
func isDotString(local string, f QuoteFlags) bool {
	if local == "" || local[0] == '.' || local[len(local)-1] == '.' {
		return false
	}
	for i := 0; i < len(local); i++ {
		switch c := local[i]; {
		case c == '.':
			if local[i+1] == '.' { // the last byte is no dot
				return false
			}
		case c >= 0x80:
			if f&EightBitClean == 0 {
				return false
			}
		case c == '@':
			if f&ExposeAt == 0 {
				return false
			}
		case c <= ' ' || c == 0x7f || strings.IndexByte("()<>,;:\\\"[]", c) >= 0:
			return false
		}
	}
	return true
}

// quotedString puts a local part in quotes, with a backslash before each byte
// of escape (RFC 5321 §4.1.2, Quoted-string).
func quotedString(local string, f QuoteFlags, escape string) string {
	out := make([]byte, 0, len(local)+2)
	out = append(out, '"')
	for i := 0; i < len(local); i++ {
		c := local[i]
		if c >= 0x80 && f&EightBitClean == 0 || strings.IndexByte(escape, c) >= 0 {
			out = append(out, '\\')
		}
		out = append(out, c)
	}
	return string(append(out, '"'))
}
