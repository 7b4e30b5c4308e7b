package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"postroad/libmail/login"
	"postroad/libmail/maillog"
)

// Bounds of a session before login.
const (
	frontLine    = 64 << 10 // an ID command may have 30 values of 1024 bytes (RFC 2971 §3.3)
	frontLiteral = 4 << 10
	frontIdle    = 3 * time.Minute // between two commands
	frontTries   = 3               // wrong passwords
	frontLimit   = 40              // commands
	frontBad     = 20              // commands that make no sense
)

// A visit is a client before login.
type visit struct {
	*front
	ctx    context.Context
	c      *login.Client
	p      *parser
	out    output
	tag    string // of the command
	name   string // of LOGIN
	tried  int
	begun  time.Time
	method string
}

// frontCommands is the command table before login (RFC 3501 §6.1, §6.2). A
// handler returns what follows the tag; done ends the session.
var frontCommands map[string]func(v *visit) (say string, done bool)

func init() { // in init, because the handlers lead back to the table
	frontCommands = map[string]func(*visit) (string, bool){
		"AUTHENTICATE": (*visit).authenticate,
		"CAPABILITY":   (*visit).capability,
		"ID":           (*visit).id,
		"LOGIN":        (*visit).logIn,
		"LOGOUT":       (*visit).logout,
		"NOOP":         func(v *visit) (string, bool) { v.p.end(); return "OK NOOP completed.", false },
		"STARTTLS":     (*visit).starttls,
	}
}

// serve talks with a client until it leaves or its worker is done with it.
func (f *front) serve(ctx context.Context, c *login.Client) {
	v := &visit{front: f, ctx: ctx, c: c, begun: time.Now()}
	if f.tls.Wrapper {
		if err := f.tls.Start(ctx, c); err != nil {
			f.env.Log.Info("imap-login: TLS handshake failed: rip=%s: %v", c.Raw.RemoteAddr(), err)
			return
		}
	}
	v.attach()
	v.out.line("* OK [CAPABILITY ", v.capabilities(), "] ", f.name, " ready.")
	bad := 0
	for range frontLimit {
		say, done, err := v.command()
		if err != nil {
			break
		}
		if strings.HasPrefix(say, "BAD") {
			bad++
		}
		if say != "" {
			v.out.line(v.tag, " ", say)
		}
		if bad >= frontBad {
			v.out.line("* BYE Too many invalid IMAP commands.")
			done = true
		}
		if v.tried >= frontTries {
			v.out.line("* BYE Too many failed logins.")
			done = true
		}
		if v.out.Flush() != nil || done {
			break
		}
	}
	if v.tried > 0 {
		f.env.Log.Info("imap-login: Disconnected (auth failed, %d attempts in %d secs): user=<%s>, method=%s, rip=%s, lip=%s",
			v.tried, int(time.Since(v.begun).Seconds()), maillog.Printable(v.name), v.method, host(c.Raw.RemoteAddr().String()), host(c.Raw.LocalAddr().String()))
	}
}

// attach reads from and writes to the connection as it is now.
func (v *visit) attach() {
	v.out = newOutput(v.c.Conn)
	v.p = &parser{in: bufio.NewReaderSize(v.c.Conn, 1<<10), line: frontLine, literal: frontLiteral, proceed: func() error {
		v.out.line("+ OK")
		return v.out.Flush()
	}}
}

// command reads and obeys one command.
func (v *visit) command() (say string, done bool, err error) {
	if v.p.in.Buffered() == 0 {
		if err := v.out.Flush(); err != nil {
			return "", true, err
		}
	}
	if err := v.c.Conn.SetReadDeadline(time.Now().Add(frontIdle)); err != nil {
		return "", true, err
	}
	p := v.p
	p.begin()
	v.tag = "*"
	tag := p.tag()
	if p.err == nil {
		v.tag = tag
	}
	p.sp()
	name := p.word()
	if handle, known := frontCommands[name]; known && p.err == nil {
		say, done = handle(v)
	} else {
		p.fail("Unknown IMAP command.")
	}
	p = v.p // STARTTLS makes a new one
	var bad syntaxError
	switch {
	case p.err == nil:
		return say, done, nil
	case errors.As(p.err, &bad):
		return "BAD " + string(bad), false, p.recover()
	}
	return "", true, p.err
}

func host(address string) string {
	return strings.Trim(address[:max(strings.LastIndexByte(address, ':'), 0)], "[]")
}

// capabilities are what we can do before login.
func (v *visit) capabilities() string {
	text := frontCapabilities
	if v.tls.Offered() && !v.c.Encrypted() {
		text += " STARTTLS"
	}
	if !v.tls.MayLogIn(v.c) {
		return text + " LOGINDISABLED"
	}
	for _, m := range v.mechanisms() {
		text += " AUTH=" + m
	}
	return text
}

// mechanisms are what authd offers; none when it can't be asked.
func (v *visit) mechanisms() (names []string) {
	list, err := v.login.Mechanisms(v.ctx)
	if err != nil {
		v.env.Log.Warning("authentication server: %v", err)
	}
	for _, m := range list {
		names = append(names, m.Name)
	}
	return names
}

