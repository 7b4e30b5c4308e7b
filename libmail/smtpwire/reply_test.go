package smtpwire

import (
	"bufio"
	"reflect"
	"strings"
	"testing"
)

func TestReadReply(t *testing.T) {
	tests := []struct {
		rule  string
		input string
		want  Reply
	}{
		{"one line", "250 2.1.0 Ok\r\n", Reply{Code: 250, Status: "2.1.0", Text: "250 2.1.0 Ok"}},
		{"code alone", "354\r\n", Reply{Code: 354, Status: "5.5.0", Text: "354"}},
		{"several lines, codes kept", "550-5.1.1 no\r\n550 5.1.1 such\r\n", Reply{Code: 550, Status: "5.1.1", Text: "550-5.1.1 no\n550 5.1.1 such"}},
		{"status of another class is not believed", "450 5.1.1 x\r\n", Reply{Code: 450, Status: "4.0.0", Text: "450 5.1.1 x"}},
		{"no status", "550 go away\r\n", Reply{Code: 550, Status: "5.0.0", Text: "550 go away"}},
		{"garbage is kept and counted", "hello\r\n220 hi\r\n", Reply{Code: 220, Status: "2.0.0", Text: "hello\n220 hi", Garbage: 1}},
		{"controls are shown as ?", "550 a\x1b[0m\x00b\xff\r\n", Reply{Code: 550, Status: "5.0.0", Text: "550 a?[0m?b?"}},
		{"UTF-8 stays", "550 käse\n", Reply{Code: 550, Status: "5.0.0", Text: "550 käse"}},
		{"a long line is cut and fills the limit", "250-" + strings.Repeat("x", 50) + "\r\n250 y\r\n", Reply{Code: 250, Status: "2.0.0", Text: "250-" + strings.Repeat("x", 28), LongLines: 1}},
		{"text beyond the limit is dropped", strings.Repeat("250-aaaaaaaaaa\r\n", 50) + "250 end\r\n", Reply{Code: 250, Status: "2.0.0", Text: strings.Repeat("250-aaaaaaaaaa\n", 2) + "250-aaaaaaaaaa"}},
	}
	for _, test := range tests {
		got, _, err := ReadReply(bufio.NewReaderSize(strings.NewReader(test.input), 16), nil, 32)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, %v; want %+v", test.rule, got, err, test.want)
		}
	}
	for _, endless := range []string{strings.Repeat("250-x\r\n", 2000), "250-x\r\n250 y", strings.Repeat("x", 1000)} {
		if got, _, err := ReadReply(bufio.NewReader(strings.NewReader(endless)), nil, 32); err == nil {
			t.Errorf("%.20q gave %+v", endless, got)
		}
	}
}

func TestAppendReply(t *testing.T) {
	tests := []struct {
		code         int
		status, text string
		want         string
	}{
		{250, "2.1.0", "Ok", "250 2.1.0 Ok\r\n"},
		{220, "", "mx ESMTP", "220 mx ESMTP\r\n"},
		{250, "", "mx\nPIPELINING\nDSN", "250-mx\r\n250-PIPELINING\r\n250 DSN\r\n"},
		{554, "5.7.1", "no\r\nsee the web page\r\n", "554-5.7.1 no\r\n554 5.7.1 see the web page\r\n"},
		{334, "", "", "334 \r\n"},
		{500, "5.5.2", "a\rb\x00c\td\x7f", "500 5.5.2 a?b?c\td?\r\n"},
	}
	for _, test := range tests {
		if got := string(AppendReply(nil, test.code, test.status, test.text)); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestLeadingStatus(t *testing.T) {
	for text, want := range map[string]string{
		"5.1.1 no": "5.1.1", "4.10.123": "4.10.123", "5.1.1\tx": "5.1.1",
		"3.1.1 x": "", "5.1 x": "", "5.1.1x": "", "5..1 x": "", "5.1234.1 x": "", "5.1.": "", "": "",
	} {
		if got := LeadingStatus(text); got != want {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

func TestParseEHLO(t *testing.T) {
	r := Reply{Code: 250, Text: "250-mx.example.com hello\n250-SIZE 1000\n250-AUTH PLAIN login\n250-AUTH=LOGIN CRAM-MD5\n250-xclient NAME ADDR\n250-WHATEVER\n250 8bitmime"}
	want := Features{
		Name: "mx.example.com", Set: Size | AUTH | XCLIENT | EightBitMIME, MaxSize: 1000,
		Auth: []string{"PLAIN", "LOGIN", "CRAM-MD5"}, XCLIENT: []string{"NAME", "ADDR"},
	}
	if got := ParseEHLO(&r); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestKeywords(t *testing.T) {
	set, unknown := ParseKeywords("silent-discard, dsn\tSize bogus")
	if set != SilentDiscard|DSN|Size || !reflect.DeepEqual(unknown, []string{"bogus"}) {
		t.Errorf("got %v, %v", set.Names(), unknown)
	}
	if got := (DSN | Size).Names(); !reflect.DeepEqual(got, []string{"DSN", "SIZE"}) {
		t.Error(got)
	}
	if !set.Has(DSN) || set.Has(DSN|ETRN) {
		t.Error("Has wants all bits")
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add("250-a\r\n250 b\r\n")
	f.Fuzz(func(t *testing.T, input string) {
		reply, _, err := ReadReply(bufio.NewReaderSize(strings.NewReader(input), 16), nil, 64)
		if err != nil {
			return
		}
		if reply.Code < 0 || reply.Code > 999 || LeadingStatus(reply.Status) == "" || len(reply.Text) > 2*64+1 {
			t.Fatalf("%+v", reply)
		}
		ParseEHLO(&reply)
	})
}
