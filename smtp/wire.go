package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postroad/libmail/dsn"
	"postroad/libmail/smtpwire"
)

// A timedConn is a connection with a time limit: for each read or write, or
// with perRequest for all of them together until the next request begins
// (smtp_per_request_deadline). Content that moves at minRate bytes a second
// or faster then earns its own time.
type timedConn struct {
	net.Conn
	limit      time.Duration
	perRequest bool
	minRate    int // 0: no earning
	deadline   time.Time
}

// begin sets the limit for the next request.
func (c *timedConn) begin(limit time.Duration, minRate int) {
	c.limit, c.minRate = limit, minRate
	c.deadline = time.Now().Add(limit)
}

func (c *timedConn) until() time.Time {
	if c.perRequest {
		return c.deadline
	}
	return time.Now().Add(c.limit)
}

// Read implements io.Reader.
func (c *timedConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(c.until()); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements io.Writer.
func (c *timedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(c.until()); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if c.perRequest && c.minRate > 0 {
		c.deadline = c.deadline.Add(time.Duration(n) * time.Second / time.Duration(c.minRate))
		if latest := time.Now().Add(c.limit); c.deadline.After(latest) {
			c.deadline = latest
		}
	}
	return n, err
}

// Sizes of a session's buffers.
const (
	readBuffer  = 4096
	writeBuffer = 16384
	// pipelineBuffer bounds the commands that are sent without reading
	// replies: what always fits the kernel's buffers, so that neither side
	// waits for the other to read.
	pipelineBuffer = 4096
)

// A session is one connection to a server, for one message after the other.
type session struct {
	*client
	job *job // the present one

	host         string // name of the server
	addr         string // its address, or the path of a socket
	port         int    // 0 for a socket
	nameAddr     string // host[addr]
	nameAddrPort string // host[addr]:port

	base    net.Conn   // the connection itself
	timed   *timedConn // base with its time limit
	conn    net.Conn   // timed, or TLS over it
	r       *bufio.Reader
	w       *bufio.Writer
	scratch []byte

	features   smtpwire.Features
	esmtp      bool
	bestMX     bool // a server of the best preference
	pixDelay   bool
	noESMTP    bool
	secure     *tlsSession // nil: plaintext
	policy     *tlsPolicy
	nexthop    string // domain that certificates are matched with
	dest       string // next hop as written
	stats      tlsStats
	talked     bool // the handshake is done
	traced     bool // each line is logged (debug_peer_list)
	quitSent   bool
	retryPlain bool // TLS failed: try the same server without

	history   []string // for the notice to the postmaster; nil when unwanted
	bytesKept int      // of history
	notify    noticeReason

	reused    int
	keepUntil time.Time // until when it may be used again; zero: not at all
	throttled bool      // the server is out of order
	broken    bool      // nothing may be sent any more
	destKey   string
	hostKey   string
}

// has reports whether the server has a feature.
func (s *session) has(k smtpwire.Keywords) bool { return s.features.Set.Has(k) }

// newSession begins a session on a connection.
func (c *client) newSession(conn net.Conn, host, addr string, port int) *session {
	s := &session{client: c, host: host, addr: addr, port: port, base: conn}
	s.nameAddr = host + "[" + addr + "]"
	s.nameAddrPort = s.nameAddr
	if port != 0 {
		s.nameAddrPort = fmt.Sprintf("%s:%d", s.nameAddr, port)
	}
	s.timed = &timedConn{Conn: conn, perRequest: c.p.perRequest}
	s.conn = s.timed
	s.r, s.w = bufio.NewReaderSize(s.conn, readBuffer), bufio.NewWriterSize(s.conn, writeBuffer)
	if shown, err := c.p.debugPeers.Match(host, addr); err == nil && shown {
		s.traced = true
	}
	if c.p.notifyProtocol || c.p.notifyData {
		s.history = []string{}
	}
	return s
}

// over moves the session into TLS.
func (s *session) over(conn *tls.Conn) {
	s.conn = conn
	s.r, s.w = bufio.NewReaderSize(conn, readBuffer), bufio.NewWriterSize(conn, writeBuffer)
}

// command puts a command into the buffer.
func (s *session) command(text string) {
	s.note("Out: ", text)
	s.trace("> %s: %s", s.nameAddrPort, text)
	_, _ = s.w.WriteString(text)   // errors stay until the flush
	_, _ = s.w.WriteString("\r\n") // likewise
}

// trace logs the conversation for those who asked for it.
func (s *session) trace(format string, args ...any) {
	if s.traced {
		s.log.Info(format, args...)
		return
	}
	s.log.Debug(format, args...)
}

// commandQuietly is command for what nobody may read in a log.
func (s *session) commandQuietly(text string) {
	s.note("Out: ", "<secret>")
	_, _ = s.w.WriteString(text)   // errors stay until the flush
	_, _ = s.w.WriteString("\r\n") // likewise
}

// errData is trouble with our own data in the middle of a conversation.
var errData = errors.New("local data error")

// reply sends what is in the buffer and reads one reply.
func (s *session) reply() (smtpwire.Reply, error) {
	if err := s.w.Flush(); err != nil {
		return smtpwire.Reply{}, err
	}
	return s.readReply()
}

// readReply reads one reply, and does what smtp_reply_filter says to it.
func (s *session) readReply() (smtpwire.Reply, error) {
	var r smtpwire.Reply
	var err error
	r, s.scratch, err = smtpwire.ReadReply(s.r, s.scratch, s.p.lineLimit)
	if err != nil {
		return r, err
	}
	if r.LongLines > 0 {
		s.log.Warning("%s: response longer than %d: %.30s...", s.nameAddrPort, s.p.lineLimit, r.Text)
	}
	for _, line := range strings.Split(r.Text, "\n") {
		s.note("In:  ", line)
		s.trace("< %s: %.100s", s.nameAddrPort, line)
	}
	if !s.p.replyFilter.Empty() {
		if r, err = s.filtered(r); err != nil {
			return r, err
		}
	}
	if r.Garbage > 0 {
		s.protocolError()
		if s.has(smtpwire.Pipelining) {
			s.log.Warning("%s: non-%s response from %s: %.100s", s.job.QueueID, s.protocolName(), s.nameAddrPort, r.Text)
			if s.p.helpfulWarnings {
				s.log.Warning("to prevent loss of mail, turn off command pipelining for %s with the %s parameter",
					s.addr, s.p.discardMaps.Title())
			}
		}
	}
	return r, nil
}

func (s *session) protocolName() string {
	if s.p.lmtp {
		return "LMTP"
	}
	return "ESMTP"
}

// filtered replaces the lines of a reply that the table has.
func (s *session) filtered(r smtpwire.Reply) (smtpwire.Reply, error) {
	lines := strings.Split(r.Text, "\n")
	changed := false
	for i, line := range lines {
		to, found, err := s.p.replyFilter.Find(line)
		if err != nil {
			s.log.Warning("%s: %s: lookup error for %s: %v", s.job.QueueID, s.p.replyFilter.Title(), line, err)
			return r, errData
		}
		if found {
			s.log.Info("%s: replacing server reply %q with %q", s.nameAddrPort, line, to)
			s.note("Replaced-by: ", to)
			lines[i], changed = to, true
		}
	}
	if !changed {
		return r, nil
	}
	in := bufio.NewReader(strings.NewReader(strings.Join(lines, "\r\n") + "\r\n"))
	out, _, err := smtpwire.ReadReply(in, nil, s.p.lineLimit)
	if err != nil { // a filter that leaves no final line: a reply without meaning
		return smtpwire.Reply{Status: "5.5.0", Text: strings.Join(lines, "\n")}, nil
	}
	return out, nil
}

// protocolError notes that the server does not speak as it should: the
// connection is not used again, and the postmaster may hear of it.
func (s *session) protocolError() {
	s.notify |= protocolNotice
	s.keepUntil = time.Time{}
}

// exception is the Outcome of a conversation that broke off while doing
// something.
func (s *session) exception(err error, doing string) dsn.Outcome {
	s.broken = true
	switch {
	case errors.Is(err, errData):
		s.notify |= dataNotice
		return local("4.3.0", "local data error while talking to %s", s.nameAddr)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return local("4.4.2", "conversation with %s timed out while %s", s.nameAddr, doing)
	}
	return local("4.4.2", "lost connection with %s while %s", s.nameAddr, doing)
}

// stream accounts for a conversation that broke off.
func (j *job) stream(s *session, err error, doing string) {
	o := s.exception(err, doing)
	if !errors.Is(err, errData) && s.secure != nil && len(j.open()) > 0 && j.plainAllowed(s) {
		j.retryPlain(s)
	}
	j.failAll(s, o, throttle)
}

// quiet reports whether a waiting connection is still good: open, and
// without a word from the server, which could only be a goodbye.
func (s *session) quiet() bool {
	if s.broken || s.r.Buffered() > 0 {
		return false
	}
	sc, ok := s.base.(syscall.Conn)
	if !ok {
		return true // not a socket; the first command tells
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	silent := false
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		silent = errors.Is(err, unix.EAGAIN)
	})
	return err == nil && silent
}

// end says goodbye, without waiting for the answer unless that is asked for
// (smtp_skip_quit_response), and closes.
func (s *session) end() { s.endWithin(s.p.quit) }

// endWithin is end with another time limit.
func (s *session) endWithin(limit time.Duration) {
	if !s.broken {
		s.timed.begin(limit, 0)
		s.command("QUIT")
		if s.p.skipQuitReply {
			_ = s.w.Flush() // a server that has left needs no goodbye
		} else {
			_, _ = s.reply() // whatever it says
		}
	}
	s.drop()
}

// drop closes the connection.
func (s *session) drop() {
	s.broken = true
	_ = s.base.Close() // nothing that matters is in it
}
