package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/mailbox"
	"postroad/libmail/maillog"
)

// Bounds of a session after login.
const (
	commandLine = 1024
	idleTime    = 10 * time.Minute // RFC 1939 §3
)

// A session is a client in the transaction state (RFC 1939 §5). The numbers
// of messages are positions in items, which never changes.
type session struct {
	log    *maillog.Logger
	user   string
	format string
	conn   net.Conn
	in     reader
	out    writer

	box     *mailbox.Box
	items   []*mailbox.Item
	deleted []bool
	seen    []bool
	sent    int // messages retrieved
}

// reader and writer are buffers of the right size for their use.
type reader struct{ *bufio.Reader }

func (r *reader) Reset(from io.Reader) { r.Reader = bufio.NewReaderSize(from, commandLine) }

type writer struct{ *bufio.Writer }

func (w *writer) Reset(to io.Writer) { w.Writer = bufio.NewWriterSize(to, 16<<10) }

// commands is the command table of the transaction state. A handler says its
// answer itself when it is long; what it returns is said as one line.
var commands map[string]func(s *session, args []string) string

func init() { // in init, because the handlers lead back to the table
	commands = map[string]func(*session, []string) string{
		"STAT": (*session).stat,
		"LIST": (*session).list,
		"UIDL": (*session).uidl,
		"RETR": (*session).retr,
		"TOP":  (*session).top,
		"DELE": (*session).dele,
		"RSET": (*session).rset,
		"NOOP": func(*session, []string) string { return "+OK" },
		"CAPA": (*session).capa,
		"UTF8": func(*session, []string) string { return "+OK UTF8 enabled" },
	}
}

// serve reads the mailbox and obeys commands until QUIT or the end.
func (s *session) serve(path, greeting string) {
	if err := s.open(path); err != nil {
		s.log.Warning("user %s: open mailbox: %v", s.user, err)
		s.say("-ERR [SYS/TEMP] The mailbox can't be opened now.")
		_ = s.out.Flush() // the client may be gone
		return
	}
	s.say(greeting)
	for {
		if s.in.Buffered() == 0 { // answers of pipelined commands go out together
			if s.flush() != nil {
				break
			}
		}
		line, err := s.readLine()
		if err != nil {
			break
		}
		f := strings.Fields(line)
		if len(f) == 0 {
			s.say("-ERR Unknown command.")
			continue
		}
		verb := strings.ToUpper(f[0])
		if verb == "QUIT" {
			s.quit()
			return
		}
		handle, known := commands[verb]
		if !known {
			s.say("-ERR Unknown command: " + maillog.Printable(f[0]))
			continue
		}
		if answer := handle(s, f[1:]); answer != "" {
			s.say(answer)
		}
	}
	s.log.Info("pop3(%s): Disconnected: retr=%d, del=0/%d", s.user, s.sent, len(s.items))
}

// open lists the mailbox.
func (s *session) open(path string) error {
	box, err := mailbox.Open(path)
	if errors.Is(err, fs.ErrNotExist) { // nobody has sent anything yet
		if err = os.MkdirAll(path, 0o700); err == nil {
			box, err = mailbox.Open(path)
		}
	}
	if err == nil {
		err = box.Sync()
	}
	if err != nil {
		return err
	}
	s.box = box
	for _, m := range box.Items() {
		if m.Flags&mailbox.Trashed != 0 {
			continue // deleted by IMAP, not expunged yet
		}
		if err := s.measure(m); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // gone since
			}
			return err
		}
		s.items = append(s.items, m)
	}
	s.deleted, s.seen = make([]bool, len(s.items)), make([]bool, len(s.items))
	return nil
}

// measure finds the size that a message has on the wire, where its file name
// does not say it.
func (s *session) measure(m *mailbox.Item) error {
	if m.Wire >= 0 {
		return nil
	}
	f, err := s.box.OpenItem(m)
	if err != nil {
		return err
	}
	defer f.Close() // it is only read
	n := int64(0)
	err = eachLine(f, func(line []byte) error {
		n += int64(len(line)) + 2
		return nil
	})
	m.Wire = n
	return err
}

