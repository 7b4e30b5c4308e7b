package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"postroad/libmail/maillog"
	"postroad/libmail/queue"
)

type lines []string

func (l *lines) Write(_ maillog.Level, _, text string) { *l = append(*l, text) }

// newKeeper makes a spool in a temporary working directory.
func newKeeper(t *testing.T, o queue.Options) (*keeper, *lines) {
	t.Helper()
	t.Chdir(t.TempDir())
	for q := range places {
		if err := os.Mkdir(q, 0700); err != nil {
			t.Fatal(err)
		}
	}
	o.Owner = os.Getuid()
	log := &lines{}
	return &keeper{spool: queue.New(o), settings: o, log: maillog.New("postsuper", log)}, log
}

// put makes files; a name of "ID" ends in the file's own inode number.
func put(t *testing.T, mode fs.FileMode, paths ...string) (names []string) {
	t.Helper()
	for _, path := range paths {
		if err := os.MkdirAll(filepath.Dir(path), 0700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(path), mode); err != nil {
			t.Fatal(err)
		}
		st, err := queue.System{}.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		name := path
		if strings.HasSuffix(path, "ID") {
			name = fmt.Sprintf("%s%X", strings.TrimSuffix(path, "ID"), st.Inode)
			if err := os.Rename(path, name); err != nil {
				t.Fatal(err)
			}
		}
		names = append(names, name)
	}
	return names
}

