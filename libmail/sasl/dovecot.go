package sasl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Dovecot asks an authentication server that speaks the protocol of Dovecot
// (version 1), which authd does too. One line a message, TAB between fields; on
// a new connection both sides introduce themselves:
//
//	C: VERSION 1 2
//	C: CPID 4711
//	S: VERSION 1 2
//	S: MECH PLAIN plaintext
//	S: SPID 815     S: CUID 1     S: COOKIE ...     S: DONE
//	C: AUTH 1 PLAIN service=smtp nologin lip=192.0.2.1 rip=192.0.2.2 secured resp=AHU...
//	S: OK 1 user=u        or  S: FAIL 1 user=u reason=... temp
//	C: AUTH 2 LOGIN service=smtp nologin
//	S: CONT 2 VXNlcm5hbWU6
//	C: CONT 2 dQ==        or  C: CANCEL 2
//
// All logins share one connection, each with an id of its own. A connection
// that turns out to be gone when a login begins is made again, once.
type Dovecot struct {
	Network, Address string        // "unix" and a path, or "tcp" and host:port
	Timeout          time.Duration // of connecting, and of the server's introduction; 0: 10 s
	ReplyTimeout     time.Duration // of each answer: failures are slow on purpose; 0: 150 s

	mu   sync.Mutex
	conn *dovecotConn
}

// maxDovecotLine bounds a line of the protocol, bytes.
const maxDovecotLine = 16 << 10

// A Mechanism is one that the server offers.
type Mechanism struct {
	Name  string
	Words []string // "plaintext", "dictionary", "active", "mutual-auth", ...
}

// violations are the words that a security option forbids, and demands those
// that it wants.
var (
	violations = map[Security]string{NoPlaintext: "plaintext", NoActive: "active", NoDictionary: "dictionary", NoAnonymous: "anonymous"}
	demands    = map[Security]string{ForwardSecrecy: "forward-secrecy", MutualAuth: "mutual-auth"}
)

// Meets reports whether the mechanism is as secure as needed. Private ones are
// not for clients at all.
func (m Mechanism) Meets(needs Security) bool {
	for option, word := range violations {
		if needs&option != 0 && m.has(word) {
			return false
		}
	}
	for option, word := range demands {
		if needs&option != 0 && !m.has(word) {
			return false
		}
	}
	return !m.has("private")
}

