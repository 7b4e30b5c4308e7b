package record

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestEncoding(t *testing.T) {
	for _, c := range []struct {
		rule string
		n    int
		head string
	}{
		{"no data is one zero byte", 0, "N\x00"},
		{"127 fits in one byte", 127, "N\x7f"},
		{"128 takes two", 128, "N\x80\x01"},
		{"16383 fits in two", 16383, "N\xff\x7f"},
		{"16384 takes three", 16384, "N\x80\x80\x01"},
		{"a large record takes four", 1 << 21, "N\x80\x80\x80\x01"},
	} {
		data := bytes.Repeat([]byte{'x'}, c.n)
		got := Append(nil, Text, data)
		if !bytes.HasPrefix(got, []byte(c.head)) || len(got) != len(c.head)+c.n || Len(c.n) != len(got) {
			t.Errorf("%s: % x", c.rule, got[:min(8, len(got))])
		}
		r := NewReader(bufio.NewReader(iotest.HalfReader(bytes.NewReader(got))), 1<<22)
		rt, back, err := r.Next()
		if err != nil || rt != Text || !bytes.Equal(back, data) {
			t.Errorf("%s: read back %d bytes, %v", c.rule, len(back), err)
		}
		if _, _, err := r.Next(); err != io.EOF {
			t.Errorf("%s: after the last record: %v", c.rule, err)
		}
	}
}

// refusals are what neither reader accepts.
var refusals = []struct {
	rule, input string
	want        error
}{
	{"an end between records is an end", "N\x00", io.EOF},
	{"an end after the type is a cut", "N\x00N", io.ErrUnexpectedEOF},
	{"an end inside the length is a cut", "N\x00N\x80", io.ErrUnexpectedEOF},
	{"an end inside the data is a cut", "N\x00N\x05abc", io.ErrUnexpectedEOF},
	{"a claim of much data is a cut where the data end", "N\x00N\xff\xff\x03abc", io.ErrUnexpectedEOF},
	{"five length bytes are refused", "N\x00N\x80\x80\x80\x80\x00", ErrLength},
	{"more than the limit is refused", "N\x00N\xff\xff\xff\x7f", ErrTooLong},
}

func TestRefusals(t *testing.T) {
	for _, c := range refusals {
		r := NewReader(bufio.NewReader(strings.NewReader(c.input)), 1<<17)
		w := NewWalker(strings.NewReader(c.input), 1<<17)
		for name, next := range map[string]func() (Type, []byte, error){"reader": r.Next, "walker": w.Next} {
			if _, _, err := next(); err != nil {
				t.Errorf("%s, %s: first record: %v", c.rule, name, err)
			}
			if _, _, err := next(); !errors.Is(err, c.want) {
				t.Errorf("%s, %s: %v", c.rule, name, err)
			}
		}
		if _, _, err := r.Next(); !errors.Is(err, c.want) {
			t.Errorf("%s: an error does not last: %v", c.rule, err)
		}
	}
}

// file puts records in a row; "@n" as data is a pointer to record n.
func file(records ...string) []byte {
	var offsets []int
	var b []byte
	for _, r := range records {
		offsets = append(offsets, len(b))
		data := r[1:]
		if strings.HasPrefix(data, "@") {
			data = strings.Repeat(" ", 15)
		}
		b = AppendString(b, Type(r[0]), data)
	}
	for i, r := range records {
		if strings.HasPrefix(r[1:], "@") {
			target := offsets[r[2]-'0']
			digits := []byte(strings.Repeat(" ", 15))
			for p := 14; p == 14 || target > 0; p-- {
				digits[p] = byte('0' + target%10)
				target /= 10
			}
			copy(b[offsets[i]+2:], digits)
		}
	}
	return b
}

func walk(b []byte) (string, error) {
	var got []string
	w := NewWalker(bytes.NewReader(b), 1<<20)
	for {
		t, data, err := w.Next()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return strings.Join(got, " "), err
		}
		got = append(got, string(rune(t))+string(data))
		if b[w.Offset()] != byte(t) {
			return "", errors.New("wrong offset")
		}
	}
}

func TestWalker(t *testing.T) {
	long := "N" + strings.Repeat("x", windowSize+1)
	for _, c := range []struct {
		rule    string
		records []string
		want    string
		err     error
	}{
		{"a pointer leads on", []string{"N1", "p@3", "Nskipped", "N3", "E"}, "N1 N3 E", nil},
		{"a pointer may lead back", []string{"p@3", "N1", "E", "N3", "p@1"}, "N3 N1 E", nil},
		{"a pointer to 0 leads nowhere", []string{"N1", "p              0", "N3", "E"}, "N1 N3 E", nil},
		{"padding means nothing", []string{"N1", "w  0", "N3", "E"}, "N1 N3 E", nil},
		{"nothing follows the end record", []string{"N1", "E", "Nheap"}, "N1 E", nil},
		{"long records are read whole", []string{long, "N", long, "E"}, long + " N " + long + " E", nil},
		{"a loop ends", []string{"N", "N1", "p@1"}, "", ErrLoop},
		{"a pointer to itself ends", []string{"N", "p@1"}, "", ErrLoop},
		{"a pointer must be a number", []string{"N1", "px"}, "N1", ErrPointer},
		{"a pointer must not be negative", []string{"N1", "p-5"}, "N1", ErrPointer},
		{"a pointer beyond the file is an end", []string{"N1", "p99999"}, "N1", nil},
	} {
		got, err := walk(file(c.records...))
		if !errors.Is(err, c.err) || c.err != ErrLoop && got != c.want {
			t.Errorf("%s: %.100q, %v", c.rule, got, err)
		}
	}
}

func TestTypes(t *testing.T) {
	if got := Sender.String() + " " + Type('?').String(); got != "sender unknown_record_type" {
		t.Errorf("names: %s", got)
	}
	if !Rcpt.In(EnvelopeTypes) || Rcpt.In(ContentTypes) {
		t.Error("a recipient belongs to the envelope")
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(file("p@3", "N1", "E", "N3", "p@1"))
	for _, c := range refusals {
		f.Add([]byte(c.input))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		walk(b)
		// What the stream reader accepts, Append writes in the same way.
		var back []byte
		r := NewReader(bufio.NewReaderSize(bytes.NewReader(b), 16), 1000)
		for {
			rt, data, err := r.Next()
			if err != nil {
				break
			}
			back = Append(back, rt, data)
		}
		if len(back) > len(b) {
			t.Errorf("% x became % x", b, back)
		}
	})
}
