package smtpwire

import (
	"strings"
)

// Keywords is a set of EHLO keywords (RFC 5321 §4.1.1.1).
type Keywords uint32

const (
	EightBitMIME        Keywords = 1 << iota // RFC 6152
	Pipelining                               // RFC 2920
	Size                                     // RFC 1870
	VRFY                                     // RFC 5321 §3.5
	ETRN                                     // RFC 1985
	AUTH                                     // RFC 4954
	XVERP                                    // variable envelope return paths
	STARTTLS                                 // RFC 3207
	XCLIENT                                  // Postfix XCLIENT_README
	XFORWARD                                 // Postfix XFORWARD_README
	EnhancedStatusCodes                      // RFC 2034
	DSN                                      // RFC 3461
	SMTPUTF8                                 // RFC 6531
	Chunking                                 // RFC 3030
	RequireTLS                               // RFC 8689
	// SilentDiscard is no keyword: in a list of keywords to discard it asks to
	// do that without a log line.
	SilentDiscard
)

var keywordNames = []struct {
	name string
	bit  Keywords
}{
	{"8BITMIME", EightBitMIME},
	{"AUTH", AUTH},
	{"CHUNKING", Chunking},
	{"DSN", DSN},
	{"ENHANCEDSTATUSCODES", EnhancedStatusCodes},
	{"ETRN", ETRN},
	{"PIPELINING", Pipelining},
	{"REQUIRETLS", RequireTLS},
	{"SIZE", Size},
	{"SMTPUTF8", SMTPUTF8},
	{"STARTTLS", STARTTLS},
	{"VRFY", VRFY},
	{"XCLIENT", XCLIENT},
	{"XFORWARD", XFORWARD},
	{"XVERP", XVERP},
	{"SILENT-DISCARD", SilentDiscard},
}

// Keyword returns the bit of one keyword in any case, or 0.
func Keyword(word string) Keywords {
	for _, k := range keywordNames {
		if strings.EqualFold(word, k.name) {
			return k.bit
		}
	}
	return 0
}

// ParseKeywords reads a list of keywords, split at commas and blanks, as in
// smtpd_discard_ehlo_keywords, and returns the words that it does not know.
func ParseKeywords(text string) (set Keywords, unknown []string) {
	for _, word := range strings.FieldsFunc(text, func(c rune) bool {
		return c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n'
	}) {
		bit := Keyword(word)
		if bit == 0 {
			unknown = append(unknown, word)
		}
		set |= bit
	}
	return set, unknown
}

// Has reports whether all of want are in the set.
func (k Keywords) Has(want Keywords) bool { return k&want == want }

// Names lists the keywords of the set in upper case, sorted.
func (k Keywords) Names() []string {
	var names []string
	for _, n := range keywordNames {
		if k&n.bit != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// Features is what a server said in its answer to EHLO or LHLO.
type Features struct {
	Name     string // of the server, from the first line
	Set      Keywords
	MaxSize  int64    // of SIZE; 0: no limit given
	Auth     []string // mechanisms in the server's order, upper case
	XCLIENT  []string // attribute names
	XFORWARD []string
}

// ParseEHLO reads a positive reply to EHLO. What it does not understand it
// ignores; AUTH=MECH counts as AUTH MECH as old servers write it.
func ParseEHLO(r *Reply) Features {
	var f Features
	for i, line := range r.Lines() {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if i == 0 {
			f.Name = words[0]
			continue
		}
		keyword, args := words[0], words[1:]
		if len(keyword) > 5 && strings.EqualFold(keyword[:5], "AUTH=") {
			keyword, args = "AUTH", append([]string{keyword[5:]}, args...)
		}
		f.add(Keyword(keyword), args)
	}
	return f
}

func (f *Features) add(bit Keywords, args []string) {
	f.Set |= bit &^ SilentDiscard
	switch bit {
	case Size:
		if len(args) > 0 {
			f.MaxSize, _ = ParseSize(args[0]) // a bad number is no limit
		}
	case AUTH:
		for _, m := range args {
			f.addAuth(strings.ToUpper(m))
		}
	case XCLIENT:
		f.XCLIENT = append(f.XCLIENT, args...)
	case XFORWARD:
		f.XFORWARD = append(f.XFORWARD, args...)
	}
}

func (f *Features) addAuth(mechanism string) {
	for _, known := range f.Auth {
		if known == mechanism {
			return
		}
	}
	f.Auth = append(f.Auth, mechanism)
}
