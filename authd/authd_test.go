package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"postroad/libmail/account"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/server"
	"postroad/libmail/ticket"
)

// start runs an authd with users alice (password and SCRAM keys) and bob
// (disabled), and returns a connection to it, greeting read.
func start(t *testing.T, delay time.Duration) (*bufio.ReadWriter, *authd) {
	t.Helper()
	dir := t.TempDir()
	list := account.Open(filepath.Join(dir, "accounts"))
	keys := account.NewSCRAM("SCRAM-SHA-256", "geheim", []byte("0123456789abcdef"), 4096)
	b64 := base64.StdEncoding.EncodeToString
	alice := account.User{Name: "alice@example.com", Password: "{PLAIN}geheim", UID: 5000, GID: 5001, Home: "/m/alice"}
	alice.Set("scram_sha_256", fmt.Sprintf("4096,%s,%s,%s", b64(keys.Salt), b64(keys.StoredKey), b64(keys.ServerKey)))
	alice.Set("app_password.phone", "{PLAIN}app-secret")
	bob := account.User{Name: "bob@example.com", Password: "{PLAIN}b", Extra: []account.Field{{Name: "disabled"}}}
	for _, u := range []account.User{alice, bob} {
		if err := list.Add(u); err != nil {
			t.Fatal(err)
		}
	}
	key, err := ticket.Open(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	a := &authd{params: params{mechanisms: []string{"PLAIN", "LOGIN", "SCRAM-SHA-256"}, location: "maildir:~/Maildir"}, tickets: key, secret: key.Derive("x"),
		env: &server.Env{Log: maillog.Discard()}}
	a.sources = []source{accounts{list, "example.com"}}
	a.checks = newChecks(a.sources, time.Minute, delay)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
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
			go a.serve(ipc.NewConn(c, 10*time.Second))
		}
	}()
	c, err := net.Dial("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	rw := bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
	var greeting []string
	for len(greeting) == 0 || greeting[len(greeting)-1] != "DONE" {
		greeting = append(greeting, hear(t, rw))
	}
	if got := strings.Join(greeting[:4], "|"); got != "VERSION\t1\t2|MECH\tPLAIN\tplaintext|MECH\tLOGIN\tplaintext|MECH\tSCRAM-SHA-256\tmutual-auth" {
		t.Errorf("greeting %q", got)
	}
	tell(t, rw, "VERSION\t1\t1\nCPID\t1")
	return rw, a
}

func tell(t *testing.T, rw *bufio.ReadWriter, line string) {
	t.Helper()
	rw.WriteString(line + "\n")
	if err := rw.Flush(); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, rw *bufio.ReadWriter) string {
	t.Helper()
	line, err := rw.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

func plainResp(authzid, name, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(authzid + "\x00" + name + "\x00" + password))
}

func TestPlain(t *testing.T) {
	rw, _ := start(t, 0)
	for i, c := range []struct{ rule, resp, want string }{
		{"the right password", plainResp("", "alice@example.com", "geheim"), "OK\t%d\tuser=alice@example.com"},
		{"a name gets its domain and lower case", plainResp("", "ALICE", "geheim"), "OK\t%d\tuser=alice@example.com"},
		{"an app password", plainResp("", "alice", "app-secret"), "OK\t%d\tuser=alice@example.com"},
		{"to act as oneself", plainResp("alice", "alice", "geheim"), "OK\t%d\tuser=alice@example.com"},
		{"a wrong password", plainResp("", "alice", "falsch"), "FAIL\t%d\tuser=alice"},
		{"to act as another", plainResp("bob", "alice", "geheim"), "FAIL\t%d\tuser=alice"},
		{"an unknown user", plainResp("", "carol", "x"), "FAIL\t%d\tuser=carol"},
		{"a name with a path", plainResp("", "../alice", "geheim"), "FAIL\t%d\tuser=../alice"},
		{"a disabled user", plainResp("", "bob", "b"), "FAIL\t%d\tuser=bob"},
		{"a TAB in the name", plainResp("", "a\tb", "x"), "FAIL\t%d\tuser=a\x01tb"},
		{"one NUL too many", base64.StdEncoding.EncodeToString([]byte("\x00alice\x00geheim\x00")), "FAIL\t%d"},
		{"no base64", "***", "FAIL\t%d\treason=Invalid base64 data in continued response\tcode=invalid_base64"},
	} {
		tell(t, rw, fmt.Sprintf("AUTH\t%d\tPLAIN\tservice=smtp\trip=192.0.2.1\tresp=%s", i, c.resp))
		if got := hear(t, rw); got != fmt.Sprintf(c.want, i) {
			t.Errorf("%s: %q", c.rule, got)
		}
	}
	tell(t, rw, "AUTH\t99\tGSSAPI\tservice=smtp")
	if got := hear(t, rw); got != "FAIL\t99\treason=Unsupported authentication mechanism" {
		t.Errorf("a mechanism that is not offered: %q", got)
	}
}

