package message

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postroad/libmail/mailtest"
)

// recorder writes down what a Walker finds, as Postfix's test program does.
type recorder struct{ out bytes.Buffer }

func (r *recorder) Header(c Class, _ *Field, text []byte) {
	name := map[Class]string{Primary: "MAIN", Multipart: "MULT", Nested: "NEST"}[c]
	fmt.Fprintf(&r.out, "%s|%s\n", name, text)
}

func (r *recorder) HeadersEnd() { r.out.WriteString("HEADER END\n") }

func (r *recorder) Body(text []byte, end Ending, offset int64) {
	if end == Soft {
		fmt.Fprintf(&r.out, "BODY L %d\t|%s", offset, text)
		return
	}
	fmt.Fprintf(&r.out, "BODY N %d\t|%s\n", offset, text)
}

func (r *recorder) Problem(p Problems, text []byte) {
	shown := bytes.Clone(text[:min(len(text), 100)])
	for i, c := range shown {
		if c < ' ' || c > '~' {
			shown[i] = '?'
		}
	}
	fmt.Fprintf(&r.out, "warning: %s: %s\n", p, shown)
}

const everything = TooDeep | TruncatedHeader | EightBitHeader | EightBitBody | EncodedComposite | NonEmptyHeadersEnd

// walk feeds a file to a Walker in pieces of at most size bytes.
func walk(w *Walker, in io.Reader, size int) Problems {
	r := bufio.NewReaderSize(in, size)
	for {
		piece, err := r.ReadSlice('\n')
		if err == nil {
			w.Line(piece[:len(piece)-1], Hard)
			continue
		}
		if len(piece) > 0 {
			w.Line(piece, Soft)
		}
		if err != bufio.ErrBufferFull {
			return w.End()
		}
	}
}

// TestWalkReference compares with what Postfix's own test program printed.
func TestWalkReference(t *testing.T) {
	dir := mailtest.Corpora(t, "postfix-refs/global")
	files, err := filepath.Glob(filepath.Join(dir, "mime_*.ref*"))
	if err != nil || len(files) == 0 {
		t.Fatal("no reference files")
	}
	for _, ref := range files {
		in := strings.Replace(ref, ".ref", ".in", 1)
		t.Run(filepath.Base(in), func(t *testing.T) {
			f, err := os.Open(in)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			r := &recorder{}
			w := NewWalker(r, Options{HeaderLimit: 2000, BoundaryLimit: 2000, NestingLimit: 20, Report: everything, Downgrade: true})
			problems := walk(w, f, 1024)
			want, final := reference(t, ref)
			if got := r.out.String(); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", firstDifference(got, want), "")
			}
			for _, p := range problemTexts {
				if (problems&p.p != 0) != strings.Contains(final, finalText(p.p)) {
					t.Errorf("problem %q: found %v", p.text, problems&p.p != 0)
				}
			}
		})
	}
}

// finalText is the name under which the reference lists a problem at its end.
func finalText(p Problems) string {
	switch p {
	case EncodedComposite:
		return "improper message/* or multipart/* encoding domain"
	case NonEmptyHeadersEnd:
		return "warning: non-empty end-of-header"
	}
	return "warning: " + p.String() + "\n"
}

var (
	debugLine    = regexp.MustCompile(`(?m)^mime_state: (header_token|PUSH|POP|garbage).*\n`)
	headerOffset = regexp.MustCompile(`(?m)^(MAIN|MULT|NEST) \d+\t`)
	program      = regexp.MustCompile(`(?m)^mime_state: `)
	bodyEnd      = "BODY END\n"
)

