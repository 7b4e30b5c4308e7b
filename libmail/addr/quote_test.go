package addr

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroad/libmail/mailtest"
)

func TestQuote(t *testing.T) {
	tests := []struct{ rule, internal, header, smtp string }{
		{"a dot-string needs no quotes", "a.b@c", "a.b@c", "a.b@c"},
		{"two dots in a row are quoted", "a..b@c", `"a..b"@c`, `"a..b"@c`},
		{"a dot at the start is quoted", ".a@c", `".a"@c`, `".a"@c`},
		{"a dot at the end is quoted", "a.@c", `"a."@c`, `"a."@c`},
		{"a blank is quoted", "a b@c", `"a b"@c`, `"a b"@c`},
		{"an empty local part is quoted", "@c", `""@c`, `""@c`},
		{"a quote gets a backslash", `a"b\c@d`, `"a\"b\\c"@d`, `"a\"b\\c"@d`},
		{"only the last @ divides", "a@b@c", `"a@b"@c`, `"a@b"@c`},
		{"UTF-8 stays as it is", "ü@c", "ü@c", "ü@c"},
		{"a control is quoted", "a\x01@c", "\"a\x01\"@c", "\"a\x01\"@c"},
		{"a newline gets a backslash in SMTP only", "a\nb@c", "\"a\nb\"@c", "\"a\\\nb\"@c"},
		{"a header keeps a source route", "@a,@b:u v@c", `@a,@b:"u v"@c`, `"@a,@b:u v"@c`},
		{"without a domain all is local part", "a b", `"a b"`, `"a b"`},
	}
	for _, tt := range tests {
		if got := Quote(tt.internal); got != tt.header {
			t.Errorf("%s: Quote(%q) = %q, want %q", tt.rule, tt.internal, got, tt.header)
		}
		if got := QuoteSMTP(tt.internal); got != tt.smtp {
			t.Errorf("%s: QuoteSMTP(%q) = %q, want %q", tt.rule, tt.internal, got, tt.smtp)
		}
		if got := Unquote(tt.header); got != tt.internal {
			t.Errorf("%s: Unquote(%q) = %q, want %q", tt.rule, tt.header, got, tt.internal)
		}
	}
}

func TestQuoteFlags(t *testing.T) {
	tests := []struct {
		rule, in string
		f        QuoteFlags
		want     string
	}{
		{"an @ may stay bare", "a@b@c", EightBitClean | ExposeAt, "a@b@c"},
		{"a bare local part may hold @", "a@b", EightBitClean | BareLocal, `"a@b"`},
		{"without EightBitClean each byte gets a backslash", "ü@c", 0, "\"\\\xc3\\\xbc\"@c"},
	}
	for _, tt := range tests {
		if got := QuoteWith(tt.in, tt.f); got != tt.want {
			t.Errorf("%s: QuoteWith(%q, %d) = %q, want %q", tt.rule, tt.in, tt.f, got, tt.want)
		}
	}
	if got := QuoteSMTPWith("a@b@c", ExposeAt); got != "a@b@c" {
		t.Errorf("QuoteSMTPWith exposes no @: %q", got)
	}
}

func TestUnquoteTolerance(t *testing.T) {
	tests := []struct{ rule, in, want string }{
		{"a quoted @ does not divide", `"a@b@c"@d@e`, "a@b@c@d@e"},
		{"a backslash at the end is dropped", `a\`, "a"},
		{"an open quote ends with the text", `"a b@c`, "a b@c"},
		{"a domain keeps its quotes", `"a"@"b"`, `a@"b"`},
		{"a domain literal keeps its backslash", `"a"@[\[]`, `a@[\[]`},
	}
	for _, tt := range tests {
		if got := Unquote(tt.in); got != tt.want {
			t.Errorf("%s: Unquote(%q) = %q, want %q", tt.rule, tt.in, got, tt.want)
		}
	}
}

// TestQuoteReference compares with the answers of Postfix's own test.
func TestQuoteReference(t *testing.T) {
	dir := mailtest.Corpora(t, "postfix-refs/global")
	in := readLines(t, filepath.Join(dir, "quote_822_local.in"))
	want := readLines(t, filepath.Join(dir, "quote_822_local.ref"))
	for i, line := range in {
		f := strings.Fields(line)
		text := f[len(f)-1]
		if text == "<>" {
			text = ""
		}
		var got string
		switch f[0] {
		case "quote":
			got = fmt.Sprintf("'%s' quoted '%s'", text, QuoteWith(text, EightBitClean))
		case "unquote":
			got = fmt.Sprintf("'%s' unquoted '%s'", text, Unquote(text))
		case "quote_with_flags":
			got = fmt.Sprintf("'%s' quoted flags=%s '%s'", text, f[1], QuoteWith(text, quoteFlags(t, f[1])))
		}
		if got != want[i] {
			t.Errorf("%s: got %s, want %s", line, got, want[i])
		}
	}
}

func quoteFlags(t *testing.T, names string) (f QuoteFlags) {
	t.Helper()
	for _, n := range strings.Split(names, "|") {
		switch n {
		case "8bitclean":
			f |= EightBitClean
		case "expose_at":
			f |= ExposeAt
		case "bare_localpart":
			f |= BareLocal
		default:
			t.Fatalf("unknown flag %s", n)
		}
	}
	return f
}

func readLines(t *testing.T, path string) (lines []string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := bufio.NewScanner(file)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	return lines
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a@b", `a"b\@c`, "@a:b c@d", "a\r\nb@c", "\xff@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := Unquote(Quote(s)); got != s && unambiguous(s) {
			t.Errorf("Unquote(Quote(%q)) = %q", s, got)
		}
		if got := Unquote(QuoteSMTP(s)); got != s && unambiguous(s) && routeLen(s) == 0 {
			t.Errorf("Unquote(QuoteSMTP(%q)) = %q", s, got)
		}
	})
}

// unambiguous leaves out domains that hold quotes, for which there is no
// external form.
func unambiguous(s string) bool {
	_, domain, _ := SplitDomain(s)
	return !strings.ContainsAny(domain, "\"\\") && routeLen(s) == 0
}
