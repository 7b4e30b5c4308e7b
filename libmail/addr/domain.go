package addr

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits on host and domain names (RFC 1035 §2.3.4).
const (
	maxLabel  = 63
	maxDomain = 255
)

// profile maps domains as UTS 46 does without transitional rules: ß stays ß.
var profile = idna.New(idna.MapForLookup(), idna.StrictDomainName(false), idna.BidiRule())

// DomainToASCII gives the A-label form of a domain (RFC 5890 §2.3.2.1), for
// DNS and for comparison. An ASCII domain is checked and folded. The error
// says what makes the domain impossible.
func DomainToASCII(domain string) (string, error) {
	if !utf8.ValidString(domain) {
		return "", fmt.Errorf("domain %.100q: malformed UTF-8", domain)
	}
	ascii, err := profile.ToASCII(domain)
	if err != nil {
		return "", fmt.Errorf("domain %.100q: %w", domain, err)
	}
	if !ValidHostname(ascii) {
		return "", fmt.Errorf("domain %.100q: malformed ASCII label", domain)
	}
	return ascii, nil
}

// DomainToUTF8 gives the U-label form of a domain (RFC 5890 §2.3.2.1).
func DomainToUTF8(domain string) (string, error) {
	if _, err := DomainToASCII(domain); err != nil {
		return "", err
	}
	name, err := profile.ToUnicode(domain)
	if err != nil {
		return "", fmt.Errorf("domain %.100q: %w", domain, err)
	}
	return name, nil
}

// ValidHostname reports whether an ASCII name can be a host or domain: labels
// of letters, digits, _ and -, the latter not at either end, 1 to 63 bytes
// each and 255 in all, not only digits (RFC 1123 §2.1). A dot at the end is
// refused.
func ValidHostname(name string) bool {
	label, numeric := 0, true
	for i := 0; i < len(name); i++ {
		c := name[i]
		last := i+1 == len(name) || name[i+1] == '.'
		switch {
		case c == '.':
			if label == 0 || i+1 == len(name) {
				return false
			}
			label = 0
			continue
		case c == '-':
			if label == 0 || last {
				return false
			}
			numeric = false
		case isDigit(c):
		case isLetter(c) || c == '_':
			numeric = false
		default:
			return false
		}
		if label++; label > maxLabel {
			return false
		}
	}
	return name != "" && !numeric && len(name) <= maxDomain
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= lower(c) && lower(c) <= 'z' }

// ParseLiteral reads an address literal with its brackets: [192.0.2.1] or
// [IPv6:2001:db8::1] (RFC 5321 §4.1.3). A zone is refused.
func ParseLiteral(text string) (netip.Addr, error) {
	bad := fmt.Errorf("address literal %.100q: malformed", text)
	if len(text) < 2 || text[0] != '[' || text[len(text)-1] != ']' {
		return netip.Addr{}, bad
	}
	ip, err := ParseLiteralAddress(text[1 : len(text)-1])
	if err != nil {
		return netip.Addr{}, bad
	}
	return ip, nil
}

// ParseLiteralAddress reads what the brackets of an address literal hold: an
// IPv4 address, or "IPv6:" and an IPv6 address (RFC 5321 §4.1.3).
func ParseLiteralAddress(text string) (netip.Addr, error) {
	const tag = "IPv6:"
	v6 := len(text) >= len(tag) && strings.EqualFold(text[:len(tag)], tag)
	if v6 {
		text = text[len(tag):]
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" || ip.Is4() == v6 {
		return netip.Addr{}, fmt.Errorf("network address %.100q: malformed", text)
	}
	return ip, nil
}

// FormatLiteral writes an address literal with its brackets (RFC 5321 §4.1.3).
func FormatLiteral(ip netip.Addr) string {
	if ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}