// reference reads expected output without the debug lines and the offsets of
// headers. What follows the end of the body is the list of problems.
func reference(t *testing.T, path string) (events, final string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := debugLine.ReplaceAllString(string(data), "")
	s = headerOffset.ReplaceAllString(s, "$1")
	s = program.ReplaceAllString(s, "")
	events, final, _ = strings.Cut(s, bodyEnd)
	return events, final
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			other := "(end)"
			if i < len(w) {
				other = w[i]
			}
			return fmt.Sprintf("line %d: %q, want %q", i+1, g[i], other)
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

func TestWalk(t *testing.T) {
	tests := []struct{ rule, in, want string }{
		{"an empty line ends the headers", "A: b\n\nbody\n",
			"MAIN|A: b\nHEADER END\nBODY N 0\t|\nBODY N 1\t|body\n"},
		{"continuation lines belong to their header", "A: b\n c\n\td\n\n",
			"MAIN|A: b\n c\n\td\nHEADER END\nBODY N 0\t|\n"},
		{"a line that is no header ends the headers with an empty line", "A: b\nno header\n",
			"MAIN|A: b\nHEADER END\nBODY N 0\t|\nBODY N 0\t|no header\n"},
		{"a blank before the colon is removed", "A : b\n\n",
			"MAIN|A: b\nHEADER END\nBODY N 0\t|\n"},
		{"a continuation without a header begins the body", " x\n",
			"HEADER END\nBODY N 0\t|\nBODY N 0\t| x\n"},
		{"an empty message has headers that end", "", "HEADER END\n"},
		{"parts of a multipart have headers",
			"Content-Type: multipart/mixed; boundary=x\n\n--x\nA: b\n\nc\n--x--\nend\n",
			"MAIN|Content-Type: multipart/mixed; boundary=x\nHEADER END\nBODY N 0\t|\nBODY N 1\t|--x\n" +
				"MULT|A: b\nBODY N 0\t|\nBODY N 1\t|c\nBODY N 0\t|--x--\nBODY N 6\t|end\n"},
		{"an enclosed message has headers", "Content-Type: message/rfc822\n\nA: b\n\nc\n",
			"MAIN|Content-Type: message/rfc822\nHEADER END\nBODY N 0\t|\nNEST|A: b\nBODY N 0\t|\nBODY N 1\t|c\n"},
		{"parts of a digest are messages",
			"Content-Type: multipart/digest; boundary=x\n\n--x\n\nA: b\n\n--x--\n",
			"MAIN|Content-Type: multipart/digest; boundary=x\nHEADER END\nBODY N 0\t|\nBODY N 1\t|--x\n" +
				"BODY N 0\t|\nNEST|A: b\nBODY N 0\t|\nBODY N 0\t|--x--\n"},
		{"both of two boundary parameters count",
			"Content-Type: multipart/mixed; boundary=x; boundary=y\n\n--y\nA: b\n\n--x\nC: d\n\n",
			"MAIN|Content-Type: multipart/mixed; boundary=x; boundary=y\nHEADER END\nBODY N 0\t|\nBODY N 1\t|--y\n" +
				"MULT|A: b\nBODY N 0\t|\nBODY N 1\t|--x\nMULT|C: d\nBODY N 0\t|\n"},
		{"an outer boundary closes the inner ones",
			"Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/mixed; boundary=y\n\n--x\nA: b\n\n--y\nC: d\n",
			"MAIN|Content-Type: multipart/mixed; boundary=x\nHEADER END\nBODY N 0\t|\nBODY N 1\t|--x\n" +
				"MULT|Content-Type: multipart/mixed; boundary=y\nBODY N 0\t|\nBODY N 1\t|--x\n" +
				"MULT|A: b\nBODY N 0\t|\nBODY N 1\t|--y\nBODY N 5\t|C: d\n"},
		{"a quoted boundary may be folded",
			"Content-Type: multipart/mixed; boundary=\"a\n b\"\n\n--a b\nA: b\n\n",
			"MAIN|Content-Type: multipart/mixed; boundary=\"a\n b\"\nHEADER END\nBODY N 0\t|\nBODY N 1\t|--a b\nMULT|A: b\nBODY N 0\t|\n"},
	}
	for _, tt := range tests {
		r := &recorder{}
		walk(NewWalker(r, Options{HeaderLimit: 1000, BoundaryLimit: 100, NestingLimit: 10}), strings.NewReader(tt.in), 1024)
		if got := r.out.String(); got != tt.want {
			t.Errorf("%s:\ngot  %q\nwant %q", tt.rule, got, tt.want)
		}
	}
}

func TestWalkLimits(t *testing.T) {
	deep := ""
	for i := range 30 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d.\n\n--b%d.\n", i, i)
	}
	tests := []struct {
		rule, in string
		opt      Options
		problems Problems
	}{
		{"nesting stops at the limit", deep, Options{NestingLimit: 10, Report: everything}, TooDeep},
		{"nesting below the limit is none", deep, Options{NestingLimit: 40, Report: everything}, 0},
		{"a header is cut", "A: " + strings.Repeat("x\n ", 100) + "\n\n", Options{HeaderLimit: 100, Report: everything}, TruncatedHeader},
		{"nothing is reported unasked", "A: ü\n\nü\n", Options{}, 0},
		{"8bit in a header", "A: ü\n\n", Options{Report: EightBitHeader}, EightBitHeader},
		{"8bit in a 7bit body", "A: b\n\nü\n", Options{Report: EightBitBody}, EightBitBody},
		{"8bit in an 8bit body", "Content-Transfer-Encoding: 8bit\n\nü\n", Options{Report: EightBitBody}, 0},
		{"an encoded multipart", "Content-Type: multipart/x\nContent-Transfer-Encoding: base64\n\n", Options{Report: everything}, EncodedComposite},
		{"an 8bit partial message", "Content-Type: message/partial\nContent-Transfer-Encoding: 8bit\n\n", Options{Report: everything}, EncodedComposite},
		{"headers ended by text", "A: b\nxx\n", Options{Report: everything}, NonEmptyHeadersEnd},
	}
	for _, tt := range tests {
		if tt.opt.HeaderLimit == 0 {
			tt.opt.HeaderLimit = 1000
		}
		tt.opt.BoundaryLimit = 100
		if got := walk(NewWalker(&recorder{}, tt.opt), strings.NewReader(tt.in), 1024); got != tt.problems {
			t.Errorf("%s: problems %b, want %b", tt.rule, got, tt.problems)
		}
	}
}

