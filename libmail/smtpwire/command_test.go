package smtpwire

import (
	"reflect"
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	tests := []struct {
		line string
		want []Token
	}{
		{"", nil},
		{"  ", nil},
		{"noop", []Token{{"noop", false}}},
		{" EHLO \t a.b ", []Token{{"EHLO", false}, {"a.b", false}}},
		{"MAIL FROM:<a@b> SIZE=1", []Token{{"MAIL", false}, {"FROM:", false}, {"<a@b>", false}, {"SIZE=1", false}}},
		{"RCPT To: a@b", []Token{{"RCPT", false}, {"To:", false}, {"a@b", false}}},
		{`MAIL FROM:<"a b>"@c> x`, []Token{{"MAIL", false}, {"FROM:", false}, {`<"a b>"@c>`, false}, {"x", false}}},
		{`MAIL FROM:<a <b> c> x`, []Token{{"MAIL", false}, {"FROM:", false}, {`<a <b> c>`, false}, {"x", false}}},
		{`MAIL FROM:<a\>b> x`, []Token{{"MAIL", false}, {"FROM:", false}, {`<a\>b>`, false}, {"x", false}}},
		{`"a b"c d`, []Token{{`"a b"c`, false}, {"d", false}}},
		{`a\ b c`, []Token{{`a\ b`, false}, {"c", false}}},
		{"RCPT TO:<a@b", []Token{{"RCPT", false}, {"TO:", false}, {"<a@b", true}}},
		{`VRFY "a`, []Token{{"VRFY", false}, {`"a`, true}}},
		{"FOO:bar baz", []Token{{"FOO:bar", false}, {"baz", false}}},
		{"NOOP a\x00b c", []Token{{"NOOP", false}, {"a", false}}},
		{`a\`, []Token{{`a\`, false}}},
	}
	for _, test := range tests {
		if got := AppendTokens(nil, test.line); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: got %v", test.line, got)
		}
	}
}

func TestParameterValues(t *testing.T) {
	if got := ParseParam("size=1=2"); got != (Param{"SIZE", "1=2", true}) {
		t.Error(got)
	}
	if got := ParseParam("SMTPUTF8"); got != (Param{"SMTPUTF8", "", false}) {
		t.Error(got)
	}
	for text, want := range map[string]int64{"0": 0, "9223372036854775807": 1<<63 - 1, "": -1, "9223372036854775808": -1, "-1": -1, "+1": -1, "1x": -1, "000000000000000000001": -1} {
		got, ok := ParseSize(text)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("size %q: %d %v", text, got, ok)
		}
	}
	for text, want := range map[string]Notify{"NEVER": 1, "success,DELAY": 10, "failure": 4, "NEVER,DELAY": 0, "": 0, "X": 0, "DELAY,": 0} {
		got, ok := ParseNotify(text)
		if ok != (want != 0) || ok && got != want {
			t.Errorf("notify %q: %d %v", text, got, ok)
		}
	}
	if got := (NotifySuccess | NotifyDelay).String(); got != "SUCCESS,DELAY" {
		t.Error(got)
	}
	if r, ok := ParseRet("hdrs"); r != RetHeaders || !ok || r.String() != "HDRS" || RetFull.String() != "FULL" {
		t.Error(r, ok)
	}
	if _, ok := ParseRet("half"); ok {
		t.Error("RET=half is accepted")
	}
}

func TestXtext(t *testing.T) {
	tests := []struct{ plain, special, encoded string }{
		{"a@b", "", "a@b"},
		{"a+b=c d", "", "a+2Bb+3Dc+20d"},
		{"käse", "", "k+C3+A4se"},
		{"a;b", ";", "a+3Bb"},
	}
	for _, test := range tests {
		if got := EncodeXtext(test.plain, test.special); got != test.encoded {
			t.Errorf("encode %q: %q", test.plain, got)
		}
		if got, ok := DecodeXtext(test.encoded); got != test.plain || !ok {
			t.Errorf("decode %q: %q", test.encoded, got)
		}
	}
	for _, bad := range []string{"+", "+4", "+4g", "a++1"} {
		if got, ok := DecodeXtext(bad); ok {
			t.Errorf("%q decodes to %q", bad, got)
		}
	}
}

func TestUTF8Xtext(t *testing.T) {
	for plain, encoded := range map[string]string{
		"a@b":   "a@b",
		`a\b`:   `a\x{5C}b`,
		"ä@é.x": `\x{E4}@\x{E9}.x`,
		"日":     `\x{65E5}`,
		"😀":     `\x{1F600}`,
		"a b":   `a\x{20}b`,
	} {
		if got, ok := EncodeUTF8Xtext(plain, ""); got != encoded || !ok {
			t.Errorf("encode %q: %q", plain, got)
		}
		if got, ok := DecodeUTF8Xtext(encoded); got != plain || !ok {
			t.Errorf("decode %q: %q", encoded, got)
		}
	}
	for _, bad := range []string{`\x{}`, `\x{G}`, `\x{110000}`, `\x{D800}`, `\x{41`, `\x{0}`, "\xff"} {
		if got, ok := DecodeUTF8Xtext(bad); ok {
			t.Errorf("%q decodes to %q", bad, got)
		}
	}
	if _, ok := EncodeUTF8Xtext("\xff", ""); ok {
		t.Error("encodes what is no UTF-8")
	}
}

func TestParseORCPT(t *testing.T) {
	tests := []struct {
		value, kind, address string
		ok                   bool
	}{
		{"rfc822;a+40b", "rfc822", "a@b", true},
		{"UTF-8;\\x{E4}@b", "UTF-8", "ä@b", true},
		{"utf-8;ä@b", "utf-8", "ä@b", true},
		{"rfc822;", "", "", false},
		{";a@b", "", "", false},
		{"a@b", "", "", false},
		{"rfc822;a+4", "rfc822", "", false},
	}
	for _, test := range tests {
		kind, address, ok := ParseORCPT(test.value)
		if ok != test.ok || ok && (kind != test.kind || address != test.address) {
			t.Errorf("%q: %q %q %v", test.value, kind, address, ok)
		}
	}
}

func FuzzCommand(f *testing.F) {
	f.Add(`MAIL FROM:<"a b"@c> SIZE=1 RET=full`)
	f.Add("RCPT TO:<<a>\\")
	f.Fuzz(func(t *testing.T, line string) {
		rest := line
		for _, token := range AppendTokens(nil, line) {
			i := strings.Index(rest, token.Text)
			if token.Text == "" || i < 0 || strings.Trim(rest[:i], " \t\r\n\v\f") != "" {
				t.Fatalf("%q: word %q", line, token.Text)
			}
			rest = rest[i+len(token.Text):]
			ParseParam(token.Text)
		}
	})
}

func FuzzXtext(f *testing.F) {
	f.Add("a+2Bb")
	f.Fuzz(func(t *testing.T, text string) {
		if got, ok := DecodeXtext(EncodeXtext(text, ";")); !ok || got != text {
			t.Fatalf("%q becomes %q", text, got)
		}
		if enc, ok := EncodeUTF8Xtext(text, ""); ok && !strings.Contains(text, "\x00") {
			if got, ok := DecodeUTF8Xtext(enc); !ok || got != text {
				t.Fatalf("%q becomes %q", text, got)
			}
		}
		DecodeXtext(text)
		DecodeUTF8Xtext(text)
		ParseORCPT(text)
	})
}
