package queue

import (
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
//	dsn_orig_rcpt=utf-8;alias@example.com
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
