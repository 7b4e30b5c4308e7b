package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
)

// aQueue is a listing of two messages.
func aQueue(w *proto.ShowqWriter) error {
	w.Message(proto.ShowqMessage{QueueName: "active", QueueID: "4A1B2C3D", Arrival: time.Unix(1795367515, 0), Size: 1500, ForcedExpire: 1, Sender: "a@example.org"})
	w.Rcpt(proto.ShowqRcpt{Address: "one@example.com", LogClass: "defer", Reason: "connection refused"})
	w.Rcpt(proto.ShowqRcpt{Address: "two@example.com", LogClass: "defer", Reason: "connection refused"})
	w.Rcpt(proto.ShowqRcpt{Address: "three@example.com"})
	w.EndMessage()
	w.Message(proto.ShowqMessage{QueueName: "hold", QueueID: "5B", Arrival: time.Unix(1795367515, 0), Size: 600, Sender: "MAILER-DAEMON"})
	w.Rcpt(proto.ShowqRcpt{Orig: "alias", Address: "x\x1b\"@example.com", LogClass: "bounce", Reason: strings.Repeat("long ", 20)})
	w.EndMessage()
	return w.Finish()
}

// listed is what l prints of a queue.
func listed(t *testing.T, l func(io.Writer) listing, send func(*proto.ShowqWriter) error) (string, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		send(proto.NewShowqWriter(ipc.NewConn(theirs, time.Second))) // a client that gives up is one of the cases
		theirs.Close()
	}()
	defer ours.Close()
	var out bytes.Buffer
	err := read(ipc.NewConn(ours, time.Second), l(&out))
	return out.String(), err
}

func TestListings(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	defer func() { time.Local = local }()
	reason := strings.Repeat("long ", 20)
	for _, c := range []struct {
		rule string
		l    func(io.Writer) listing
		want string
	}{
		{"short ids", func(w io.Writer) listing { return &mailqListing{out: w} }, `
-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------
4A1B2C3D*#     1500 Sun Nov 22 17:11:55  a@example.org
                                                          (connection refused)
                                         one@example.com
                                         two@example.com
                                                          (reason unavailable)
                                         three@example.com

5B!             600 Sun Nov 22 17:11:55  MAILER-DAEMON
(` + reason + `)
                                         x?"@example.com

-- 2 Kbytes in 2 Requests.
`},
		{"long ids", func(w io.Writer) listing { return &mailqListing{out: w, long: true} }, `
----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------
4A1B2C3D*#            1500 Sun Nov 22 17:11:55 a@example.org
                                                          (connection refused)
                                               one@example.com
                                               two@example.com
                                                          (reason unavailable)
                                               three@example.com

5B!                    600 Sun Nov 22 17:11:55 MAILER-DAEMON
(` + reason + `)
                                               x?"@example.com

-- 2 Kbytes in 2 Requests.
`},
		{"JSON", func(w io.Writer) listing { return &jsonListing{out: w} }, `
{"queue_name": "active", "queue_id": "4A1B2C3D", "arrival_time": 1795367515, "message_size": 1500, "forced_expire": true, "sender": "a@example.org", "recipients": [{"orig_address": "", "address": "one@example.com", "delay_reason": "connection refused"}, {"orig_address": "", "address": "two@example.com", "delay_reason": "connection refused"}, {"orig_address": "", "address": "three@example.com"}]}
{"queue_name": "hold", "queue_id": "5B", "arrival_time": 1795367515, "message_size": 600, "forced_expire": false, "sender": "MAILER-DAEMON", "recipients": [{"orig_address": "alias", "address": "x\u001B\"@example.com", "bounce_reason": "` + reason + `"}]}
`},
	} {
		got, err := listed(t, c.l, aQueue)
		if err != nil || got != c.want[1:] {
			t.Errorf("%s: %v, got\n%s", c.rule, err, got)
		}
	}
	empty := func(w *proto.ShowqWriter) error { return w.Finish() }
	if got, err := listed(t, func(w io.Writer) listing { return &mailqListing{out: w} }, empty); err != nil || got != "Mail queue is empty\n" {
		t.Errorf("an empty queue: %q, %v", got, err)
	}
	cut := func(w *proto.ShowqWriter) error {
		w.Message(proto.ShowqMessage{QueueName: "hold", QueueID: "5B"})
		return errors.New("gone")
	}
	if _, err := listed(t, func(w io.Writer) listing { return &mailqListing{out: w} }, cut); err == nil || !strings.HasPrefix(err.Error(), "malformed showq server response") {
		t.Errorf("a listing that is cut: %v", err)
	}
	full := func(io.Writer) listing { return &mailqListing{out: broken{}} }
	if _, err := listed(t, full, aQueue); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("nobody reads the output: %v", err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func FuzzQuote(f *testing.F) {
	f.Add("a\"b\\c\n\x00\x7f\xff")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal([]byte(quote(s)), &back); err != nil {
			t.Fatalf("%q: %v", quote(s), err)
		}
		if !strings.ContainsRune(s, 0xfffd) && strings.ContainsRune(back, 0xfffd) {
			t.Errorf("%q became %q", s, back)
		}
	})
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ rule, args, want string }{
		{"one mode is needed", "-v", usage},
		{"two are too many", "-f -p", usage},
		{"arguments are refused", "-p x", usage},
		{"a site must be a name", "-s a..b", `Cannot flush mail queue - invalid destination: "a..b"`},
		{"or an address", "-s [1.2.3]", `Cannot flush mail queue - invalid destination: "[1.2.3]"`},
		{"an address literal will do", "-s [192.0.2.1]", ""},
		{"a name will do", "-s example.com", ""},
		{"an id must be one", "-i ../x", `Cannot flush queue ID - invalid name: "../x"`},
		{"a long id is shortened in the message", "-i " + strings.Repeat("-", 200), `Cannot flush queue ID - invalid name: "` + strings.Repeat("-", 100) + `..."`},
	} {
		_, err := parse(strings.Fields(c.args))
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("%s: %v", c.rule, err)
		}
	}
}

