package main

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"postroad/libmail/maillog"
	"postroad/libmail/smtpwire"
)

// bdatState is how far a message is that comes in chunks (RFC 3030 §2).
type bdatState uint8

const (
	noBDAT      bdatState = iota
	takingBDAT            // chunks are accepted
	refusedBDAT           // chunks are skipped until LAST or RSET
)

// cmdBDAT receives one chunk. The client sends the chunk whatever we think of
// the command, so a command that we cannot read ends the session: what follows
// it would be read as commands.
func (s *session) cmdBDAT(args []smtpwire.Token) reply {
	if s.discard&smtpwire.Chunking != 0 {
		return protocolError(521, "5.5.1", "Error: command not implemented")
	}
	size, kind, ok := chunkArguments(args)
	if !ok {
		s.log.Warning("%s: malformed BDAT command syntax from %s: %.100s", s.queueID(), s.client.namaddr, maillog.Printable(joinTokens(args)))
		return protocolError(521, "5.5.4", "Syntax: BDAT count [LAST]")
	}
	s.wire.timed.request(s.params.minDataRate)
	if r := s.mayNotBDAT(size, kind); r != nil {
		return s.skipChunk(size, kind, *r)
	}
	if s.mail.bdat == noBDAT {
		s.beginContent()
		s.mail.chunks.Reset(s.params.lineLimit, s.endPolicy())
		s.mail.bdat = takingBDAT
	}
	s.where = inBDAT
	if err := s.receiveChunk(size, kind); err != nil {
		return reply{lost: err}
	}
	switch {
	case kind == smtpwire.Last:
		s.where = atEnd
		return s.endMessage()
	case s.mail.problems != 0:
		r := s.endMessage()
		s.mail.bdat = refusedBDAT
		return r
	}
	return say(250, "2.0.0", "Ok: %d bytes", size)
}

func chunkArguments(args []smtpwire.Token) (size int64, kind smtpwire.ChunkKind, ok bool) {
	if len(args) < 2 || len(args) > 3 {
		return 0, 0, false
	}
	size, ok = smtpwire.ParseSize(args[1].Text)
	if len(args) == 3 {
		kind = smtpwire.Last
		ok = ok && strings.EqualFold(args[2].Text, "LAST")
	}
	return size, kind, ok
}

// mayNotBDAT says why a chunk is not wanted.
func (s *session) mayNotBDAT(size int64, kind smtpwire.ChunkKind) *reply {
	m := &s.mail
	var r reply
	switch {
	case size == 0 && kind == smtpwire.NotLast:
		// Nobody needs an empty chunk, but one could send them for ever.
		s.log.Warning("%s: null BDAT request from %s", s.queueID(), s.client.namaddr)
		r = say(551, "5.7.1", "Null BDAT request")
	case m.bdat == refusedBDAT:
		r = say(551, "5.0.0", "Discarded %d bytes after earlier error", size)
	case m.bdat == noBDAT && m.rcpts == 0 && m.sender == nil:
		r = protocolError(503, "5.5.1", "Error: need RCPT command")
	case m.bdat == noBDAT && m.rcpts == 0:
		r = say(554, "5.5.1", "Error: no valid recipients")
	default:
		if m.bdat == noBDAT && !s.alone {
			if denied := s.checkDATA(); denied != nil {
				return denied
			}
		}
		if limit := s.params.messageLimit; limit <= 0 || m.size <= limit-size {
			return nil
		}
		s.log.Warning("%s: BDAT request from %s exceeds message size limit", s.queueID(), s.client.namaddr)
		r = policyError(552, "5.3.4", "Chunk exceeds message size limit")
	}
	return &r
}

// receiveChunk reads a chunk and hands its lines to cleanup.
func (s *session) receiveChunk(size int64, kind smtpwire.ChunkKind) error {
	m := &s.mail
	m.chunks.Start(s.wire.content(), size, kind)
	for {
		line, more, err := m.chunks.Next()
		if err == io.EOF {
			s.seenBareLF(m.chunks.BareLF())
			return nil
		}
		if err != nil {
			return err
		}
		s.contentLine(line, pieceOf(more), false)
	}
}

// skipChunk reads and drops a chunk that is not wanted, and then answers. A
// client that sends very much more than it may is cut off instead.
func (s *session) skipChunk(size int64, kind smtpwire.ChunkKind, r reply) reply {
	m := &s.mail
	limit := s.params.messageLimit
	if limit > 0 && float64(m.size)+float64(size) > 1.5*float64(limit) {
		s.log.Warning("%s: too much BDAT content -- disabling further input from %s", s.queueID(), s.client.namaddr)
		r.then = func(*session) reply { return reply{lost: io.EOF} }
	} else {
		m.size += size
		if err := discard(s.wire.content(), size); err != nil {
			return reply{lost: err}
		}
	}
	if kind == smtpwire.Last {
		s.resetMail()
	} else {
		m.bdat = refusedBDAT
	}
	return r
}

// discard reads n bytes.
func discard(r *bufio.Reader, n int64) error {
	for n > 0 {
		k, err := r.Discard(int(min(n, 1<<30)))
		n -= int64(k)
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}
