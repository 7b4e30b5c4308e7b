package mailtest

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// faults records what a dialog complains about.
type faults struct {
	testing.TB
	list []string
}

func (f *faults) Helper() {}
func (f *faults) Errorf(format string, args ...any) {
	f.list = append(f.list, format)
}

// echo answers each line with "> line" and closes at "bye".
func echo(c net.Conn) {
	r := bufio.NewScanner(c)
	for r.Scan() && r.Text() != "bye" {
		if _, err := c.Write([]byte("> " + r.Text() + "\r\n")); err != nil {
			break
		}
	}
	c.Close() // the peer sees it
}

func play(t *testing.T, text string, other func(Step) error) (*Dialog, []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.txt")
	if err := os.WriteFile(path, []byte(text), 0600); err != nil {
		t.Fatal(err)
	}
	d, err := ReadDialog(path)
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	go echo(server)
	f := &faults{TB: t}
	(&Player{Other: other}).Play(f, d, client)
	return d, f.list
}

func TestDialog(t *testing.T) {
	for rule, text := range map[string]string{
		"a line is sent and compared": "C: one\nS: > one\n",
		"dots match any text":         "C: one two three\nS: > one...e\n",
		"raw text has no line end":    "C| \"a\"\nC| \"b\\r\\n\"\nS: > ab\n",
		"the end is seen":             "C: bye\nS| closed\n",
		"comments are no steps":       "# S: no\n\nC: a\nS: > a\n",
	} {
		if _, list := play(t, text, nil); len(list) > 0 {
			t.Errorf("%s: %v", rule, list)
		}
	}
	for rule, text := range map[string]string{
		"another reply is a fault":      "C: one\nS: > two\n",
		"a reply after the end is one":  "C: bye\nS: > bye\n",
		"an open connection is a fault": "C: x\nS| closed\n",
		"unknown words are faults":      "C: x\nS: > x\nfoo: bar\n",
	} {
		if _, list := play(t, text, nil); len(list) != 1 {
			t.Errorf("%s: %v", rule, list)
		}
	}
}

func TestDialogOtherWords(t *testing.T) {
	var seen []string
	d, list := play(t, "conf: a = b\nC: x\nS: > x\nlog: hello\n", func(s Step) error {
		seen = append(seen, s.Word+s.Text)
		return nil
	})
	if len(d.Head) != 1 || d.Head[0].Text != "a = b" || strings.Join(seen, ",") != "log:hello" || len(list) > 0 {
		t.Errorf("head %v, seen %v, faults %v", d.Head, seen, list)
	}
}

func TestLike(t *testing.T) {
	for _, c := range []struct {
		text, pattern string
		want          bool
	}{
		{"abc", "abc", true}, {"abc", "ab", false}, {"abc", "...", true}, {"abc", "a...", true},
		{"abc", "...c", true}, {"abcabc", "a...bc", true}, {"abc", "...x...", false}, {"", "...", true},
	} {
		if got := Like(c.text, c.pattern); got != c.want {
			t.Errorf("%q like %q: %v", c.text, c.pattern, got)
		}
	}
}
