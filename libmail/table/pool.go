package table

import (
	"bufio"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Limits on kept connections.
const (
	poolIdle = 10 * time.Second // an idle connection is closed
	poolAge  = 100 * time.Second
	poolSize = 4 // kept at most; more may be in use
)

// A pool keeps connections to one server for the next lookups.
type pool struct {
	dial func() (net.Conn, error)

	mu     sync.Mutex
	idle   []*pooled
	closed bool
}

// pooled is one connection.
type pooled struct {
	net.Conn
	r      *bufio.Reader
	opened time.Time
	used   time.Time
	reused bool
}

func dialer(network, addr string) func() (net.Conn, error) {
	return func() (net.Conn, error) { return net.DialTimeout(network, addr, tcpTimeout) }
}

// take returns an idle connection or a new one.
func (p *pool) take() (*pooled, error) {
	now := time.Now()
	p.mu.Lock()
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if now.Sub(c.used) < poolIdle && now.Sub(c.opened) < poolAge {
			p.mu.Unlock()
			c.reused = true
			return c, nil
		}
		c.Close() // it was only idle
	}
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return nil, os.ErrClosed
	}
	conn, err := p.dial()
	if err != nil {
		return nil, err
	}
	return &pooled{Conn: conn, r: bufio.NewReaderSize(conn, tcpMaxReply), opened: now}, nil
}

// put gives a connection back.
func (p *pool) put(c *pooled) {
	c.used = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) == poolSize {
		c.Close() // one too many
		return
	}
	p.idle = append(p.idle, c)
}

// drop closes the idle connections: one of them was found dead, so the server
// was restarted.
func (p *pool) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		c.Close() // it was only idle
	}
	p.idle = nil
}

func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	for _, c := range p.idle {
		err = errors.Join(err, c.Close())
	}
	p.idle, p.closed = nil, true
	return err
}

// deadline sets the time limit of one exchange.
func (c *pooled) deadline(d time.Duration) {
	_ = c.SetDeadline(time.Now().Add(d)) // a connection that cannot have one fails at the next use
}
