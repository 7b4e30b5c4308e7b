package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/mailtest"
)

// inside says to a test that it runs where TMPDIR is a file system of its own.
const inside = "POSTROAD_CRASH_TMPFS"

// onTmpfs runs the test again on a small tmpfs in a mount name space of its
// own, for which no rights are needed where the kernel gives out user name
// spaces. It reports whether this is already that run.
func onTmpfs(t *testing.T, options string) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	if out, err := exec.Command("unshare", "-Urm", "true").CombinedOutput(); err != nil {
		t.Skipf("no user name spaces here: %v %s", err, out)
	}
	dir := t.TempDir()
	// The second name space gives up the root account of the first.
	script := `mount -t tmpfs -o "$1" tmpfs "$2" && chmod 1777 "$2" && shift 2 && exec unshare -U --map-user=65534 --map-group=65534 "$@"`
	cmd := exec.Command("unshare", "-Urm", "sh", "-ec", script, "sh", options, dir, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1", "TMPDIR="+dir, "POSTROAD_BUILD="+mailtest.Programs(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
		return false
	}
	t.Logf("%s", out)
	return false
}

// TestDiskFull: without room MAIL is answered with 452 4.3.1 or the content
// with 4xx, nothing is lost, and with the room the service comes back by
// itself.
func TestDiskFull(t *testing.T) {
	if !onTmpfs(t, "size=40m") {
		return
	}
	s := newSuite(t)
	s.Main("message_size_limit = 1000000")
	full(t, s, func(dir string) func() {
		name := filepath.Join(dir, "fill")
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for size := 1 << 20; size > 0; {
			if _, err := f.Write(make([]byte, size)); err != nil {
				size /= 2
			}
		}
		return func() { os.Remove(name) } // the next load shows whether there is room
	})
}

// TestNoInodes: the same where files can be written but not made.
func TestNoInodes(t *testing.T) {
	if !onTmpfs(t, "size=100m,nr_inodes=3000") {
		return
	}
	full(t, newSuite(t), func(dir string) func() {
		fill := filepath.Join(dir, "fill")
		if err := os.Mkdir(fill, 0o755); err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n++ {
			f, err := os.Create(filepath.Join(fill, fmt.Sprint(n)))
			if errors.Is(err, syscall.ENOSPC) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			f.Close() // nothing was written
		}
		return func() { os.RemoveAll(fill) } // as above
	})
}

// full sends mail before, while and after the file system is full.
func full(t *testing.T, s *mailtest.Suite, fill func(dir string) (free func())) {
	s.Start()
	l := &load{ledger: newLedger(), addr: s.Addr(), clients: 4, limit: 20 * time.Second}
	l.run(50, time.Now().Add(20*time.Second))
	before := l.count(accepted)
	free := fill(s.Dir)
	l.run(before+50, time.Now().Add(2*time.Second))
	during := l.count(accepted) - before
	refusals := fmt.Sprint(l.replies)
	if during == 0 && !strings.Contains(refusals, "452 4.3.1:") {
		t.Errorf("no room, and the replies are %s", refusals)
	}
	for reply := range l.replies {
		if reply[0] != '4' {
			t.Errorf("no room, and a reply is %s", reply)
		}
	}
	free()
	l.run(before+during+100, time.Now().Add(20*time.Second))
	if after := l.count(accepted) - before - during; after < 100 {
		t.Errorf("only %d messages accepted once there was room", after)
	}
	t.Logf("accepted %d before, %d while full, refusals %s", before, during, refusals)
	finish(t, s, l, 1)
}