func (s *session) say(line string) {
	s.out.WriteString(line)   // s.out keeps its error
	s.out.WriteString("\r\n") // as above
}

func (s *session) flush() error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	return s.out.Flush()
}

func (s *session) readLine() (string, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(idleTime)); err != nil {
		return "", err
	}
	line, err := s.in.ReadSlice('\n')
	if err != nil {
		return "", err // a line that is too long ends the session too
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// number reads a message number.
func (s *session) number(text string) (i int, problem string) {
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || n < 1 || n > len(s.items):
		return 0, fmt.Sprintf("-ERR There's no message %.20s.", maillog.Printable(text))
	case s.deleted[n-1]:
		return 0, "-ERR Message is deleted."
	}
	return n - 1, ""
}

// left counts what is not deleted.
func (s *session) left() (n int, size int64) {
	for i, m := range s.items {
		if !s.deleted[i] {
			n++
			size += m.Wire
		}
	}
	return n, size
}

func (s *session) stat([]string) string {
	n, size := s.left()
	return fmt.Sprintf("+OK %d %d", n, size)
}

func (s *session) list(args []string) string {
	return s.listing(args, func(m *mailbox.Item) string { return strconv.FormatInt(m.Wire, 10) })
}

func (s *session) uidl(args []string) string { return s.listing(args, s.uniqueID) }

// listing answers LIST and UIDL, for one message or all.
func (s *session) listing(args []string, value func(*mailbox.Item) string) string {
	if len(args) > 0 {
		i, problem := s.number(args[0])
		if problem != "" {
			return problem
		}
		return fmt.Sprintf("+OK %d %s", i+1, value(s.items[i]))
	}
	n, _ := s.left()
	s.say(fmt.Sprintf("+OK %d messages:", n))
	for i, m := range s.items {
		if !s.deleted[i] {
			s.say(strconv.Itoa(i+1) + " " + value(m))
		}
	}
	return "."
}

func (s *session) dele(args []string) string {
	if len(args) != 1 {
		return "-ERR Usage: DELE message"
	}
	i, problem := s.number(args[0])
	if problem != "" {
		return problem
	}
	s.deleted[i] = true
	return "+OK Marked to be deleted."
}

func (s *session) rset([]string) string {
	clear(s.deleted)
	clear(s.seen)
	return "+OK"
}

func (s *session) capa([]string) string {
	return "+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\nUTF8\r\nUSER\r\nIMPLEMENTATION postroad\r\n."
}

// quit is the update state (RFC 1939 §6): only here messages are removed. When
// some could not be, the client is told so.
func (s *session) quit() {
	removed, failed := 0, 0
	for i, m := range s.items {
		var err error
		switch {
		case s.deleted[i]:
			if err = s.box.Expunge(m); err == nil {
				removed++
			}
		case s.seen[i] && m.Flags&mailbox.Seen == 0:
			if err = s.box.Store(m, mailbox.AddFlags, mailbox.Seen, nil); errors.Is(err, fs.ErrNotExist) {
				err = nil // gone since
			}
		}
		if err != nil {
			failed++
			s.log.Warning("pop3(%s): %v", s.user, err)
		}
	}
	if removed > 0 {
		if err := s.box.SyncRemoved(); err != nil {
			failed++
			s.log.Warning("pop3(%s): %v", s.user, err)
		}
	}
	switch {
	case failed > 0:
		s.say("-ERR [SYS/TEMP] Some deleted messages not removed.")
	case removed > 0:
		s.say("+OK Logging out, messages deleted.")
	default:
		s.say("+OK Logging out.")
	}
	_ = s.flush() // the client may be gone
	s.log.Info("pop3(%s): Disconnected: Logged out retr=%d, del=%d/%d", s.user, s.sent, removed, len(s.items))
}
