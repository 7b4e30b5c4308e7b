package mailtest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A Dialog is a conversation with a server that speaks in lines, as text:
//
//	# The rule that the dialog shows.
//	conf: smtpd_helo_required = yes     anything before the first C: or S: is Head
//	S: 220 mx.example.com ESMTP ...     the server says this; "..." is any text
//	C: MAIL FROM:<a@example.org>        the client sends this and CR LF
//	C| "one\n.\r\n"                     the client sends exactly this (Go syntax)
//	S: 503 5.5.1 Error: send HELO/EHLO first
//	S| closed                           the server closes the connection
//	C| starttls                         the client begins TLS
//	C| close                            the client closes the connection
//	log: NOQUEUE: lost connection       other words are for the test's own checks
type Dialog struct {
	Name  string // file name without .txt
	Head  []Step // steps before the first C or S
	Steps []Step
}

// A Step is one line of a dialog.
type Step struct {
	Line int
	Word string // "C:", "S:", "C|", "S|", or another word with its colon
	Text string
}

// ReadDialog reads one file.
func ReadDialog(path string) (*Dialog, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := &Dialog{Name: strings.TrimSuffix(filepath.Base(path), ".txt")}
	inHead := true
	for i, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimRight(line, "\r"); strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		n := strings.IndexAny(line, ":|")
		if n < 1 || strings.ContainsAny(line[:n], " \t") {
			return nil, fmt.Errorf("%s:%d: neither word nor comment: %q", path, i+1, line)
		}
		step := Step{i + 1, line[:n+1], strings.TrimPrefix(line[n+1:], " ")}
		inHead = inHead && step.Word[0] != 'C' && step.Word[0] != 'S'
		if inHead {
			d.Head = append(d.Head, step)
		} else {
			d.Steps = append(d.Steps, step)
		}
	}
	return d, nil
}

// ReadDialogs reads all files of a folder that match the pattern.
func ReadDialogs(t testing.TB, pattern string) []*Dialog {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no dialogs at %s: %v", pattern, err)
	}
	var all []*Dialog
	for _, path := range paths {
		d, err := ReadDialog(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// A Player plays dialogs over a connection. The zero value knows C and S.
type Player struct {
	// Other handles steps with other words, which come in the order of the
	// file; nil: they are errors.
	Other func(s Step) error
	// TLS is for "C| starttls"; nil: any certificate is believed.
	TLS *tls.Config
	// Patience limits each wait; 0: 10 s.
	Patience time.Duration
}

// Play plays the steps of d. The connection is closed at the end.
func (p *Player) Play(t testing.TB, d *Dialog, conn net.Conn) {
	t.Helper()
	defer func() { conn.Close() }() // the dialog is over
	patience := p.Patience
	if patience == 0 {
		patience = 10 * time.Second
	}
	r := bufio.NewReader(conn)
	for _, s := range d.Steps {
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Fatalf("%s.txt:%d: %v", d.Name, s.Line, err)
		}
		var err error
		switch s.Word {
		case "C:":
			_, err = io.WriteString(conn, s.Text+"\r\n")
		case "S:":
			err = expect(r, s.Text)
		case "C|":
			conn, r, err = p.act(conn, r, s.Text)
		case "S|":
			err = expectClosed(r, s.Text)
		default:
			err = errors.New("unknown word " + s.Word)
			if p.Other != nil {
				err = p.Other(s)
			}
		}
		if err != nil {
			t.Errorf("%s.txt:%d: %s %s: %v", d.Name, s.Line, s.Word, s.Text, err)
			return
		}
	}
}

// act is what a client does besides sending lines.
func (p *Player) act(conn net.Conn, r *bufio.Reader, text string) (net.Conn, *bufio.Reader, error) {
	switch text {
	case "close":
		return conn, r, conn.Close()
	case "starttls":
		config := p.TLS
		if config == nil {
			config = &tls.Config{InsecureSkipVerify: true}
		}
		secure := tls.Client(conn, config)
		if err := secure.Handshake(); err != nil {
			return conn, r, err
		}
		return secure, bufio.NewReader(secure), nil
	}
	raw, err := strconv.Unquote(text)
	if err != nil {
		return conn, r, fmt.Errorf("no Go string: %w", err)
	}
	_, err = io.WriteString(conn, raw)
	return conn, r, err
}

// expect reads one line and compares.
func expect(r *bufio.Reader, want string) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return fmt.Errorf("server said %q, then %v", line, err)
	}
	got, ok := strings.CutSuffix(line, "\r\n")
	if !ok || !Like(got, want) {
		return fmt.Errorf("server said %q", line)
	}
	return nil
}

func expectClosed(r *bufio.Reader, what string) error {
	if what != "closed" {
		return errors.New("only \"closed\" is known")
	}
	line, err := r.ReadString('\n')
	if err == nil || line != "" {
		return fmt.Errorf("server said %q", line)
	}
	var limit net.Error
	if errors.As(err, &limit) && limit.Timeout() {
		return errors.New("connection stays open")
	}
	return nil
}

// Like reports whether text is as pattern says; "..." stands for any text.
func Like(text, pattern string) bool {
	first, rest, more := strings.Cut(pattern, "...")
	text, ok := strings.CutPrefix(text, first)
	if !ok || !more {
		return ok && text == ""
	}
	for {
		if Like(text, rest) {
			return true
		}
		if text == "" {
			return false
		}
		text = text[1:]
	}
}
