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
	frontLine  = 16 << 10         // an AUTH response, bytes
	frontIdle  = 3 * time.Minute  // between two commands
	frontTries = 3                // wrong passwords
	frontLimit = 30               // commands
	writeLimit = 60 * time.Second // of an answer
)

// A visit is a client before login.
type visit struct {
	*front
	ctx    context.Context
	c      *login.Client
	in     *bufio.Reader
	name   string // of USER
	tried  int
	begun  time.Time
	method string
}

// frontCommands is the command table before login (RFC 1939 §4, RFC 2449 §5).
// A handler returns what to say; done ends the session.
var frontCommands map[string]func(v *visit, args string) (say string, done bool)

func init() { // in init, because the handlers lead back to the table
	frontCommands = map[string]func(*visit, string) (string, bool){
		"CAPA": (*visit).capa,
		"STLS": (*visit).stls,
		"USER": (*visit).user,
		"PASS": (*visit).pass,
		"AUTH": (*visit).auth,
		"NOOP": func(*visit, string) (string, bool) { return "+OK", false },
		"QUIT": func(*visit, string) (string, bool) { return "+OK Logging out", true },
	}
}

// serve talks with a client until it leaves or its worker is done with it.
func (f *front) serve(ctx context.Context, c *login.Client) {
	v := &visit{front: f, ctx: ctx, c: c, begun: time.Now()}
	if f.tls.Wrapper {
		if err := f.tls.Start(ctx, c); err != nil {
			f.env.Log.Info("pop3-login: TLS handshake failed: rip=%s: %v", c.Raw.RemoteAddr(), err)
			return
		}
	}
	v.in = bufio.NewReaderSize(c.Conn, 512)
	if v.say("+OK "+f.name+" ready.") != nil {
		return // the client is gone
	}
	for range frontLimit {
		line, err := v.readLine()
		if err != nil {
			break
		}
		verb, args, _ := strings.Cut(line, " ")
		handle, known := frontCommands[strings.ToUpper(verb)]
		say, done := "-ERR Unknown command.", false
		if known {
			say, done = handle(v, args)
		}
		if say != "" && v.say(say) != nil || done {
			break
		}
		if v.tried >= frontTries {
			break
		}
	}
	if v.tried > 0 {
		f.env.Log.Info("pop3-login: Disconnected (auth failed, %d attempts in %d secs): user=<%s>, method=%s, rip=%s, lip=%s",
			v.tried, int(time.Since(v.begun).Seconds()), maillog.Printable(v.name), v.method, host(c.Raw.RemoteAddr().String()), host(c.Raw.LocalAddr().String()))
	}
}

func host(address string) string {
	return strings.Trim(address[:max(strings.LastIndexByte(address, ':'), 0)], "[]")
}

// say sends lines.
func (v *visit) say(text string) error {
	if err := v.c.Conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	_, err := v.c.Conn.Write([]byte(text + "\r\n"))
	return err
}

