package main

import (
	"bufio"
	"bytes"
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
	to     string // user
	submit func(l letter) error
}

// text is the message.
func (l letter) text() string {
	return fmt.Sprintf("From: Carol <carol@%s>\nTo: <%s@%s>\nSubject: %s\nMessage-ID: <%s>\n\nHello, %[2]s.\n",
		demoDomain, l.to, demoDomain, l.title, l.id)
}

// letters are what is sent, in this order.
func (d *demo) letters() []letter {
	return []letter{
		{title: "by sendmail, as programs of this host do", id: "1@demo." + demoDomain, to: "alice", submit: d.bySendmail},
		{title: "by SMTP, as other hosts do", id: "2@demo." + demoDomain, to: "bob", submit: d.bySMTP},
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
	cmd := d.tool("sendmail", "-i", "-f", "carol@"+demoDomain, l.to+"@"+demoDomain)
	cmd.Stdin = strings.NewReader(l.text())
	d.say("  $ %s", strings.Join(cmd.Args, " "))
	return cmd.Run()
}

// bySMTP submits a message over the network and shows the dialog.
func (d *demo) bySMTP(l letter) error {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", d.ports["smtp"]), demoPatience)
	if err != nil {
		return err
	}
	defer conn.Close() // QUIT was answered, or there was an error
	if err := conn.SetDeadline(time.Now().Add(demoPatience)); err != nil {
		return err
	}
	c := textproto.NewConn(conn)
	return d.smtpDialog(c, l)
}

// smtpDialog says each line and shows the replies.
func (d *demo) smtpDialog(c *textproto.Conn, l letter) error {
	for _, step := range []struct {
		say  string
		code int
	}{
		{"", 220},
		{"HELO client." + demoDomain, 250},
		{"MAIL FROM:<carol@" + demoDomain + ">", 250},
		{"RCPT TO:<" + l.to + "@" + demoDomain + ">", 250},
		{"DATA", 354},
		{strings.ReplaceAll(l.text(), "\n", "\r\n") + ".", 250},
		{"QUIT", 221},
	} {
		if step.say != "" {
			if err := c.PrintfLine("%s", step.say); err != nil {
				return err
			}
			d.say("  C: %s", strings.NewReplacer("\r\n", "\n  C: ").Replace(step.say))
		}
		_, reply, err := c.ReadResponse(step.code)
		if err != nil {
			return fmt.Errorf("reply to %q: %w", step.say, err)
		}
		d.say("  S: %d %s", step.code, reply)
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
