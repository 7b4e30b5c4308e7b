package main

import (
	"bytes"
	"compress/zlib"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/libmail/mailtest"
)

// tortureHost are the settings of the server that made the transcripts.
const tortureHost = `
myhostname = mail.conf.test
mydomain = conf.test
myorigin = conf.test
mydestination = conf.test
local_recipient_maps = inline:{user3=x}
mynetworks = 127.0.0.0/8, 203.0.113.0/24
message_size_limit = 20480000
fast_flush_domains =
smtpd_tls_security_level = may
smtpd_tls_chain_files = $dir/mx.pem
`

// tortureModes are the two ways in which the transcripts were made.
var tortureModes = map[string]string{
	"default":   "smtpd_forbid_bare_newline = no\nsmtpd_forbid_unauth_pipelining = no\n",
	"normalize": "smtpd_forbid_bare_newline = normalize\nsmtpd_forbid_unauth_pipelining = yes\n",
}

// strangers are the cases in which a milter or a policy server of the host that
// made the transcripts spoke.
var strangers = map[string]bool{
	"normalize/cmd-bare-lf": true, "normalize/cmd-case": true, "normalize/data-with-arg": true,
	"normalize/header-no-blank": true, "normalize/header-nul": true, "normalize/headers-only": true,
}

// newer are the cases where Postfix 3.12 answers differently from the 3.7 that
// made the transcripts: the reply instead, by the client's line.
var newer = map[string]map[string]string{
	"default/cmd-long-2100":              {"NOOP": "500 5.5.2 mail.conf.test Error: command too long\r\n"},
	"normalize/cmd-long-2100":            {"NOOP": "500 5.5.2 mail.conf.test Error: command too long\r\n"},
	"default/cmd-long-1M":                {"NOOP": "500 5.5.2 mail.conf.test Error: command too long\r\n<EOF>"},
	"normalize/cmd-long-1M":              {"NOOP": "500 5.5.2 mail.conf.test Error: command too long\r\n<EOF>"},
	"normalize/pipelining-before-banner": {"EHLO, MAIL": "554 5.5.0 Error: SMTP protocol synchronization\r\n<EOF>"},
	"default/vrfy-expn-etrn-help":        {"HELP": "214 2.0.0 Commands: AUTH BDAT DATA EHLO ETRN HELO HELP MAIL NOOP QUIT RCPT RSET STARTTLS VRFY XCLIENT XFORWARD\r\n"},
	"normalize/vrfy-expn-etrn-help":      {"HELP": "214 2.0.0 Commands: AUTH BDAT DATA EHLO ETRN HELO HELP MAIL NOOP QUIT RCPT RSET STARTTLS VRFY XCLIENT XFORWARD\r\n"},
}

type tortureCase struct {
	Steps []json.RawMessage
}

type transcript struct {
	Transcript [][2]string
}

// TestTorture plays the cases of the smtp-torture corpus and compares what we
// say with what Postfix said: codes, status codes and texts.
func TestTorture(t *testing.T) {
	dir := mailtest.Corpora(t, "smtp-torture")
	inputs, err := filepath.Glob(filepath.Join(dir, "input", "*.json"))
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	for mode, settings := range tortureModes {
		for _, input := range inputs {
			name := strings.TrimSuffix(filepath.Base(input), ".json")
			if strangers[mode+"/"+name] {
				continue
			}
			t.Run(mode+"/"+name, func(t *testing.T) {
				t.Parallel()
				var c tortureCase
				var want transcript
				readJSON(t, input, &c)
				readJSON(t, filepath.Join(dir, "expected-3.7.11-"+mode, name+".json"), &want)
				playTorture(t, settings, c, want, newer[mode+"/"+name])
			})
		}
	}
}

