package addr

import "strings"

// Delimiters say where an address extension begins: "user+lists@example.com"
// with Set "+" has the extension "lists".
type Delimiters struct {
	Set          string // recipient_delimiter: each byte is a delimiter; empty for no extensions
	OwnerRequest bool   // owner_request_special: owner-x and x-request are whole when - is a delimiter
	DoubleBounce string // double_bounce_sender: a local part that is never divided
}

// SplitLocal divides a local part into user and extension; ext has no
// delimiter. It divides at the first delimiter that leaves a user, and never
// postmaster, MAILER-DAEMON or the double-bounce sender.
func (d Delimiters) SplitLocal(local string) (user, ext string, ok bool) {
	i := strings.IndexAny(local, d.Set)
	if i <= 0 || d.whole(local) {
		return local, "", false
	}
	return local[:i], local[i+1:], true
}

// Strip takes the extension out of an internal-form address, with or without
// a domain. The extension it returns keeps its delimiter: "a+b@c" gives "a@c"
// and "+b".
func (d Delimiters) Strip(address string) (stripped, ext string, ok bool) {
	local, _, _ := SplitDomain(address)
	user, _, ok := d.SplitLocal(local)
	if !ok {
		return address, "", false
	}
	return user + address[len(local):], local[len(user):], true
}

// whole reports whether a local part is one of those that no delimiter divides.
func (d Delimiters) whole(local string) bool {
	if asciiEqualFold(local, Postmaster) || asciiEqualFold(local, MailerDaemon) {
		return true
	}
	if d.DoubleBounce != "" && EqualFold(local, d.DoubleBounce) {
		return true
	}
	if !d.OwnerRequest || strings.IndexByte(d.Set, '-') < 0 {
		return false
	}
	const owner, request = "owner-", "-request"
	if len(local) >= len(owner) && asciiEqualFold(local[:len(owner)], owner) {
		return true
	}
	n := len(local) - len(request)
	return n > 0 && asciiEqualFold(local[n:], request)
}

// asciiEqualFold compares without regard to the case of ASCII letters.
func asciiEqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
