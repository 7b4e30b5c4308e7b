package main

import (
	"testing"
)

func TestFilterOfLists(t *testing.T) {
	for _, c := range []struct {
		pattern string
		octets  [4]byte
		want    bool
	}{
		{"127.0.0.2", [4]byte{127, 0, 0, 2}, true},
		{"127.0.0.2", [4]byte{127, 0, 0, 20}, false},
		{"127.0.0.[1;4..8]", [4]byte{127, 0, 0, 1}, true},
		{"127.0.0.[1;4..8]", [4]byte{127, 0, 0, 3}, false},
		{"127.0.0.[1;4..8]", [4]byte{127, 0, 0, 8}, true},
		{"[127].[0..255].0.[2..2]", [4]byte{127, 9, 0, 2}, true},
	} {
		f, err := parseFilter(c.pattern)
		if err != nil || f.matches(c.octets) != c.want {
			t.Errorf("%q on %v is not %v, %v", c.pattern, c.octets, c.want, err)
		}
	}
	for _, pattern := range []string{"", "127", "127.0.0", "127.0.0.2.1", "127.0.0.[2", "127.0.0.2]", "127.0.0.x", "127.0.0.256", "127.0.0.[8..4]", "127.0.0.[]", "127.0.0.[1]2"} {
		if f, err := parseFilter(pattern); err == nil {
			t.Errorf("%q is %v", pattern, f)
		}
	}
}

func TestParseReply(t *testing.T) {
	for text, want := range map[string]string{
		"550 5.7.1 no":                 "550 5.7.1 no",
		"450 no status":                "450 no status",
		"450":                          "450 ",
		"550-5.7.1 one\n550 5.7.1 two": "550 5.7.1 one two",
		"550-5.7.1 a\r\n550 5.7.1 b":   "550 5.7.1 a b",
		"550 5.7.1 one\nmore":          "550 5.7.1 one more",
		"250 2.0.0 Ok":                 "",
		"5500 no":                      "",
		"399 no":                       "",
		"5x0 no":                       "",
		"no":                           "",
		"":                             "",
	} {
		got := ""
		if r, ok := parseReply(text); ok {
			got = r.String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestFitStatus(t *testing.T) {
	b := newTestbed(t, "", map[string]string{})
	s := &session{service: b.service}
	for _, c := range [][3]string{ // status, class, want
		{"5.7.1", aboutSender, "5.7.1"},
		{"5.1.1", aboutSender, "5.1.7"},
		{"4.1.2", aboutSender, "4.1.8"},
		{"5.1.8", aboutRcpt, "5.1.2"},
		{"5.1.1", aboutRcpt, "5.1.1"},
		{"5.1.7", aboutRcpt, "5.1.3"},
		{"5.1.99", aboutRcpt, "5.1.0"},
		{"5.1.1", aboutClient, "5.0.0"},
		{"4.1.1", aboutHELO, "4.0.0"},
	} {
		if got := s.fitStatus(c[0], c[1]); got != c[2] {
			t.Errorf("%s about %s: %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

func TestExpand(t *testing.T) {
	b := newTestbed(t, "smtpd_expansion_filter = "+`\040\x@.:abcdefghijklmnopqrstuvwxyz0123456789`, map[string]string{})
	sender := "a b<x>@example.org"
	s := &session{service: b.service, helo: "there"}
	s.client = unknownClient()
	s.client.addr = "203.0.113.7"
	s.mail.sender = &sender
	for template, want := range map[string]string{
		"plain":                          "plain",
		"$client_address on $helo_name":  "203.0.113.7 on there",
		"$(sender)":                      "a b_x_@example.org", // no metacharacters (smtpd_expansion_filter)
		"${sender_name}":                 "a b_x_",
		"$sender_domain":                 "example.org",
		"[$recipient]":                   "[]",
		"${recipient?yes}${helo_name?!}": "!",
		"${recipient:none}":              "none",
		"$server_name":                   "mx.example.com",
		"$$1":                            "$1",
		"[$nonsense]":                    "[]",
	} {
		if got, err := s.expand(template, nil); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", template, got, err, want)
		}
	}
}

func TestUnescape(t *testing.T) {
	for text, want := range map[string]string{
		`a\tb\n`:     "a\tb\n",
		`\040\1x\\`:  " \x01x\\",
		`\0401`:      " 1",
		`end\`:       `end\`,
		`\q\a\b\f\v`: "q\a\b\f\v",
	} {
		if got := unescape(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestDecodeBase31(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "Z": 30, "z": 30, "10": 31, "BCD": 10*961 + 11*31 + 12} {
		if got, err := decodeBase31(text); got != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "A", "1e", "-1", "0000000000000"} {
		if n, err := decodeBase31(text); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
}

func TestWrapLineKeepsEverythingAndIndents(t *testing.T) {
	long := "In:  abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi"
	got := wrapLine(long)
	want := []string{" In:  abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi", "     abcdefghi abcdefghi"}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%q", got)
	}
}

func TestEscape(t *testing.T) {
	if got, want := escape([]byte("a\r\n\t\x00\\\x80~\x7f")), `a\r\n\t\000\\\200~\177`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestClientPassedByPostscreen(t *testing.T) {
	good := map[string]string{"client_address": "2001:db8::1", "client_port": "99", "server_address": "::ffff:192.0.2.1", "server_port": "25"}
	var c client
	if err := c.fromPassed(good); err != nil || c.addr != "2001:db8::1" || c.rfcAddr != "IPv6:2001:db8::1" || c.port != "99" || c.serverAddr != "192.0.2.1" || c.family != afInet6 {
		t.Errorf("%+v, %v", c, err)
	}
	for name := range good {
		bad := map[string]string{}
		for k, v := range good {
			bad[k] = v
		}
		bad[name] = "x"
		if err := c.fromPassed(bad); err == nil {
			t.Errorf("%s may be anything", name)
		}
	}
}
