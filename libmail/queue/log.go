package queue

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
)

// A LogEntry says what became of one recipient.
type LogEntry struct {
	Rcpt
	Outcome dsn.Outcome
}

// Waiting for another process that appends to the same log, as
// deliver_lock_attempts and deliver_lock_delay have it by default.
const (
	logLockAttempts = 20
	logLockDelay    = time.Second
)

// AppendLog adds a recipient to the log of a message; kind is Bounce, Defer or
// Trace. The entry is on stable storage when AppendLog returns nil; else the
// log is as it was. Addresses are written in their quoted form.
//
//	(empty line)
//	<user@example.com>: reason             if OldLogs
//	recipient=user@example.com
//	original_recipient=alias@example.com   if different
//	offset=1234
//	dsn_orig_rcpt=rfc822;alias@example.com
//	notify_flags=4
//	status=5.1.1
//	action=failed
//	diag_type=smtp                         both or none
//	diag_text=550 5.1.1 unknown
//	mta_type=dns                           both or none
//	mta_mname=mx.example.com
//	reason=host mx.example.com said: 550 5.1.1 unknown
//	(empty line)
func (s *Spool) AppendLog(kind, id string, r Rcpt, o dsn.Outcome) error {
	path, err := s.file(kind, id)
	if err != nil {
		return err
	}
	h, tickets, err := s.openLog(path)
	if err != nil {
		return fmt.Errorf("append to %s log %s: %w", kind, id, err)
	}
	err = s.lockLog(h)
	if err == nil {
		err = appendSynced(h, s.logEntry(r, o))
	}
	if errClose := h.Close(); err == nil {
		err = errClose
	}
	for _, t := range tickets {
		if errDir := s.dirs.wait(t); err == nil {
			err = errDir
		}
	}
	if err != nil {
		return fmt.Errorf("append to %s log %s: %w", kind, id, err)
	}
	return nil
}

// openLog opens a log, or makes it. The tickets are for its name, also when
// another goroutine is making it just now: whoever appends first may not be
// the one who made the file.
func (s *Spool) openLog(path string) (h Handle, tickets []ticket, err error) {
	dir := dirOf(path)
	h, err = s.fs.Open(path, os.O_RDWR, 0)
	if err == nil && s.dirs.pending(dir) {
		tickets = append(tickets, s.dirs.take(dir))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return h, tickets, err
	}
	making := s.dirs.take(dir) // from here on others see that a name is being made
	defer s.dirs.drop(making)
	h, err = s.fs.Open(path, os.O_RDWR|os.O_CREATE, 0600)
	if errors.Is(err, fs.ErrNotExist) {
		var made []string
		if made, err = s.mkdirs(path); err != nil {
			return nil, nil, err
		}
		for _, d := range made {
			tickets = append(tickets, s.dirs.take(d))
		}
		h, err = s.fs.Open(path, os.O_RDWR|os.O_CREATE, 0600)
	}
	tickets = append(tickets, s.dirs.take(dir))
	if err != nil {
		for _, t := range tickets {
			s.dirs.drop(t)
		}
		return nil, nil, err
	}
	return h, tickets, nil
}

func dirOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "."
}

func (s *Spool) lockLog(h Handle) error {
	for try := 1; ; try++ {
		err := h.Lock(Exclusive)
		if !errors.Is(err, ErrBusy) || try == logLockAttempts {
			return err
		}
		time.Sleep(logLockDelay)
	}
}

// appendSynced adds p at the end, or leaves the file as it was.
func appendSynced(h Handle, p []byte) error {
	st, err := h.Stat()
	if err != nil {
		return err
	}
	n, err := h.WriteAt(p, st.Size)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = h.Sync()
	}
	if err != nil {
		if errTruncate := h.Truncate(st.Size); errTruncate != nil {
			err = fmt.Errorf("%w, and truncate: %w", err, errTruncate)
		}
	}
	return err
}

// logEntry is the text of one entry.
func (s *Spool) logEntry(r Rcpt, o dsn.Outcome) []byte {
	var b bytes.Buffer
	b.WriteByte('\n')
	put := func(name, value string) {
		if value != "" {
			b.WriteString(name + "=" + oneLine(value) + "\n")
		}
	}
	pair := func(name1, value1, name2, value2 string) {
		if value1 != "" && value2 != "" {
			put(name1, value1)
			put(name2, value2)
		}
	}
	quoted := ""
	if r.Address != "" {
		quoted = addr.Quote(r.Address)
	}
	if s.o.OldLogs {
		b.WriteString("<" + oneLine(quoted) + ">: " + oneLine(o.Reason) + "\n")
	}
	if quoted == "" {
		quoted = "<>"
	}
	put("recipient", quoted)
	if r.Orig != "" && !addr.EqualFold(r.Orig, r.Address) {
		put("original_recipient", addr.Quote(r.Orig))
	}
	if r.Offset > 0 {
		put("offset", strconv.FormatInt(r.Offset, 10))
	}
	put("dsn_orig_rcpt", r.DSNOrig)
	if r.Notify != 0 {
		put("notify_flags", strconv.Itoa(r.Notify))
	}
	put("status", o.Status)
	put("action", o.Action)
	pair("diag_type", o.DiagType, "diag_text", o.DiagText)
	pair("mta_type", o.MTAType, "mta_mname", o.MTAName)
	put("reason", o.Reason)
	b.WriteByte('\n')
	return b.Bytes()
}

