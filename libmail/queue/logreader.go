package queue

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"postroad/libmail/dsn"
)

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
