package smtpwire

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// content reads to the end of DATA; lines are joined with "|", pieces with "+".
func content(input string, policy EndPolicy, limit, buffer int) (text, rest string, bareLF bool, err error) {
	r := bufio.NewReaderSize(strings.NewReader(input), buffer)
	d := NewDotReader(r, limit, policy)
	var b strings.Builder
	for {
		line, more, err := d.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return b.String(), "", d.BareLF(), err
		}
		b.Write(line)
		if more {
			b.WriteByte('+')
		} else {
			b.WriteByte('|')
		}
	}
	left, err := io.ReadAll(r)
	return b.String(), string(left), d.BareLF(), err
}

func TestEndOfContent(t *testing.T) {
	const next = "MAIL FROM:<x@y>\r\n"
	const unfinished = "unfinished"
	tests := []struct {
		rule      string
		input     string
		normalize string
		lenient   string
	}{
		{"CRLF dot CRLF ends the content", "a\r\n.\r\n" + next, "a| then", "a| then"},
		{"an empty message is only the dot", ".\r\n" + next, " then", " then"},
		{"LF dot LF does not end", "a\n.\n" + next, unfinished, "a| then"},
		{"LF dot CRLF does not end", "a\n.\r\n" + next, unfinished, "a| then"},
		{"CRLF dot LF does not end", "a\r\n.\n" + next, unfinished, "a| then"},
		{"dot LF at the very start does not end", ".\n" + next, unfinished, " then"},
		{"CR dot CRLF is text", "a\r.\r\n" + next, unfinished, unfinished},
		{"CR dot CR is text", "a\r.\r" + next, unfinished, unfinished},
		{"CR dot LF is text", "a\r.\n" + next, unfinished, unfinished},
		{"CRLF dot CR is a dot-stuffed CR", "a\r\n.\r" + next, unfinished, unfinished},
		{"CRLF dot CR CRLF does not end", "a\r\n.\r\r\n" + next, unfinished, "a| then"},
		{"CR CRLF dot CRLF ends", "a\r\r\n.\r\n" + next, "a\r| then", "a| then"},
		{"LF dot CR CRLF does not end", "a\n.\r\r\n" + next, unfinished, "a| then"},
		{"LF CR dot CR LF is text", "a\n\r.\r\n" + next, unfinished, unfinished},
		{"CRLF NUL dot CRLF is text", "a\r\n\x00.\r\n" + next, unfinished, unfinished},
		{"CRLF dot NUL CRLF is text", "a\r\n.\x00\r\n" + next, unfinished, unfinished},
		{"CRLF dot blank CRLF is text", "a\r\n. \r\n" + next, unfinished, unfinished},
		{"two dots after LF are one dot of text", "a\n..\n.\n" + next, unfinished, "a|.| then"},
		{"two dots are one dot of text", "a\r\n..\r\n.\r\n" + next, "a|.| then", "a|.| then"},
		{"a lone dot beside a bare LF is dropped", "a\n.\r\nb\r\n.\n.\n.\r\n.\r\n" + next, "a|b| then", "a| then"},
		{"a dot in the middle of a long line is text", "abcdefgh.\r\n.\r\n" + next, "abcdefgh+.| then", "abcdefgh+.| then"},
		{"a piece's end is no line's end", "abcdefgh\r\n.\r\n.\r\n" + next, "abcdefgh+|", "abcdefgh+|"},
	}
	for _, test := range tests {
		for policy, want := range map[EndPolicy]string{Normalize: test.normalize, Lenient: test.lenient} {
			for _, size := range []int{16, 17, 18, 4096} {
				text, rest, _, err := content(test.input, policy, 8, size)
				got := text + " then"
				switch {
				case errors.Is(err, io.ErrUnexpectedEOF):
					got = unfinished
				case strings.HasSuffix(want, "|"): // where the content ends inside the piece
					got = text
				case !strings.HasSuffix(test.input, rest) || !strings.HasSuffix(rest, next):
					t.Errorf("%s (policy %d): left %q", test.rule, policy, rest)
				}
				if got != want {
					t.Errorf("%s (policy %d, buffer %d): got %q, want %q", test.rule, policy, size, got, want)
				}
			}
		}
	}
}

