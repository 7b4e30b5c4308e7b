package main

import (
	"bytes"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"postroad/libmail/attr"
	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"

	"bufio"
)

// logLines is a sink that keeps what is logged.
type logLines struct{ lines []string }

func (l *logLines) Write(_ maillog.Level, _, text string) { l.lines = append(l.lines, text) }

func testConf(t *testing.T, settings ...string) *conf.Config {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/main.cf", []byte("compatibility_level = 3.6\nmyhostname = mx.example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(dir, settings...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOptions(t *testing.T) {
	tests := []struct {
		rule string
		name string
		args []string
		want func(o *options)
		err  string
	}{
		{"mailq lists the queue", "mailq", nil, func(o *options) { o.mode = list }, ""},
		{"newaliases makes aliases", "newaliases", nil, func(o *options) { o.mode = aliases }, ""},
		{"an option beats the name", "newaliases", []string{"-bp"}, func(o *options) { o.mode = list }, ""},
		{"-q flushes", "sendmail", []string{"-q"}, func(o *options) { o.mode = flush }, ""},
		{"-q30m does nothing", "sendmail", []string{"-q30m"}, func(o *options) { o.queueTime = true }, ""},
		{"-bd -q30m starts", "sendmail", []string{"-bd", "-q30m"}, func(o *options) { o.mode, o.queueTime = daemon, true }, ""},
		{"-qRsite flushes a site", "sendmail", []string{"-qRexample.com"}, func(o *options) { o.flushSite = "example.com" }, ""},
		{"-qIid flushes a message", "sendmail", []string{"-qI", "4A1B"}, nil, "specify: -qIqueueid"},
		{"a value may stand in the next argument", "sendmail", []string{"-f", "a@b", "c"}, func(o *options) { o.sender, o.senderSet, o.recipients = "a@b", true, []string{"c"} }, ""},
		{"a value may be -q", "sendmail", []string{"-f", "-q"}, func(o *options) { o.sender, o.senderSet = "-q", true }, ""},
		{"options end at the first recipient", "sendmail", []string{"a", "-t"}, func(o *options) { o.recipients = []string{"a", "-t"} }, ""},
		{"options end at --", "sendmail", []string{"--", "-t"}, func(o *options) { o.recipients = []string{"-t"} }, ""},
		{"-v asks for a report", "sendmail", []string{"-v", "a"}, func(o *options) { o.trace, o.recipients = proto.DeliverRecord, []string{"a"} }, ""},
		{"-v -v is for us", "sendmail", []string{"-v", "-v", "a"}, func(o *options) { o.verbose, o.recipients = 2, []string{"a"} }, ""},
		{"-bs speaks SMTP", "sendmail", []string{"-bs"}, func(o *options) { o.mode = smtp }, ""},
		{"-O requiretls=yes", "sendmail", []string{"-O", "RequireTLS=Yes"}, func(o *options) { o.sendOpts = proto.SendOptRequireTLS }, ""},
		{"-O smtputf8=yes, then no", "sendmail", []string{"-Osmtputf8=yes", "-Osmtputf8=no"}, func(o *options) {}, ""},
		{"-O of Sendmail is ignored", "sendmail", []string{"-O", "DeliveryMode=b"}, func(o *options) {}, ""},
		{"-t needs delivery mode", "sendmail", []string{"-t", "-bp"}, nil, "-t can be used only in delivery mode"},
		{"-bv and -v", "sendmail", []string{"-bv", "-v"}, nil, "-v option cannot be used with -bv"},
		{"an unknown option", "sendmail", []string{"-j"}, nil, "usage: sendmail [options] (invalid option -- 'j')"},
		{"a missing value", "sendmail", []string{"-f"}, nil, "usage: sendmail [options] (option requires an argument -- 'f')"},
		{"-bx", "sendmail", []string{"-bx"}, nil, "unsupported: -bx"},
		{"VERP characters are checked", "sendmail", []string{"-XVab"}, nil, "-V requires two characters from -=+"},
	}
	c := testConf(t)
	for _, tt := range tests {
		o, err := parse(tt.name, tt.args, c, maillog.Discard())
		if tt.want == nil {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%s: error %v, want %s", tt.rule, err, tt.err)
			}
			continue
		}
		want := &options{context: proto.RuleLocal}
		tt.want(want)
		if len(o.recipients) == 0 {
			o.recipients = nil
		}
		if err != nil || !reflect.DeepEqual(o, want) {
			t.Errorf("%s: %+v, %v; want %+v", tt.rule, o, err, want)
		}
	}
}

func TestConfigDir(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-C", "/x", "a"}, "/x"},
		{[]string{"-C/x/main.cf", "a"}, "/x"},
		{[]string{"-q", "-C", "/x"}, "/x"},
		{[]string{"-XV", "-iC", "/x"}, "/x"},
		{[]string{"a", "-C", "/x"}, ""},
		{nil, ""},
	} {
		if got := configDir(tt.args); got != tt.want {
			t.Errorf("configDir(%q) = %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestInput(t *testing.T) {
	tests := []struct {
		rule, stripCR string
		ignoreDot     bool
		lines         []string // with \n at a hard end
		want          string
	}{
		{"CR at line ends goes", "always", false, []string{"a\r\n", "b\r\r\n", "c\rd\n"}, "a|b|c\rd|"},
		{"CR stays", "never", false, []string{"a\r\n"}, "a\r|"},
		{"the first line decides: CR", "strict", false, []string{"a\r\n", "b\n"}, "a|b|"},
		{"the first line decides: none", "strict", false, []string{"a\n", "b\r\n"}, "a|b\r|"},
		{"a dot ends", "always", false, []string{"a\n", ".\n", "b\n"}, "a|"},
		{"a dot and CR ends", "always", false, []string{"a\n", ".\r\n", "b\n"}, "a|"},
		{"a dot and CR that stays does not", "never", false, []string{"a\n", ".\r\n", "b\n"}, "a|.\r|b|"},
		{"a dot does not end with -i", "always", true, []string{"a\n", ".\n", "b\n"}, "a|.|b|"},
		{"a dot at the end of a long line does not end", "always", false, []string{"aaa", ".\n", "b\n"}, "aaa+.|b|"},
		{"From_ lines at the start go", "always", false, []string{"From x\n", ">>From y\n", "a\n", "From z\n"}, "a|From z|"},
	}
	for _, tt := range tests {
		in := input{stripCR: tt.stripCR, endAtDot: !tt.ignoreDot, skipFrom: true}
		got := ""
		for _, l := range tt.lines {
			end := message.Soft
			if strings.HasSuffix(l, "\n") {
				l, end = l[:len(l)-1], message.Hard
			}
			line, v := in.line([]byte(l), end)
			if v == stop {
				break
			}
			if v == take {
				got += string(line) + map[message.Ending]string{message.Hard: "|", message.Soft: "+"}[end]
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
	}
}

// TestMessage checks the records that go to postdrop, and its verdict.
func TestMessage(t *testing.T) {
	who := &user.User{Username: "joe", Name: "Mr & Doe,room 5"}
	tests := []struct {
		rule  string
		args  []string
		input string
		want  []string
		err   string
	}{
		{"the envelope in its order", []string{"-N", "never", "-R", "full", "-V", "my-id", "-B8BITMIME", "-XV+=", "-v", "-f", "a@b", "u, v"}, "x\n",
			[]string{"A envelope_id=my-id", "A ret_flags=1", "A rewrite_context=local", "F Mr Joe Doe", "S a@b", "A encoding=8bit", "A trace_flags=1024", "V +=",
				"A notify_flags=1", "R u", "A notify_flags=1", "R v", "M ", "N x", "X ", "E "}, ""},
		{"send options need a size record", []string{"-Osmtputf8=yes", "-f", "a@b", "-F", "N", "u"}, "",
			[]string{"C " + queue.Sizes{DataSize: -1, DataOffset: -1, Rcpts: -1, Flags: -1, ContentLength: -1, SendOpts: 1}.Data(),
				"A rewrite_context=local", "F N", "S a@b", "R u", "M ", "X ", "E "}, ""},
		{"-t takes recipients of headers, and Bcc stays for cleanup", []string{"-t", "-f", "a@b", "-F", "N"}, "To: x\nBcc: y\n\nTo: z\n",
			[]string{"A rewrite_context=local", "F N", "S a@b", "M ", "N To: x", "N Bcc: y", "N ", "N To: z", "X ", "R x", "R y", "E "}, ""},
		{"Resent- headers hide the others", []string{"-t", "-f", "a@b", "-F", "N"}, "To: x\nResent-Cc: y\nCc: w\n\n",
			[]string{"A rewrite_context=local", "F N", "S a@b", "M ", "N To: x", "N Resent-Cc: y", "N Cc: w", "N ", "X ", "R y", "E "}, ""},
		{"-bv makes a message", []string{"-bv", "-f", "a@b", "-F", "N", "u", "v"}, "ignored\n",
			[]string{"A rewrite_context=local", "F N", "S a@b", "A trace_flags=512", "R u", "R v", "M ", "N From: a@b", "N Subject: probe", "L To:", "N \tu,", "N \tv", "X ", "E "}, ""},
		{"no recipient", []string{"-f", "a"}, "", nil, "Recipient addresses must be specified on the command line or via the -t option"},
		{"no recipient in headers", []string{"-t"}, "\n", nil, "No recipient addresses found in message header"},
		{"a header that is too long", []string{"-t"}, "To: a\nX: y\n" + strings.Repeat(" z\n", 50000), nil, "unable to extract recipients: message header length exceeds safety limit"},
		{"VERP needs a sender", []string{"-XV", "-f", "", "u"}, "", nil, "-V option requires non-null sender address"},
	}
	for _, tt := range tests {
		c := testConf(t)
		o, err := parse("sendmail", tt.args, c, maillog.Discard())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "in")
		if err := os.WriteFile(path, []byte(tt.input), 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		drop, err := proto.OpenDrop(strings.NewReader(answers("Q", 0, "")), &out)
		if err != nil {
			t.Fatal(err)
		}
		s := &submission{command: &command{conf: c, log: maillog.Discard(), in: in}, options: o, drop: drop}
		t.Setenv("NAME", "")
		err = s.setSender(who, nil)
		if err == nil {
			err = s.check()
		}
		if err == nil {
			err = s.message(who)
		}
		if err == nil {
			err = s.finish()
		}
		in.Close()
		if tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%s: error %v, want %s", tt.rule, err, tt.err)
			}
			continue
		}
		var got []string
		r := record.NewReader(bufio.NewReader(&out), 1<<20)
		for {
			rt, d, err := r.Next()
			if err != nil {
				break
			}
			got = append(got, fmt.Sprintf("%c %s", rt, d))
		}
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v\n%q\nwant\n%q", tt.rule, err, got, tt.want)
		}
	}
}

// answers is what postdrop says.
func answers(id string, status int, reason string) string {
	var b bytes.Buffer
	w := attr.NewWriter(bufio.NewWriter(&b))
	w.Str("protocol", proto.ProtocolPostdrop)
	w.Str("queue_id", id)
	w.End()
	w.Int("status", int64(status))
	w.Str("reason", reason)
	w.End()
	w.Flush()
	return b.String()
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		answer, want string
	}{
		{answers("Q", 0, ""), "<nil>"},
		{answers("Q", proto.StatSize, ""), "message file too big"},
		{answers("Q", proto.StatNoPerm, "not authorized"), "not authorized"},
		{answers("Q", 0, "")[:40], "error writing queue file: unexpected EOF"},
	} {
		drop, err := proto.OpenDrop(strings.NewReader(tt.answer), &bytes.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		s := &submission{drop: drop}
		if got := fmt.Sprint(s.finish()); !strings.HasPrefix(got, strings.Split(tt.want, ":")[0]) {
			t.Errorf("%q: %s, want %s", tt.answer, got, tt.want)
		}
	}
	if _, err := proto.OpenDrop(strings.NewReader(""), &bytes.Buffer{}); err == nil {
		t.Error("a postdrop that says nothing is accepted")
	}
}