// A command in a queue directory of its own.
func newCommand(t *testing.T, text string) *command {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("main.cf", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(".")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("public", 0o755); err != nil {
		t.Fatal(err)
	}
	return &command{conf: c, log: maillog.Discard(), out: io.Discard, dir: "."}
}

// listen answers on public/NAME.
func listen(t *testing.T, name string, serve func(c *ipc.Conn)) {
	t.Helper()
	l, err := net.Listen("unix", "public/"+name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(ipc.NewConn(c, time.Second))
			c.Close()
		}
	}()
}

func TestFlush(t *testing.T) {
	c := newCommand(t, "fast_flush_domains = example.com, down.example\n")
	if err := c.run(options{mode: 'f'}); err == nil || err.Error() != "Cannot flush mail queue - mail system is down" {
		t.Errorf("a mail system that is down: %v", err)
	}
	got := make(chan string, 10)
	trigger := func(c *ipc.Conn) {
		b, _ := io.ReadAll(c.R) // a trigger ends with the connection
		got <- string(b)
	}
	listen(t, "qmgr", trigger)
	listen(t, "pickup", trigger)
	listen(t, "flush", func(c *ipc.Conn) {
		proto.ServeFlush(c, func(r proto.FlushRequest) proto.FlushStatus {
			got <- r.Verb + " " + r.Site + r.QueueID
			if r.Site == "down.example" {
				return proto.FlushFail
			}
			return proto.FlushOK
		})
	})
	for _, step := range []struct {
		rule string
		o    options
		sent []string
		err  string
	}{
		{"-f wakes qmgr and pickup", options{mode: 'f'}, []string{proto.FlushQueue, "W"}, ""},
		{"-i asks for a message", options{mode: 'i', value: "4A1B2C3D"}, []string{"send_file 4A1B2C3D"}, ""},
		{"-s asks for a site", options{mode: 's', value: "example.com"}, []string{"send_site example.com"}, ""},
		{"a site that is not listed is refused here", options{mode: 's', value: "other.example"}, nil,
			`Flush service is not configured for destination "other.example"`},
		{"a failure is one", options{mode: 's', value: "down.example"}, []string{"send_site down.example"},
			"Cannot flush mail queue - mail system is down"},
	} {
		err := c.run(step.o)
		if step.err == "" && err != nil || step.err != "" && (err == nil || err.Error() != step.err) {
			t.Errorf("%s: %v", step.rule, err)
		}
		var sent []string
		for range step.sent {
			select {
			case s := <-got:
				sent = append(sent, s)
			case <-time.After(5 * time.Second):
				t.Fatalf("%s: sent %q only", step.rule, sent)
			}
		}
		slices.Sort(sent) // two services answer in any order
		if !slices.Equal(sent, step.sent) {
			t.Errorf("%s: sent %q, want %q", step.rule, sent, step.sent)
		}
	}
}

func TestListFromService(t *testing.T) {
	c := newCommand(t, "")
	var out bytes.Buffer
	c.out = &out
	listen(t, "showq", func(c *ipc.Conn) {
		w := proto.NewShowqWriter(c)
		w.Finish() // the client sees what is wrong
	})
	if err := c.run(options{mode: 'p'}); err != nil || out.String() != "Mail queue is empty\n" {
		t.Errorf("%v, %q", err, out.String())
	}
}