// readLine reads a command or a response.
func (v *visit) readLine() (string, error) {
	if err := v.c.Conn.SetReadDeadline(time.Now().Add(frontIdle)); err != nil {
		return "", err
	}
	var line []byte
	for {
		part, err := v.in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > frontLine {
			return "", errors.New("line too long")
		}
		if err == nil {
			return strings.TrimRight(string(line), "\r\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
}

// capa lists what we can do (RFC 2449 §5).
func (v *visit) capa(string) (string, bool) {
	lines := []string{"+OK", "CAPA", "TOP", "UIDL", "RESP-CODES", "PIPELINING", "AUTH-RESP-CODE", "UTF8", "IMPLEMENTATION postroad"}
	if v.tls.Offered() && !v.c.Encrypted() {
		lines = append(lines, "STLS")
	}
	if v.tls.MayLogIn(v.c) {
		lines = append(lines, "USER")
		if mechs := v.mechanisms(); len(mechs) > 0 {
			lines = append(lines, "SASL "+strings.Join(mechs, " "))
		}
	}
	return strings.Join(append(lines, "."), "\r\n"), false
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

// stls begins TLS (RFC 2595 §4). What came in clear behind the command is
// thrown away.
func (v *visit) stls(string) (string, bool) {
	switch {
	case v.c.Encrypted():
		return "-ERR TLS is already active.", false
	case !v.tls.Offered():
		return "-ERR TLS support isn't enabled.", false
	}
	if v.say("+OK Begin TLS negotiation now.") != nil {
		return "", true
	}
	if err := v.tls.Start(v.ctx, v.c); err != nil {
		v.env.Log.Info("pop3-login: TLS handshake failed: rip=%s: %v", v.c.Raw.RemoteAddr(), err)
		return "", true
	}
	v.in.Reset(v.c.Conn)
	v.name = ""
	return "", false
}

const plaintextRefused = "-ERR [AUTH] Plaintext authentication disallowed on non-secure (SSL/TLS) connections."

func (v *visit) user(args string) (string, bool) {
	if !v.tls.MayLogIn(v.c) {
		return plaintextRefused, false
	}
	v.name = args
	return "+OK", false
}

func (v *visit) pass(args string) (string, bool) {
	switch {
	case !v.tls.MayLogIn(v.c):
		return plaintextRefused, false
	case v.name == "":
		return "-ERR No username given.", false
	}
	v.method = "PLAIN"
	who, err := v.login.Plain(v.ctx, v.c, v.name, args)
	return v.finish(who, err)
}

// auth is a SASL exchange (RFC 5034 §4); without a mechanism it lists them.
func (v *visit) auth(args string) (string, bool) {
	mech, first, given := strings.Cut(args, " ")
	switch {
	case mech == "":
		return strings.Join(append(append([]string{"+OK"}, v.mechanisms()...), "."), "\r\n"), false
	case !v.tls.MayLogIn(v.c):
		return plaintextRefused, false
	}
	v.method = strings.ToUpper(mech)
	var initial *string
	if given {
		if first == "=" {
			first = ""
		}
		if _, err := base64.StdEncoding.DecodeString(first); err != nil {
			return "-ERR Invalid base64 data.", false
		}
		initial = &first
	}
	who, err := v.login.Authenticate(v.ctx, v.c, v.method, initial, func(challenge string) (string, error) {
		if err := v.say("+ " + challenge); err != nil {
			return "", err
		}
		line, err := v.readLine()
		if err == nil && line == "*" {
			err = login.ErrCancelled
		}
		return line, err
	})
	return v.finish(who, err)
}

// finish ends a login: the client goes to its worker, which answers it.
func (v *visit) finish(who login.Identity, err error) (string, bool) {
	switch {
	case errors.Is(err, login.ErrTemporary):
		v.env.Log.Warning("pop3-login: user=<%s>: %v", maillog.Printable(v.name), err)
		return "-ERR [SYS/TEMP] Temporary authentication failure.", false
	case errors.Is(err, login.ErrCancelled):
		return "-ERR Authentication aborted by client.", false
	case err != nil:
		v.tried++
		if who.User != "" {
			v.name = who.User
		}
		return "-ERR [AUTH] Authentication failed.", v.tried >= frontTries
	}
	v.tried = 0
	buffered, _ := v.in.Peek(v.in.Buffered()) // what is buffered can be had
	secured := ""
	if v.c.Encrypted() {
		secured = ", TLS"
	}
	v.env.Log.Info("pop3-login: Login: user=<%s>, method=%s, rip=%s, lip=%s%s, session=<%s>", maillog.Printable(who.User), v.method,
		host(v.c.Raw.RemoteAddr().String()), host(v.c.Raw.LocalAddr().String()), secured, v.c.Session)
	if err := v.c.Raw.SetDeadline(time.Time{}); err != nil {
		return "", true
	}
	if err := v.login.HandOver(v.c, who, "+OK Logged in.", buffered); err != nil {
		v.env.Log.Warning("pop3-login: user=<%s>: %v", maillog.Printable(who.User), err)
		return "-ERR [SYS/TEMP] Internal login failure.", true
	}
	return "", true
}
