package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// demoPatience bounds how long a message may take; it takes a tenth of a
// second.
const demoPatience = 30 * time.Second

// A letter is a message of the demonstration.
type letter struct {
	title  string
	id     string // Message-ID, to find it in the log
	from   string // user
	to     string // user with a mailbox
	submit func(l letter) error
}

// text is the message.
func (l letter) text() string {
	return fmt.Sprintf("From: <%s@%[2]s>\nTo: <%[3]s@%[2]s>\nSubject: %[4]s\nMessage-ID: <%[5]s>\n\nHello, %[3]s.\n",
		l.from, demoDomain, l.to, l.title, l.id)
}

// letters are what is sent, in this order.
func (d *demo) letters() []letter {
	return []letter{
		{title: "by sendmail, as programs of this host do", id: "1@demo." + demoDomain, from: "carol", to: "alice", submit: d.bySendmail},
		{title: "by SMTP, as other hosts do", id: "2@demo." + demoDomain, from: "carol", to: "alice", submit: d.bySMTP},
		{title: "with a password, as mail programs do", id: "3@demo." + demoDomain, from: "alice", to: "bob", submit: d.bySubmission},
	}
}

// send submits a message and shows its way to the mailbox.
func (d *demo) send(l letter) error {
	d.say("\nA message %s:\n", l.title)
	if err := l.submit(l); err != nil {
		return fmt.Errorf("message %s: %w", l.title, err)
	}
	if err := d.follow(l); err != nil {
		return fmt.Errorf("message %s: %w", l.title, err)
	}
	return d.arrived(l)
}

// bySendmail submits a message with the command.
func (d *demo) bySendmail(l letter) error {
	cmd := d.tool("sendmail", "-i", "-f", l.from+"@"+demoDomain, l.to+"@"+demoDomain)
	cmd.Stdin = strings.NewReader(l.text())
	d.say("  $ %s", strings.Join(cmd.Args, " "))
	return cmd.Run()
}

// A line is one step of a dialog over the network.
type line struct {
	say   string // "": the server speaks first
	shown string // what is shown of it; "": all
	want  string // what the reply begins with
}

// bySMTP submits a message over the network, as any host may for our users.
func (d *demo) bySMTP(l letter) error {
	c, err := d.connect("smtp")
	if err != nil {
		return err
	}
	defer c.Close() // QUIT was answered, or there was an error
	return d.converse(c, append([]line{
		{want: "220"},
		{say: "HELO client." + demoDomain, want: "250"},
	}, envelope(l)...))
}

// bySubmission submits a message as a mail program of ours does: with TLS and a
// password, which allows mail to anywhere.
func (d *demo) bySubmission(l letter) error {
	c, err := d.connect("587")
	if err != nil {
		return err
	}
	defer func() { c.Close() }() // as in bySMTP
	if err := d.converse(c, []line{
		{want: "220"},
		{say: "EHLO client." + demoDomain, want: "250"},
		{say: "STARTTLS", want: "220"},
	}); err != nil {
		return err
	}
	if c, err = d.encrypt(c); err != nil {
		return err
	}
	user := demoUsers[0] + "@" + demoDomain
	secret := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + d.passwords[user]))
	return d.converse(c, append([]line{
		{say: "EHLO client." + demoDomain, want: "250"},
		{say: "AUTH PLAIN " + secret, shown: "AUTH PLAIN (name and password in base64)", want: "235"},
	}, envelope(l)...))
}

// envelope hands a message over.
func envelope(l letter) []line {
	return []line{
		{say: "MAIL FROM:<" + l.from + "@" + demoDomain + ">", want: "250"},
		{say: "RCPT TO:<" + l.to + "@" + demoDomain + ">", want: "250"},
		{say: "DATA", want: "354"},
		{say: strings.ReplaceAll(l.text(), "\n", "\r\n") + ".", want: "250"},
		{say: "QUIT", want: "221"},
	}
}

// readByPOP3 reads mail as a mail program does.
func (d *demo) readByPOP3(name string) error {
	user := name + "@" + demoDomain
	d.say("\n%s reads mail by POP3 with TLS:\n", user)
	c, err := d.connect("995")
	if err != nil {
		return err
	}
	defer func() { c.Close() }() // as in bySMTP
	if c, err = d.encrypt(c); err != nil {
		return err
	}
	if err := d.converse(c, []line{
		{want: "+OK"},
		{say: "USER " + user, want: "+OK"},
		{say: "PASS " + d.passwords[user], shown: "PASS (the password)", want: "+OK"},
		{say: "STAT", want: "+OK"},
		{say: "RETR 1", want: "+OK"},
	}); err != nil {
		return err
	}
	text, err := c.ReadDotLines()
	if err != nil {
		return err
	}
	d.say("  S: %s\n  S: .", strings.Join(text, "\n  S: "))
	return d.converse(c, []line{{say: "QUIT", want: "+OK"}})
}

