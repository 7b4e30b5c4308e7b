package tlsconf

import (
	"crypto/tls"
	"fmt"
	"strconv"
	"strings"
)

// versions are the protocol versions in order. SSL is known so that lists
// which exclude it are understood; it is never offered.
var versions = []struct {
	name string
	code uint16
}{
	{"SSLv2", 0x0002},
	{"SSLv3", 0x0300},
	{"TLSv1", tls.VersionTLS10},
	{"TLSv1.1", tls.VersionTLS11},
	{"TLSv1.2", tls.VersionTLS12},
	{"TLSv1.3", tls.VersionTLS13},
}

// Versions is a range of protocol versions, both ends included.
type Versions struct {
	Min, Max uint16
	Warning  string // what the list asks for and does not get, or ""
}

// ParseProtocols reads the value of a *_tls_protocols parameter: ">=TLSv1.2",
// "<=TLSv1.3", "!SSLv3", "TLSv1.2". A list that leaves a gap, which
// crypto/tls cannot have, gets the part above the gap. A list that leaves
// nothing is an error.
func ParseProtocols(list string) (Versions, error) {
	floor, ceiling := uint16(0), uint16(0xffff)
	include, exclude := map[uint16]bool{}, map[uint16]bool{}
	for _, w := range words(list) {
		var err error
		switch {
		case strings.HasPrefix(w, ">="):
			floor, err = limit(w[2:], 0)
		case strings.HasPrefix(w, "<="):
			ceiling, err = limit(w[2:], 0xffff)
		case strings.HasPrefix(w, "!"):
			err = mark(exclude, w[1:])
		default:
			err = mark(include, w)
		}
		if err != nil {
			return Versions{}, fmt.Errorf("TLS protocol list %q: %w", list, err)
		}
	}
	var v Versions
	gap := false
	for i := len(versions) - 1; i >= 0; i-- {
		code := versions[i].code
		allowed := code >= floor && code <= ceiling && !exclude[code] && (len(include) == 0 || include[code])
		switch {
		case !allowed:
			gap = gap || v.Max != 0
		case code < tls.VersionTLS10:
			if include[code] {
				v.Warning = versions[i].name + " is not supported"
			}
		case gap:
			v.Warning = versions[i].name + " is not offered: the protocol list has a gap above it"
		default:
			v.Min = code
			v.Max = max(v.Max, code)
		}
	}
	if v.Max == 0 {
		return Versions{}, fmt.Errorf("TLS protocol list %q: leaves no supported protocol", list)
	}
	return v, nil
}

// limit reads one end of a range; "none" and the empty word are no limit.
func limit(word string, none uint16) (uint16, error) {
	if word == "" || word == "0" || strings.EqualFold(word, "none") {
		return none, nil
	}
	if code, ok := versionCode(word); ok {
		return code, nil
	}
	if n, err := strconv.ParseUint(word, 0, 16); err == nil && strings.HasPrefix(strings.ToLower(word), "0x") {
		return uint16(n), nil
	}
	return 0, fmt.Errorf("unknown protocol %q", word)
}

func mark(set map[uint16]bool, word string) error {
	code, ok := versionCode(word)
	if !ok {
		return fmt.Errorf("unknown protocol %q", word)
	}
	set[code] = true
	return nil
}

func versionCode(word string) (uint16, bool) {
	for _, v := range versions {
		if strings.EqualFold(v.name, word) {
			return v.code, true
		}
	}
	return 0, false
}

// VersionName returns a protocol version as logs and Received: headers
// write it, "TLSv1.3".
func VersionName(code uint16) string {
	for _, v := range versions {
		if v.code == code {
			return v.name
		}
	}
	return fmt.Sprintf("0x%04x", code)
}
