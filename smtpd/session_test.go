package main

import (
	"bufio"
	"bytes"
	"context"
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

// A caller is a client of a test that talks line by line.
type caller struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (b *testbed) call() *caller {
	conn := b.connect()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	c := &caller{b.t, conn, bufio.NewReader(conn)}
	c.expect("220 ")
	return c
}

// ask sends a command and expects a reply that begins with want.
func (c *caller) ask(command, want string) {
	c.t.Helper()
	if _, err := io.WriteString(c, command+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
	c.expect(want)
}

func (c *caller) expect(want string) {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, want) {
		c.t.Fatalf("server said %q, %v; want %q", line, err, want)
	}
}

func TestStopEndsIdleSessionsAndWaitsForOthers(t *testing.T) {
	b := newTestbed(t, "", map[string]string{})
	stopping := make(chan struct{})
	b.stopping = stopping
	go b.watchStop()
	idle, busy := b.call(), b.call()
	busy.ask("HELO there", "250")
	busy.ask("MAIL FROM:<a@example.org>", "250")
	close(stopping)
	idle.expect("421 4.3.2 mx.example.com Service not available")
	busy.ask("RCPT TO:<user@example.com>", "250")
	busy.ask("DATA", "354")
	busy.ask(".", "250 2.0.0 Ok: queued")
	busy.expect("421 4.3.2 ")
	late := bufio.NewReader(b.connect())
	if line, err := late.ReadString('\n'); err != nil || !strings.HasPrefix(line, "220 ") {
		t.Errorf("a late client hears %q, %v", line, err)
	}
	if line, err := late.ReadString('\n'); err != nil || !strings.HasPrefix(line, "421 4.3.2 ") {
		t.Errorf("a late client then hears %q, %v", line, err)
	}
}

// fuzzConn is a client that has said everything already.
type fuzzConn struct {
	io.Reader
	out bytes.Buffer
}

func (c *fuzzConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *fuzzConn) Close() error                     { return nil }
func (c *fuzzConn) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }
func (c *fuzzConn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4000} }
func (c *fuzzConn) SetDeadline(time.Time) error      { return nil }
func (c *fuzzConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fuzzConn) SetWriteDeadline(time.Time) error { return nil }

// lineByLine is a client that waits for each reply.
type lineByLine struct{ r *bytes.Reader }

func (l *lineByLine) Read(p []byte) (int, error) {
	for n := range p {
		c, err := l.r.ReadByte()
		if err != nil {
			return n, err
		}
		if p[n] = c; c == '\n' {
			return n + 1, nil
		}
	}
	return len(p), nil
}

// checkReplies wants well-formed replies (RFC 5321 §4.2) and counts messages
// that were answered with 250.
func checkReplies(t *testing.T, text string) (accepted int) {
	code := ""
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if len(line) < 4 || strings.ContainsAny(line, "\r\n\x00") || line[3] != ' ' && line[3] != '-' {
			t.Fatalf("malformed reply line %q in %q", line, text)
		}
		if n, err := strconv.Atoi(line[:3]); err != nil || n < 200 || n > 599 {
			t.Fatalf("malformed reply code %q", line)
		}
		if code != "" && code != line[:3] {
			t.Fatalf("reply with two codes: %q", text)
		}
		if code = ""; line[3] == '-' {
			code = line[:3]
		}
		if strings.HasPrefix(line, "250 2.0.0 Ok: ") && strings.Contains(line, "queued as") {
			accepted++
		}
	}
	return accepted
}

func FuzzSession(f *testing.F) {
	for _, text := range []string{
		"EHLO there\r\nMAIL FROM:<a@example.org> SIZE=10 BODY=8BITMIME\r\nRCPT TO:<user@example.com> NOTIFY=NEVER\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\nQUIT\r\n",
		"EHLO there\nMAIL FROM:<a@example.org>\nRCPT TO:<user@example.com>\nDATA\nx\n.\nRSET\n",
		"EHLO there\r\nMAIL FROM:<a@example.org> SMTPUTF8\r\nRCPT TO:<user@example.com>\r\nBDAT 5\r\nhelloBDAT 0 LAST\r\nNOOP\r\n",
		"XCLIENT NAME=x ADDR=192.0.2.4 HELO=+41\r\nXFORWARD NAME=y\r\nVRFY user\r\nETRN example.net\r\nSTARTTLS\r\nAUTH PLAIN AAA\r\nHELP\r\n",
		"BDAT 99999999999999999999\r\nMAIL FROM:<\"a b\"@example.org>\r\nRCPT TO:<@a,@b:c@d>\r\n",
	} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	corpusSeeds(f)
	b := newTestbed(f, "smtpd_authorized_xclient_hosts = 192.0.2.0/24\nsmtpd_authorized_xforward_hosts = 192.0.2.0/24\n", map[string]string{})
	f.Fuzz(func(t *testing.T, input []byte, atOnce bool) {
		b.mu.Lock()
		b.messages, b.log = nil, nil
		b.mu.Unlock()
		conn := &fuzzConn{Reader: bytes.NewReader(input)}
		if !atOnce {
			conn.Reader = &lineByLine{bytes.NewReader(input)}
		}
		b.serve(context.Background(), conn, false)
		accepted := checkReplies(t, conn.out.String())
		if err := b.count(fmt.Sprint(accepted)); err != nil {
			t.Fatalf("%d messages were answered with 250, but %v", accepted, err)
		}
	})
}

// corpusSeeds adds what others' fuzzing has found, if it is there.
func corpusSeeds(f *testing.F) {
	dir := os.Getenv("POSTROAD_CORPORA")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "corpora")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "smtp-torture", "chasquid-fuzz", "*"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		_, quoted, found := strings.Cut(string(text), "[]byte(")
		input, err := strconv.Unquote(strings.TrimSuffix(strings.TrimSpace(quoted), ")"))
		if !found || err != nil {
			f.Fatalf("%s: %v", path, err)
		}
		f.Add([]byte(input), false)
	}
}
