package queue

import (
	"fmt"
	"io/fs"
	"os"
	"time"

	"postroad/libmail/record"
)

// MaxRecord is the longest record that is accepted from a queue file, in
// bytes. Lines are cut at line_length_limit long before.
const MaxRecord = 4 << 20

// A Message is a queue file that is open for delivery or inspection.
type Message struct {
	ID    string
	Queue string
	Info  Info

	h    Handle
	name string // for errors
}

// Open opens a complete queue file and locks it. The file must be regular,
// have one name, belong to Options.Owner, and not be reached by a link; else
// ErrUnsafe. ErrBusy if the lock is taken, fs.ErrNotExist if another process
// moved the file.
func (s *Spool) Open(queue, id string, lock Lock) (*Message, error) {
	path, err := s.file(queue, id)
	if err != nil {
		return nil, err
	}
	name := s.Path(queue, id)
	h, err := s.open(path, name, lock)
	if err != nil {
		return nil, err
	}
	st, err := h.Stat()
	if err == nil {
		err = s.safe(name, path, st)
	}
	if err != nil {
		h.Close() // nothing was written
		return nil, err
	}
	return &Message{ID: id, Queue: queue, Info: st, h: h, name: name}, nil
}

// OpenRead opens a complete queue file of any owner for reading only, without
// a lock. It is for listings, and for maildrop, whose files are their
// submitters'.
func (s *Spool) OpenRead(queue, id string) (*Message, error) {
	path, err := s.file(queue, id)
	if err != nil {
		return nil, err
	}
	name := s.Path(queue, id)
	h, err := s.fs.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	st, err := h.Stat()
	switch {
	case err != nil:
	case !st.Mode.IsRegular():
		err = fmt.Errorf("%s: not a regular file: %w", name, ErrUnsafe)
	case st.Mode&Ready != Ready:
		err = fmt.Errorf("%s: %w", name, ErrNotReady)
	}
	if err != nil {
		h.Close() // nothing was written
		return nil, err
	}
	return &Message{ID: id, Queue: queue, Info: st, h: h, name: name}, nil
}

func (s *Spool) open(path, name string, lock Lock) (Handle, error) {
	h, err := s.fs.Open(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := h.Lock(lock); err != nil {
		h.Close() // nothing was written
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return h, nil
}

// safe refuses a file that may be somebody's trick: see Open.
func (s *Spool) safe(name, path string, st Info) error {
	switch {
	case !st.Mode.IsRegular():
		return fmt.Errorf("%s: not a regular file: %w", name, ErrUnsafe)
	case st.Links == 0:
		return fmt.Errorf("%s: %w", name, fs.ErrNotExist) // removed since we opened it
	case st.Links != 1 && !s.linkMove:
		return fmt.Errorf("%s: file has %d links: %w", name, st.Links, ErrUnsafe)
	case s.o.Owner >= 0 && st.UID != s.o.Owner:
		return fmt.Errorf("%s: file is owned by uid %d: %w", name, st.UID, ErrUnsafe)
	case st.Mode&Ready != Ready:
		return fmt.Errorf("%s: %w", name, ErrNotReady)
	}
	now, err := s.fs.Lstat(path)
	if err != nil {
		return err
	}
	if now.Inode != st.Inode || now.Device != st.Device {
		return fmt.Errorf("%s: file was replaced: %w", name, ErrUnsafe)
	}
	return nil
}

// NewMessage is a Message of a descriptor that another process opened. The
// Message closes it.
func NewMessage(f *os.File, queue, id string) (*Message, error) {
	h := &file{fd: int(f.Fd()), path: f.Name(), os: f}
	st, err := h.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode.IsRegular() {
		return nil, fmt.Errorf("%s %s: not a regular file: %w", queue, id, ErrUnsafe)
	}
	return &Message{ID: id, Queue: queue, Info: st, h: h, name: queue + "/" + id}, nil
}

// File is the open file, for passing its descriptor on.
func (m *Message) File() *os.File { return m.h.File() }

// Close closes the file and gives up the lock.
func (m *Message) Close() error { return m.h.Close() }

// ReadAt reads the file as it is.
func (m *Message) ReadAt(p []byte, off int64) (int, error) { return m.h.ReadAt(p, off) }

// Records walks over the records of the file from an offset on.
func (m *Message) Records(offset int64) *record.Walker {
	w := record.NewWalker(m.h, MaxRecord)
	w.Goto(offset)
	return w
}

// MarkDone marks the recipient at offset as delivered. The delivery, or the
// record of its failure, must be durable. Offset -1, a recipient that is not
// in the file, marks nothing. The mark is not synced: a power cut may cause a
// second delivery, never a loss.
func (m *Message) MarkDone(offset int64) error {
	if offset == -1 {
		return nil
	}
	return m.retype(offset, record.Rcpt, record.Done)
}

// MarkKilled takes the attribute at offset out of force, as the trace flags
// after the report was sent.
func (m *Message) MarkKilled(offset int64) error {
	return m.retype(offset, record.Attr, record.Killed)
}

// retype overwrites the type of one record, after looking that it is there.
func (m *Message) retype(offset int64, from, to record.Type) error {
	var b [1]byte
	if offset <= 0 {
		return fmt.Errorf("%s: no record at %d", m.name, offset)
	}
	if _, err := m.h.ReadAt(b[:], offset); err != nil {
		return fmt.Errorf("update queue file: %w", err)
	}
	switch record.Type(b[0]) {
	case to:
		return nil
	case from:
	default:
		return fmt.Errorf("%s: record %q at %d is no %v: %w", m.name, b[0], offset, from, ErrCorrupt)
	}
	return m.overwrite([]byte{byte(to)}, offset)
}

// MarkWarned notes that the delay warning was sent. The offset is
// Envelope.WarnOffset.
func (m *Message) MarkWarned(offset int64) error {
	w := m.Records(offset)
	t, data, err := w.NextRaw()
	if err != nil {
		return fmt.Errorf("update queue file: %w", err)
	}
	if t != record.Warn || len(data) != 15 {
		return fmt.Errorf("%s: no warning time at %d: %w", m.name, offset, ErrCorrupt)
	}
	return m.overwrite(record.AppendString(nil, record.Warn, fmt.Sprintf("%15d", -1)), offset)
}

func (m *Message) overwrite(p []byte, offset int64) error {
	if _, err := m.h.WriteAt(p, offset); err != nil {
		return fmt.Errorf("update queue file: %w", err)
	}
	return nil
}

// Chmod sets the mode to complete plus bits: Unthrottle, ForceExpire or none.
func (m *Message) Chmod(bits fs.FileMode) error { return m.h.Chmod(Ready | bits) }

// MarkCorrupt makes qmgr move the file to corrupt.
func (m *Message) MarkCorrupt() error { return m.h.Chmod(Bad) }

// ModTime is the time of the file when it was opened: the next try.
func (m *Message) ModTime() time.Time { return m.Info.ModTime }
