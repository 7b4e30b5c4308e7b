package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

func TestTriggers(t *testing.T) {
	for _, c := range []struct {
		rule    string
		trigger string
		tried   []string // of "new" (in incoming, not announced), "early" (deferred, in the future), "due"
	}{
		{"W finds new mail", "W", []string{"new"}},
		{"I does", "I", []string{"new"}},
		{"D finds deferred mail that is due", "D", []string{"due"}},
		{"A alone starts nothing", "A", nil},
		{"A goes with D wherever it stands", "DA", []string{"due", "early"}},
		{"unknown letters are ignored", "xyzD ", []string{"due"}},
		{"an id names a message in incoming", "N{new}\n", []string{"new"}},
		{"an id works only for incoming", "N{early}\nN{due}\n", nil},
		{"an id is no path", "N../incoming/{new}\n", nil},
		{"an id may lack its end", "N{new}", []string{"new"}},
		{"a flush request takes all", proto.FlushQueue, []string{"due", "early", "new"}},
	} {
		w := newWorld(t)
		w.deliver = always(reply{classes: "4"})
		due, early := w.mail(letter{to: []string{"due@x"}}), w.mail(letter{to: []string{"early@x"}})
		w.run()
		w.clock.pass(10 * time.Second)
		w.must(w.spool.SetTime(queue.Deferred, due, w.clock.wall.Add(-time.Second)))
		id := w.mail(letter{to: []string{"new@x"}})
		names := strings.NewReplacer("{new}", id, "{early}", early, "{due}", due)
		var tried []string
		w.deliver = func(req *proto.Request) reply {
			user, _, _ := strings.Cut(req.Rcpts[0].Address, "@")
			tried = append(tried, user)
			return reply{classes: "4"}
		}
		w.m.trigger([]byte(names.Replace(c.trigger)))
		w.run()
		slices.Sort(tried)
		if !slices.Equal(tried, c.tried) {
			t.Errorf("%s: %v tried, want %v", c.rule, tried, c.tried)
		}
	}
}

// FuzzTrigger: nobody can do harm by writing to public/qmgr.
func FuzzTrigger(f *testing.F) {
	for _, seed := range []string{"W", "FDAI", "N4A1B2\n", "N\n", "N../x\nD", "\x00\xff"} {
		f.Add([]byte(seed))
	}
	w := newWorld(f)
	w.run()
	f.Fuzz(func(t *testing.T, request []byte) {
		w.m.trigger(request)
		w.run()
		if len(w.m.messages) != 0 || len(w.m.announced) != 0 {
			t.Errorf("%q left something in memory", request)
		}
	})
}

func TestUnthrottleBit(t *testing.T) {
	w := newWorld(t)
	dead := reply{classes: "4", outcome: dsn.Outcome{Status: "4.4.1", Reason: "no route"}}
	w.set.deferTransports = nil
	w.deliver = always(dead)
	var id string
	for range 5 {
		id = w.send("a@x")
	}
	w.run()
	path := filepath.Join(w.root, w.spool.Path(queue.Deferred, id))
	w.must(os.Chmod(path, 0740))
	w.must(os.Chtimes(path, w.clock.wall, w.clock.wall))
	w.set.deferTransports = []string{"smtp"}
	tried := 0
	w.deliver = func(req *proto.Request) reply {
		if req.Nexthop == "x" {
			tried++
		}
		return reply{classes: "4"}
	}
	w.m.trigger([]byte("D"))
	w.run()
	st, err := w.spool.Stat(queue.Deferred, id)
	w.must(err)
	if tried != 1 || st.Mode.Perm() != 0700 {
		t.Errorf("tried %d times, mode %v", tried, st.Mode)
	}
}
