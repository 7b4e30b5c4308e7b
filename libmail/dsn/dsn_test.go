package dsn

import (
	"errors"
	"fmt"
	"testing"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct{ rule, text, status, rest string }{
		{"a leading code is taken", "5.1.1 no such user", "5.1.1", "no such user"},
		{"three digits are allowed", "4.7.999 later", "4.7.999", "later"},
		{"a code alone leaves no text", "2.0.0", "2.0.0", ""},
		{"no code keeps the default", "no such user", "5.0.0", "no such user"},
		{"class 3 does not exist", "3.1.1 x", "5.0.0", "3.1.1 x"},
		{"four digits are no code", "5.1.1111 x", "5.0.0", "5.1.1111 x"},
		{"an address is no code", "5.1.1.1 x", "5.0.0", "5.1.1.1 x"},
		{"blanks before the code are skipped", "  4.2.2 full", "4.2.2", "full"},
	} {
		status, rest := Split(c.text, "5.0.0")
		if status != c.status || rest != c.rest {
			t.Errorf("%s: Split(%q) = %q, %q", c.rule, c.text, status, rest)
		}
	}
}

func TestTemporary(t *testing.T) {
	for _, c := range []struct {
		rule string
		err  error
		want bool
	}{
		{"an error without a status is temporary", errors.New("x"), true},
		{"class 4 is temporary", Errorf("4.2.2", "full"), true},
		{"class 5 is permanent", Errorf("5.1.1", "unknown"), false},
		{"a wrapped error keeps its permanence", fmt.Errorf("a: %w", Errorf("5.1.1", "unknown")), false},
		{"a malformed status is temporary", Errorf("5.x", "odd"), true},
	} {
		if got := Temporary(c.err); got != c.want {
			t.Errorf("%s: got %v", c.rule, got)
		}
		if got := Of(c.err).Class() == '4'; got != c.want {
			t.Errorf("%s: outcome class disagrees", c.rule)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("5.1.1 no such user")
	f.Add("4.2.")
	f.Fuzz(func(t *testing.T, s string) {
		status, _ := Split(s, "4.0.0")
		if !Valid(status) {
			t.Errorf("Split(%q) gives the invalid status %q", s, status)
		}
	})
}

func TestExit(t *testing.T) {
	for _, c := range []struct {
		rule           string
		exit           Exit
		status, reason string
	}{
		{"status 0 is success", Exit{Command: "c"}, "2.0.0", "delivered to command: c"},
		{"EX_TEMPFAIL waits", Exit{Command: "c", Status: 75}, "4.3.0", "temporary failure"},
		{"EX_NOUSER fails", Exit{Command: "c", Status: 67, Output: "no such box"}, "5.1.1", "user unknown. Command output: no such box"},
		{"a code in the output decides", Exit{Command: "c", Status: 67, Output: "4.2.2 full"}, "4.2.2", "full"},
		{"success can't be claimed with a failure", Exit{Command: "c", Status: 1, Output: "2.0.0 ok"}, "5.3.0", "ok"},
		{"a signal waits", Exit{Command: "c", Signal: 9}, "4.3.0", `Command died with signal 9: "c"`},
		{"the time limit fails", Exit{Command: "c", Signal: 9, TimedOut: true}, "5.3.0", `Command time limit exceeded: "c"`},
		{"another status fails", Exit{Command: "c", Status: 1, Output: "oops"}, "5.3.0", `Command died with status 1: "c". Command output: oops`},
	} {
		o := c.exit.Outcome()
		if o.Status != c.status || o.Reason != c.reason {
			t.Errorf("%s: %s %s", c.rule, o.Status, o.Reason)
		}
	}
}
