package smtpwire

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

func TestReadLine(t *testing.T) {
	type result struct {
		line string
		end  Ending
		err  error
	}
	tests := []struct {
		rule  string
		input string
		want  []result
	}{
		{"CRLF and LF end a line", "a\r\nb\n", []result{{"a", CRLF, nil}, {"b", BareLF, nil}, {"", 0, io.EOF}}},
		{"only one CR belongs to the terminator", "a\r\r\n\r\n", []result{{"a\r", CRLF, nil}, {"", CRLF, nil}}},
		{"CR inside is data", "a\rb\r\n", []result{{"a\rb", CRLF, nil}}},
		{"a line at the limit comes in two pieces", "12345678\r\nx\r\n", []result{{"12345678", Partial, nil}, {"", CRLF, nil}, {"x", CRLF, nil}}},
		{"a CR at the limit may be half a terminator", "1234567\r\nx\r\n", []result{{"1234567", CRLF, nil}, {"x", CRLF, nil}}},
		{"a CR at the limit may be data", "1234567\rx\r\n", []result{{"1234567\r", Partial, nil}, {"x", CRLF, nil}}},
		{"a line cut off by the end of input is lost", "a\r\nabc", []result{{"a", CRLF, nil}, {"", 0, io.ErrUnexpectedEOF}}},
		{"CR at the end of input is no terminator", "1234567\r", []result{{"", 0, io.ErrUnexpectedEOF}}},
	}
	for _, test := range tests {
		for _, size := range []int{16, 64} {
			r := bufio.NewReaderSize(strings.NewReader(test.input), size)
			var scratch []byte
			for _, want := range test.want {
				var line []byte
				var end Ending
				var err error
				line, end, scratch, err = ReadLine(r, scratch, 8)
				if err != want.err || err == nil && (string(line) != want.line || end != want.end) {
					t.Errorf("%s: got %q %d %v, want %q %d %v", test.rule, line, end, err, want.line, want.end, want.err)
				}
			}
		}
	}
}

func TestSkipLineGivesUp(t *testing.T) {
	r := bufio.NewReaderSize(strings.NewReader("rest\r\nnext\r\n"+strings.Repeat("x", 100)), 16)
	if err := SkipLine(r, 20); err != nil {
		t.Error(err)
	}
	if line, _, _, err := ReadLine(r, nil, 20); string(line) != "next" || err != nil {
		t.Errorf("after skip: %q, %v", line, err)
	}
	if err := SkipLine(r, 20); err != ErrLineTooLong {
		t.Errorf("endless line: %v", err)
	}
}
