package main

import (
	"fmt"
	"math/rand"
	"runtime"
	"strings"
	"testing"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// TestNobodyIsForgotten: thousands of messages, agents that do anything,
// and a queue manager that is killed at any system call. In the end each
// recipient got the message once, or its sender heard of it; nothing is
// left over, in the queue or in memory.
func TestNobodyIsForgotten(t *testing.T) {
	for _, c := range []struct {
		rule           string
		seed           int64
		messages       int
		killOneIn      int  // system calls, roughly; 0: never
		agentsRunWild  bool // lost connections, dead destinations, no agent at all
		recipientLimit int
	}{
		{"in peace", 1, 300, 0, false, 20000},
		{"with wild agents", 2, 250, 0, true, 20000},
		{"with little memory", 3, 150, 0, true, 60},
		{"with kills", 4, 200, 150, true, 20000},
		{"with kills and little memory", 5, 120, 150, true, 60},
	} {
		w := newWorld(t)
		w.rand = rand.New(rand.NewSource(c.seed))
		w.set.rcptLimit, w.set.activeLimit = c.recipientLimit, min(c.recipientLimit, 200)
		w.set.lifetime, w.set.bounceLifetime = 4*time.Hour, 4*time.Hour
		w.fs.fail = func(op, path string) error {
			if c.killOneIn > 0 && w.rand.Intn(c.killOneIn) == 0 && w.working {
				w.killed = true
				runtime.Goexit() // unlike a panic, nobody recovers from it
			}
			return nil
		}
		w.deliver = func(req *proto.Request) reply { return w.anything(req, c.agentsRunWild) }
		all := w.writeLetters(c.messages)
		w.m.trigger([]byte("I"))
		for range 2000 {
			w.clock.pass(time.Duration(w.rand.Intn(30)) * time.Second)
			w.run()
			if w.rand.Intn(200) == 0 {
				w.m.trigger([]byte("FDAI"))
			}
		}
		w.fs.fail = nil
		for range 100 {
			w.after(5 * time.Minute)
		}
		w.checkAll(c.rule, all, c.killOneIn > 0)
	}
}

// anything is what an agent may do.
func (w *world) anything(req *proto.Request, wild bool) reply {
	r := reply{classes: ""}
	for range req.Rcpts {
		r.classes += string("2222222445"[w.rand.Intn(10)])
	}
	if !wild {
		return r
	}
	switch w.rand.Intn(20) {
	case 0:
		return reply{classes: "4", outcome: dsn.Outcome{Status: "4.4.1", Reason: "timed out"}}
	case 1:
		if w.rand.Intn(5) == 0 {
			return reply{err: fmt.Errorf("%w: connection refused", proto.ErrUnavailable)}
		}
	case 2:
		if w.rand.Intn(5) == 0 && w.m.losses[req.QueueID] < maxLosses-1 {
			return reply{err: fmt.Errorf("unexpected EOF")}
		}
	}
	return r
}

// writeLetters puts messages into incoming, announcing some of them.
func (w *world) writeLetters(n int) (all []string) {
	for i := range n {
		k := 1
		switch w.rand.Intn(10) {
		case 0:
			k = 2 + w.rand.Intn(20)
		case 1:
			if i%7 == 0 {
				k = 100 + w.rand.Intn(200)
			}
		}
		var l letter
		for j := range k {
			host := fmt.Sprintf("x%d", w.rand.Intn(30))
			if w.rand.Intn(3) == 0 {
				host = "local." + host
			}
			l.to = append(l.to, fmt.Sprintf("u%d.%d@%s", i, j, host))
		}
		id := w.mail(l)
		for _, to := range l.to {
			all = append(all, id+" "+to)
		}
		if w.rand.Intn(2) == 0 {
			w.m.trigger([]byte("N" + id + "\n"))
		}
	}
	return all
}

func (w *world) checkAll(rule string, all []string, killed bool) {
	w.t.Helper()
	bad := 0
	for _, key := range all {
		sent, returned := w.sent[key], w.returned[key]
		ok := sent == 1 && returned == 0 || sent == 0 && returned == 1
		if killed {
			// A kill between a notice and the end of its log repeats the notice.
			ok = sent == 1 && returned == 0 || sent == 0 && returned >= 1
		}
		if ok {
			continue
		}
		if bad++; bad <= 5 {
			id, _, _ := strings.Cut(key, " ")
			w.t.Errorf("%s: %s: sent %d times, returned %d times, now in %q", rule, key, sent, returned, w.where(id))
		}
	}
	twice := 0
	for _, n := range w.returned {
		twice += n - 1
	}
	if bad > 0 || twice > w.kills*200 {
		w.t.Errorf("%s: %d of %d recipients did not end well; %d notices too many after %d kills", rule, bad, len(all), twice, w.kills)
	}
	for _, q := range []string{queue.Incoming, queue.Active, queue.Deferred, queue.Corrupt, queue.Bounce, queue.Defer} {
		scan := w.spool.Scan(q)
		if e, err := scan.Next(); err == nil {
			w.t.Errorf("%s: %s is left over in %s", rule, e.Name, q)
		}
		scan.Close()
	}
	if len(w.m.messages) != 0 || w.m.rcpts != 0 || len(w.m.partial) != 0 || w.m.probes != 0 {
		w.t.Errorf("%s: %d messages, %d recipients left in memory", rule, len(w.m.messages), w.m.rcpts)
	}
	for name, tr := range w.m.transports {
		if len(tr.jobs) != 0 || tr.rcpts != 0 || tr.busy != 0 || len(tr.held) != 0 || tr.alone != 0 {
			w.t.Errorf("%s: transport %s has %d jobs, %d recipients, %d deliveries left", rule, name, len(tr.jobs), tr.rcpts, tr.busy)
		}
		for _, d := range tr.destinations {
			if d.dead == nil {
				w.t.Errorf("%s: destination %s/%s is left", rule, name, d.name)
			}
		}
	}
	if killed && w.kills < 10 {
		w.t.Errorf("%s: only %d kills", rule, w.kills)
	}
	w.t.Logf("%s: %d recipients, %d kills, %d notices twice", rule, len(all), w.kills, twice)
}