func TestLoginAsksForNameAndPassword(t *testing.T) {
	rw, _ := start(t, 0)
	b64 := base64.StdEncoding.EncodeToString
	tell(t, rw, "AUTH\t1\tLOGIN\tservice=smtp")
	for _, c := range []struct{ want, say string }{
		{"CONT\t1\tVXNlcm5hbWU6", "CONT\t1\t" + b64([]byte("alice"))},
		{"CONT\t1\tUGFzc3dvcmQ6", "CONT\t1\t" + b64([]byte("geheim"))},
	} {
		if got := hear(t, rw); got != c.want {
			t.Fatalf("got %q", got)
		}
		tell(t, rw, c.say)
	}
	if got := hear(t, rw); got != "OK\t1\tuser=alice@example.com" {
		t.Errorf("got %q", got)
	}
}

func TestSCRAM(t *testing.T) {
	rw, _ := start(t, 0)
	try := func(id, user, password string) string {
		client, err := scram.SHA256.NewClient(user, password, "")
		if err != nil {
			t.Fatal(err)
		}
		talk := client.NewConversation()
		say, err := talk.Step("")
		if err != nil {
			t.Fatal(err)
		}
		tell(t, rw, "AUTH\t"+id+"\tSCRAM-SHA-256\tservice=imap\tresp="+base64.StdEncoding.EncodeToString([]byte(say)))
		for {
			f := strings.Split(hear(t, rw), "\t")
			if f[0] != "CONT" {
				return f[0]
			}
			challenge, _ := base64.StdEncoding.DecodeString(f[2])
			if say, err = talk.Step(string(challenge)); err != nil {
				t.Fatal(err)
			}
			tell(t, rw, "CONT\t"+id+"\t"+base64.StdEncoding.EncodeToString([]byte(say)))
		}
	}
	for i, c := range []struct{ user, password, want string }{
		{"alice@example.com", "geheim", "OK"}, {"alice", "falsch", "FAIL"}, {"carol", "x", "FAIL"}, {"bob", "b", "FAIL"},
	} {
		if got := try(fmt.Sprint(i), c.user, c.password); got != c.want {
			t.Errorf("%s/%s: %s", c.user, c.password, got)
		}
	}
}

