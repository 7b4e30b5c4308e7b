package addr

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroad/libmail/mailtest"
)

func TestParsePath(t *testing.T) {
	tests := []struct {
		rule, in string
		cs       Charset
		internal string
		rest     string
		ok       bool
	}{
		{"the null path is a path", "<> SIZE=1", ASCII, "", " SIZE=1", true},
		{"parameters follow a path", "<a@b.c> SIZE=1", ASCII, "a@b.c", " SIZE=1", true},
		{"postmaster needs no domain", "<Postmaster>", ASCII, "Postmaster", "", true},
		{"others need a domain", "<root>", ASCII, "", "<root>", false},
		{"a source route is taken off", "<@a.b,@c.d:u@e.f>", ASCII, "u@e.f", "", true},
		{"a source route needs its colon", "<@a.b,u@e.f>", ASCII, "", "<@a.b,u@e.f>", false},
		{"a quoted local part may hold anything printable", `<"a @b>\""@c.d>`, ASCII, `a @b>"@c.d`, "", true},
		{"a quoted local part may be empty", `<""@c.d>`, ASCII, "@c.d", "", true},
		{"a control is refused in quotes", "<\"a\x01\"@c.d>", ASCII, "", "<\"a\x01\"@c.d>", false},
		{"two dots are refused", "<a..b@c.d>", ASCII, "", "<a..b@c.d>", false},
		{"an IPv4 literal", "<a@[192.0.2.1]>", ASCII, "a@[192.0.2.1]", "", true},
		{"an IPv6 literal", "<a@[IPv6:2001:db8::1]>", ASCII, "a@[IPv6:2001:db8::1]", "", true},
		{"an IPv6 literal needs its tag", "<a@[2001:db8::1]>", ASCII, "", "<a@[2001:db8::1]>", false},
		{"UTF-8 needs SMTPUTF8", "<ü@c.d>", ASCII, "", "<ü@c.d>", false},
		{"UTF-8 with SMTPUTF8", "<ü@ä.example>", UTF8, "ü@ä.example", "", true},
		{"bad UTF-8 is refused", "<\xff@c.d>", UTF8, "", "<\xff@c.d>", false},
		{"UTF-8 in quotes", "<\"ü ä\"@c.d>", UTF8, "ü ä@c.d", "", true},
		{"no closing bracket", "<a@b.c", ASCII, "", "<a@b.c", false},
		{"no bracket at all", "a@b.c", ASCII, "", "a@b.c", false},
	}
	for _, tt := range tests {
		p, rest, err := ParsePath(tt.in, tt.cs)
		if (err == nil) != tt.ok || p.Internal() != tt.internal || rest != tt.rest {
			t.Errorf("%s: ParsePath(%q) = %q, %q, %v", tt.rule, tt.in, p.Internal(), rest, err)
		}
	}
}

// TestMailboxSet checks the acceptance of the isemail set: what RFC 5321
// allows is accepted, what only RFC 5322 allows or nothing allows is not.
func TestMailboxSet(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(mailtest.Corpora(t, "address/isemail"), "tests.xml"))
	if err != nil {
		t.Fatal(err)
	}
	var set struct {
		Tests []struct {
			ID        int    `xml:"id,attr"`
			Address   string `xml:"address"`
			Category  string `xml:"category"`
			Diagnosis string `xml:"diagnosis"`
		} `xml:"test"`
	}
	if err := xml.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Tests) < 50 {
		t.Fatalf("only %d cases", len(set.Tests))
	}
	for _, c := range set.Tests {
		address := strings.Map(func(r rune) rune {
			if 0x2400 <= r && r < 0x2420 {
				return r - 0x2400
			}
			return r
		}, c.Address)
		_, _, err := ParseMailbox(address, ASCII)
		if ok, want := err == nil, mailboxAllowed(c.Category, c.Diagnosis, address); ok != want {
			t.Errorf("%d: %q (%s %s): accepted %v", c.ID, address, c.Category, c.Diagnosis, ok)
		}
	}
}

// mailboxAllowed is what the categories mean for an envelope. Sizes of local
// parts and labels are no matter of the grammar.
func mailboxAllowed(category, diagnosis, address string) bool {
	switch diagnosis {
	case "ISEMAIL_RFC5322_LOCAL_TOOLONG", "ISEMAIL_RFC5322_TOOLONG":
		return true
	case "ISEMAIL_RFC5321_TLDNUMERIC": // ValidHostname wants one letter anywhere
		return true
	case "ISEMAIL_RFC5321_IPV6DEPRECATED":
		return true
	}
	switch category {
	case "ISEMAIL_VALID_CATEGORY", "ISEMAIL_DNSWARN", "ISEMAIL_RFC5321":
		return !strings.ContainsAny(address, "\r\n")
	}
	return false
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<>", "<a@b.c>", `<"a\"b"@c.d> x`, "<@a.b:c@[IPv6:::1]>", "<ü@ü.example>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, rest, err := ParsePath(s, UTF8)
		if err != nil {
			return
		}
		if !strings.HasSuffix(s, rest) {
			t.Fatalf("rest %q is no end of %q", rest, s)
		}
		if p.Domain == "" {
			return
		}
		again, _, err := ParsePath("<"+QuoteSMTP(p.Internal())+">", UTF8)
		if err != nil || again.Internal() != p.Internal() {
			t.Errorf("%q: quoted form is not read back: %q, %v", s, again.Internal(), err)
		}
	})
}
