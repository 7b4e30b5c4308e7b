package table

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Limits of the tcp: protocol (tcp_table(5)).
const (
	tcpTimeout  = 100 * time.Second
	tcpTries    = 10
	tcpPause    = time.Second
	tcpMaxReply = 4096
)

// A tcpTable asks a server over TCP: `get key` is answered by `200 value`, `500
// text` (not found) or `400 text` (try again), both with %XX for what is not
// printable.
type tcpTable struct {
	t    *front
	addr string
	pool pool
}

// openTCP opens tcp:host:port. The connection is made by the first lookup.
func openTCP(t *front, name string) (contents, error) {
	if t.o.Trust&NoServer != 0 {
		return nil, fmt.Errorf("tcp:%s map is not allowed for security sensitive data", name)
	}
	addr, err := hostPort(name)
	if err != nil {
		return nil, err
	}
	return &tcpTable{t: t, addr: addr, pool: pool{dial: dialer("tcp", addr)}}, nil
}

// hostPort reads host:port, [v6]:port, or a port of this host.
func hostPort(name string) (string, error) {
	if !strings.Contains(name, ":") {
		name = "localhost:" + name
	}
	if _, _, err := net.SplitHostPort(name); err != nil {
		return "", fmt.Errorf("bad server address %s: %w", name, err)
	}
	return name, nil
}

func (t *tcpTable) get(key string) (string, bool, error) {
	request := "get " + quoteTCP(key) + "\n"
	for try := 1; ; try++ {
		reply, c, err := t.ask(request)
		if err == nil {
			return t.parse(reply, c)
		}
		t.t.warn().Warning("TCP map %s: %v", t.addr, err)
		if try == tcpTries {
			return "", false, err
		}
		time.Sleep(tcpPause)
	}
}

// ask sends a request over a kept or new connection and reads the line that
// answers it.
func (t *tcpTable) ask(request string) (string, *pooled, error) {
	c, err := t.pool.take()
	if err != nil {
		return "", nil, err
	}
	c.deadline(tcpTimeout)
	if _, err = io.WriteString(c, request); err == nil {
		var line []byte
		if line, err = c.r.ReadSlice('\n'); err == nil {
			return string(line[:len(line)-1]), c, nil
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			err = fmt.Errorf("text longer than %d", tcpMaxReply)
		}
	}
	c.Close() // it is of no use any more
	return "", nil, err
}

// parse reads a reply. A connection that gave a good one is kept.
func (t *tcpTable) parse(reply string, c *pooled) (string, bool, error) {
	if len(reply) >= 4 && isSpace(reply[3]) {
		value, ok := unquoteTCP(reply[4:])
		switch {
		case !ok:
		case reply[0] == '2':
			t.pool.put(c)
			return value, true, nil
		case reply[0] == '5':
			t.pool.put(c)
			return "", false, nil
		case reply[0] == '4':
			c.Close() // as Postfix does: the next lookup may find a better server
			return "", false, fmt.Errorf("server says: %.200q", value)
		}
	}
	c.Close() // it does not speak the protocol
	t.t.warn().Warning("read TCP map reply from %s: malformed reply: %.100q", t.addr, reply)
	return "", false, errors.New("malformed reply")
}

func (t *tcpTable) close() error { return t.pool.close() }

func (t *tcpTable) owner() Owner { return Owner{} }

const hexDigits = "0123456789ABCDEF"

// quoteTCP writes %XX for blanks, percent signs and what is not printable.
func quoteTCP(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == '%' || c <= ' ' || c >= 0x7f {
			b.WriteString("%" + hexDigits[c>>4:c>>4+1] + hexDigits[c&15:c&15+1])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unquoteTCP reads %XX; ok is false where two digits do not follow.
func unquoteTCP(s string) (text string, ok bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}
