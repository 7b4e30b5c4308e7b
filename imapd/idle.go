package main

import (
	"strings"
	"time"
)

// Times of IDLE (RFC 2177).
const (
	idleKeepAlive = 2 * time.Minute
	idleGather    = 5 * time.Millisecond // what comes together is told together
)

// idle tells news as they come, until the client says DONE.
func (s *session) idle(p *parser) reply {
	if !p.end() {
		return reply{}
	}
	s.out.line("+ idling")
	if s.hub != nil {
		s.sync(allNews)
	}
	if s.out.Flush() != nil {
		s.leaving = true
		return no("Connection is lost")
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(idleTime)); err != nil {
		s.leaving = true
		return no("Connection is lost")
	}
	type said struct {
		line string
		err  error
	}
	done := make(chan said, 1)
	go func() {
		line, err := readLine(s.p.in, frontLine)
		done <- said{line, err}
	}()
	tick := time.NewTicker(idleKeepAlive)
	defer tick.Stop()
	for {
		select {
		case d := <-done:
			switch {
			case d.err != nil:
				s.leaving = true
				return no("Connection is lost")
			case !strings.EqualFold(d.line, "DONE"):
				return bad("Expected DONE.")
			}
			return ok("Idle completed.")
		case <-s.news: // nil, and so never, without a mailbox
			time.Sleep(idleGather)
			s.sync(allNews)
		case <-tick.C:
			s.out.line("* OK Still here")
		}
		if s.out.Flush() != nil || s.leaving {
			s.conn.Close() // ends the goroutine that reads
			<-done
			s.leaving = true
			return no("Connection is lost")
		}
	}
}
