package queue

import (
	"testing"
	"time"
)

func TestIDs(t *testing.T) {
	when := time.Unix(1795333156, 532644000)
	if got := ShortID(when, 911069); got != "820A4DE6DD" {
		t.Errorf("short id %s", got)
	}
	// A file of Postfix 3.7.11: mode long, inode 9979056, made at 17:12:35.
	id, ok := ParseID("4jXbH76k2Bz1SDmQ")
	if !ok || !id.Long {
		t.Fatalf("long id not recognised: %+v", id)
	}
	made := time.Unix(1795367555, int64(id.Usec)*1000)
	if got := LongID(made, id.Inode); got != "4jXbH76k2Bz1SDmQ" {
		t.Errorf("long id %s, of %v", got, made)
	}
	if got := id.WithInode(0); got != "4jXbH76k2Bz0" {
		t.Errorf("other inode: %s", got)
	}
	for _, c := range []struct {
		rule, name string
		valid, id  bool
	}{
		{"a short id", "820A4DE6DD", true, true},
		{"five characters hold no inode", "820A4", true, false},
		{"a site of the flush service", "example_com", true, false},
		{"a z too far left makes no long id", "00000000z1", true, false},
		{"a temporary name", "532644.1234", false, false},
		{"a path", "../../etc/passwd", false, false},
		{"nothing", "", false, false},
	} {
		if got := ValidID(c.name); got != c.valid {
			t.Errorf("%s: ValidID(%q) = %v", c.rule, c.name, got)
		}
		if _, got := ParseID(c.name); c.valid && got != c.id {
			t.Errorf("%s: ParseID(%q) = %v", c.rule, c.name, got)
		}
	}
}

func TestPath(t *testing.T) {
	s := New(Options{Hashed: []string{"deferred", "defer"}, Depth: 2})
	for _, c := range []struct{ rule, queue, id, want string }{
		{"a queue that is not hashed is flat", "incoming", "820A4DE6DD", "incoming/820A4DE6DD"},
		{"a short id is hashed by its beginning", "deferred", "820A4DE6DD", "deferred/8/2/820A4DE6DD"},
		{"a long id is hashed by its microseconds", "deferred", "4jXbH76k2Bz1SDmQ", "deferred/E/7/4jXbH76k2Bz1SDmQ"},
		{"a short name is filled up", "defer", "a", "defer/a/_/a"},
	} {
		if got := s.Path(c.queue, c.id); got != c.want {
			t.Errorf("%s: %s, want %s", c.rule, got, c.want)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("4jXbH76k2Bz1SDmQ")
	f.Add("820A4DE6DD")
	s := New(Options{Hashed: []string{"q"}, Depth: 3})
	f.Fuzz(func(t *testing.T, name string) {
		if !ValidID(name) {
			return
		}
		s.Path("q", name)
		if id, ok := ParseID(name); ok && id.Long && id.WithInode(id.Inode) != name && name[len(id.Time)] != '0' {
			t.Errorf("%s is taken apart as %+v", name, id)
		}
	})
}
