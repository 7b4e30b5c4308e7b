package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/record"
)

// newSpool makes the queue directories in a temporary place.
func newSpool(t testing.TB, o Options) *Spool {
	t.Helper()
	o.Root = t.TempDir()
	for _, q := range []string{Maildrop, Incoming, Active, Deferred, Hold, Corrupt, Bounce, Defer, Trace, Flush} {
		if err := os.Mkdir(filepath.Join(o.Root, q), 0700); err != nil {
			t.Fatal(err)
		}
	}
	if o.Owner == 0 {
		o.Owner = os.Getuid()
	}
	return New(o)
}

// write puts a small message into f, as cleanup does.
func write(f *File) error {
	f.RecordString(record.Size, Sizes{}.Data())
	f.RecordString(record.Time, FormatTime(f.Created))
	f.RecordString(record.Sender, "a@example.com")
	f.RecordString(record.Rcpt, "b@example.com")
	f.Record(record.Content, nil)
	data := f.Offset()
	f.RecordString(record.Text, "Subject: x")
	f.RecordString(record.Text, strings.Repeat("long", 20000)) // more than one write
	f.RecordString(record.Text, "end")
	end := f.Offset()
	f.Record(record.Extracted, nil)
	f.Record(record.End, nil)
	return f.SetSizes(Sizes{DataSize: end - data, DataOffset: data, Rcpts: 1, ContentLength: end - data})
}

