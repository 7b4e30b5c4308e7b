// Package queue is the queue directory: mail on its way, one message a file.
//
//	maildrop   submitted on this host, waits for pickup
//	incoming   accepted, waits for qmgr
//	active     qmgr has it
//	deferred   waits for its next try, which is the time of the file
//	hold       parked by the administrator
//	corrupt    damaged, kept for inspection
//	bounce, defer, trace   why recipients failed, waited or got mail; a log for each message
//	flush      which messages wait for a site; a log for each site
//
// A queue file is a sequence of records (package record):
//
//	C sizes | T arrival | A attributes, S sender, {O original, R recipient}... | M
//	N, L lines of the content
//	X | A, R extracted from or added to the content | E
//	what milters added, reached by pointers
//
// A file is a message when its mode is 0700 and it ends in E. It is Postfix's
// format to the byte; a spool may change hands with mail in it.
//
// Durability: a file is written under its final name with mode 0600, then made
// complete, synced, and its directory synced (Commit). Only then it is ours.
// All later changes are renames or overwrite single records in place.
package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The queues and the directories of logs below queue_directory.
const (
	Maildrop = "maildrop"
	Incoming = "incoming"
	Active   = "active"
	Deferred = "deferred"
	Hold     = "hold"
	Corrupt  = "corrupt"
	Saved    = "saved"
	Bounce   = "bounce"
	Defer    = "defer"
	Trace    = "trace"
	Flush    = "flush"
)

// Mode bits of a queue file that say its state.
const (
	Ready       fs.FileMode = 0700 // complete
	Bad         fs.FileMode = 0400 // found damaged
	Writing     fs.FileMode = 0600 // not complete yet
	Unthrottle  fs.FileMode = 0040 // qmgr forgets what it knows of dead destinations
	ForceExpire fs.FileMode = 0010 // return to sender at the next opportunity
)

// Errors of the queue, beside fs.ErrNotExist and those of the system.
var (
	ErrBusy     = errors.New("locked by another process")
	ErrNotReady = errors.New("not complete")
	ErrUnsafe   = errors.New("not a safe queue file")
	ErrCorrupt  = errors.New("damaged queue file")
	ErrName     = errors.New("not a queue id")
)

// Options say how a spool is laid out.
type Options struct {
	Root    string           // queue_directory; "" is the current directory
	Hashed  []string         // hash_queue_names
	Depth   int              // hash_queue_depth
	LongIDs bool             // enable_long_queue_ids
	Owner   int              // uid of $mail_owner, whose files alone are opened; negative: anyone's
	OldLogs bool             // backwards_bounce_logfile_compatibility
	Now     func() time.Time // nil: the system's clock
	FS      FS               // nil: System
	Warn    func(format string, args ...any)
}

// A Spool is a queue directory. It may be used by many goroutines.
type Spool struct {
	o    Options
	fs   FS
	dirs dirSyncs
	bufs sync.Pool // *[]byte for File

	linkMove   bool // rename is not one transaction here: see Move
	clockState clockState
}

// New returns the spool that o describes. It touches no file but to learn
// the kind of the file system.
func New(o Options) *Spool {
	s := &Spool{o: o, fs: o.FS}
	if s.fs == nil {
		s.fs = System{}
	}
	if s.o.Now == nil {
		s.o.Now = time.Now
	}
	if s.o.Warn == nil {
		s.o.Warn = func(string, ...any) {}
	}
	s.linkMove = !renameIsAtomic(s.path("."))
	s.dirs.fs = s.fs
	return s
}

func (s *Spool) path(p string) string {
	if s.o.Root == "" {
		return p
	}
	return s.o.Root + "/" + p
}

// Path is where the file id of a queue lives, with the subdirectories that
// hash_queue_names asks for, below the root and relative to it.
func (s *Spool) Path(queue, id string) string {
	var b strings.Builder
	b.WriteString(queue)
	b.WriteByte('/')
	if s.hashed(queue) {
		key := hashKey(id)
		for i := range s.o.Depth {
			if i < len(key) {
				b.WriteByte(key[i])
			} else {
				b.WriteByte('_')
			}
			b.WriteByte('/')
		}
	}
	b.WriteString(id)
	return b.String()
}

func (s *Spool) hashed(queue string) bool {
	for _, h := range s.o.Hashed {
		if strings.EqualFold(h, queue) {
			return true
		}
	}
	return false
}

// file is Path as seen from the current directory, after checking the names.
func (s *Spool) file(queue, id string) (string, error) {
	if !ValidName(queue) || !ValidID(id) {
		return "", fmt.Errorf("%.100q %.100q: %w", queue, id, ErrName)
	}
	return s.path(s.Path(queue, id)), nil
}

// mkdirs makes the missing subdirectories above path and returns the
// directories in which it made a name.
func (s *Spool) mkdirs(path string) (changed []string, err error) {
	dir := filepath.Dir(path)
	err = s.fs.Mkdir(dir, 0700)
	if errors.Is(err, fs.ErrNotExist) && dir != "." && dir != "/" {
		if changed, err = s.mkdirs(dir); err == nil {
			err = s.fs.Mkdir(dir, 0700)
		}
	}
	if err == nil {
		return append(changed, filepath.Dir(dir)), nil
	}
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return changed, err
}

// Stat looks at a queue file without opening it.
func (s *Spool) Stat(queue, id string) (Info, error) {
	path, err := s.file(queue, id)
	if err != nil {
		return Info{}, err
	}
	return s.fs.Lstat(path)
}

// Check is Stat for a file that is to be listed or delivered: ErrUnsafe if it
// is not a regular file, ErrNotReady if it is not complete.
func (s *Spool) Check(queue, id string) (Info, error) {
	st, err := s.Stat(queue, id)
	switch {
	case err != nil:
		return st, err
	case !st.Mode.IsRegular():
		return st, fmt.Errorf("%s: uid %d: not a regular file: %w", s.Path(queue, id), st.UID, ErrUnsafe)
	case st.Mode&Ready != Ready:
		return st, fmt.Errorf("%s: %w", s.Path(queue, id), ErrNotReady)
	}
	if st.Links > 1 && st.Change.Before(s.o.Now().Add(-time.Minute)) {
		s.o.Warn("%s: uid %d: file has %d links", s.Path(queue, id), st.UID, st.Links)
	}
	return st, nil
}

// SetTime sets the time before which qmgr leaves a deferred file alone.
func (s *Spool) SetTime(queue, id string, t time.Time) error {
	path, err := s.file(queue, id)
	if err != nil {
		return err
	}
	return s.fs.SetTime(path, t)
}

// Remove deletes a queue file. It is the end of a message: its recipients
// must be durable elsewhere.
func (s *Spool) Remove(queue, id string) error {
	path, err := s.file(queue, id)
	if err != nil {
		return err
	}
	return s.fs.Remove(path)
}

func isErrno(err error, codes ...syscall.Errno) bool {
	for _, code := range codes {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// StatPath is Stat for a file with any name; path is relative to the spool.
func (s *Spool) StatPath(path string) (Info, error) { return s.fs.Lstat(s.path(path)) }
