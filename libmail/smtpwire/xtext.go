package smtpwire

import (
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789ABCDEF"

// EncodeXtext encodes text as xtext (RFC 3461 §4): printable ASCII except '+',
// '=' and the characters in special stay, everything else becomes +HH.
func EncodeXtext(text, special string) string {
	var b strings.Builder
	b.Grow(len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c > ' ' && c < 0x7f && c != '+' && c != '=' && strings.IndexByte(special, c) < 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('+')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

// DecodeXtext decodes xtext; false for a '+' without two hexadecimal digits.
// Lower case digits are accepted. Other characters stay as they are.
func DecodeXtext(text string) (string, bool) {
	if strings.IndexByte(text, '+') < 0 {
		return text, true
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '+' {
			if i+2 >= len(text) {
				return "", false
			}
			high, ok1 := hexValue(text[i+1])
			low, ok2 := hexValue(text[i+2])
			if !ok1 || !ok2 {
				return "", false
			}
			c = high<<4 | low
			i += 2
		}
		b = append(b, c)
	}
	return string(b), true
}

func hexValue(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// EncodeUTF8Xtext encodes an address as utf-8-addr-xtext (RFC 6533 §3), which is
// plain ASCII: printable ASCII except backslash, '+', '=' and the characters in
// special stay, every other character becomes \x{HEX}. False if text is no
// UTF-8.
func EncodeUTF8Xtext(text, special string) (string, bool) {
	if !utf8.ValidString(text) {
		return "", false
	}
	var b strings.Builder
	for _, c := range text {
		if c > ' ' && c < 0x7f && c != '\\' && c != '+' && c != '=' && !strings.ContainsRune(special, c) {
			b.WriteRune(c)
			continue
		}
		b.WriteString(`\x{`)
		digits := 2
		for c>>(4*digits) != 0 {
			digits++
		}
		for i := digits - 1; i >= 0; i-- {
			b.WriteByte(hexDigits[c>>(4*i)&15])
		}
		b.WriteByte('}')
	}
	return b.String(), true
}

// DecodeUTF8Xtext decodes utf-8-addr-xtext and utf-8-addr-unitext (RFC 6533
// §3). False for a malformed \x{HEX}, for a code point that does not exist, and
// if the result is no UTF-8.
func DecodeUTF8Xtext(text string) (string, bool) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, `\x{`)
		b.WriteString(before)
		if !found {
			break
		}
		hex, after, closed := strings.Cut(rest, "}")
		if !closed || hex == "" || len(hex) > 6 {
			return "", false
		}
		var c rune
		for i := 0; i < len(hex); i++ {
			v, ok := hexValue(hex[i])
			if !ok {
				return "", false
			}
			c = c<<4 | rune(v)
		}
		if c == 0 || !utf8.ValidRune(c) {
			return "", false
		}
		b.WriteRune(c)
		text = after
	}
	return b.String(), utf8.ValidString(b.String())
}

// ParseORCPT splits and decodes the value of ORCPT= (RFC 3461 §4.2, RFC 6533
// §3): "rfc822;user+40example.com" gives "rfc822" and "user@example.com".
// False if the type is missing or the encoding is wrong.
func ParseORCPT(value string) (addrType, address string, ok bool) {
	addrType, encoded, found := strings.Cut(value, ";")
	if !found || addrType == "" || encoded == "" {
		return "", "", false
	}
	if strings.EqualFold(addrType, "utf-8") {
		address, ok = DecodeUTF8Xtext(encoded)
	} else {
		address, ok = DecodeXtext(encoded)
	}
	return addrType, address, ok && address != ""
}