func (m Mechanism) has(word string) bool {
	for _, w := range m.Words {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// A Login is what the server is told about a login besides its mechanism.
type Login struct {
	Mechanism string
	Service   string // "smtp"
	LocalIP   string // "" when unknown, as the others
	RemoteIP  string
	LocalPort string
	PeerPort  string
	Encrypted bool   // by TLS
	Response  string // initial response in base64
	HasResp   bool   // there is an initial response, though it may be empty

	// Session, where it is not "", asks authd for a ticket that is good for
	// this session; other servers ignore it.
	Session string
}

// A Verdict is the server's answer.
type Verdict struct {
	Done      bool   // no further challenge
	Success   bool   // with Done
	Temporary bool   // with Done and no Success: ask again later
	User      string // as the server spells it; may be known after a failure too
	Reason    string // of a failure
	Challenge string // base64, if not Done
	Ticket    string // of authd, with Success, when Login.Session asked for one
}

// Failure reasons of our own.
const (
	reasonLost    = "Connection lost to authentication server"
	reasonConnect = "Can't connect to authentication server"
	reasonBackend = "Authentication backend error"
)

// Mechanisms lists what the server offers. It connects if need be.
func (d *Dovecot) Mechanisms(ctx context.Context) ([]Mechanism, error) {
	c, err := d.connection(ctx, nil)
	if err != nil {
		return nil, err
	}
	return c.mechanisms, nil
}

// A DovecotLogin is a login under way. It must be brought to a verdict that is
// Done, or cancelled.
type DovecotLogin struct {
	d  *Dovecot
	c  *dovecotConn
	id uint32
	in chan Verdict
}

// Begin starts a login and waits for the first verdict.
func (d *Dovecot) Begin(ctx context.Context, l Login) (*DovecotLogin, Verdict) {
	var stale *dovecotConn
	for range 2 {
		c, err := d.connection(ctx, stale)
		if err != nil {
			return nil, Verdict{Done: true, Temporary: true, Reason: reasonConnect}
		}
		x := &DovecotLogin{d: d, c: c, in: make(chan Verdict, 1)}
		if x.id, err = c.open(x.in); err == nil {
			if err = c.send(l.line(x.id), d.timeout()); err == nil {
				return x, x.wait(ctx)
			}
		}
		stale = c
	}
	return nil, Verdict{Done: true, Temporary: true, Reason: reasonConnect}
}

// line is the request for a login; resp is its last field.
func (l *Login) line(id uint32) string {
	fields := []string{"AUTH", strconv.FormatUint(uint64(id), 10), l.Mechanism, "service=" + l.Service, "nologin"}
	for _, f := range [][2]string{{"lip=", l.LocalIP}, {"rip=", l.RemoteIP}, {"lport=", l.LocalPort}, {"rport=", l.PeerPort}} {
		if f[1] != "" {
			fields = append(fields, f[0]+f[1])
		}
	}
	if l.Encrypted {
		fields = append(fields, "secured")
	}
	if l.Session != "" {
		fields = append(fields, "session="+l.Session, "want-ticket")
	}
	if l.HasResp {
		fields = append(fields, "resp="+l.Response)
	}
	for i, f := range fields {
		fields[i] = escapeTab(f)
	}
	return strings.Join(fields, "\t")
}

// Continue answers a challenge with a response in base64.
func (x *DovecotLogin) Continue(ctx context.Context, response string) Verdict {
	if err := x.c.send(fmt.Sprintf("CONT\t%d\t%s", x.id, escapeTab(response)), x.d.timeout()); err != nil {
		x.c.forget(x.id)
		return Verdict{Done: true, Temporary: true, Reason: reasonLost}
	}
	return x.wait(ctx)
}

// Cancel gives the login up.
func (x *DovecotLogin) Cancel() {
	x.c.forget(x.id)
	_ = x.c.send(fmt.Sprintf("CANCEL\t%d", x.id), x.d.timeout()) // without it the server waits for a while
}

func (x *DovecotLogin) wait(ctx context.Context) Verdict {
	patience := x.d.ReplyTimeout
	if patience <= 0 {
		patience = 150 * time.Second
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-x.in:
		return v
	case <-timer.C:
	case <-ctx.Done():
	}
	x.Cancel()
	return Verdict{Done: true, Temporary: true, Reason: reasonLost}
}

func (d *Dovecot) timeout() time.Duration {
	if d.Timeout <= 0 {
		return 10 * time.Second
	}
	return d.Timeout
}

// connection returns the shared connection, a new one if there is none or if it
// is the stale one.
func (d *Dovecot) connection(ctx context.Context, stale *dovecotConn) (*dovecotConn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil && d.conn != stale && !d.conn.dead() {
		return d.conn, nil
	}
	if d.conn != nil {
		d.conn.close(errors.New("replaced"))
		d.conn = nil
	}
	c, err := d.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("authentication server %s: %w", d.Address, err)
	}
	d.conn = c
	return c, nil
}

// Close ends the connection; logins under way fail for now.
func (d *Dovecot) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		d.conn.close(net.ErrClosed)
		d.conn = nil
	}
}

func (d *Dovecot) connect(ctx context.Context) (*dovecotConn, error) {
	dialer := net.Dialer{Timeout: d.timeout()}
	nc, err := dialer.DialContext(ctx, d.Network, d.Address)
	if err != nil {
		return nil, err
	}
	c := &dovecotConn{conn: nc, r: bufio.NewReaderSize(nc, maxDovecotLine), waiting: map[uint32]chan Verdict{}}
	if err := c.handshake(d.timeout()); err != nil {
		nc.Close() // of no use
		return nil, err
	}
	go c.read()
	return c, nil
}

// dovecotConn is one connection, with the logins that wait for an answer.
type dovecotConn struct {
	conn       net.Conn
	r          *bufio.Reader
	mechanisms []Mechanism

	writing sync.Mutex

	mu      sync.Mutex
	lastID  uint32
	waiting map[uint32]chan Verdict
	err     error // why the connection is dead
}

