package mailbox

import (
	"slices"
	"strconv"
	"strings"
)

// Flags are the flags that a Maildir file name can hold.
type Flags uint8

// The flags, in the order of their letters.
const (
	Draft    Flags = 1 << iota // D
	Flagged                    // F
	Passed                     // P: forwarded
	Answered                   // R
	Seen                       // S
	Trashed                    // T: deleted
)

// flagLetters are the letters of the flags, in ASCII order.
const flagLetters = "DFPRST"

// A fileName is a name in new or cur, taken apart.
type fileName struct {
	base     string // up to the first colon: the message's identity
	flags    Flags
	keywords string // letters a to z: numbers in dovecot-keywords
	other    string // what else stood there, to be kept
}

// parseName takes a name apart; ok is false for names that are no messages.
func parseName(name string) (f fileName, ok bool) {
	if name == "" || name[0] == '.' || name[0] == ':' || strings.ContainsAny(name, "\r\n") {
		return f, false
	}
	f.base, _, _ = strings.Cut(name, ":")
	i := strings.LastIndexByte(name, ':')
	if i < 0 || !strings.HasPrefix(name[i:], ":2,") {
		return f, true
	}
	info := name[i+3:]
	for n, c := range []byte(info) {
		switch at := strings.IndexByte(flagLetters, c); {
		case at >= 0:
			f.flags |= 1 << at
		case c >= 'a' && c <= 'z':
			f.keywords += string(rune(c))
		case c == ',':
			f.other += info[n:]
			return f, true
		default:
			f.other += string(rune(c))
		}
	}
	return f, true
}

// info is the part behind the base: ":2,FSa".
func (f fileName) info() string {
	var b strings.Builder
	b.WriteString(":2,")
	var letters []byte
	for i, c := range []byte(flagLetters) {
		if f.flags&(1<<i) != 0 {
			letters = append(letters, c)
		}
	}
	tail := ""
	if i := strings.IndexByte(f.other, ','); i >= 0 {
		letters, tail = append(letters, f.other[:i]...), f.other[i:]
	} else {
		letters = append(letters, f.other...)
	}
	slices.Sort(letters)
	b.Write(slices.Compact(letters))
	keywords := []byte(f.keywords)
	slices.Sort(keywords)
	b.Write(slices.Compact(keywords))
	b.WriteString(tail)
	return b.String()
}

// sizeIn is a size that a base carries, ",S=" on disk or ",W=" with CRLF line
// ends; -1 when it has none.
func sizeIn(base, mark string) int64 {
	i := strings.Index(base, mark)
	if i < 0 {
		return -1
	}
	digits := base[i+len(mark):]
	if end := strings.IndexAny(digits, ",:"); end >= 0 {
		digits = digits[:end]
	}
	n, err := strconv.ParseInt(digits, 10, 63)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// compareBases orders new messages: by the time in front, then by the
// microseconds where both have them, then by bytes, as Dovecot does.
func compareBases(a, b string) int {
	if x, y := leadingInt(a), leadingInt(b); x != y {
		if x < y {
			return -1
		}
		return 1
	}
	if x, y := microseconds(a), microseconds(b); x >= 0 && y >= 0 && x != y {
		if x < y {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

func leadingInt(s string) int64 {
	end := 0
	for end < len(s) && end < 18 && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, _ := strconv.ParseInt(s[:end], 10, 64) // no digits: 0, first
	return n
}

// microseconds is the number behind the M in the second part of a name.
func microseconds(s string) int64 {
	_, rest, ok := strings.Cut(s, ".")
	if !ok {
		return -1
	}
	unique, _, _ := strings.Cut(rest, ".")
	i := strings.IndexByte(unique, 'M')
	if i < 0 || i+1 == len(unique) || unique[i+1] < '0' || unique[i+1] > '9' {
		return -1
	}
	return leadingInt(unique[i+1:])
}