// tree lists all files with their modes.
func tree(t *testing.T) (list []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			st, errInfo := d.Info()
			if errInfo != nil {
				return errInfo
			}
			list = append(list, fmt.Sprintf("%o %s", st.Mode().Perm(), path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(list)
	return list
}

func TestActions(t *testing.T) {
	for _, c := range []struct{ rule, args, stdin, before, after, said string }{
		{"-d removes a message and its logs", "-d A1", "", "700 deferred/A1, 600 defer/A1, 600 bounce/A1, 600 trace/A1, 600 defer/B2", "600 defer/B2",
			"A1: removed, Deleted: 1 message"},
		{"-d of an unknown id says so", "-d X", "", "700 deferred/A1", "700 deferred/A1", "Deleted: 0 messages"},
		{"-d leaves the logs of a message that is not there", "-d X", "", "600 bounce/X", "600 bounce/X", "Deleted: 0 messages"},
		{"-d leaves a file that is being written", "-d A1", "", "600 incoming/A1", "600 incoming/A1", "Deleted: 0 messages"},
		{"-h takes ids from standard input", "-h -", "A1\nno.id\nB2\n", "700 incoming/A1, 700 active/B2", "700 hold/A1, 700 hold/B2",
			"A1: placed on hold, warning: invalid mail queue id: no.id, B2: placed on hold, Placed on hold: 2 messages"},
		{"-h leaves maildrop alone", "-h A1", "", "700 maildrop/A1", "700 maildrop/A1", "Placed on hold: 0 messages"},
		{"-H releases to deferred", "-H A1", "", "700 hold/A1", "700 deferred/A1", "A1: released from hold, Released from hold: 1 message"},
		{"-r requeues, the logs stay", "-r A1", "", "700 active/A1, 600 defer/A1", "600 defer/A1, 700 maildrop/A1", "A1: requeued, Requeued: 1 message"},
		{"-e expires once", "-e A1 -e A1", "", "700 hold/A1", "710 hold/A1", "A1: expired, Force-expired: 1 message"},
		{"-f expires and releases", "-f A1", "", "700 hold/A1", "710 deferred/A1",
			"A1: expired, A1: released from hold, Force-expired: 1 message, Released from hold: 1 message"},
		{"ALL prints totals only", "-h ALL", "", "700 incoming/A1, 700 deferred/B2, 700 maildrop/C3", "700 hold/A1, 700 hold/B2, 700 maildrop/C3",
			"Placed on hold: 2 messages"},
		{"-f ALL expires everywhere and releases what is held", "-f ALL", "", "700 hold/A1, 700 deferred/B2", "710 deferred/A1, 710 deferred/B2",
			"Force-expired: 2 messages, Released from hold: 1 message"},
		{"-d ALL removes all, and counts messages", "-d ALL", "", "700 hold/A1, 600 incoming/1.2, 600 defer/A1, 600 trace/A1", "", "Deleted: 1 message"},
		{"actions follow the command line", "-h A1 -H A1", "", "700 incoming/A1", "700 deferred/A1",
			"A1: placed on hold, A1: released from hold, Placed on hold: 1 message, Released from hold: 1 message"},
		{"another message is not overwritten", "-h A1", "", "700 incoming/A1, 700 hold/A1", "700 hold/A1, 700 incoming/A1",
			"warning: rename file incoming/A1: there is another hold/A1, warning: rename file incoming/A1: there is another hold/A1, Placed on hold: 0 messages"},
		{"named directories limit the work", "-d A1 hold", "", "700 incoming/A1", "700 incoming/A1", "Deleted: 0 messages"},
	} {
		k, log := newKeeper(t, queue.Options{})
		for _, f := range split(c.before) {
			var mode fs.FileMode
			var path string
			if _, err := fmt.Sscanf(f, "%o %s", &mode, &path); err != nil {
				t.Fatal(err)
			}
			put(t, mode, path)
		}
		o, queues, err := parse(strings.Fields(c.args))
		if err != nil {
			t.Fatal(err)
		}
		if err := k.run(o, queues, strings.NewReader(c.stdin)); err != nil {
			t.Errorf("%s: %v", c.rule, err)
		}
		if got := strings.Join(tree(t), ", "); got != c.after {
			t.Errorf("%s: files %s", c.rule, got)
		}
		if got := strings.Join(*log, ", "); got != c.said {
			t.Errorf("%s: said %s", c.rule, got)
		}
	}
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ", ")
}

func TestRepair(t *testing.T) {
	k, log := newKeeper(t, queue.Options{Hashed: []string{"deferred", "defer"}, Depth: 1})
	good := put(t, 0700, "deferred/A/ABCDEID", "incoming/BBCDEID")
	put(t, 0600, "incoming/1.2", "incoming/3.4", "defer/old/x")
	misplaced := put(t, 0700, "deferred/Z/Y/CBCDEID")[0]
	put(t, 0700, "active/DBCDE1", "active/EBCDE2") // of other inodes
	put(t, 0600, "defer/D/DBCDE1", "trace/DBCDE1")
	long := put(t, 0700, "hold/4jXbXn6XBwz1SCB9")[0]
	week := time.Now().Add(-8 * 24 * time.Hour)
	if err := os.Chtimes("incoming/3.4", week, week); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll("defer/old"); err != nil {
		t.Fatal(err)
	}
	inode := func(path string) string {
		st, err := queue.System{}.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%X", st.Inode)
	}
	d, e, l := "DBCDE"+inode("active/DBCDE1"), "EBCDE"+inode("active/EBCDE2"), "E0978"+inode(long)

	o, queues, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.run(o, queues, nil); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"700 " + good[0], "700 " + good[1], "600 incoming/1.2", "700 deferred/C/" + filepath.Base(misplaced),
		"700 active/" + d, "700 active/" + e, "600 defer/D/" + d, "600 trace/" + d, "700 hold/" + l,
	}
	sort.Strings(want)
	if got := tree(t); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("files:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := os.Stat("deferred/Z/Y"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not wanted stays: %v", err)
	}
	if !strings.Contains(strings.Join(*log, "\n"), "Renamed to match inode number: 3 messages\nwarning: QUEUE FILE NAMES WERE CHANGED TO MATCH INODE NUMBERS") {
		t.Errorf("said %q", *log)
	}
	before := tree(t)
	k.inodeFixed.Store(0)
	k.inodeMismatch.Store(0)
	if err := k.run(o, queues, nil); err != nil || strings.Join(tree(t), "\n") != strings.Join(before, "\n") {
		t.Errorf("a second repair changes something: %v", err)
	}
}

func TestNamesChangedStopActions(t *testing.T) {
	k, _ := newKeeper(t, queue.Options{})
	put(t, 0700, "active/DBCDE1")
	o, queues, err := parse([]string{"-s", "-d", "DBCDE1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.run(o, queues, nil); err == nil || len(tree(t)) != 1 {
		t.Errorf("a message is removed under a name that another may have got: %v", err)
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct{ rule, args, want string }{
		{"an unknown option is refused, and named", "-x", usage + " (invalid option -- 'x')"},
		{"a directory must be absolute", "-c conf", "-c requires absolute pathname"},
	} {
		if _, _, err := parse(strings.Fields(c.args)); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v", c.rule, err)
		}
	}
	k, _ := newKeeper(t, queue.Options{})
	if err := k.run(options{}, []string{"etc"}, nil); err == nil || err.Error() != "invalid directory name: etc" {
		t.Errorf("another directory: %v", err)
	}
}