// A conn is a connection to one of our services.
type conn struct {
	*textproto.Conn
	raw net.Conn
}

// connect connects to a service.
func (d *demo) connect(service string) (conn, error) {
	raw, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", d.ports[service]), demoPatience)
	if err != nil {
		return conn{}, err
	}
	return conn{textproto.NewConn(raw), raw}, raw.SetDeadline(time.Now().Add(demoPatience))
}

// encrypt begins TLS. The certificate is the one that the service has made for
// itself, and is checked.
func (d *demo) encrypt(c conn) (conn, error) {
	cert, err := os.ReadFile(d.path("data", "selfsigned.pem"))
	if err != nil {
		return c, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	secure := tls.Client(c.raw, &tls.Config{RootCAs: roots, ServerName: demoHost})
	if err := secure.Handshake(); err != nil {
		return c, err
	}
	d.say("  (from here on the connection is encrypted)")
	return conn{textproto.NewConn(secure), secure}, nil
}

// converse says each line and shows the replies.
func (d *demo) converse(c conn, dialog []line) error {
	for _, l := range dialog {
		if l.say != "" {
			if err := c.PrintfLine("%s", l.say); err != nil {
				return err
			}
			if l.shown == "" {
				l.shown = strings.ReplaceAll(l.say, "\r\n", "\n  C: ")
			}
			d.say("  C: %s", l.shown)
		}
		for more := true; more; {
			reply, err := c.ReadLine()
			if err != nil {
				return err
			}
			d.say("  S: %s", reply)
			if !strings.HasPrefix(reply, l.want) {
				return fmt.Errorf("unexpected reply %q", reply)
			}
			more = l.want[0] != '+' && strings.HasPrefix(reply[len(l.want):], "-")
		}
	}
	return nil
}

// A station is what a line of the log says about the way of a message.
type station struct {
	line *regexp.Regexp
	word string
}

// stations are in the order of the way.
var stations = []station{
	{regexp.MustCompile(`/pickup\[\d+\]: \w+: uid=`), "pickup takes it out of the maildrop"},
	{regexp.MustCompile(`/smtpd\[\d+\]: \w+: client=`), "smtpd takes it from the network"},
	{regexp.MustCompile(`/cleanup\[\d+\]: \w+: message-id=`), "cleanup completes it and writes its queue file"},
	{regexp.MustCompile(`/qmgr\[\d+\]: \w+: from=`), "the queue manager decides who delivers it"},
	{regexp.MustCompile(`/\w+\[\d+\]: \w+: to=`), "the delivery agent says what became of it"},
	{regexp.MustCompile(`/qmgr\[\d+\]: \w+: removed`), "the queue file is removed: the message is all the mailbox's"},
}

// follow shows the lines of the log about a message until it is out of the
// queue.
func (d *demo) follow(l letter) error {
	d.say("\n  Its way through the log:\n")
	shown := 0
	for deadline := time.Now().Add(demoPatience); ; time.Sleep(20 * time.Millisecond) {
		lines, err := d.logLines(l.id)
		if err != nil {
			return err
		}
		for ; shown < len(lines); shown++ {
			for _, s := range stations {
				if s.line.MatchString(lines[shown]) {
					d.say("  %s\n      %s", s.word, lines[shown])
					break
				}
			}
			if strings.HasSuffix(lines[shown], ": removed") {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it is not delivered after %s; see %s", demoPatience, d.path("maillog"))
		}
	}
}

// logLines are the lines about the message with this Message-ID.
func (d *demo) logLines(messageID string) ([]string, error) {
	text, err := os.ReadFile(d.path("maillog"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	found := regexp.MustCompile(`(\w+): message-id=<` + regexp.QuoteMeta(messageID) + ">").FindSubmatch(text)
	if found == nil {
		return nil, nil
	}
	about := append([]byte("]: "), append(found[1], ": "...)...)
	var lines []string
	for in := bufio.NewScanner(bytes.NewReader(text)); in.Scan(); {
		if bytes.Contains(in.Bytes(), about) {
			lines = append(lines, in.Text())
		}
	}
	return lines, nil
}

// arrived shows the file in the mailbox.
func (d *demo) arrived(l letter) error {
	files, err := filepath.Glob(d.path("mail", demoDomain, l.to, "Maildir", "new", "*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if bytes.Contains(text, []byte(l.id)) {
			d.say("\n  It is now in %s:\n", file)
			d.say("      %s", strings.ReplaceAll(strings.TrimRight(string(text), "\n"), "\n", "\n      "))
			return nil
		}
	}
	return fmt.Errorf("message %s is not in the mailbox of %s", l.title, l.to)
}