// lineCounter checks that no output line of a conversion is too long.
type lineCounter struct {
	t    *testing.T
	body [][]byte
}

func (c *lineCounter) Header(Class, *Field, []byte) {}
func (c *lineCounter) HeadersEnd()                  {}
func (c *lineCounter) Problem(Problems, []byte)     {}
func (c *lineCounter) Body(text []byte, _ Ending, _ int64) {
	if len(text) > 76 || !IsASCII(text) {
		c.t.Errorf("RFC 2045 §6.7: line %q", text)
	}
	c.body = append(c.body, bytes.Clone(text))
}

func FuzzWalk(f *testing.F) {
	f.Add([]byte("Content-Type: multipart/mixed; boundary=x\n\n--x\nA: b\n\nc\n--x--\n"), 10)
	f.Add([]byte("Content-Transfer-Encoding: 8bit\n\n\xff\xfe \n"), 3)
	f.Add([]byte("Content-Type: message/rfc822 (\n\n\n"), 100)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		size = max(64, min(size, 4096))
		r := &recorder{}
		walk(NewWalker(r, Options{HeaderLimit: 200, BoundaryLimit: 20, NestingLimit: 5, Report: everything}), bytes.NewReader(in), size)
		c := &lineCounter{t: t}
		head := []byte("Content-Transfer-Encoding: binary\n\n")
		walk(NewWalker(c, Options{HeaderLimit: 200, Downgrade: true}), io.MultiReader(bytes.NewReader(head), bytes.NewReader(in)), size)
	})
}

// countHandler does nothing; a Walker that meets it shows its own cost.
type countHandler struct{ lines int }

func (c *countHandler) Header(Class, *Field, []byte) {}
func (c *countHandler) HeadersEnd()                  {}
func (c *countHandler) Problem(Problems, []byte)     {}
func (c *countHandler) Body([]byte, Ending, int64)   { c.lines++ }

// TestBodyLinesAllocateNothing guards the fast path of every message.
func TestBodyLinesAllocateNothing(t *testing.T) {
	w := NewWalker(&countHandler{}, Options{HeaderLimit: 1000, BoundaryLimit: 100, NestingLimit: 10})
	w.Line([]byte("Content-Type: multipart/mixed; boundary=x"), Hard)
	w.Line(nil, Hard)
	line := []byte("--this is no boundary but it looks like one at first")
	if n := testing.AllocsPerRun(100, func() { w.Line(line, Hard) }); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}
