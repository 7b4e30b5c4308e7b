package main

import (
	"reflect"
	"strings"
	"testing"

	"postroad/libmail/addr"
	"postroad/libmail/agent"
	"postroad/libmail/proto"
	"postroad/libmail/server"
)

func TestAttributes(t *testing.T) {
	a, err := parseAttributes(strings.Fields(`flags=DRhu user=vmail:mail eol=\r\n null_sender= size=100 argv=/bin/x -d ${recipient}`))
	want := attributes{flags: "DRhu", user: "vmail", group: "mail", eol: "\r\n", size: 100, argv: []string{"/bin/x", "-d", "${recipient}"}}
	if err != nil || !reflect.DeepEqual(a, want) {
		t.Errorf("got %+v, %v", a, err)
	}
	for rule, line := range map[string]string{
		"a command is needed":            "user=vmail",
		"an empty command is none":       "user=vmail argv=",
		"a user is needed":               "argv=/bin/x",
		"unknown flags are refused":      "flags=Z user=vmail argv=/bin/x",
		"unknown attributes are refused": "colour=red user=vmail argv=/bin/x",
		"words without = are refused":    "user vmail argv=/bin/x",
		"a bad size is refused":          "size=big user=vmail argv=/bin/x",
		"chroot is refused":              "chroot=/x user=vmail argv=/bin/x",
	} {
		if _, err := parseAttributes(strings.Fields(line)); err == nil || !strings.HasPrefix(err.Error(), "master.cf: pipe: ") {
			t.Errorf("%s: %v", rule, err)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{`\r\n`: "\r\n", `a\101b`: "aAb", `\\`: `\`} {
		if got, err := unescape(in); got != want || err != nil {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, bad := range []string{`\`, `\q`, `\777`} {
		if got, err := unescape(bad); err == nil {
			t.Errorf("%q gives %q", bad, got)
		}
	}
}

func TestExpand(t *testing.T) {
	m := &agent.Message{Request: &proto.Request{QueueID: "4A1B2", Sender: "", Nexthop: "Example.COM", Size: 9,
		Rcpts: []proto.Rcpt{{Address: "Joe User+x@Example.COM", Orig: "o@example.org"}, {Address: "b@c", Orig: "b"}}}}
	for _, c := range []struct {
		rule, flags string
		argv, want  []string
	}{
		{"an argument with a recipient is repeated", "", []string{"/x", "-r${recipient}"}, []string{"/x", "-rJoe User+x@Example.COM", "-rb@c"}},
		{"others are not", "", []string{"/x", "$sender", "${queue_id}", "$size"}, []string{"/x", "MAILER-DAEMON", "4A1B2", "9"}},
		{"parts of the recipient", "", []string{"/x", "$user:$extension:$mailbox:$domain"}, []string{"/x", "Joe User:x:Joe User+x:Example.COM", "b::b:c"}},
		{"u and h fold", "uh", []string{"/x", "$recipient", "$nexthop"}, []string{"/x", "joe user+x@example.com", "b@c", "example.com"}},
		{"q quotes", "q", []string{"/x", "$recipient"}, []string{"/x", `"Joe User+x"@Example.COM`, "b@c"}},
		{"a value is not expanded again", "", []string{"/x", "$original_recipient$$"}, []string{"/x", "o@example.org$", "b$"}},
	} {
		p := &pipe{params: params{delimiter: addr.Delimiters{Set: "+"}}, attrs: attributes{flags: c.flags, argv: c.argv, nullSender: "MAILER-DAEMON"}}
		if got, err := p.expand(m, all(m)); !reflect.DeepEqual(got, c.want) || err != nil {
			t.Errorf("%s: %q, %v", c.rule, got, err)
		}
	}
	p := &pipe{attrs: attributes{argv: []string{"/x", "$colour"}}}
	if got, err := p.expand(m, all(m)); err == nil {
		t.Errorf("an unknown macro gives %q", got)
	}
}

func TestDelivered(t *testing.T) {
	for _, c := range []struct{ rule, flags, output, action, reason string }{
		{"a silent command", "", "", "relayed", "delivered via bsmtp service"},
		{"what it printed is shown", "", " saved as 1\n", "relayed", "delivered via bsmtp service (saved as 1)"},
		{"but not all of it", "", strings.Repeat("x", 200), "relayed", "delivered via bsmtp service (" + strings.Repeat("x", 100) + ")"},
		{"X means final delivery", "X", "", "delivered", "delivered via bsmtp service"},
	} {
		p := &pipe{attrs: attributes{flags: c.flags}, env: &server.Env{Service: "bsmtp"}}
		if o := p.delivered(c.output); o.Status != "2.0.0" || o.Action != c.action || o.Reason != c.reason {
			t.Errorf("%s: %+v", c.rule, o)
		}
	}
}
