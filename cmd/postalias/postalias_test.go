package main

import (
	"fmt"
	"testing"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct{ rule, line, want string }{
		{"a name and an address", "root: admin", "root|admin"},
		{"no blank is needed", "root:admin", "root|admin"},
		{"a quoted name loses its quotes", `"a b": c`, "a b|c"},
		{"quotes protect an at sign", `"a@b": c`, "a@b|c"},
		{"a value keeps its quotes", `a: "|cmd x", "b c"@d`, `a|"|cmd x", "b c"@d`},
		{"files and lists of files stay", "a: /file, :include:/list", "a|/file, :include:/list"},
		{"colons in the value stay", "a: b: c", "a|b:c"},
		{"a name of several words", "a b: c", "a b|c"},
		{"the empty name", `"": x`, "|x"},
		{"no colon", "root admin", "need name:value pair"},
		{"no name", ": admin", "need name:value pair"},
		{"no value", "root:", "need name:value pair"},
		{"two names", "a, b: c", "need name:value pair"},
		{"a domain", "a@b: c", "name must be local and have no domain"},
		{"a percent sign", "a%b: c", "name must be local and have no domain"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			key, value, err := split(c.line)
			got := key + "|" + value
			if err != nil {
				got = fmt.Sprint(err)
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
