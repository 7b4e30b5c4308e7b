package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"testing"
)

// slowFS lets the test see each directory sync begin and say how it ends.
type slowFS struct {
	FS
	began chan string
	end   chan error
}

func (f *slowFS) SyncDir(path string) error {
	f.began <- path
	return <-f.end
}

func TestDirectorySyncsAreShared(t *testing.T) {
	f := &slowFS{began: make(chan string), end: make(chan error)}
	d := &dirSyncs{fs: f}
	result := make(chan error, 10)
	wait := func(ticket ticket) { go func() { result <- d.wait(ticket) }() }

	wait(d.take("q"))
	<-f.began
	late := []ticket{d.take("q"), d.take("q"), d.take("q")} // made after the sync began
	for _, ticket := range late[:2] {
		wait(ticket)
	}
	f.end <- nil
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	// The first sync began too early for the late ones; one more serves both.
	<-f.began
	select {
	case err := <-result:
		t.Fatalf("a name made after the sync began is called durable (%v)", err)
	default:
	}
	f.end <- nil
	for range 2 {
		if err := <-result; err != nil {
			t.Fatal(err)
		}
	}
	// The third was covered by it and needs no sync of its own.
	if err := d.wait(late[2]); err != nil {
		t.Fatal(err)
	}
	if len(d.dirs) != 0 {
		t.Errorf("directories that nobody waits for are kept: %v", d.dirs)
	}
}

func TestFailedDirectorySyncIsNotRepeated(t *testing.T) {
	f := &slowFS{began: make(chan string, 1), end: make(chan error, 1)}
	d := &dirSyncs{fs: f}
	before, covered := d.take("q"), d.take("q")
	broken := errors.New("broken")
	f.end <- broken
	if err := d.wait(before); !errors.Is(err, broken) {
		t.Fatalf("failure reported as %v", err)
	}
	<-f.began
	if err := d.wait(covered); !errors.Is(err, broken) {
		t.Errorf("a name that the failed sync covered got %v", err)
	}
	after := d.take("q")
	f.end <- nil
	if err := d.wait(after); err != nil {
		t.Errorf("a new name after a failure: %v", err)
	}
}

func TestManyCommits(t *testing.T) {
	s := newSpool(t, Options{Hashed: []string{Incoming}, Depth: 1})
	var wg sync.WaitGroup
	ids := make(chan string, 200)
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 20 {
				f, err := s.Create(Incoming, 0)
				if err == nil {
					write(f)
					err = f.Commit(0)
				}
				if err != nil {
					t.Error(err)
					return
				}
				ids <- f.ID
			}
		}()
	}
	wg.Wait()
	close(ids)
	seen := map[string]bool{}
	for id := range ids {
		seen[id] = true
	}
	sc := s.Scan(Incoming)
	defer sc.Close()
	for range 160 {
		e, err := sc.Next()
		if err != nil || !seen[e.Name] {
			t.Fatalf("scan: %v, %v", e, err)
		}
		delete(seen, e.Name)
	}
}

func TestMove(t *testing.T) {
	for _, link := range []bool{false, true} {
		name := map[bool]string{false: "rename", true: "link, sync, remove"}[link]
		s := newSpool(t, Options{Hashed: []string{Deferred}, Depth: 2})
		s.linkMove = link
		id := commit(t, s)
		if err := s.Move(id, Incoming, Deferred); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := files(t, s); len(got) != 1 || got[0] != s.Path(Deferred, id) {
			t.Errorf("%s: files %v", name, got)
		}
		if err := s.Move(id, Incoming, Active); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: moving what is not there: %v", name, err)
		}
		// A crash after the first half leaves both names.
		if err := os.Link(s.path(s.Path(Deferred, id)), s.path("active/"+id)); err != nil {
			t.Fatal(err)
		}
		if err := s.Move(id, Deferred, Active); err != nil {
			t.Errorf("%s: half a move is not finished: %v", name, err)
		}
		if got := files(t, s); len(got) != 1 || got[0] != "active/"+id {
			t.Errorf("%s: files %v", name, got)
		}
		// Another message of that name is never replaced.
		if err := os.WriteFile(s.path("hold/"+id), []byte("other"), 0700); err != nil {
			t.Fatal(err)
		}
		if err := s.Move(id, Active, Hold); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: onto another message: %v", name, err)
		}
		if got := files(t, s); len(got) != 2 {
			t.Errorf("%s: files %v", name, got)
		}
	}
}

// On a file system without transactions the old name goes only after the new
// one is durable, whichever call fails.
func TestLinkMoveOrder(t *testing.T) {
	for n := range 4 {
		f := &faultFS{FS: System{}}
		s := newSpool(t, Options{FS: f})
		id := commit(t, s)
		s.linkMove = true
		f.n, f.calls, f.at, f.err = 0, nil, n, fmt.Errorf("fault %d", n)
		err := s.Move(id, Incoming, Active)
		left := files(t, s)
		switch {
		case n == 0 && (err != nil || len(left) != 1 || fmt.Sprint(f.calls) != "[link syncdir]"):
			t.Errorf("calls %v, files %v, %v", f.calls, left, err)
		case n == 1 && (err == nil || len(left) != 1), n == 2 && (err == nil || len(left) != 2):
			t.Errorf("fault %d: files %v, %v", n, left, err)
		}
	}
}

// commit makes one message in incoming.
func commit(t *testing.T, s *Spool) string {
	t.Helper()
	f, err := s.Create(Incoming, 0)
	if err != nil {
		t.Fatal(err)
	}
	write(f)
	if err := f.Commit(0); err != nil {
		t.Fatal(err)
	}
	return f.ID
}

func TestOneQueueManager(t *testing.T) {
	s := newSpool(t, Options{})
	first, err := s.LockActive()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.LockActive(); !errors.Is(err, ErrBusy) {
		t.Errorf("a second one gets %v", err)
	}
	first.Close()
	again, err := s.LockActive()
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestRoom(t *testing.T) {
	for _, c := range []struct {
		rule           string
		free           uint64
		minFree, limit int64
		ok             bool
	}{
		{"one and a half times the limit must be free, and more", 150, 0, 100 * 4096, false},
		{"above that there is room", 151, 0, 100 * 4096, true},
		{"queue_minfree must be exceeded", 100, 100 * 4096, 0, false},
		{"above queue_minfree there is room", 101, 100 * 4096, 0, true},
		{"an empty disk has no room for an unlimited message", 0, 0, 0, false},
	} {
		if err := room(c.free, 4096, c.minFree, c.limit); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.rule, err)
		}
	}
	if err := newSpool(t, Options{}).Room(0, 1); err != nil {
		t.Error(err)
	}
}
