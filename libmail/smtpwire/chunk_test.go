package smtpwire

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

// chunks feeds text in chunks cut at sizes; the last one is LAST.
func chunks(t *testing.T, text string, policy EndPolicy, limit int, sizes ...int) (string, bool) {
	t.Helper()
	r := bufio.NewReaderSize(strings.NewReader(text), 16)
	var c ChunkReader
	c.Reset(limit, policy)
	var b strings.Builder
	left := len(text)
	for i := 0; ; i++ {
		size, kind := left, Last
		if i < len(sizes) && sizes[i] < left {
			size, kind = sizes[i], NotLast
		}
		c.Start(r, int64(size), kind)
		for {
			line, more, err := c.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			b.Write(line)
			if more {
				b.WriteByte('+')
			} else {
				b.WriteByte('|')
			}
		}
		left -= size
		if kind == Last {
			return b.String(), c.BareLF()
		}
	}
}

func TestChunks(t *testing.T) {
	tests := []struct {
		rule  string
		text  string
		sizes []int
		want  string
		lf    bool
	}{
		{"lines end at CRLF", "a\r\nb\r\n", nil, "a|b|", false},
		{"dots are text", ".\r\n..\r\n", nil, ".|..|", false},
		{"a missing last terminator is supplied", "a\r\nb", nil, "a|b|", false},
		{"a line goes on in the next chunk", "abc\r\nd\r\n", []int{2, 1}, "abc|d|", false},
		{"CR and LF may be in two chunks", "abc\r\nd", []int{4, 1}, "abc|d|", false},
		{"bare LF ends a line and is noticed", "a\nb\r\n", nil, "a|b|", true},
		{"a long line comes in pieces", "1234567890\r\n", nil, "12345678+90|", false},
		{"CR at the limit, then LF", "1234567\r\n", []int{8}, "1234567|", false},
		{"CR at the limit, then text", "1234567\r9\r\n", []int{8}, "1234567\r+9|", false},
		{"CR at the end is text", "abc\r", nil, "abc\r|", false},
		{"BDAT 0 LAST after a complete line adds nothing", "abc\r\n", []int{5}, "abc|", false},
		{"empty message", "", nil, "", false},
	}
	for _, test := range tests {
		if got, lf := chunks(t, test.text, Normalize, 8, test.sizes...); got != test.want || lf != test.lf {
			t.Errorf("%s: got %q bare LF %v, want %q %v", test.rule, got, lf, test.want, test.lf)
		}
	}
	if got, _ := chunks(t, "a\r\r\r\n", Lenient, 8); got != "a|" {
		t.Errorf("lenient: %q", got)
	}
}

func TestChunkCutOff(t *testing.T) {
	var c ChunkReader
	c.Reset(100, Normalize)
	c.Start(bufio.NewReader(strings.NewReader("abc")), 10, Last)
	if _, _, err := c.Next(); err != io.ErrUnexpectedEOF {
		t.Errorf("connection lost inside a chunk: %v", err)
	}
}

// The cuts between chunks do not change the content.
func FuzzChunks(f *testing.F) {
	f.Add("a\r\nbc\r\n.\r\n", 3, 1, uint8(8))
	f.Add("12345678\r\r\n\n\r", 8, 1, uint8(8))
	f.Fuzz(func(t *testing.T, text string, a, b int, limit uint8) {
		if a < 0 || b < 0 || limit < 2 {
			return
		}
		whole, lf1 := chunks(t, text, Normalize, int(limit))
		cut, lf2 := chunks(t, text, Normalize, int(limit), a, b)
		if whole != cut || lf1 != lf2 {
			t.Fatalf("%q cut at %d, %d: %q != %q", text, a, b, cut, whole)
		}
	})
}
