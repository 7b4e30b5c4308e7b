package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"postroad/libmail/mailbox"
)

// maxAppend is how many messages one APPEND may bring (RFC 3502).
const maxAppend = 1000

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// append adds messages to a mailbox (RFC 3501 §6.3.11, RFC 3502): all of them
// or none.
func (s *session) append(p *parser) (r reply) {
	p.sp()
	name, problem := s.mailboxName(p)
	var h *hub
	if p.err == nil && problem == "" {
		var err error
		if h, err = s.user.hub(name); errors.Is(err, mailbox.ErrNoBox) {
			problem = "[TRYCREATE] Mailbox doesn't exist"
		} else if err != nil {
			problem = s.failed("append", err).text
		}
	}
	var list []*mailbox.Addition
	defer func() {
		for _, a := range list {
			a.Discard() // those that were added have another name by now
		}
	}()
	for first := true; p.err == nil && (first || p.is(' ')); first = false {
		if first {
			p.sp()
		}
		a, why := s.appendOne(p, h, problem)
		if a != nil {
			list = append(list, a)
		}
		if problem == "" {
			problem = why
		}
		if len(list) > maxAppend {
			p.fail("[LIMIT] Too many messages")
		}
	}
	if !p.end() {
		return reply{}
	}
	if problem != "" {
		if strings.HasPrefix(problem, "Invalid") {
			return bad(problem)
		}
		return no(problem)
	}
	uids, err := h.add(list)
	if err != nil {
		return s.failed("append", err)
	}
	if h != s.hub {
		// Another mailbox: sync at the end of the command is about ours.
		return ok(fmt.Sprintf("[APPENDUID %d %s] Append completed.", h.validity(), setText(uids)))
	}
	s.sync(allNews) // the client counts on EXISTS before the tagged answer
	return ok(fmt.Sprintf("[APPENDUID %d %s] Append completed.", h.validity(), setText(uids)))
}

func (h *hub) validity() uint32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.box.UIDValidity()
}

// appendOne takes flags, date and literal of one message. A problem that is
// known ends the command at a literal that the client has not sent yet; one
// that comes unasked is thrown away.
func (s *session) appendOne(p *parser, h *hub, problem string) (a *mailbox.Addition, why string) {
	var flags mailbox.Flags
	var words []string
	if p.peek() == '(' {
		flags, words, why = parseFlags(p.flags())
		p.sp()
	}
	var date time.Time
	if p.peek() == '"' {
		t, err := time.Parse("_2-Jan-2006 15:04:05 -0700", strings.TrimLeft(p.quoted(), " "))
		if err != nil {
			p.fail("Invalid internal date")
		}
		date = t
		p.sp()
	}
	utf8 := false
	if p.peek() == 'U' || p.peek() == 'u' { // UTF8 (~{...}) (RFC 6855 §4)
		utf8 = p.word() == "UTF8"
		p.sp()
		p.want('(')
	}
	head := p.literalHead()
	if why == "" {
		why = problem
	}
	if limit := s.user.limit; limit > 0 && head.size > limit {
		why = "[TOOBIG] Message is too large"
	}
	if head.size == 0 && why == "" {
		why = "Can't save a message of no size"
	}
	if why == "" {
		why = s.overQuota(head.size)
	}
	if p.err != nil {
		return nil, why
	}
	if why != "" {
		s.refuseLiteral(p, head, why)
		return nil, why
	}
	a, err := h.box.NewAddition(date)
	if err != nil {
		why = s.failed("append", err).text
		s.refuseLiteral(p, head, why)
		return nil, why
	}
	a.Flags, a.Keywords = flags, words
	p.accept(head)
	if err := s.receive(p, head, a); err != nil {
		why = s.failed("append", err).text
	}
	if utf8 {
		p.want(')')
	}
	return a, why
}

// refuseLiteral answers a literal that is not wanted at once, so that it is
// not sent.
func (s *session) refuseLiteral(p *parser, head literalHead, why string) {
	if head.unsync {
		if err := p.swallow(head.size); err != nil {
			p.err = err
		}
		return
	}
	if !strings.HasPrefix(why, "[") && !strings.HasPrefix(why, "Invalid") { // the latter is a BAD
		why = "[CANNOT] " + why
	}
	p.refuse(head, why)
}

// receive writes a literal to a file. An error is about the file; that of the
// connection sticks to the parser.
func (s *session) receive(p *parser, head literalHead, a *mailbox.Addition) error {
	if p.err != nil {
		return nil
	}
	buf := make([]byte, min(head.size, 32<<10))
	var failed error
	nul := false
	for left := head.size; left > 0; {
		if err := s.conn.SetReadDeadline(time.Now().Add(literalTime)); err != nil {
			p.err = err
			return nil
		}
		n, err := io.ReadFull(p.in, buf[:min(left, int64(len(buf)))])
		left -= int64(n)
		if err != nil {
			p.err = err
			return nil
		}
		if failed != nil {
			continue // what was promised must be read
		}
		nul = nul || strings.IndexByte(string(buf[:n]), 0) >= 0
		if head.binary {
			_, failed = a.WriteRaw(buf[:n])
		} else {
			_, failed = a.Write(buf[:n])
		}
	}
	if failed != nil {
		return failed
	}
	if nul && !head.binary {
		p.fail("NUL in a literal")
		return nil
	}
	if head.binary {
		return storeBinary(a)
	}
	return a.Finish()
}
