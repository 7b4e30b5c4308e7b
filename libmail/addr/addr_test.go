package addr

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"postroad/libmail/mailtest"
)

func TestFold(t *testing.T) {
	tests := []struct{ rule, in, want string }{
		{"lower case stays", "abc@d", "abc@d"},
		{"ASCII letters become lower case", "AbC@D", "abc@d"},
		{"UTF-8 is folded", "ÄÖÜ@Straße", "äöü@strasse"},
		{"a final sigma folds as a sigma", "ΣΑΣ", "σασ"},
		{"bytes that are no UTF-8 stay", "A\xff\xfe", "a\xff\xfe"},
	}
	for _, tt := range tests {
		if got := Fold(tt.in); got != tt.want {
			t.Errorf("%s: Fold(%q) = %q, want %q", tt.rule, tt.in, got, tt.want)
		}
	}
}

func TestStrip(t *testing.T) {
	plus := Delimiters{Set: "+"}
	both := Delimiters{Set: "+-", OwnerRequest: true, DoubleBounce: "double-bounce"}
	tests := []struct {
		rule     string
		d        Delimiters
		in       string
		stripped string
		ext      string
	}{
		{"no delimiter set", Delimiters{}, "a+b@c", "a+b@c", ""},
		{"one delimiter", plus, "a+b@c", "a@c", "+b"},
		{"without a domain", plus, "a+b", "a", "+b"},
		{"the first delimiter counts", both, "a-b+c@d", "a@d", "-b+c"},
		{"a delimiter at the start leaves no user", plus, "+b@c", "+b@c", ""},
		{"an empty extension is one", plus, "a+@c", "a@c", "+"},
		{"a delimiter in the domain does not count", both, "a@b-c", "a@b-c", ""},
		{"the last @ divides", plus, "a@b+c@d", "a@b@d", "+c"},
		{"owner-x stays whole", both, "Owner-list@c", "Owner-list@c", ""},
		{"x-request stays whole", both, "list-Request@c", "list-Request@c", ""},
		{"-request alone has no user", both, "-request@c", "-request@c", ""},
		{"owner-x is divided when not special", Delimiters{Set: "-"}, "owner-list@c", "owner@c", "-list"},
		{"owner+x is divided when - is no delimiter", Delimiters{Set: "+", OwnerRequest: true}, "owner-a+b", "owner-a", "+b"},
		{"mailer-daemon stays whole", both, "mailer-daemon@c", "mailer-daemon@c", ""},
		{"double-bounce stays whole", both, "Double-Bounce@c", "Double-Bounce@c", ""},
	}
	for _, tt := range tests {
		got, ext, ok := tt.d.Strip(tt.in)
		if got != tt.stripped || ext != tt.ext || ok != (ext != "") {
			t.Errorf("%s: Strip(%q) = %q, %q, %v; want %q, %q", tt.rule, tt.in, got, ext, ok, tt.stripped, tt.ext)
		}
	}
}

// TestStripReference compares with the answers of Postfix's own test.
func TestStripReference(t *testing.T) {
	dir := mailtest.Corpora(t, "postfix-refs/global")
	d := Delimiters{Set: "+-", OwnerRequest: true, DoubleBounce: "double-bounce"}
	for _, line := range readLines(t, filepath.Join(dir, "strip_addr.ref")) {
		text, ok := strings.CutPrefix(line, "unknown: strip_addr ")
		if !ok {
			continue
		}
		in, want, _ := strings.Cut(text, " -> ")
		stripped, ext, _ := d.Strip(in)
		if got := fmt.Sprintf("%s %s", stripped, ext); got != want && stripped != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestDomains(t *testing.T) {
	tests := []struct {
		rule, in, ascii, utf8 string
		ok                    bool
	}{
		{"an ASCII domain is folded", "Example.COM", "example.com", "example.com", true},
		{"a U-label", "bücher.example", "xn--bcher-kva.example", "bücher.example", true},
		{"an A-label", "xn--bcher-kva.example", "xn--bcher-kva.example", "bücher.example", true},
		{"sharp s stays itself", "straße.example", "xn--strae-oqa.example", "straße.example", true},
		{"an ideographic full stop is a dot", "a。example", "a.example", "a.example", true},
		{"a bad A-label", "xn--\x80.example", "", "", false},
		{"bad UTF-8", "\xff.example", "", "", false},
		{"an empty label", "a..b", "", "", false},
		{"mixed directions in a label", "aא.example", "", "", false},
	}
	for _, tt := range tests {
		a, err := DomainToASCII(tt.in)
		if a != tt.ascii || (err == nil) != tt.ok {
			t.Errorf("%s: DomainToASCII(%q) = %q, %v", tt.rule, tt.in, a, err)
		}
		u, err := DomainToUTF8(tt.in)
		if u != tt.utf8 || (err == nil) != tt.ok {
			t.Errorf("%s: DomainToUTF8(%q) = %q, %v", tt.rule, tt.in, u, err)
		}
	}
}

func TestValidHostname(t *testing.T) {
	tests := []struct {
		rule, in string
		want     bool
	}{
		{"a name", "mail.example.com", true},
		{"an underscore is tolerated", "_dmarc.example.com", true},
		{"one label", "localhost", true},
		{"digits only", "1.2.3.4", false},
		{"a hyphen at the start of a label", "a.-b.c", false},
		{"a hyphen at the end of a label", "a.b-.c", false},
		{"a hyphen inside", "a.b-c", true},
		{"a dot at the end", "a.b.", false},
		{"an empty name", "", false},
		{"a label of 63", strings.Repeat("a", 63) + ".b", true},
		{"a label of 64", strings.Repeat("a", 64) + ".b", false},
		{"255 bytes", strings.Repeat("a.", 127) + "b", true},
		{"257 bytes", strings.Repeat("a.", 128) + "b", false},
	}
	for _, tt := range tests {
		if got := ValidHostname(tt.in); got != tt.want {
			t.Errorf("%s: ValidHostname(%q) = %v", tt.rule, tt.in, got)
		}
	}
}

func TestLiteral(t *testing.T) {
	tests := []struct {
		in   string
		want string
	}{
		{"[192.0.2.1]", "192.0.2.1"},
		{"[ipv6:2001:db8::1]", "2001:db8::1"},
		{"[IPv6:::ffff:192.0.2.1]", "::ffff:192.0.2.1"},
		{"[IPv6:192.0.2.1]", ""},
		{"[::1]", ""},
		{"[IPv6:fe80::1%eth0]", ""},
		{"[1.2.3.4", ""},
		{"[]", ""},
	}
	for _, tt := range tests {
		ip, err := ParseLiteral(tt.in)
		if (err == nil) != (tt.want != "") || err == nil && ip != netip.MustParseAddr(tt.want) {
			t.Errorf("ParseLiteral(%q) = %v, %v", tt.in, ip, err)
		}
	}
	if got := FormatLiteral(netip.MustParseAddr("2001:db8::1")); got != "[IPv6:2001:db8::1]" {
		t.Errorf("FormatLiteral = %s", got)
	}
	if got := FormatLiteral(netip.MustParseAddr("192.0.2.1")); got != "[192.0.2.1]" {
		t.Errorf("FormatLiteral = %s", got)
	}
}