func TestCommit(t *testing.T) {
	s := newSpool(t, Options{Hashed: []string{"INCOMING"}, Depth: 2})
	f, err := s.Create(Incoming, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Check(Incoming, f.ID); !errors.Is(err, ErrNotReady) {
		t.Errorf("a file that is being written counts as a message: %v", err)
	}
	if err := write(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(0); err != nil {
		t.Fatal(err)
	}
	st, err := s.Check(Incoming, f.ID)
	if err != nil {
		t.Fatal(err)
	}
	id, ok := ParseID(f.ID)
	if !ok || id.Inode != st.Inode || id.Long || st.Mode != 0700 {
		t.Errorf("id %s, inode %X, mode %v", f.ID, st.Inode, st.Mode)
	}
	if want := fmt.Sprintf("incoming/%c/%c/%s", f.ID[0], f.ID[1], f.ID); f.Path() != want {
		t.Errorf("path %s, want %s", f.Path(), want)
	}
	m, err := s.Open(Incoming, f.ID, Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	e, err := m.Envelope(0)
	if err != nil || len(e.Rcpts) != 1 || e.Rcpts[0].Address != "b@example.com" || len(e.Notes) != 0 {
		t.Errorf("envelope %+v, %v", e, err)
	}
	f.Abort()
	if _, err := s.Check(Incoming, f.ID); err != nil {
		t.Errorf("Abort after Commit harms the message: %v", err)
	}
}

func TestHoldIsCommittedInItsOwnDirectory(t *testing.T) {
	ops := &faultFS{FS: System{}}
	s := newSpool(t, Options{FS: ops})
	f, err := s.Create(Incoming, 0)
	if err != nil {
		t.Fatal(err)
	}
	write(f)
	if err := f.Move(Hold); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Check(Hold, f.ID); err != nil {
		t.Error(err)
	}
	var tail []string
	for _, c := range ops.calls {
		tail = append(tail, c)
	}
	got := strings.Join(tail, " ")
	if !strings.HasSuffix(got, "rename writeat chmod sync close syncdir syncdir") {
		t.Errorf("calls: %s", got)
	}
}

func TestWriteAtReachesBufferAndFile(t *testing.T) {
	for _, c := range []struct {
		rule       string
		fill       int
		at, length int64
	}{
		{"bytes that wait in the buffer", 100, 10, 5},
		{"bytes that are written", writeSize * 2, 10, 5},
		{"bytes on both sides", writeSize + 100, writeSize - 3, 20},
	} {
		s := newSpool(t, Options{})
		f, err := s.Create(Incoming, 0)
		if err != nil {
			t.Fatal(err)
		}
		for f.Offset() < int64(c.fill) {
			f.RecordString(record.Text, "0123456789")
		}
		patch := []byte(strings.Repeat("#", int(c.length)))
		if _, err := f.WriteAt(patch, c.at); err != nil {
			t.Fatal(err)
		}
		before := f.Offset()
		if err := f.Commit(0); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(s.path(f.Path()))
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(got)) != before || string(got[c.at:c.at+c.length]) != string(patch) || strings.Count(string(got), "#") != int(c.length) {
			t.Errorf("%s: patch missing or elsewhere", c.rule)
		}
		if _, err := f.WriteAt(patch, before); err == nil {
			t.Errorf("%s: a write beyond the end is accepted", c.rule)
		}
	}
}

// faultFS fails the call with a number, counted from 1.
type faultFS struct {
	FS
	at    int   // call that fails, 0 for none
	err   error // its error; nil makes a write short
	n     int
	calls []string
}

func (f *faultFS) call(name string) (failed bool) {
	f.n++
	f.calls = append(f.calls, name)
	return f.n == f.at
}

func (f *faultFS) Open(path string, flag int, perm fs.FileMode) (Handle, error) {
	if f.call("open") {
		return nil, f.err
	}
	h, err := f.FS.Open(path, flag, perm)
	return &faultHandle{h, f}, err
}

func (f *faultFS) Rename(from, to string) error {
	if f.call("rename") {
		return f.err
	}
	return f.FS.Rename(from, to)
}

func (f *faultFS) Link(from, to string) error {
	if f.call("link") {
		return f.err
	}
	return f.FS.Link(from, to)
}

func (f *faultFS) Mkdir(path string, perm fs.FileMode) error {
	if f.call("mkdir") {
		return f.err
	}
	return f.FS.Mkdir(path, perm)
}

func (f *faultFS) SyncDir(path string) error {
	if f.call("syncdir") {
		return f.err
	}
	return f.FS.SyncDir(path)
}

func (f *faultFS) SetTime(path string, t time.Time) error {
	if f.call("settime") {
		return f.err
	}
	return f.FS.SetTime(path, t)
}

type faultHandle struct {
	Handle
	f *faultFS
}

func (h *faultHandle) WriteAt(p []byte, off int64) (int, error) {
	if h.f.call("writeat") {
		n, err := h.Handle.WriteAt(p[:len(p)/2], off)
		return n, errors.Join(err, h.f.err)
	}
	return h.Handle.WriteAt(p, off)
}

func (h *faultHandle) Stat() (Info, error) {
	if h.f.call("stat") {
		return Info{}, h.f.err
	}
	return h.Handle.Stat()
}

func (h *faultHandle) Chmod(mode fs.FileMode) error {
	if h.f.call("chmod") {
		return h.f.err
	}
	return h.Handle.Chmod(mode)
}

func (h *faultHandle) Truncate(size int64) error {
	if h.f.call("truncate") {
		return h.f.err
	}
	return h.Handle.Truncate(size)
}

func (h *faultHandle) Sync() error {
	if h.f.call("sync") {
		return h.f.err
	}
	return h.Handle.Sync()
}

func (h *faultHandle) Close() error {
	err := h.Handle.Close()
	if h.f.call("close") {
		return h.f.err
	}
	return err
}

// Each single call that fails on the way to Commit makes Commit, or what
// comes before it, fail, and leaves nothing in the queue.
func TestNoFaultIsASuccess(t *testing.T) {
	accept := func(s *Spool) error {
		f, err := s.Create(Incoming, 0)
		if err != nil {
			return err
		}
		write(f) // keeps its error for Commit
		f.Move(Hold)
		return f.Commit(0)
	}
	options := Options{Hashed: []string{Incoming, Hold}, Depth: 1, LongIDs: true}
	clean := &faultFS{FS: System{}}
	options.FS = clean
	if err := accept(newSpool(t, options)); err != nil {
		t.Fatal(err)
	}
	if clean.n < 12 {
		t.Fatalf("only %d calls: %v", clean.n, clean.calls)
	}
	for _, errno := range []error{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, nil} {
		for n := 1; n <= clean.n; n++ {
			if errno == nil && clean.calls[n-1] != "writeat" {
				continue // a short write
			}
			faulty := &faultFS{FS: System{}, at: n, err: errno}
			options.FS = faulty
			s := newSpool(t, options)
			err := accept(s)
			if err == nil {
				t.Errorf("%v in call %d (%s) became a success", errno, n, clean.calls[n-1])
			}
			if errno != nil && !errors.Is(err, errno) {
				t.Errorf("%v in call %d (%s) is reported as %v", errno, n, clean.calls[n-1], err)
			}
			if left := files(t, s); len(left) != 0 {
				t.Errorf("%v in call %d (%s) leaves %v", errno, n, clean.calls[n-1], left)
			}
			synced := 0
			for _, c := range faulty.calls {
				if c == "sync" {
					synced++
				}
			}
			if synced > 1 {
				t.Errorf("%v in call %d: the file was synced again after a failure", errno, n)
			}
		}
	}
}

// files lists all files below the spool.
func files(t *testing.T, s *Spool) (list []string) {
	t.Helper()
	err := filepath.WalkDir(s.o.Root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, strings.TrimPrefix(path, s.o.Root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestClockAheadIsCorrected(t *testing.T) {
	var warned []string
	past := time.Now().Add(-time.Hour)
	s := newSpool(t, Options{
		Now:  func() time.Time { return past },
		Warn: func(format string, args ...any) { warned = append(warned, fmt.Sprintf(format, args...)) },
	})
	f, err := s.Create(Incoming, 0)
	if err != nil {
		t.Fatal(err)
	}
	write(f)
	if err := f.Commit(0); err != nil {
		t.Fatal(err)
	}
	st, err := s.Check(Incoming, f.ID)
	if err != nil || st.ModTime.Unix() != past.Unix() {
		t.Errorf("time of the file is %v, want %v (%v)", st.ModTime, past, err)
	}
	if len(warned) != 2 {
		t.Errorf("warnings: %q", warned)
	}
}