// handshake introduces us and reads the server's introduction.
func (c *dovecotConn) handshake(timeout time.Duration) error {
	if err := c.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.conn, "VERSION\t1\t2\nCPID\t%d\n", os.Getpid()); err != nil {
		return err
	}
	for {
		fields, err := c.readLine()
		if err != nil {
			return err
		}
		switch fields[0] {
		case "VERSION":
			if len(fields) < 2 || fields[1] != "1" {
				return fmt.Errorf("protocol version mismatch: %q", strings.Join(fields, " "))
			}
		case "MECH":
			if len(fields) > 1 && fields[1] != "" {
				c.mechanisms = append(c.mechanisms, Mechanism{fields[1], fields[2:]})
			}
		case "SPID":
			// A user database socket says this first and has no more to say.
			if len(c.mechanisms) == 0 {
				return errors.New("wrong socket: auth-master instead of auth-client")
			}
		case "DONE":
			return c.conn.SetDeadline(time.Time{})
		}
		if len(c.mechanisms) > 100 {
			return errors.New("too many mechanisms")
		}
	}
}

// readLine reads one message, at least one field.
func (c *dovecotConn) readLine() ([]string, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	fields := strings.Split(strings.TrimSuffix(string(line[:len(line)-1]), "\r"), "\t")
	for i := range fields {
		fields[i] = unescapeTab(fields[i])
	}
	return fields, nil
}

// read hands the server's answers to those who wait for them.
func (c *dovecotConn) read() {
	for {
		fields, err := c.readLine()
		if err != nil {
			c.close(err)
			return
		}
		v, ok := verdictOf(fields)
		if !ok {
			continue // not about a login
		}
		if id, err := strconv.ParseUint(fields[1], 10, 32); err == nil {
			c.answer(uint32(id), v)
		}
	}
}

// verdictOf reads OK, CONT and FAIL.
func verdictOf(fields []string) (v Verdict, ok bool) {
	if len(fields) < 2 {
		return v, false
	}
	switch fields[0] {
	case "CONT":
		if len(fields) < 3 {
			return Verdict{Done: true, Reason: reasonBackend}, true
		}
		return Verdict{Challenge: fields[2]}, true
	case "OK":
		v = Verdict{Done: true, Success: true}
	case "FAIL":
		v = Verdict{Done: true}
	default:
		return v, false
	}
	for _, f := range fields[2:] {
		name, value, _ := strings.Cut(f, "=")
		switch {
		case name == "user":
			v.User = value
		case name == "ticket" && v.Success:
			v.Ticket = value
		case v.Success:
		case name == "reason":
			v.Reason = value
		case name == "temp", f == "code=temp_fail":
			v.Temporary = true
		}
	}
	if v.Success && v.User == "" {
		return Verdict{Done: true, Reason: reasonBackend}, true
	}
	return v, true
}

func (c *dovecotConn) answer(id uint32, v Verdict) {
	c.mu.Lock()
	ch := c.waiting[id]
	if v.Done {
		delete(c.waiting, id)
	}
	c.mu.Unlock()
	if ch == nil {
		return // cancelled
	}
	select {
	case ch <- v:
	default: // the server says more than it is asked
	}
}

// open registers a login.
func (c *dovecotConn) open(ch chan Verdict) (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.lastID++
	c.waiting[c.lastID] = ch
	return c.lastID, nil
}

func (c *dovecotConn) forget(id uint32) {
	c.mu.Lock()
	delete(c.waiting, id)
	c.mu.Unlock()
}

func (c *dovecotConn) dead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// send writes one line.
func (c *dovecotConn) send(line string, timeout time.Duration) error {
	if len(line) >= maxDovecotLine {
		return errors.New("request is too long")
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := c.conn.Write([]byte(line + "\n"))
	if err != nil {
		c.close(err)
	}
	return err
}

// close ends the connection; those who wait learn that it is lost.
func (c *dovecotConn) close(err error) {
	c.conn.Close() // dead either way
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = map[uint32]chan Verdict{}
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	for _, ch := range waiting {
		select {
		case ch <- Verdict{Done: true, Temporary: true, Reason: reasonLost}:
		default: // it has an answer that it did not read yet
		}
	}
}

// Values must not hold the bytes that divide lines and fields.
var (
	tabEscaper   = strings.NewReplacer("\x01", "\x011", "\x00", "\x010", "\t", "\x01t", "\n", "\x01n", "\r", "\x01r")
	tabUnescaper = strings.NewReplacer("\x011", "\x01", "\x010", "\x00", "\x01t", "\t", "\x01n", "\n", "\x01r", "\r")
)

func escapeTab(s string) string   { return tabEscaper.Replace(s) }
func unescapeTab(s string) string { return tabUnescaper.Replace(s) }
