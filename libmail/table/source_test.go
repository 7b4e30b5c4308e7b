package table

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// heard collects what a table says.
type heard struct{ lines []string }

func (h *heard) Info(f string, a ...any)    { h.lines = append(h.lines, "info: "+fmt.Sprintf(f, a...)) }
func (h *heard) Warning(f string, a ...any) { h.lines = append(h.lines, fmt.Sprintf(f, a...)) }
func (h *heard) Error(f string, a ...any)   { h.lines = append(h.lines, "error: "+fmt.Sprintf(f, a...)) }

func TestLogicalLines(t *testing.T) {
	for _, c := range []struct{ rule, text, want string }{
		{"a line is a logical line", "a b\nc\n", "1 a b|2 c"},
		{"the last line needs no newline", "a\nb", "1 a|2 b"},
		{"a blank at its start continues a line", "a\n b\n\tc\nd", "1 a b\tc|4 d"},
		{"comments are no lines", "#x\na\n  # y\nb", "2 a|4 b"},
		{"comments do not end a line", "a\n# x\n b\n", "1 a b"},
		{"empty lines do not end a line", "a\n\n \n b\n", "1 a b"},
		{"a comment after text is text", "a #b\n", "1 a #b"},
		{"text before the first line is refused", " a\nb", "2 b"},
		{"a NUL ends the text", "a\x00b\n c\nd", "1 a|3 d"},
		{"carriage returns stay", "a\r\nb", "1 a\r|2 b"},
		{"nothing", "", ""},
		{"only comments", "# a\n\n#b\n", ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var got []string
			s := NewSource(iotest.OneByteReader(strings.NewReader(c.text)), "test", nil)
			for line, n, ok := s.Next(); ok; line, n, ok = s.Next() {
				got = append(got, fmt.Sprint(n, " ", line))
			}
			if s.Err() != nil || strings.Join(got, "|") != c.want {
				t.Errorf("got %q %v", got, s.Err())
			}
		})
	}
}

func TestSourceBounds(t *testing.T) {
	long := io.MultiReader(strings.NewReader("a "), io.LimitReader(zeros{}, maxLine+1))
	s := NewSource(long, "test", nil)
	if _, _, ok := s.Next(); ok || s.Err() == nil {
		t.Error("a line without an end is accepted")
	}
	broken := errors.New("disk on fire")
	s = NewSource(io.MultiReader(strings.NewReader("a\nb\n"), iotest.ErrReader(broken)), "test", nil)
	if line, _, ok := s.Next(); !ok || line != "a" {
		t.Errorf("got %q %v", line, ok)
	}
	if _, _, ok := s.Next(); ok || !errors.Is(s.Err(), broken) {
		t.Errorf("a read error is %v: the last line may not be whole", s.Err())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestSplitEntry(t *testing.T) {
	for _, c := range []struct{ rule, line, want string }{
		{"key and value", "key value", "key|value|"},
		{"the value keeps its blanks inside", "key  a  b\tc ", "key|a  b\tc|"},
		{"quotes protect blanks and stay", `"a b"@c d`, `"a b"@c|d|`},
		{"a backslash protects a blank", `a\ b c`, `a\ b|c|`},
		{"a backslash protects a quote", `"a\"b" c`, `"a\"b"|c|`},
		{"no value", "key", "||" + ErrEntry.Error()},
		{"only a blank after the key", "key ", "||" + ErrEntry.Error()},
		{"no key", " value", "||" + ErrEntry.Error()},
		{"open quotes", `"a b`, `||unbalanced '"' in '"a b' -- ignoring this line`},
		{"a backslash at the end", `a\`, "||" + ErrEntry.Error()},
	} {
		t.Run(c.rule, func(t *testing.T) {
			key, value, err := SplitEntry(c.line)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if got := key + "|" + value + "|" + text; got != c.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

func FuzzSource(f *testing.F) {
	for _, seed := range []string{"", "a b\n c\n#d\ne f", "\"", "\\", "a\x00\n", "if !x\nendif", " x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := readText(&front{o: Options{Duplicates: DupWarn}}, strings.NewReader(text), "fuzz")
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range m {
			if key == "" || value == "" || isSpace(value[0]) || isSpace(value[len(value)-1]) {
				t.Errorf("%q: %q = %q", text, key, value)
			}
		}
	})
}
