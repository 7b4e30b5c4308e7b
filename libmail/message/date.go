package message

import (
	"errors"
	"strings"
	"time"
)

// ErrDate is returned for a text that is no date.
var ErrDate = errors.New("malformed date")

// maxDate bounds the text that ParseDate looks at, in bytes.
const maxDate = 512

// FormatDate writes a time for a Date or Received header (RFC 5322 §3.3),
// with the name of its zone as a comment.
func FormatDate(t time.Time) string {
	return t.Format("Mon, _2 Jan 2006 15:04:05 -0700 (MST)")
}

// ParseDate reads a date as RFC 5322 §3.3 and §4.3 define it and as old
// software wrote it: comments and odd spacing, no seconds, no zone (UTC is
// assumed), a zone by name, a year of two or three digits, a month as a
// number, a wrong day of the week.
func ParseDate(text string) (time.Time, error) {
	if len(text) > maxDate {
		return time.Time{}, ErrDate
	}
	words := dateWords(text)
	if len(words) > 0 && isDayName(words[0]) {
		words = words[1:]
	}
	if len(words) < 4 {
		return time.Time{}, ErrDate
	}
	if monthOf(words[0]) > 0 && !isNumber(words[0]) { // asctime: Nov 22 16:47:00 2026
		words = append([]string{words[1], words[0], words[3], words[2]}, words[4:]...)
	}
	day, month, year := number(words[0]), monthOf(words[1]), yearOf(words[2])
	clock, ok := parseClock(words[3])
	if !ok || month == 0 || year < 0 || day < 1 || day > daysIn(month, year) {
		return time.Time{}, ErrDate
	}
	zone := time.UTC
	if len(words) > 4 {
		if zone, ok = parseZone(words[4]); !ok {
			return time.Time{}, ErrDate
		}
	}
	return time.Date(year, time.Month(month), day, clock[0], clock[1], clock[2], 0, zone), nil
}

// dateWords divides text at blanks, commas and comments.
func dateWords(text string) []string {
	var words []string
	start, depth := -1, 0
	for i := 0; i <= len(text); i++ {
		c := byte(' ')
		if i < len(text) {
			c = text[i]
		}
		if depth == 0 && c != '(' && c != ',' && !isSpace(c) {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 {
			words = append(words, text[start:i])
			start = -1
		}
		switch {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\':
			i++
		}
	}
	return words
}

func isDayName(w string) bool {
	if len(w) < 3 || isNumber(w) {
		return false
	}
	return strings.Contains("sun mon tue wed thu fri sat", strings.ToLower(w[:3]))
}

func isNumber(w string) bool {
	for i := 0; i < len(w); i++ {
		if w[i] < '0' || w[i] > '9' {
			return false
		}
	}
	return w != "" && len(w) < 10
}

// number is the value of a decimal number, or -1.
func number(w string) int {
	if !isNumber(w) {
		return -1
	}
	n := 0
	for i := 0; i < len(w); i++ {
		n = n*10 + int(w[i]-'0')
	}
	return n
}

// monthOf is the month of a name or number, or 0.
func monthOf(w string) int {
	if n := number(w); n >= 0 {
		if n > 12 {
			return 0
		}
		return n
	}
	if len(w) < 3 {
		return 0
	}
	i := strings.Index("jan feb mar apr may jun jul aug sep oct nov dec", strings.ToLower(w[:3]))
	if i < 0 || i%4 != 0 {
		return 0
	}
	return i/4 + 1
}

// yearOf adds the century to a year of two or three digits (RFC 5322 §4.3).
func yearOf(w string) int {
	n := number(w)
	switch {
	case n < 0 || n > 9999:
		return -1
	case len(w) <= 2 && n < 50:
		return n + 2000
	case len(w) <= 3:
		return n + 1900
	}
	return n
}

func daysIn(month, year int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// parseClock reads hh:mm or hh:mm:ss. A leap second becomes the next minute.
func parseClock(w string) (hms [3]int, ok bool) {
	limits := [3]int{23, 59, 60}
	parts := strings.Split(w, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return hms, false
	}
	for i, p := range parts {
		if hms[i] = number(p); hms[i] < 0 || hms[i] > limits[i] {
			return hms, false
		}
	}
	return hms, true
}

// zones are the zones with a name (RFC 5322 §4.3), in hours. Other names and
// the military letters say nothing that can be relied on: they count as UTC.
var zones = map[string]int{
	"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
}

// parseZone reads +hhmm, -hhmm or a name.
func parseZone(w string) (*time.Location, bool) {
	if w[0] != '+' && w[0] != '-' {
		if isNumber(w) {
			return nil, false
		}
		if h, ok := zones[strings.ToUpper(w)]; ok {
			return time.FixedZone(strings.ToUpper(w), h*3600), true
		}
		return time.UTC, true
	}
	n := number(w[1:])
	if len(w) != 5 || n < 0 || n%100 > 59 {
		return nil, false
	}
	sec := (n/100*60 + n%100) * 60
	if w[0] == '-' {
		sec = -sec
	}
	return time.FixedZone("", sec), true
}
