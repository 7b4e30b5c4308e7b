package crash

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/mailtest"
)

// victims are what is killed in turn. Where master itself dies it is started
// again, as the system's service manager would.
var victims = []string{"smtpd", "cleanup", "qmgr", "trivial-rewrite", "local", "mda", "bounce", "postlogd", "master"}

// newSuite is a suite with the alias of the addresses, not started yet.
func newSuite(t *testing.T) *mailtest.Suite {
	s := mailtest.NewSuite(t)
	s.File("etc/aliases", "both: alice, bob\npostmaster: alice\n")
	s.Main("queue_run_delay = 2s", "minimal_backoff_time = 1s", "maximal_backoff_time = 2s",
		"transport_retry_time = 1s", "service_throttle_time = 2s", "smtpd_error_sleep_time = 0",
		"notify_classes =", "smtpd_client_connection_rate_limit = 0")
	return s
}

// TestKill: every message that was answered with 250 is delivered whole,
// though each program dies in the midst of its work again and again.
func TestKill(t *testing.T) {
	s := newSuite(t)
	s.Start()
	l := &load{ledger: newLedger(), addr: s.Addr(), clients: 8, limit: 20 * time.Second}
	end := time.Now().Add(30 * time.Second * time.Duration(times()))
	over := make(chan struct{})
	go func() {
		defer close(over)
		l.run(1000*times(), end)
	}()
	kills := map[string]int{}
	total := 0
	for n := 0; ; n++ {
		select {
		case <-over:
			finish(t, s, l, total)
			t.Logf("kills: %v", kills)
			return
		case <-time.After(100 * time.Millisecond):
		}
		k := kill(t, s, victims[n%len(victims)])
		kills[victims[n%len(victims)]] += k
		total += k
	}
}

// kill ends all processes of a program with SIGKILL, and starts the suite
// again where that was master.
func kill(t *testing.T, s *mailtest.Suite, program string) (n int) {
	for _, pid := range s.Pids(program) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
			n++
		} else if !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
	if program == "master" {
		restart(t, s)
	}
	return n
}

func restart(t *testing.T, s *mailtest.Suite) {
	s.Until("a new master", func() bool {
		_, status := s.Run("", "postroad", "-c", filepath.Join(s.Dir, "etc"), "start")
		return status == 0 // else programs of the old one finish still
	})
}

// drained reports whether no complete message waits. What a killed cleanup
// had begun lies in incoming without the x bit; it was never ours.
func drained(t *testing.T, s *mailtest.Suite) bool {
	for _, q := range []string{"maildrop", "incoming", "active", "deferred", "hold"} {
		err := filepath.WalkDir(filepath.Join(s.Dir, "queue", q), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			st, err := d.Info()
			if err == nil && st.Mode()&0o100 != 0 {
				return errMail
			}
			return err
		})
		switch {
		case errors.Is(err, errMail), errors.Is(err, fs.ErrNotExist): // moved on just now
			return false
		case err != nil:
			t.Fatal(err)
		}
	}
	return true
}

var errMail = errors.New("there is mail")

// finish waits until all is delivered and settles the ledger. For each kill
// every client may see one message twice.
func finish(t *testing.T, s *mailtest.Suite, l *load, kills int) {
	t.Helper()
	s.Run("", "postqueue", "-f") // the queue drains by itself as well
	s.Until("an empty queue", func() bool { return drained(t, s) })
	duplicates := l.settle(t, s.Maildir)
	t.Logf("accepted %d, refused %d, cut %d, unknown %d; %d kills", l.count(accepted), l.count(refused), l.count(cut), l.count(unknown), kills)
	if duplicates > kills*l.clients {
		t.Errorf("%d duplicates after %d kills", duplicates, kills)
	}
	if n := len(s.Queue("corrupt")); n > 0 {
		t.Errorf("%d files in corrupt", n)
	}
	if l.count(accepted) < 100 {
		t.Errorf("only %d messages were accepted", l.count(accepted))
	}
	for _, p := range []string{"home/alice/Maildir/tmp", "home/bob/Maildir/tmp"} {
		if left, err := os.ReadDir(filepath.Join(s.Dir, p)); err == nil && len(left) > kills {
			t.Errorf("%d files left in %s", len(left), p)
		}
	}
}