func TestTicketComesWithYes(t *testing.T) {
	rw, a := start(t, 0)
	tell(t, rw, "AUTH\t1\tPLAIN\tservice=imap\tsession=abc\twant-ticket\tresp="+plainResp("", "alice", "geheim"))
	_, text, ok := strings.Cut(hear(t, rw), "\tticket=")
	if !ok {
		t.Fatal("no ticket")
	}
	got, err := a.tickets.Check(text, "abc")
	if want := (ticket.Ticket{User: "alice@example.com", Service: "imap", Session: "abc"}); got != want || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestUserdb(t *testing.T) {
	rw, _ := start(t, 0)
	for _, c := range []struct{ say, want string }{
		{"USER\t1\talice\tservice=lmtp", "USER\t1\talice@example.com\tuid=5000\tgid=5001\thome=/m/alice\tmail=maildir:/m/alice/Maildir"},
		{"USER\t2\tnobody\tservice=lmtp", "NOTFOUND\t2"},
		{"USER\t3\t../x", "NOTFOUND\t3"},
		{"LIST\t4", "LIST\t4\talice@example.com|LIST\t4\tbob@example.com|DONE\t4"},
	} {
		tell(t, rw, c.say)
		var got []string
		for range strings.Split(c.want, "|") {
			got = append(got, hear(t, rw))
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%s: %q", c.say, got)
		}
	}
}

func TestFailuresAreLateAndHoldUpNobody(t *testing.T) {
	rw, _ := start(t, 300*time.Millisecond)
	begin := time.Now()
	tell(t, rw, "AUTH\t1\tPLAIN\trip=192.0.2.1\tresp="+plainResp("", "alice", "falsch"))
	tell(t, rw, "AUTH\t2\tPLAIN\trip=192.0.2.2\tresp="+plainResp("", "alice", "geheim"))
	if got := hear(t, rw); got != "OK\t2\tuser=alice@example.com" {
		t.Errorf("first %q", got)
	}
	if got := hear(t, rw); got != "FAIL\t1\tuser=alice" || time.Since(begin) < 300*time.Millisecond {
		t.Errorf("second %q after %v", got, time.Since(begin))
	}
}

func TestPenalty(t *testing.T) {
	c := newChecks(nil, 0, time.Second)
	pair := func(s string) [32]byte { return c.pair("u", s) }
	for i, p := range []struct {
		ip, password string
		want         time.Duration
	}{
		{"192.0.2.1", "a", time.Second},
		{"192.0.2.1", "a", time.Second}, // the same wrong password does not count again
		{"192.0.2.1", "b", 2 * time.Second},
		{"192.0.2.1", "c", 4 * time.Second},
		{"192.0.2.2", "c", time.Second}, // another address
		{"2001:db8::1", "a", time.Second},
		{"2001:db8:0:1::2", "b", 2 * time.Second}, // the same site
		{"", "x", time.Second},
	} {
		if got := c.wrong(p.ip, pair(p.password)); got != p.want {
			t.Errorf("step %d: %v, want %v", i, got, p.want)
		}
	}
	c.welcome("192.0.2.1")
	if got := c.wrong("192.0.2.1", pair("d")); got != time.Second {
		t.Errorf("a right password clears it: %v", got)
	}
}

func TestLocation(t *testing.T) {
	for in, want := range map[string]string{"maildir:~/Maildir": "maildir:/h/Maildir", "~/M": "maildir:/h/M", "mbox:/var/mail/x": "mbox:/var/mail/x", "maildir:~": "maildir:/h"} {
		if got := location(in, "/h"); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func FuzzCommand(f *testing.F) {
	f.Add("AUTH\t1\tPLAIN\tresp=AAAA")
	f.Add("CONT\t1\t")
	f.Add("USER\t1\tx")
	dir := f.TempDir()
	key, err := ticket.Open(filepath.Join(dir, "key"))
	if err != nil {
		f.Fatal(err)
	}
	a := &authd{params: params{mechanisms: []string{"PLAIN", "LOGIN", "SCRAM-SHA-256"}}, tickets: key, env: &server.Env{Log: maillog.Discard()}}
	a.checks = newChecks(nil, 0, 0)
	f.Fuzz(func(t *testing.T, line string) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() { // a client that reads everything
			b := make([]byte, 4096)
			for {
				if _, err := theirs.Read(b); err != nil {
					return
				}
			}
		}()
		c := &client{a: a, conn: ipc.NewConn(ours, time.Second), open: map[string]*request{}, ctx: t.Context()}
		c.command(line)
	})
}
