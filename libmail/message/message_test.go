package message

import (
	"testing"
	"time"
)

func TestHeaderName(t *testing.T) {
	tests := []struct {
		rule, in string
		want     int
	}{
		{"a name and a colon", "Subject: x", 7},
		{"no value", "Subject:", 7},
		{"blanks before the colon", "Subject \t: x", 7},
		{"a blank in the name", "Sub ject: x", 0},
		{"a blank before the name", " Subject: x", 0},
		{"no colon", "Subject", 0},
		{"no name", ": x", 0},
		{"an empty line", "", 0},
		{"a control in the name", "Sub\x01ject: x", 0},
		{"UTF-8 in the name", "Sübject: x", 0},
		{"punctuation in the name", "a<b>@c: x", 6},
		{"From_ line", "From a@b Sun Nov 22 16:47:00", 0},
	}
	for _, tt := range tests {
		if got := HeaderName([]byte(tt.in)); got != tt.want {
			t.Errorf("%s: HeaderName(%q) = %d, want %d", tt.rule, tt.in, got, tt.want)
		}
	}
}

func TestLookupField(t *testing.T) {
	for in, want := range map[string]FieldType{
		"SUBJECT: x": Other, "to: x": To, "Resent-TO : x": ResentTo, "Received: x": Received,
		"x": Other, "Disposition-Notification-To: x": DispositionNotificationTo, "Disposition-Notification-Tox: x": Other,
	} {
		got := Other
		if f := LookupField([]byte(in)); f != nil {
			got = f.Type
		}
		if got != want {
			t.Errorf("LookupField(%q) = %d, want %d", in, got, want)
		}
	}
	line := []byte("Content-Transfer-Encoding: 8bit")
	if n := testing.AllocsPerRun(10, func() { LookupField(line) }); n != 0 {
		t.Errorf("LookupField allocates %v times", n)
	}
}

func TestFoldList(t *testing.T) {
	const long = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@example.com" // 42 bytes
	tests := []struct{ rule, in, want string }{
		{"short addresses share a line", "To: a@b,\nc@d,\ne@f", "To: a@b, c@d, e@f"},
		{"a line has less than 70 bytes", "To: " + long + ",\n" + long, "To: " + long + ",\n" + long},
		{"the width counts from the last line end", long + ",\n" + long + ",\na@b", long + ",\n" + long + ", a@b"},
		{"one line stays", "To: a@b", "To: a@b"},
		{"nothing stays", "", ""},
	}
	for _, tt := range tests {
		b := []byte(tt.in)
		FoldList(b)
		if string(b) != tt.want {
			t.Errorf("%s: %q, want %q", tt.rule, b, tt.want)
		}
	}
}

func TestUnfold(t *testing.T) {
	for in, want := range map[string]string{"a\n b": "a b", "a\r\n\tb": "a\tb", "ab": "ab", "a\rb": "a\rb"} {
		if got := string(Unfold([]byte(in))); got != want {
			t.Errorf("Unfold(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestIDs(t *testing.T) {
	when := time.Date(2026, 11, 22, 16, 47, 5, 0, time.FixedZone("", 3600))
	if got, want := MakeID(when, "4A1B2", "mx.example.com"), "<20261122154705.4A1B2@mx.example.com>"; got != want {
		t.Errorf("MakeID = %s, want %s", got, want)
	}
	if got, want := MakeID(time.Time{}, "4jXM", "mx.example.com"), "<4jXM@mx.example.com>"; got != want {
		t.Errorf("MakeID without time = %s, want %s", got, want)
	}
	for in, want := range map[string]string{
		"<a@b> (x)": "<a@b>", "<a<b>c> d>": "<a<b>c>", "a@b": "", "<a@b": "", "": "",
	} {
		if got := string(FirstID([]byte(in))); got != want {
			t.Errorf("FirstID(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestValue(t *testing.T) {
	for in, want := range map[string]string{"A: b": "b", "A:\n b": "b", "A:": "", "A": "", "A:b:c": "b:c"} {
		if got := string(Value([]byte(in))); got != want {
			t.Errorf("Value(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestIsASCII(t *testing.T) {
	for in, want := range map[string]bool{"": true, "abcdefgh": true, "abcdefghi\x80": false, "\x80bcdefghijkl": false, "abcdefg\x80": false} {
		if got := IsASCII([]byte(in)); got != want {
			t.Errorf("IsASCII(%q) = %v", in, got)
		}
	}
}