func readJSON(t *testing.T, path string, to any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		t.Skipf("no transcript: %v", err)
	}
	if err == nil {
		err = json.Unmarshal(data, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// playTorture sends each step in one write and compares the replies with the
// transcript, to the byte.
func playTorture(t *testing.T, settings string, c tortureCase, want transcript, newer map[string]string) {
	b := newTestbed(t, tortureHost+settings, map[string]string{"mx.pem": selfMade(t, "mail.conf.test")})
	b.encrypts()
	p := &torturePlay{t: t, expected: want.Transcript, newer: newer}
	if string(c.Steps[0]) == `"EARLY"` {
		p.conn = b.connect("EHLO client.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<user3@conf.test>\r\n")
	} else {
		p.conn = b.connect()
	}
	p.read()
	for _, raw := range c.Steps {
		if p.closed {
			return
		}
		switch text, special := tortureStep(t, raw); special {
		case "EARLY": // done
		case "TLSINJ":
			p.inject()
		case "null": // more time, which we do not need
		default:
			p.send(text)
			p.read()
		}
	}
	p.silence()
}

// torturePlay is one case at work.
type torturePlay struct {
	t        *testing.T
	conn     net.Conn
	expected [][2]string
	newer    map[string]string
	closed   bool
}

// reply is the next one of the transcript.
func (p *torturePlay) reply() (sent, reply string) {
	for len(p.expected) > 0 && p.expected[0][0] == "C" {
		sent, p.expected = p.expected[0][1], p.expected[1:]
	}
	if len(p.expected) > 0 {
		reply, p.expected = p.expected[0][1], p.expected[1:]
	}
	for verb, other := range p.newer {
		if strings.HasPrefix(sent, verb) {
			reply = other
		}
	}
	return sent, strings.ReplaceAll(reply, "QUEUEID", "4A1B2")
}

// read compares what the server says with the transcript. Where the transcript
// is silent, the next comparison would show what the server said.
func (p *torturePlay) read() {
	sent, want := p.reply()
	text, toEnd := strings.CutSuffix(want, "<EOF>")
	got := make([]byte, len(text))
	p.patience(5 * time.Second)
	n, err := io.ReadFull(p.conn, got)
	p.closed = toEnd
	if toEnd && err == nil {
		err = p.end()
	}
	if string(got[:n]) != text || err != nil {
		p.t.Errorf("after %.80q: %v\n got %q\nwant %q", sent, err, got[:n], want)
	}
}

// end reads the end of the connection.
func (p *torturePlay) end() error {
	var more [100]byte
	n, err := p.conn.Read(more[:])
	if n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("connection is not closed: %q, %v", more[:n], err)
	}
	return nil
}

// silence checks that there is nothing more to read.
func (p *torturePlay) silence() {
	if p.closed {
		return
	}
	var more [100]byte
	p.patience(30 * time.Millisecond)
	if n, err := p.conn.Read(more[:]); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Errorf("at the end there is %q, %v", more[:n], err)
	}
}

func (p *torturePlay) patience(d time.Duration) {
	if err := p.conn.SetDeadline(time.Now().Add(d)); err != nil {
		p.t.Fatal(err)
	}
}

// inject sends commands together with STARTTLS: what came in plain text must
// not be answered under TLS.
func (p *torturePlay) inject() {
	p.send("STARTTLS\r\nNOOP\r\nEHLO injected\r\n")
	p.read()
	secure := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true})
	if err := secure.Handshake(); err != nil {
		p.t.Fatal(err)
	}
	p.conn = secure
	p.reply() // nothing; the next one would show it
	p.send("NOOP\r\n")
	p.read()
}

// send writes; a server that has closed the connection shows at the next read.
func (p *torturePlay) send(text string) { _, _ = io.WriteString(p.conn, text) }

// tortureStep decodes a step: Latin-1 text, compressed text, or a word.
func tortureStep(t *testing.T, raw json.RawMessage) (text, special string) {
	t.Helper()
	var long struct {
		Zlib string `json:"zlib_base64"`
	}
	switch {
	case string(raw) == "null":
		return "", "null"
	case raw[0] == '{':
		if err := json.Unmarshal(raw, &long); err != nil {
			t.Fatal(err)
		}
		packed, err := base64.StdEncoding.DecodeString(long.Zlib)
		if err != nil {
			t.Fatal(err)
		}
		z, err := zlib.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		return string(data), ""
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	if s == "EARLY" || s == "TLSINJ" {
		return "", s
	}
	var latin []byte
	for _, c := range s {
		latin = append(latin, byte(c))
	}
	return string(latin), ""
}
