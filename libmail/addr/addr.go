// Package addr is mail addresses: parse, quote, split, fold (RFC 5321, 5322, 6531).
//
// An address has two forms. The external form is what SMTP commands and
// message headers hold: the local part is a dot-string or a quoted string.
// The internal form is the same address without quotes and backslashes; the
// last @ divides it. Queue files, lookup tables and the envelope use the
// internal form:
//
//	external   "john smith"@example.com
//	internal   john smith@example.com
//
// Header address lists are trees of tokens; see Token.
package addr

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
)

// Local parts with a meaning of their own (RFC 5321 §4.5.1, RFC 3834).
const (
	Postmaster   = "postmaster"
	MailerDaemon = "MAILER-DAEMON"
)

// SplitDomain divides an internal-form address at its last @. Without one the
// whole address is the local part and ok is false.
func SplitDomain(address string) (local, domain string, ok bool) {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return address[:i], address[i+1:], true
	}
	return address, "", false
}

// Fold makes a lookup key of an address, a domain or any other text: lower
// case, and Unicode full case folding where it holds UTF-8 (RFC 6531). Bytes
// that are not UTF-8 stay as they are.
func Fold(s string) string {
	if i := firstFoldable(s); i < 0 {
		return s
	} else if isASCII(s[i:]) {
		return strings.ToLower(s)
	}
	if utf8.ValidString(s) {
		return cases.Fold().String(s)
	}
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// EqualFold reports whether two texts have the same Fold.
func EqualFold(a, b string) bool { return a == b || Fold(a) == Fold(b) }

// firstFoldable is the index of the first byte that folding may change.
func firstFoldable(s string) int {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 0x80 || 'A' <= c && c <= 'Z' {
			return i
		}
	}
	return -1
}

// IsASCII reports whether s needs no SMTPUTF8 (RFC 6531 §3.1): it holds
// no byte above 127.
func IsASCII(s string) bool { return isASCII(s) }

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
