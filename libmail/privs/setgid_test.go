package privs

import (
	"slices"
	"testing"
)

func TestWithoutRuntimeSettings(t *testing.T) {
	for _, c := range []struct {
		rule      string
		env, want []string
	}{
		{"settings of the runtime go", []string{"GODEBUG=x", "PATH=/bin", "GOTRACEBACK=crash"}, []string{"PATH=/bin"}},
		{"what the runtime sets in a set-gid program stays, or there is no end", []string{"PATH=/bin", "GOTRACEBACK=none"}, []string{"PATH=/bin", "GOTRACEBACK=none"}},
	} {
		if got := withoutRuntimeSettings(c.env); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.rule, got, c.want)
		}
	}
}