func TestBareLFIsNoticed(t *testing.T) {
	for input, want := range map[string]bool{
		"a\r\nb\r\n.\r\n":        false,
		"a\nb\r\n.\r\n":          true,
		"a\r\r\n.\r\n":           false,
		"a\r\nb\r\n.\n\r\n.\r\n": true,
	} {
		if _, _, got, err := content(input, Normalize, 100, 4096); got != want || err != nil {
			t.Errorf("%q: bare LF %v, %v", input, got, err)
		}
	}
}

func TestDotReaderOneByteAtATime(t *testing.T) {
	r := bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader("..a\r\nlong line here\r\n.\r\n")), 16)
	d := NewDotReader(r, 64, Normalize)
	for _, want := range []string{".a", "long line here"} {
		line, more, err := d.Next()
		if string(line) != want || more || err != nil {
			t.Errorf("got %q %v %v, want %q", line, more, err, want)
		}
	}
	for range 2 {
		if _, _, err := d.Next(); err != io.EOF {
			t.Errorf("after the end: %v", err)
		}
	}
}

func TestDotReaderDoesNotAllocate(t *testing.T) {
	input := strings.Repeat("a line of a common length, nothing special about it\r\n", 1000) + ".\r\n"
	src := strings.NewReader(input)
	r := bufio.NewReaderSize(src, 16<<10)
	var d DotReader
	n := testing.AllocsPerRun(5, func() {
		src.Reset(input)
		r.Reset(src)
		d.Reset(r, 2048, Normalize)
		for {
			if _, _, err := d.Next(); err != nil {
				break
			}
		}
	})
	if n > 3 {
		t.Errorf("%v allocations for 1000 lines", n)
	}
}

// What the writer stuffs, the reader gives back, and nothing else can end it.
func FuzzDotReader(f *testing.F) {
	for _, seed := range []string{"a\r\n.\r\n", "\n.\n.\r\n.\r\n", "..\r\n", ".\r\r\n\r\n.\r\n", "x\r\n.\x00\r\n"} {
		f.Add([]byte(seed), uint8(8))
	}
	f.Fuzz(func(t *testing.T, data []byte, limit uint8) {
		if limit < 2 {
			limit = 2
		}
		small, rest1, lf1, err1 := content(string(data), Normalize, int(limit), 16)
		large, rest2, lf2, err2 := content(string(data), Normalize, int(limit), 4096)
		if small != large || rest1 != rest2 || lf1 != lf2 || (err1 == nil) != (err2 == nil) {
			t.Fatalf("buffer size matters: %q %q, %q %q", small, large, rest1, rest2)
		}
		if err1 == nil {
			used := string(data[:len(data)-len(rest1)])
			if used != ".\r\n" && !strings.HasSuffix(used, "\r\n.\r\n") {
				t.Fatalf("content ended at %q", used)
			}
		}
		var out strings.Builder
		w := bufio.NewWriter(&out)
		dw := NewDotWriter(w)
		for line := range strings.SplitSeq(string(data), "\n") {
			dw.Line([]byte(line))
		}
		dw.Close()
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if i := strings.Index("\r\n"+out.String(), "\r\n.\r\n"); i != len(out.String())-3 {
			t.Fatalf("writer ended early: %q", out.String())
		}
		got, left, lf, err := content(out.String(), Normalize, 1<<20, 64)
		want := strings.ReplaceAll(strings.ReplaceAll(string(data), "\r", " "), "\n", "|") + "|"
		if got != want || left != "" || lf || err != nil {
			t.Fatalf("got %q, want %q (%v)", got, want, err)
		}
	})
}
