package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/mailbox"
)

// retr sends a whole message (RFC 1939 §5).
func (s *session) retr(args []string) string {
	if len(args) != 1 {
		return "-ERR Usage: RETR message"
	}
	i, problem := s.number(args[0])
	if problem != "" {
		return problem
	}
	return s.send(i, -1)
}

// top sends the header and some lines of the body (RFC 1939 §7).
func (s *session) top(args []string) string {
	if len(args) != 2 {
		return "-ERR Usage: TOP message lines"
	}
	i, problem := s.number(args[0])
	if problem != "" {
		return problem
	}
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 0 {
		return "-ERR Bad number of lines."
	}
	return s.send(i, n)
}

// send sends a message up to a number of body lines; -1 is all of it.
func (s *session) send(i, bodyLines int) string {
	m := s.items[i]
	f, err := s.box.OpenItem(m)
	if err != nil {
		s.log.Warning("pop3(%s): %v", s.user, err)
		return "-ERR [SYS/TEMP] The message can't be read: it may be gone."
	}
	defer f.Close() // it is only read
	if bodyLines < 0 {
		s.say(fmt.Sprintf("+OK %d octets", m.Wire))
		s.seen[i] = true
		s.sent++
	} else {
		s.say("+OK")
	}
	inBody := false
	err = eachLine(f, func(line []byte) error {
		if inBody && bodyLines >= 0 {
			if bodyLines == 0 {
				return errEnough
			}
			bodyLines--
		}
		inBody = inBody || len(line) == 0
		if len(line) > 0 && line[0] == '.' {
			s.out.WriteByte('.') // s.out keeps its error
		}
		s.out.Write(line)
		_, err := s.out.WriteString("\r\n")
		return errors.Join(err, s.conn.SetWriteDeadline(time.Now().Add(writeLimit)))
	})
	if err != nil && !errors.Is(err, errEnough) {
		// Half a message was sent as if it were whole, or the client is gone:
		// only the end of the connection says so.
		s.log.Warning("pop3(%s): message %d: %v", s.user, m.UID, err)
		s.conn.Close()
		return ""
	}
	return "."
}

var errEnough = errors.New("enough lines")

// eachLine calls f with each line, without its end: LF or CRLF. A line longer
// than the buffer comes in pieces with ends of our own, as nothing else fits
// the protocol.
func eachLine(r io.Reader, f func(line []byte) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var long []byte
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) && len(long) < 1<<20 {
			long = append(long, line...)
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if len(long) > 0 {
			line = append(long, line...)
			long = nil
		}
		if len(line) > 0 {
			text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\r'})
			if e := f(text); e != nil {
				return e
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
	}
}

// uniqueID is a message's unique id (RFC 1939 §7): what another server gave
// it, else pop3_uidl_format.
func (s *session) uniqueID(m *mailbox.Item) string {
	if m.UIDL != "" {
		return m.UIDL
	}
	var b strings.Builder
	format := s.format
	for {
		before, rest, found := strings.Cut(format, "%")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		end := strings.IndexAny(rest, "uvf%")
		if end < 0 {
			return b.String()
		}
		verb := "%d"
		if form := rest[:end]; form != "" {
			if strings.HasSuffix(form, "X") {
				verb = "%" + form[:len(form)-1] + "x" // Dovecot's X is lower case
			} else {
				verb = "%" + form + "d"
			}
		}
		switch rest[end] {
		case 'u':
			fmt.Fprintf(&b, verb, m.UID)
		case 'v':
			fmt.Fprintf(&b, verb, s.box.UIDValidity())
		case 'f':
			b.WriteString(m.Base())
		case '%':
			b.WriteByte('%')
		}
		format = rest[end+1:]
	}
}
