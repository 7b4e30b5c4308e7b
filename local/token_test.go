package main

import (
	"reflect"
	"testing"
)

func TestTokens(t *testing.T) {
	for _, c := range []struct {
		rule, text string
		want       []token
	}{
		{"addresses are separated by commas", "a, b@example.com", []token{{address, "a"}, {address, "b@example.com"}}},
		{"lines separate too", "a\nb", []token{{address, "a"}, {address, "b"}}},
		{"comment lines and empty ones are skipped", "# a, b\n\n  # c\nd", []token{{address, "d"}}},
		{"a quoted command keeps its commas", `"|cmd a,b \"c\"", d`, []token{{command, `cmd a,b "c"`}, {address, "d"}}},
		{"a bare command ends at the comma", "|/bin/cat, d", []token{{command, "/bin/cat"}, {address, "d"}}},
		{"a file name", "/var/mail/x", []token{{filename, "/var/mail/x"}}},
		{"a Maildir ends in a slash", `"/home/a b/Maildir/"`, []token{{filename, "/home/a b/Maildir/"}}},
		{"an include in any case", ":Include:/etc/list", []token{{include, "/etc/list"}}},
		{"a backslash is the mailbox itself", `\user, other`, []token{{address, `\user`}, {address, "other"}}},
		{"comments and phrases are dropped", "Joe (the boss) <joe@example.com>", []token{{address, "joe@example.com"}}},
		{"a quoted local part loses its quotes", `"a b"@example.com`, []token{{address, "a b@example.com"}}},
		{"commas alone are nothing", ", ,,", nil},
	} {
		if got := tokens(c.text); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.rule, got, c.want)
		}
	}
}

func TestFiltered(t *testing.T) {
	const allowed = "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for in, want := range map[string]string{
		"a@example.com": "a@example.com",
		"`id`;$(x)":     "_id____x_",
		"a\nb":          "a_b",
		"ü":             "_",
	} {
		if got := filtered(in, allowed); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzTokens(f *testing.F) {
	f.Add(`a, "|cmd", :include:/x, \b, /f`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, tok := range tokens(text) {
			if tok.text == "" && tok.kind != command && tok.kind != include {
				t.Errorf("%q gives an empty token", text)
			}
		}
	})
}
