package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A mirror is what a client knows of its mailbox from what it was told.
type mirror struct {
	x    *tester
	uids []string // by number; "" until it is fetched
}

// take learns from untagged responses. quiet commands may bring no EXPUNGE.
func (m *mirror) take(t *testing.T, command string, quiet bool, lines []string) {
	for _, l := range lines {
		f := strings.Fields(l)
		if len(f) < 3 || f[0] != "*" {
			continue
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			continue
		}
		switch f[2] {
		case "EXISTS":
			if n < len(m.uids) {
				t.Errorf("%s: %s, but %d were there", command, l, len(m.uids))
			}
			for len(m.uids) < n {
				m.uids = append(m.uids, "")
			}
		case "EXPUNGE":
			if quiet || n < 1 || n > len(m.uids) {
				t.Errorf("%s: %s with %d messages", command, l, len(m.uids))
				return
			}
			m.uids = append(m.uids[:n-1], m.uids[n:]...)
		case "FETCH":
			if n < 1 || n > len(m.uids) {
				t.Errorf("%s: %s with %d messages", command, l, len(m.uids))
				return
			}
			if _, rest, ok := strings.Cut(l, "UID "); ok {
				uid := strings.TrimRight(strings.Fields(rest)[0], ")")
				if m.uids[n-1] != "" && m.uids[n-1] != uid {
					t.Errorf("%s: message %d was UID %s and is %s", command, n, m.uids[n-1], uid)
				}
				m.uids[n-1] = uid
			}
		}
	}
}

// do plays a random command.
func (m *mirror) do(t *testing.T, r *rand.Rand) {
	n := "1:*"
	if len(m.uids) > 0 {
		n = fmt.Sprintf("%d:%d", 1+r.IntN(len(m.uids)), 1+r.IntN(len(m.uids)))
	}
	quiet := true
	var command string
	switch r.IntN(12) {
	case 0:
		command, quiet = "NOOP", false
	case 1:
		command, quiet = "EXPUNGE", false
	case 2:
		command = "STORE " + n + " +FLAGS (\\Deleted)"
	case 3:
		command = "STORE " + n + " -FLAGS.SILENT (\\Deleted)"
	case 4:
		command = "FETCH " + n + " (UID FLAGS ENVELOPE)"
	case 5:
		command, quiet = "UID FETCH 1:* (FLAGS BODY.PEEK[HEADER])", false
	case 6, 7:
		command, quiet = "APPEND INBOX "+literal("Subject: appended\n\nx\n"), false
	case 8:
		command = "SEARCH UNDELETED SUBJECT appended"
	case 9:
		command = "COPY " + n + " Sent"
	case 10:
		command, quiet = "UID MOVE 1:3 Trash", false
	case 11:
		command = "FETCH " + n + " (UID BODYSTRUCTURE RFC822.SIZE)"
	}
	lines, end := m.x.do(command)
	if strings.HasPrefix(end, "BAD") && len(m.uids) > 0 || strings.Contains(end, "SERVERBUG") {
		t.Errorf("%s: %s", command, end)
	}
	m.take(t, command, quiet, lines)
}

// Many sessions of one mailbox, and another program that delivers, renames and
// removes, never make a session's numbers wrong.
func TestManySessions(t *testing.T) {
	s := newStage(t)
	const clients = 6
	end := time.Now().Add(3 * time.Second)
	var all sync.WaitGroup
	mirrors := make([]*mirror, clients)
	for i := range clients {
		m := &mirror{x: s.dial()}
		mirrors[i] = m
		lines, _ := m.x.do("SELECT INBOX")
		m.take(t, "SELECT", true, lines)
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for time.Now().Before(end) && !t.Failed() {
				m.do(t, r)
			}
		})
	}
	all.Go(func() { s.meddle(end) })
	all.Wait()
	if t.Failed() {
		return
	}
	want := ""
	for i, m := range mirrors {
		lines, _ := m.x.do("NOOP")
		m.take(t, "NOOP", false, lines)
		lines, _ = m.x.do("UID FETCH 1:* FLAGS")
		m.take(t, "UID FETCH", false, lines)
		got := strings.Join(m.uids, " ")
		if i == 0 {
			want = got
		} else if got != want {
			t.Errorf("client %d sees %s, client 0 %s", i, got, want)
		}
	}
	files, _ := filepath.Glob(filepath.Join(s.root, "*", "[0-9]*"))
	if n := len(strings.Fields(want)); n != len(files) {
		t.Errorf("%d messages, %d files", n, len(files))
	}
}

// meddle does in the Maildir what other programs do.
func (s *stage) meddle(end time.Time) {
	r := rand.New(rand.NewPCG(99, 1))
	for n := 0; time.Now().Before(end); n++ {
		s.deliver(fmt.Sprintf("%d.M%dP9.other", time.Now().Unix(), n), "Subject: delivered\n\nx\n")
		files, _ := filepath.Glob(filepath.Join(s.root, "cur", "*"))
		if len(files) > 0 {
			switch f := files[r.IntN(len(files))]; r.IntN(3) {
			case 0:
				_ = os.Remove(f) // a session may have been quicker
			case 1:
				_ = os.Rename(f, strings.Split(f, ":")[0]+":2,FS") // as above
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}
