package mailbox

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// mutf7 is the alphabet of modified UTF-7 (RFC 3501 §5.1.3).
var mutf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding).Strict()

var errMUTF7 = errors.New("not modified UTF-7")

// DecodeMUTF7 reads a name in modified UTF-7. Only the canonical form is
// accepted: no ASCII in base64, no shift without need.
func DecodeMUTF7(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c < 0x20 || c > 0x7e:
			return "", errMUTF7
		case c != '&':
			b.WriteByte(c)
			continue
		}
		end := strings.IndexByte(s[i:], '-')
		if end < 0 {
			return "", errMUTF7
		}
		text := s[i+1 : i+end]
		i += end
		if text == "" {
			b.WriteByte('&')
			continue
		}
		if i+1 < len(s) && s[i+1] == '&' && i+2 < len(s) && s[i+2] != '-' {
			return "", errMUTF7 // two shifts in a row
		}
		raw, err := mutf7.DecodeString(text)
		if err != nil || len(raw)%2 != 0 {
			return "", errMUTF7
		}
		units := make([]uint16, len(raw)/2)
		for j := range units {
			units[j] = uint16(raw[2*j])<<8 | uint16(raw[2*j+1])
		}
		for j := 0; j < len(units); j++ {
			r := rune(units[j])
			if utf16.IsSurrogate(r) {
				if j+1 == len(units) {
					return "", errMUTF7
				}
				if r = utf16.DecodeRune(r, rune(units[j+1])); r == utf8.RuneError {
					return "", errMUTF7
				}
				j++
			}
			if r >= 0x20 && r <= 0x7e {
				return "", errMUTF7
			}
			b.WriteRune(r)
		}
	}
	return b.String(), nil
}

// EncodeMUTF7 writes a UTF-8 name in modified UTF-7 (RFC 3501 §5.1.3).
func EncodeMUTF7(s string) string {
	var b strings.Builder
	var wide []rune
	flush := func() {
		if len(wide) == 0 {
			return
		}
		var raw []byte
		for _, u := range utf16.Encode(wide) {
			raw = append(raw, byte(u>>8), byte(u))
		}
		b.WriteByte('&')
		b.WriteString(mutf7.EncodeToString(raw))
		b.WriteByte('-')
		wide = wide[:0]
	}
	for _, r := range s {
		if r >= 0x20 && r <= 0x7e {
			flush()
			if b.WriteByte(byte(r)); r == '&' {
				b.WriteByte('-')
			}
			continue
		}
		wide = append(wide, r)
	}
	flush()
	return b.String()
}
