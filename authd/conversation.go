package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/ticket"
)

// The protocol's version, and bounds of a connection.
const (
	major, minor = 1, 2
	lineLimit    = 16 << 10
	openLimit    = 1000              // exchanges under way on one connection
	exchangeLife = 150 * time.Second // an exchange that takes longer fails
)

// A client is one connection of a program that asks. Requests run side by
// side; each reply is one line.
type client struct {
	a      *authd
	conn   *ipc.Conn
	ctx    context.Context
	cancel context.CancelFunc

	out  sync.Mutex // for conn.W
	mu   sync.Mutex
	open map[string]*request // by the client's id
}

// A request is an AUTH command until its OK or FAIL.
type request struct {
	x       *exchange
	next    step
	session string // of the front that wants a ticket
	service string
	ticket  bool
	busy    bool // a step is running
	begun   time.Time
}

// serve talks with one client until it leaves.
func (a *authd) serve(conn *ipc.Conn) {
	c := &client{a: a, conn: conn, open: map[string]*request{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	defer c.cancel()
	if err := c.greet(); err != nil {
		return // the client is gone
	}
	for {
		if err := conn.Await(); err != nil {
			return // as above
		}
		line, err := c.readLine()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				a.env.Log.Warning("client: %v", err)
			}
			return
		}
		if err := c.command(line); err != nil {
			a.env.Log.Warning("client: %v", err)
			return
		}
	}
}

// greet says who we are, all at once: that suits Postfix, which reads after
// it wrote, and Exim, which reads first.
func (c *client) greet() error {
	cookie := make([]byte, 16)
	rand.Read(cookie) // never fails
	lines := []string{fmt.Sprintf("VERSION\t%d\t%d", major, minor)}
	for _, m := range c.a.params.mechanisms {
		lines = append(lines, "MECH\t"+m+"\t"+mechanisms[m].words)
	}
	lines = append(lines, fmt.Sprintf("SPID\t%d", os.Getpid()), "CUID\t1", "COOKIE\t"+hex.EncodeToString(cookie), "DONE")
	return c.say(strings.Join(lines, "\n"))
}

// say writes lines, at once.
func (c *client) say(text string) error {
	c.out.Lock()
	defer c.out.Unlock()
	if _, err := c.conn.W.WriteString(text + "\n"); err != nil {
		return err
	}
	return c.conn.Flush()
}

func (c *client) readLine() (string, error) {
	var line []byte
	for {
		part, err := c.conn.R.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > lineLimit {
			return "", errors.New("line too long")
		}
		if err == nil {
			return string(line[:len(line)-1]), nil
		}
		if len(part) == 0 || part[len(part)-1] != '\n' && errors.Is(err, io.EOF) {
			return "", err
		}
	}
}

// command obeys one line. What we do not know is ignored, as the protocol
// wants; an error ends the connection.
func (c *client) command(line string) error {
	f := strings.Split(line, "\t")
	for i := range f {
		f[i] = unescape(f[i])
	}
	switch f[0] {
	case "VERSION":
		if len(f) < 2 || f[1] != strconv.Itoa(major) {
			return fmt.Errorf("speaks version %.20q, we speak %d", line, major)
		}
	case "AUTH":
		return c.auth(f[1:])
	case "CONT":
		return c.cont(f[1:])
	case "CANCEL":
		if len(f) > 1 {
			c.drop(f[1])
		}
	case "USER", "PASS":
		return c.user(f[1:])
	case "LIST":
		return c.list(f[1:])
	case "CACHE-FLUSH":
		c.a.checks.forget()
		for _, source := range c.a.sources {
			source.refresh()
		}
		if len(f) > 1 {
			return c.say("OK\t" + f[1] + "\t1")
		}
	}
	return nil
}

// auth begins a login: AUTH id mechanism parameters...
func (c *client) auth(f []string) error {
	if len(f) < 2 {
		return errors.New("AUTH without id and mechanism")
	}
	id := f[0]
	p := parameters(f[2:])
	mech, known := mechanisms[strings.ToUpper(f[1])]
	r := &request{x: &exchange{a: c.a, ip: p["rip"]}, session: p["session"], service: p["service"], begun: time.Now()}
	_, r.ticket = p["want-ticket"]
	if !known || !c.a.offers(f[1]) {
		return c.say("FAIL\t" + escape(id) + "\treason=Unsupported authentication mechanism")
	}
	r.next = mech.begin(r.x)
	response, given := p["resp"]
	c.mu.Lock()
	c.expire()
	if c.open[id] != nil || len(c.open) >= openLimit {
		c.mu.Unlock()
		return fmt.Errorf("AUTH %.20q: id in use, or too many logins at once", id)
	}
	r.busy = true
	c.open[id] = r
	c.mu.Unlock()
	if !given && !strings.EqualFold(f[1], "LOGIN") {
		c.wait(r)
		return c.say("CONT\t" + escape(id) + "\t") // the client goes first
	}
	return c.advance(id, r, response)
}

// offers reports whether a mechanism is in auth_mechanisms.
func (a *authd) offers(name string) bool {
	for _, m := range a.params.mechanisms {
		if strings.EqualFold(m, name) {
			return true
		}
	}
	return false
}

// cont goes on with a login: CONT id response.
func (c *client) cont(f []string) error {
	if len(f) < 1 {
		return errors.New("CONT without id")
	}
	response := ""
	if len(f) > 1 {
		response = f[1]
	}
	c.mu.Lock()
	r := c.open[f[0]]
	if r == nil || r.busy {
		c.mu.Unlock()
		return c.say("FAIL\t" + escape(f[0]) + "\treason=Authentication request timed out")
	}
	r.busy = true
	c.mu.Unlock()
	return c.advance(f[0], r, response)
}

