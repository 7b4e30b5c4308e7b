package table

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// due makes the next lookup look at the file, which was last changed long ago.
func due(t *testing.T, tab Table, path string, age time.Duration) {
	t.Helper()
	if path != "" {
		when := time.Now().Add(-age)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	tab.(*front).contents.(*watched).check.Store(0)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAFileIsReadAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t")
	write(t, path, "a 1\n")
	var h heard
	tab, err := Open("texthash:"+path, Options{Log: &h})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	m := &Maps{tables: []Table{tab}}
	steps := []struct {
		rule    string
		change  func()
		age     time.Duration // of the file after the change; 0: it is gone, or was not touched
		want    string
		changed bool
		says    string
	}{
		{"nothing changes", func() {}, time.Hour, "=1", true, ""}, // but for the time
		{"new contents", func() { write(t, path, "a 2\n") }, 2 * time.Hour, "=2", true, ""},
		{"the same file", func() {}, 0, "=2", false, ""},
		{"bad contents leave the old ones in force", func() { write(t, path, "a 3\na 4\n") }, 3 * time.Hour, "=2", false, "has changed: "},
		{"which is said once", func() {}, 3 * time.Hour, "=2", false, ""},
		{"no file leaves the old ones in force", func() { os.Remove(path) }, 0, "=2", false, "no such file"},
		{"a new file", func() { write(t, path, "a 5\n") }, 4 * time.Hour, "=5", true, ""},
	}
	for _, s := range steps {
		h.lines = nil
		s.change()
		file := path
		if s.age == 0 {
			file = ""
		}
		due(t, tab, file, s.age)
		if got := answer(tab, "a"); got != s.want {
			t.Errorf("%s: got %s", s.rule, got)
		}
		if changed := m.Changed(); changed != s.changed {
			t.Errorf("%s: Changed %v", s.rule, changed)
		}
		if said := strings.Join(h.lines, "|"); (said == "") != (s.says == "") || !strings.Contains(said, s.says) {
			t.Errorf("%s: said %q", s.rule, said)
		}
	}
}

func TestATableThatWasMissingIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t")
	tab, err := Open("hash:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	if got := answer(tab, "a"); got != "unavailable" {
		t.Errorf("got %s", got)
	}
	build(t, "hash:"+path, map[string]string{"a": "1"}, BuildOptions{})
	due(t, tab, path+".db", time.Hour)
	if got := answer(tab, "a"); got != "=1" {
		t.Errorf("got %s", got)
	}
}

func TestAFileThatMayNoLongerBeOpenedIsReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t")
	write(t, path, "a 1\n")
	var stale []string
	tab, err := Open("texthash:"+path, Options{Stale: func(name string) { stale = append(stale, name) }})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		due(t, tab, "", 0)
		if got := answer(tab, "a"); got != "=1" {
			t.Errorf("got %s", got)
		}
	}
	if fmt.Sprint(stale) != fmt.Sprint([]string{"texthash:" + path}) {
		t.Errorf("stale %q", stale)
	}
}

func TestAPathThatLeadsNowhereIsNoChange(t *testing.T) {
	for _, typ := range []string{"texthash", "hash", "cdb"} {
		path := filepath.Join(t.TempDir(), "t")
		file := path
		if typ == "texthash" {
			write(t, path, "a 1\n")
		} else {
			build(t, typ+":"+path, map[string]string{"a": "1"}, BuildOptions{})
			file += kinds[typ].ext
		}
		var h heard
		var stale []string
		tab, err := Open(typ+":"+path, Options{Log: &h, Stale: func(name string) { stale = append(stale, name) }})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file, file+".elsewhere"); err != nil { // as chroot does
			t.Fatal(err)
		}
		due(t, tab, "", 0)
		if got := answer(tab, "a"); got != "=1" || len(h.lines)+len(stale) > 0 {
			t.Errorf("%s: %s, said %q, stale %q", typ, got, h.lines, stale)
		}
		if err := os.Remove(file + ".elsewhere"); err != nil { // as postmap does
			t.Fatal(err)
		}
		due(t, tab, "", 0)
		if got := answer(tab, "a"); got != "=1" || len(stale) != 1 {
			t.Errorf("%s: %s, stale %q", typ, got, stale)
		}
		if err := tab.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAFileThatIsBeingWrittenIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t")
	write(t, path, "a 1\n")
	tab, err := Open("texthash:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	write(t, path, "")
	due(t, tab, path, -time.Millisecond)
	if got := answer(tab, "a"); got != "=1" {
		t.Errorf("got %s", got)
	}
}

func TestLookupsWhileTheFileChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t")
	build(t, "hash:"+path, map[string]string{"a": "1"}, BuildOptions{})
	tab, err := Open("hash:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 300 {
				if got := answer(tab, "a"); got != "=1" {
					t.Errorf("got %s", got)
				}
			}
		})
	}
	for range 5 {
		build(t, "hash:"+path, map[string]string{"a": "1"}, BuildOptions{})
		due(t, tab, path+".db", time.Hour)
	}
	all.Wait()
	if err := tab.Close(); err != nil {
		t.Error(err)
	}
	if got := answer(tab, "a"); got != "unavailable" {
		t.Errorf("a closed table says %s", got)
	}
}

// TestABuildThatFailsLeavesTheOldFile injects what can go wrong.
func TestABuildThatFailsLeavesTheOldFile(t *testing.T) {
	for _, typ := range []string{"hash", "btree", "cdb"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "t")
		build(t, typ+":"+path, map[string]string{"a": "1"}, BuildOptions{})
		for _, fault := range []struct {
			rule string
			do   func(b *Builder)
		}{
			{"an aborted build", func(b *Builder) { b.Abort() }},
			{"a disk that is full", func(b *Builder) {
				full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
				if err != nil {
					t.Skip(err)
				}
				b.tmp.Close()
				b.tmp = full
				if err := b.Commit(); err == nil {
					t.Errorf("%s: a full disk is no error", typ)
				}
			}},
			{"a file that is closed", func(b *Builder) {
				b.tmp.Close()
				if err := b.Commit(); err == nil {
					t.Errorf("%s: a closed file is no error", typ)
				}
			}},
		} {
			b, err := NewBuilder(typ+":"+path, BuildOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Add("a", "2"); err != nil {
				t.Fatal(err)
			}
			fault.do(b)
			tab, err := Open(typ+":"+path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := answer(tab, "a"); got != "=1" {
				t.Errorf("%s: after %s: %s", typ, fault.rule, got)
			}
			tab.Close()
			if left, _ := filepath.Glob(dir + "/*.tmp"); len(left) > 0 {
				t.Errorf("%s: after %s: %q is left", typ, fault.rule, left)
			}
		}
	}
}

func TestTwoBuildersOfOneFileWaitForEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			b, err := NewBuilder("hash:"+path, BuildOptions{Contents: Update})
			if err != nil {
				t.Error(err)
				return
			}
			if err := b.Add(fmt.Sprint("k", i), "v"); err != nil {
				t.Error(err)
			}
			if err := b.Commit(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	tab, err := Open("hash:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	for i := range 8 {
		if got := answer(tab, fmt.Sprint("k", i)); got != "=v" {
			t.Errorf("k%d: %s", i, got)
		}
	}
}
