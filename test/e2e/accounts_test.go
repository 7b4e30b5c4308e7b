package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"postroad/libmail/mailtest"
)

// postroad runs the control command, with a password on standard input.
func postroad(t *testing.T, s *mailtest.Suite, password string, args ...string) string {
	t.Helper()
	out, status := s.Run(password+"\n", "postroad", args...)
	if status != 0 {
		t.Fatalf("postroad %v: exit %d: %s", args, status, out)
	}
	return out
}

// dial connects to a service of the suite.
func dial(t *testing.T, s *mailtest.Suite, service string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Ports[service]))
	if err == nil {
		err = c.SetDeadline(time.Now().Add(time.Minute))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() }) // the test is over
	return c
}

// believing is a client that takes the self-signed certificate.
var believing = &tls.Config{InsecureSkipVerify: true}

// logIn logs in by POP3 with TLS and returns the session, or what the server
// said to the password.
func logIn(t *testing.T, s *mailtest.Suite, user, password string) (*textproto.Conn, string) {
	t.Helper()
	c := textproto.NewConn(tls.Client(dial(t, s, "995"), believing))
	pop(t, c, "")
	pop(t, c, "USER "+user)
	return c, pop(t, c, "PASS "+password)
}

func pop(t *testing.T, c *textproto.Conn, command string) string {
	t.Helper()
	if command != "" {
		if err := c.PrintfLine("%s", command); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
	reply, err := c.ReadLine()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return reply
}

// submission is a session of a mail program on port 587, not logged in yet.
func submission(t *testing.T, s *mailtest.Suite) *smtp.Client {
	t.Helper()
	c, err := smtp.NewClient(dial(t, s, "587"), "localhost")
	if err == nil {
		err = c.StartTLS(believing)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rcpt is the reply to one recipient from the network.
func rcpt(t *testing.T, s *mailtest.Suite, to string) error {
	t.Helper()
	c, err := smtp.NewClient(dial(t, s, "smtp"), "localhost")
	if err == nil {
		err = c.Mail("x@example.org")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() // QUIT would add nothing
	return c.Rcpt(to)
}

// A user exists for SMTP, delivery, POP3 and submission from the moment that
// `postroad user add` returns, and is gone when `user del` does.
func TestAccounts(t *testing.T) {
	t.Parallel()
	s := mailtest.NewSuite(t)
	s.Start()
	postroad(t, s, "", "domain", "add", "mail.example")
	if err := rcpt(t, s, "dora@mail.example"); err == nil || !strings.Contains(err.Error(), "User unknown") {
		t.Errorf("before there is a user: %v", err)
	}
	postroad(t, s, "secret one", "user", "add", "dora@mail.example", "quota=10M")
	if err := rcpt(t, s, "Dora+folder@Mail.Example"); err != nil {
		t.Errorf("a user is accepted at once: %v", err)
	}
	if out := postroad(t, s, "", "user", "list"); !strings.Contains(out, "dora@mail.example home="+s.Dir+"/vhosts/mail.example/dora quota=10M") {
		t.Errorf("list: %s", out)
	}

	c := submission(t, s)
	if err := c.Auth(smtp.PlainAuth("", "dora@mail.example", "wrong", "localhost")); err == nil {
		t.Error("a wrong password is accepted")
	}
	c = submission(t, s)
	if err := c.Mail("dora@mail.example"); err == nil {
		if err := c.Rcpt("x@example.net"); err == nil {
			t.Error("mail to elsewhere without a password")
		}
	}
	c = submission(t, s)
	if err := c.Auth(smtp.PlainAuth("", "dora@mail.example", "secret one", "localhost")); err != nil {
		t.Fatalf("AUTH PLAIN: %v", err)
	}
	if err := c.Mail("dora@mail.example"); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("x@example.net"); err != nil {
		t.Errorf("who is logged in may send to elsewhere: %v", err)
	}
	if err := c.Reset(); err != nil {
		t.Fatal(err)
	}
	sendMessage(t, c, "dora@mail.example", "dora@mail.example", "Subject: to myself\r\n\r\ntext\r\n")
	s.Until("delivery", func() bool { return len(s.Maildir("vhosts/mail.example/dora/Maildir")) == 1 })

	p, reply := logIn(t, s, "dora@mail.example", "secret one")
	if !strings.HasPrefix(reply, "+OK") {
		t.Fatalf("POP3: %s", reply)
	}
	if got := pop(t, p, "RETR 1"); !strings.HasPrefix(got, "+OK") {
		t.Errorf("RETR: %s", got)
	}
	text, err := p.ReadDotBytes()
	if err != nil || !bytes.Contains(text, []byte("Subject: to myself")) {
		t.Errorf("message %q, %v", text, err)
	}
	pop(t, p, "QUIT")

	app := strings.TrimSpace(postroad(t, s, "", "user", "app-password", "dora@mail.example", "phone"))
	if _, reply := logIn(t, s, "dora@mail.example", app); !strings.HasPrefix(reply, "+OK") {
		t.Errorf("app password: %s", reply)
	}
	postroad(t, s, "", "user", "app-password", "dora@mail.example", "phone", "delete")
	if _, reply := logIn(t, s, "dora@mail.example", app); !strings.HasPrefix(reply, "-ERR") {
		t.Errorf("a deleted app password: %s", reply)
	}
	postroad(t, s, "secret two", "user", "passwd", "dora@mail.example")
	if _, reply := logIn(t, s, "dora@mail.example", "secret one"); !strings.HasPrefix(reply, "-ERR") {
		t.Errorf("the old password: %s", reply)
	}
	if _, reply := logIn(t, s, "dora@mail.example", "secret two"); !strings.HasPrefix(reply, "+OK") {
		t.Errorf("the new password: %s", reply)
	}
	postroad(t, s, "", "user", "del", "dora@mail.example")
	if err := rcpt(t, s, "dora@mail.example"); err == nil {
		t.Error("a deleted user is accepted")
	}
	postroad(t, s, "", "domain", "del", "mail.example")
}

// sendMessage sends one message over an open session.
func sendMessage(t *testing.T, c *smtp.Client, from, to, text string) {
	t.Helper()
	err := c.Mail(from)
	if err == nil {
		err = c.Rcpt(to)
	}
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}