// advance runs the next step on a goroutine of its own: a hash must not hold
// up other logins.
func (c *client) advance(id string, r *request, response string) error {
	data, err := base64.StdEncoding.DecodeString(response)
	if err != nil {
		c.drop(id)
		return c.say("FAIL\t" + escape(id) + "\treason=Invalid base64 data in continued response\tcode=invalid_base64")
	}
	go func() {
		challenge, next := r.next(c.ctx, data)
		if next != nil {
			r.next = next
			c.wait(r)
			_ = c.say("CONT\t" + escape(id) + "\t" + base64.StdEncoding.EncodeToString(challenge)) // a client that is gone is seen by its reader
			return
		}
		c.drop(id)
		c.finish(id, r)
	}()
	return nil
}

// wait lets the client speak next.
func (c *client) wait(r *request) {
	c.mu.Lock()
	r.busy = false
	c.mu.Unlock()
}

// drop ends a login without an answer.
func (c *client) drop(id string) {
	c.mu.Lock()
	delete(c.open, id)
	c.mu.Unlock()
}

// expire drops logins that clients began and left; c.mu is held.
func (c *client) expire() {
	if len(c.open) < openLimit/2 {
		return
	}
	for id, r := range c.open {
		if !r.busy && time.Since(r.begun) > exchangeLife {
			delete(c.open, id)
		}
	}
}

// finish answers a login. A failure is late: a timer says it, no goroutine
// sleeps.
func (c *client) finish(id string, r *request) {
	x := r.x
	log := c.a.env.Log
	switch {
	case x.err != nil:
		log.Warning("auth: user=<%s>, rip=%s, service=%s: temporary failure: %v", maillog.Printable(x.name), x.ip, r.service, x.err)
		_ = c.say("FAIL\t" + escape(id) + "\tuser=" + escape(x.name) + "\ttemp\tcode=temp_fail") // see advance
	case x.who != nil:
		c.a.checks.welcome(x.ip)
		line := "OK\t" + escape(id) + "\tuser=" + escape(x.who.Name)
		if r.ticket {
			line += "\tticket=" + c.a.tickets.Sign(ticket.Ticket{User: x.who.Name, Service: r.service, Session: r.session})
		}
		_ = c.say(line) // see advance
	default:
		delay := c.a.checks.wrong(x.ip, x.pair)
		log.Info("auth: user=<%s>, rip=%s, service=%s: password mismatch or unknown user", maillog.Printable(x.name), x.ip, r.service)
		time.AfterFunc(delay, func() {
			line := "FAIL\t" + escape(id)
			if x.name != "" {
				line += "\tuser=" + escape(x.name)
			}
			_ = c.say(line) // see advance
		})
	}
}

// user answers where a user's mail is: USER id name parameters...
func (c *client) user(f []string) error {
	if len(f) < 2 {
		return errors.New("USER without id and name")
	}
	id, name := f[0], f[1]
	who, _, err := c.a.checks.find(name)
	switch {
	case errors.Is(err, errUnknown):
		return c.say("NOTFOUND\t" + escape(id))
	case err != nil:
		c.a.env.Log.Warning("user %s: %v", maillog.Printable(name), err)
		return c.say("FAIL\t" + escape(id) + "\treason=temporary failure")
	}
	line := "USER\t" + escape(id) + "\t" + escape(who.Name)
	uid, gid := who.UID, who.GID
	if uid == 0 && c.a.owner != nil {
		uid, gid = c.a.owner.UID, c.a.owner.GID
	}
	if uid > 0 {
		line += fmt.Sprintf("\tuid=%d\tgid=%d", uid, gid)
	}
	if who.Home != "" {
		line += "\thome=" + escape(who.Home) + "\tmail=" + escape(location(c.a.location, who.Home))
	}
	if who.Quota != "" {
		line += "\tquota=" + escape(who.Quota)
	}
	return c.say(line)
}

// location is mail_location for a home directory.
func location(text, home string) string {
	kind, path, ok := strings.Cut(text, ":")
	if !ok {
		kind, path = "maildir", text
	}
	if path == "~" || strings.HasPrefix(path, "~/") {
		path = home + path[1:]
	}
	return kind + ":" + path
}

// list names all users: LIST id.
func (c *client) list(f []string) error {
	if len(f) < 1 {
		return errors.New("LIST without id")
	}
	var names []string
	for _, s := range c.a.sources {
		if err := s.each(func(name string) { names = append(names, name) }); err != nil {
			return c.say("DONE\t" + escape(f[0]) + "\tfail")
		}
	}
	sort.Strings(names)
	for _, n := range names {
		if err := c.say("LIST\t" + escape(f[0]) + "\t" + escape(n)); err != nil {
			return err
		}
	}
	return c.say("DONE\t" + escape(f[0]))
}

// parameters reads name=value fields; resp takes the rest, whatever is in it.
func parameters(f []string) map[string]string {
	p := map[string]string{}
	for _, field := range f {
		name, value, _ := strings.Cut(field, "=")
		p[name] = value
	}
	return p
}

var (
	escapes   = strings.NewReplacer("\x01", "\x011", "\t", "\x01t", "\n", "\x01n", "\r", "\x01r", "\x00", "\x010")
	unescapes = strings.NewReplacer("\x011", "\x01", "\x01t", "\t", "\x01n", "\n", "\x01r", "\r", "\x010", "\x00")
)

func escape(s string) string { return escapes.Replace(s) }

func unescape(s string) string {
	if strings.IndexByte(s, 1) < 0 {
		return s
	}
	return unescapes.Replace(s)
}