// oneLine keeps a value from ending its line. The reader replaces the other
// characters that cannot be shown.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\r' || c == 0 {
			return '?'
		}
		return c
	}, s)
}

// RemoveLog deletes the log of a message; there need not be one.
func (s *Spool) RemoveLog(kind, id string) error {
	err := s.Remove(kind, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// HasLog reports whether a message has a log with something in it.
func (s *Spool) HasLog(kind, id string) (bool, error) {
	st, err := s.Stat(kind, id)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && st.Size > 0, err
}

// A LogReader reads the log of a message.
type LogReader struct {
	h        Handle
	r        *bufio.Reader
	defaults dsn.Outcome
	notes    []string
	buf      []byte
}

// OpenLog opens the log of a message for reading: fs.ErrNotExist if there is none.
func (s *Spool) OpenLog(kind, id string) (*LogReader, error) {
	path, err := s.file(kind, id)
	if err != nil {
		return nil, err
	}
	h, err := s.fs.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	l := NewLogReader(io.NewSectionReader(h, 0, 1<<62), kind)
	l.h = h
	return l, nil
}

// NewLogReader reads a log of a kind from r. What an entry leaves out is
// status 4.0.0, action delayed in a Defer log, and 5.0.0, failed in the others.
func NewLogReader(r io.Reader, kind string) *LogReader {
	l := &LogReader{r: bufio.NewReader(r), defaults: dsn.Outcome{Status: "5.0.0", Action: dsn.Failed}}
	if kind == Defer {
		l.defaults = dsn.Outcome{Status: "4.0.0", Action: dsn.Delayed}
	}
	return l
}

// Close closes the log.
func (l *LogReader) Close() error {
	if l.h == nil {
		return nil
	}
	return l.h.Close()
}

// Notes are the complaints about lines that were skipped, for the log.
func (l *LogReader) Notes() []string { return l.notes }

// maxLogLine bounds a line of a log; what is longer is cut.
const maxLogLine = 64 << 10

// Next returns the next entry, of the new style, the old style
// ("<recipient>: reason") or both, and io.EOF after the last. Addresses are
// in the printed form; characters that cannot be shown are '?'. An entry that
// is cut off before its empty line is not returned.
func (l *LogReader) Next() (LogEntry, error) {
	var e LogEntry
	found := false
	for {
		line, err := l.line()
		if err != nil {
			return LogEntry{}, err
		}
		switch {
		case line == "" && found:
			l.fillIn(&e)
			return e, nil
		case line == "":
			continue
		}
		found = true
		if c := line[0]; c < 0x80 && alnum(rune(c)) {
			l.attr(&e, line)
		} else {
			l.old(&e, line)
		}
	}
}

// line reads a line without its end, with what cannot be shown replaced.
func (l *LogReader) line() (string, error) {
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if room := maxLogLine - len(l.buf); room > 0 {
			l.buf = append(l.buf, part[:min(room, len(part))]...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil:
			return "", err
		}
		return printable(strings.TrimSuffix(string(l.buf), "\n")), nil
	}
}

// attr takes a line of the new style.
func (l *LogReader) attr(e *LogEntry, line string) {
	name, data, err := SplitAttr([]byte(line))
	if err != nil {
		l.note("malformed record: %.30s...", line)
		return
	}
	value := string(data)
	number, err := strconv.ParseInt(value, 10, 64)
	switch name {
	case "recipient":
		e.Address = orMailerDaemon(value)
	case "original_recipient":
		e.Orig = orMailerDaemon(value)
	case "dsn_orig_rcpt":
		e.DSNOrig = value
	case "notify_flags":
		if err == nil && number > 0 && number <= notifyAll {
			e.Notify = int(number)
		}
	case "offset":
		if err == nil && number > 0 {
			e.Offset = number
		}
	case "status":
		e.Outcome.Status = value
	case "action":
		e.Outcome.Action = value
	case "diag_type":
		e.Outcome.DiagType = value
	case "diag_text":
		e.Outcome.DiagText = value
	case "mta_type":
		e.Outcome.MTAType = value
	case "mta_mname":
		e.Outcome.MTAName = value
	case "reason":
		e.Outcome.Reason = value
	default:
		l.note("unknown attribute name: %.100s, ignored", name)
	}
}

// old takes a line "<recipient>: reason".
func (l *LogReader) old(e *LogEntry, line string) {
	rcpt, reason, found := strings.Cut(line, ">: ")
	if !found || rcpt == "" || rcpt[0] != '<' {
		l.note("malformed record: %.30s...", line)
		return
	}
	e.Address = orMailerDaemon(rcpt[1:])
	e.Outcome.Reason = strings.TrimLeft(reason, " \t")
}

func (l *LogReader) note(format string, args ...any) {
	if len(l.notes) < 20 {
		l.notes = append(l.notes, fmt.Sprintf(format, args...))
	}
}

func orMailerDaemon(s string) string {
	if s == "" {
		return "(MAILER-DAEMON)"
	}
	return s
}

func (l *LogReader) fillIn(e *LogEntry) {
	def := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	def(&e.Address, "(recipient address unavailable)")
	def(&e.Outcome.Status, l.defaults.Status)
	def(&e.Outcome.Action, l.defaults.Action)
	def(&e.Outcome.Reason, "(description unavailable)")
}

// printable replaces what a terminal must not see: controls, and bytes that
// are no UTF-8.
func printable(s string) string {
	clean := true
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c >= 0x7f && c < 0xa0 || c == '\uFFFD' {
			return '?'
		}
		return c
	}, s)
}
