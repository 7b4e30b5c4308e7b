package crash

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReload: a reload every 200 ms cuts no session and loses nothing. A
// session may only end early by a 421.
func TestReload(t *testing.T) {
	s := newSuite(t)
	s.Start()
	l := &load{ledger: newLedger(), addr: s.Addr(), clients: 8, limit: 20 * time.Second}
	over := make(chan struct{})
	end := time.Now().Add(5 * time.Second * time.Duration(times()))
	go func() {
		defer close(over)
		l.run(1<<30, end)
	}()
	reloads := 0
	for done := false; !done; {
		select {
		case <-over:
			done = true
		case <-time.After(200 * time.Millisecond):
			if out, status := s.Run("", "postroad", "-c", filepath.Join(s.Dir, "etc"), "reload"); status != 0 {
				t.Errorf("reload: exit %d: %s", status, out)
			}
			reloads++
		}
	}
	if len(l.lost) > 0 {
		t.Errorf("%d sessions were cut: %s", len(l.lost), strings.Join(l.lost[:min(len(l.lost), 5)], "; "))
	}
	for reply := range l.replies {
		if !strings.HasPrefix(reply, "421 ") {
			t.Errorf("a reload caused %d times %s", l.replies[reply], reply)
		}
	}
	finish(t, s, l, 0)
	t.Logf("%d reloads", reloads)
}
