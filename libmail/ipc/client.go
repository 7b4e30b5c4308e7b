package ipc

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Defaults of a Client (ipc_idle and ipc_ttl, postconf(5)).
const (
	DefaultMaxIdle  = 4
	DefaultIdleTime = 5 * time.Second
	DefaultTTL      = 1000 * time.Second
)

// Dial connects to the Unix socket at path. A full listen queue is waited
// for, up to timeout (0 means DefaultTimeout), which is also the connection's
// time limit.
func Dial(path string, timeout time.Duration) (*Conn, error) {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	deadline := time.Now().Add(timeout)
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		c, err := net.DialTimeout("unix", path, time.Until(deadline))
		if err == nil {
			return NewConn(c, timeout), nil
		}
		// EAGAIN is the kernel's word for a full listen queue (unix(7)).
		if !errors.Is(err, syscall.EAGAIN) || time.Until(deadline) < wait {
			return nil, fmt.Errorf("connect to %s: %w", path, cause(err))
		}
		time.Sleep(wait)
	}
}

// cause is the system's error below net's wrapping, which repeats the path.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// A Client keeps connections to one service for requests of many goroutines.
// The zero values of its numbers mean the defaults. It must not be copied.
type Client struct {
	Path     string        // Unix socket
	Protocol string        // what the server must announce; "" means that it announces nothing
	Timeout  time.Duration // of one read or write: ipc_timeout
	MaxIdle  int           // connections kept while no request uses them; negative: none
	IdleTime time.Duration // how long a connection is kept unused: ipc_idle
	TTL      time.Duration // how long a connection is used at all: ipc_ttl

	mu     sync.Mutex
	idle   []*kept // the last one was used last
	timer  *time.Timer
	closed bool
}

// kept is a connection between two requests.
type kept struct {
	conn *Conn
	made time.Time
	used time.Time
}

// Do runs one request: f writes it and reads the whole reply. When a kept
// connection turns out to be dead before the first byte of a reply, f is
// called once more with a new one, so f must start from nothing each time.
// After an error of f the connection is dropped.
func (c *Client) Do(f func(*Conn) error) error {
	_, done, err := c.Begin(f)
	if err != nil {
		return err
	}
	done(nil)
	return nil
}

// Begin is Do for a request of several steps: f makes the first exchange, the
// caller goes on with the connection, and calls done once, with nil when the
// connection may serve other requests and with any error when it may not.
func (c *Client) Begin(f func(*Conn) error) (conn *Conn, done func(error), err error) {
	k := c.take()
	if k != nil {
		before := k.conn.received
		if err = f(k.conn); err == nil {
			return k.conn, func(err error) { c.give(k, err) }, nil
		}
		k.conn.Close() // dropped after an error; its own error adds nothing
		if !hungUp(err) || k.conn.received != before {
			return nil, nil, fmt.Errorf("%s: %w", c.Path, err)
		}
	}
	k, err = c.connect()
	if err != nil {
		return nil, nil, err
	}
	if err = f(k.conn); err != nil {
		k.conn.Close() // as above
		return nil, nil, fmt.Errorf("%s: %w", c.Path, err)
	}
	return k.conn, func(err error) { c.give(k, err) }, nil
}

// Close drops the kept connections. Requests under way end by themselves;
// later ones still work, each on a connection of its own.
func (c *Client) Close() {
	c.mu.Lock()
	drop := c.idle
	c.idle, c.closed = nil, true
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.mu.Unlock()
	closeAll(drop)
}

// hungUp reports whether err is the end of a connection, not a refusal or a
// time limit.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, net.ErrClosed)
}

// connect makes a connection and checks what the server announces. A server
// that dies before it announced anything has taken no request, so another one
// is tried.
func (c *Client) connect() (*kept, error) {
	for try := 1; ; try++ {
		conn, err := Dial(c.Path, c.Timeout)
		if err != nil {
			return nil, err
		}
		if c.Protocol == "" {
			return &kept{conn: conn, made: time.Now()}, nil
		}
		in := conn.In()
		got := in.Str("protocol")
		in.End()
		if err = in.Err(); err == nil && got != c.Protocol {
			err = fmt.Errorf("server speaks %.100q, not %s", got, c.Protocol)
		}
		if err == nil {
			return &kept{conn: conn, made: time.Now()}, nil
		}
		conn.Close() // dropped after an error
		if !hungUp(err) || conn.received > 0 || try == connectTries {
			return nil, fmt.Errorf("%s: %w", c.Path, err)
		}
		time.Sleep(connectPause)
	}
}

// How often, and how far apart, a connection is tried anew.
const (
	connectTries = 3
	connectPause = 50 * time.Millisecond
)

// take returns the kept connection that was used last, or nil.
func (c *Client) take() *kept {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.idle)
	if n == 0 {
		return nil
	}
	k := c.idle[n-1]
	c.idle = c.idle[:n-1]
	return k
}

// give keeps a connection for the next request, or closes it.
func (c *Client) give(k *kept, err error) {
	now := time.Now()
	limit := c.MaxIdle
	if limit == 0 {
		limit = DefaultMaxIdle
	}
	if err != nil || now.Sub(k.made) > or(c.TTL, DefaultTTL) || k.conn.R.Buffered() > 0 {
		k.conn.Close() // of no more use; its error adds nothing
		return
	}
	k.used = now
	c.mu.Lock()
	if c.closed || len(c.idle) >= limit {
		c.mu.Unlock()
		k.conn.Close() // as above
		return
	}
	c.idle = append(c.idle, k)
	if c.timer == nil {
		c.timer = time.AfterFunc(or(c.IdleTime, DefaultIdleTime), c.expire)
	}
	c.mu.Unlock()
}

// expire closes the connections that nobody used for IdleTime.
func (c *Client) expire() {
	idle := or(c.IdleTime, DefaultIdleTime)
	c.mu.Lock()
	n := 0
	for n < len(c.idle) && time.Since(c.idle[n].used) >= idle {
		n++
	}
	drop := c.idle[:n:n]
	c.idle = append([]*kept(nil), c.idle[n:]...)
	c.timer = nil
	if len(c.idle) > 0 && !c.closed {
		c.timer = time.AfterFunc(idle-time.Since(c.idle[0].used), c.expire)
	}
	c.mu.Unlock()
	closeAll(drop)
}

func closeAll(list []*kept) {
	for _, k := range list {
		k.conn.Close() // unused; its error adds nothing
	}
}

func or(d, other time.Duration) time.Duration {
	if d <= 0 {
		return other
	}
	return d
}

// Trigger connects to a trigger service, writes request and closes. The
// service may be asleep: master starts it, and the kernel keeps the request
// until then.
func Trigger(path string, request []byte, timeout time.Duration) error {
	conn, err := Dial(path, timeout)
	if err != nil {
		return err
	}
	if _, err = conn.W.Write(request); err == nil {
		err = conn.Flush()
	}
	if err != nil {
		conn.Close() // the write's error says more
		return fmt.Errorf("%s: %w", path, err)
	}
	return conn.Close()
}
