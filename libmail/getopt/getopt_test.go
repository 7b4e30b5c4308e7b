package getopt

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ rule, args, want string }{
		{"options may share an argument", "-ab file", "a b | file"},
		{"a value may follow in the same argument", "-acdir -b", "a c=dir b |"},
		{"a value may be the next argument", "-c -a x", "c=-a | x"},
		{"options end at the first argument that is none", "-a x -b", "a | x -b"},
		{"options end at --", "-a -- -b", "a | -b"},
		{"a lone - is no option", "-a - -b", "a | - -b"},
		{"an unknown option is refused", "-ax", "invalid option -- 'x'"},
		{"an unknown long option is named whole", "--nosuch", "unrecognized option '--nosuch'"},
		{"a colon is no option", "-:", "invalid option -- ':'"},
		{"a missing value is refused", "-c", "option requires an argument -- 'c'"},
	} {
		var got []string
		rest, err := Parse(strings.Fields(c.args), "abc:", func(option byte, value string) error {
			s := string(rune(option))
			if value != "" {
				s += "=" + value
			}
			got = append(got, s)
			return nil
		})
		s := strings.TrimSpace(strings.Join(append(append(got, "|"), rest...), " "))
		if err != nil {
			s = strings.TrimPrefix(err.Error(), "usage: ")
			if !errors.Is(err, ErrUsage) {
				t.Errorf("%s: %v", c.rule, err)
			}
		}
		if s != c.want {
			t.Errorf("%s: %s, want %s", c.rule, s, c.want)
		}
	}
	stop := errors.New("stop")
	if _, err := Parse([]string{"-a"}, "a", func(byte, string) error { return stop }); err != stop {
		t.Errorf("an error of the caller is returned: %v", err)
	}
}

func TestUsage(t *testing.T) {
	_, unknown := Parse([]string{"-x"}, "a", nil)
	other := errors.New("bad offset: x")
	for _, c := range []struct {
		rule string
		err  error
		want string
	}{
		{"the option that is wrong is named", unknown, "usage: cmd [-a] (invalid option -- 'x')"},
		{"an error of the command stays", other, "bad offset: x"},
		{"wrong arguments get the usage alone", nil, "usage: cmd [-a]"},
	} {
		if got := Usage(c.err, "usage: cmd [-a]").Error(); got != c.want {
			t.Errorf("%s: %q, want %q", c.rule, got, c.want)
		}
	}
	if !HelpAsked([]string{"--help"}, "--help") || HelpAsked([]string{"-h"}, "--help") || HelpAsked([]string{"--help", "x"}, "--help") {
		t.Error("help is asked by one word alone, in one of the forms")
	}
	if got := Help("usage: cmd", "cmd(1)"); got != "usage: cmd\nThe manual page cmd(1) says the rest.\n" {
		t.Errorf("Help: %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("-ab -c x -- y")
	f.Fuzz(func(t *testing.T, args string) {
		list := strings.Split(args, " ")
		rest, err := Parse(list, "abc:", func(byte, string) error { return nil })
		if err == nil && len(rest) > len(list) {
			t.Errorf("%q leaves %q", list, rest)
		}
	})
}