func (v *visit) capability() (string, bool) {
	if v.p.end() {
		v.out.line("* CAPABILITY ", v.capabilities())
	}
	return "OK Pre-login capabilities listed, post-login capabilities have more.", false
}

func (v *visit) logout() (string, bool) {
	if !v.p.end() {
		return "", false
	}
	v.out.line("* BYE Logging out")
	return "OK Logout completed.", true
}

func (v *visit) id() (string, bool) {
	if client := parseID(v.p); client != "" && v.p.err == nil {
		v.env.Log.Info("imap-login: ID sent: %s: rip=%s, session=<%s>", client, host(v.c.Raw.RemoteAddr().String()), v.c.Session)
	}
	if v.p.end() {
		v.out.line(idAnswer)
	}
	return "OK ID completed.", false
}

// starttls begins TLS (RFC 3501 §6.2.1). What came in clear behind the command
// is thrown away.
func (v *visit) starttls() (string, bool) {
	if !v.p.end() {
		return "", false
	}
	switch {
	case v.c.Encrypted():
		return "BAD TLS is already active.", false
	case !v.tls.Offered():
		return "BAD TLS support isn't enabled.", false
	}
	v.out.line(v.tag, " OK Begin TLS negotiation now.")
	if v.out.Flush() != nil {
		return "", true
	}
	if err := v.tls.Start(v.ctx, v.c); err != nil {
		v.env.Log.Info("imap-login: TLS handshake failed: rip=%s: %v", v.c.Raw.RemoteAddr(), err)
		return "", true
	}
	v.attach()
	return "", false
}

const plaintextRefused = "NO [PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections."

func (v *visit) logIn() (string, bool) {
	v.p.sp()
	name := v.p.astring()
	v.p.sp()
	password := v.p.astring()
	if !v.p.end() {
		return "", false
	}
	if !v.tls.MayLogIn(v.c) {
		return plaintextRefused, false
	}
	v.name, v.method = name, "PLAIN"
	who, err := v.login.Plain(v.ctx, v.c, name, password)
	return v.finish(who, err)
}

// authenticate is a SASL exchange (RFC 3501 §6.2.2, RFC 4959).
func (v *visit) authenticate() (string, bool) {
	v.p.sp()
	mech := v.p.word()
	var initial *string
	if v.p.err == nil && !v.p.atEnd() {
		v.p.sp()
		first := v.p.chars("")
		if first == "=" {
			first = ""
		}
		if _, err := base64.StdEncoding.DecodeString(first); err != nil {
			v.p.fail("Invalid base64 data in initial response")
		}
		initial = &first
	}
	if !v.p.end() {
		return "", false
	}
	if !v.tls.MayLogIn(v.c) {
		return plaintextRefused, false
	}
	v.method = mech
	who, err := v.login.Authenticate(v.ctx, v.c, mech, initial, func(challenge string) (string, error) {
		v.out.line("+ ", challenge)
		if err := v.out.Flush(); err != nil {
			return "", err
		}
		line, err := readLine(v.p.in, frontLine)
		if err == nil && line == "*" {
			err = login.ErrCancelled
		}
		return line, err
	})
	return v.finish(who, err)
}

// readLine reads a line that is no command.
func readLine(in *bufio.Reader, limit int) (string, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > limit {
			return "", errTooLong
		}
		if err == nil {
			return strings.TrimRight(string(line), "\r\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
}

// finish ends a login: the client goes to its worker, which answers it.
func (v *visit) finish(who login.Identity, err error) (string, bool) {
	switch {
	case errors.Is(err, login.ErrTemporary):
		v.env.Log.Warning("imap-login: user=<%s>: %v", maillog.Printable(v.name), err)
		return "NO [UNAVAILABLE] Temporary authentication failure.", false
	case errors.Is(err, login.ErrCancelled):
		return "BAD Authentication aborted by client.", false
	case err != nil:
		v.tried++
		if who.User != "" {
			v.name = who.User
		}
		return "NO [AUTHENTICATIONFAILED] Authentication failed.", v.tried >= frontTries
	}
	v.tried = 0
	buffered, _ := v.p.in.Peek(v.p.in.Buffered()) // what is buffered can be had
	secured := ""
	if v.c.Encrypted() {
		secured = ", TLS"
	}
	v.env.Log.Info("imap-login: Login: user=<%s>, method=%s, rip=%s, lip=%s%s, session=<%s>", maillog.Printable(who.User), v.method,
		host(v.c.Raw.RemoteAddr().String()), host(v.c.Raw.LocalAddr().String()), secured, v.c.Session)
	err = v.out.Flush()
	if err == nil {
		err = v.c.Raw.SetDeadline(time.Time{})
	}
	if err != nil {
		return "", true // the client is gone
	}
	if err := v.login.HandOver(v.c, who, v.tag, buffered); err != nil {
		v.env.Log.Warning("imap-login: user=<%s>: %v", maillog.Printable(who.User), err)
		return "NO [UNAVAILABLE] Internal login failure.", true
	}
	return "", true
}
