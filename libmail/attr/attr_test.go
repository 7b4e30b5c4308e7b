package attr

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

const golden = "queue_id\x004A1B2\x00status\x00-7\x00body\x00AAEC\x00\x00"

func TestGolden(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(bufio.NewWriter(&b))
	w.Str("queue_id", "4A1B2")
	w.Int("status", -7)
	w.Data("body", []byte{0, 1, 2})
	w.End()
	if err := w.Flush(); err != nil || b.String() != golden {
		t.Fatalf("wrote %q, %v", b.String(), err)
	}
	r := NewReader(bufio.NewReaderSize(&b, 16))
	id, status, body := r.Str("queue_id"), r.Int("status"), r.Data("body")
	r.End()
	if r.Err() != nil || id != "4A1B2" || status != -7 || !bytes.Equal(body, []byte{0, 1, 2}) {
		t.Fatalf("read %q %d %v, %v", id, status, body, r.Err())
	}
}

func TestReaderRefuses(t *testing.T) {
	for _, c := range []struct{ rule, in, want string }{
		{"another name than the conversation has", "b\x001\x00\x00", `attribute a: got "b" instead`},
		{"a list that ends early", "\x00", "attribute a: missing"},
		{"a number that is none", "a\x00x\x00\x00", `attribute a: "x" is not a number`},
		{"a name without end", strings.Repeat("n", 200), "attribute: longer than 100 bytes"},
		{"a value that is cut", "a\x001", "attribute: cut short: EOF"},
		{"nothing at all", "", "EOF"},
	} {
		r := NewReader(bufio.NewReader(strings.NewReader(c.in)))
		r.Int("a")
		r.End()
		if r.Err() == nil || r.Err().Error() != c.want {
			t.Errorf("%s: %v", c.rule, r.Err())
		}
	}
}

func TestUnknownAttributesAtTheEndAreSkipped(t *testing.T) {
	r := NewReader(bufio.NewReader(strings.NewReader("a\x001\x00new\x002\x00\x00a\x003\x00\x00")))
	for _, want := range []int64{1, 3} {
		got := r.Int("a")
		r.End()
		if r.Err() != nil || got != want {
			t.Fatalf("got %d, %v", got, r.Err())
		}
	}
	r.Next()
	if !errors.Is(r.Err(), io.EOF) {
		t.Errorf("after the last list: %v", r.Err())
	}
}

func TestValueWithNULIsRefused(t *testing.T) {
	w := NewWriter(bufio.NewWriter(io.Discard))
	w.Str("a", "x\x00y")
	if w.Flush() == nil {
		t.Error("written")
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(golden))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bufio.NewReader(bytes.NewReader(in)))
		for range 100 {
			if _, _, more := r.Next(); !more && r.Err() != nil {
				return
			}
		}
	})
}
