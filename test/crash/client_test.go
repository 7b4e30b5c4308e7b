package crash

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// perSession is how many messages a client sends over a connection.
const perSession = 7

// A load is clients that send mail at once, and the ledger of it all.
type load struct {
	*ledger
	addr    string
	clients int
	limit   time.Duration // for one reply
}

// run sends until so many messages were accepted or the time is over.
func (l *load) run(want int, end time.Time) {
	var wait sync.WaitGroup
	for range l.clients {
		wait.Go(func() {
			for l.count(accepted) < want && time.Now().Before(end) {
				if !l.session(func() bool { return l.count(accepted) < want }) {
					time.Sleep(50 * time.Millisecond) // as a client would, only longer
				}
			}
		})
	}
	wait.Wait()
}

// A session is one connection to smtpd.
type session struct {
	conn net.Conn
	r    *bufio.Reader
	l    *load
}

// session sends some messages over one connection, and reports whether it
// came to its proper end.
func (l *load) session(more func() bool) bool {
	conn, err := net.DialTimeout("tcp", l.addr, l.limit)
	if err != nil {
		return false // the suite is down; nothing was begun
	}
	defer conn.Close()
	s := &session{conn: conn, r: bufio.NewReader(conn), l: l}
	for _, c := range []string{"", "EHLO client.example.org"} {
		if reply, ok := s.ask(c); !ok || reply[0] != '2' {
			return false
		}
	}
	for n := 0; n < perSession && more(); n++ {
		if !s.send(l.write()) {
			return false
		}
	}
	_, ok := s.ask("QUIT")
	return ok
}

// ask sends a command and reads the reply; not ok when the connection is
// lost, or was given up with a 421.
func (s *session) ask(command string) (reply string, ok bool) {
	s.conn.SetDeadline(time.Now().Add(s.l.limit)) // an open socket takes it
	if command != "" {
		if _, err := fmt.Fprintf(s.conn, "%s\r\n", command); err != nil {
			return s.last(command, err)
		}
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil || len(line) < 5 {
			s.l.noteLost(fmt.Sprintf("after %.4q: %q, %v", command, line, err))
			return "", false
		}
		if line[3] == ' ' {
			return strings.TrimSpace(line), !strings.HasPrefix(line, "421")
		}
	}
}

// last looks for a 421 that came before the command could be sent.
func (s *session) last(command string, cause error) (string, bool) {
	line, err := s.r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "421 ") {
		s.l.noteLost(fmt.Sprintf("at %.4q: %v", command, cause))
		return "", false
	}
	return strings.TrimSpace(line), false
}

// send sends one message and notes the answer; false when the connection is
// of no more use.
func (s *session) send(m message) bool {
	for _, c := range []string{"MAIL FROM:<sender@example.org>", "RCPT TO:<" + m.to + ">", "DATA"} {
		reply, ok := s.ask(c)
		switch {
		case reply == "":
			return false // noted as cut
		case reply[0] != '2' && reply[0] != '3':
			s.l.note(m, refused, reply)
			if !ok {
				return false
			}
			_, ok = s.ask("RSET")
			return ok
		}
	}
	if err := s.content(m.text); err != nil {
		s.last("data", err)
		return false // the dot was never sent whole: noted as cut
	}
	reply, ok := s.ask(".")
	switch {
	case reply == "":
		s.l.note(m, unknown, "")
	case strings.HasPrefix(reply, "250 "):
		s.l.note(m, accepted, "")
	case reply[0] == '4':
		s.l.noteLater(m, reply)
	default:
		s.l.note(m, refused, reply)
	}
	return ok
}

// content sends the text up to, but not with, the final dot
// (RFC 5321 §4.5.2).
func (s *session) content(text string) error {
	w := bufio.NewWriter(s.conn)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, ".") {
			line = "." + line
		}
		w.WriteString(strings.TrimSuffix(line, "\n") + "\r\n") // Flush tells of the error
	}
	return w.Flush()
}
