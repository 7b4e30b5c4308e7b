package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// scheduler is a queue manager whose messages have no files; deliveries stay
// in busy.
func scheduler(t testing.TB, change func(*transportSettings)) *world {
	w := &world{t: t, clock: &testClock{wall: epoch()}, set: defaults()}
	byDefault := w.set.transport
	w.set.transport = func(name string) transportSettings {
		s := byDefault(name)
		if change != nil {
			change(&s)
		}
		s.limitWindow()
		return s
	}
	w.m = newQmgr(house{clock: w.clock, agent: func(name string) agent { return testAgent(name) }}, &w.set)
	w.m.spawn = func(work func() func()) {} // rounds never end
	w.m.ask = func(a agent, req *proto.Request, then func(dsn.Outcome, int, error)) {
		w.busy = append(w.busy, &delivery{req, string(a.(testAgent)), then})
	}
	return w
}

// queue admits a message to the recipients, as user@destination.
func (w *world) queue(id string, to ...string) {
	msg := &message{id: id, env: &queue.Envelope{}}
	w.m.seq++
	msg.seq, msg.since = w.m.seq, w.clock.elapsed
	var routes []route
	for _, rcpt := range to {
		_, domain, _ := strings.Cut(rcpt, "@")
		routes = append(routes, route{proto.Rcpt{Address: rcpt}, "smtp", domain})
	}
	slices.SortStableFunc(routes, byDestination)
	w.m.messages[id] = msg
	w.m.assign(msg, routes)
}

// one lets the agent of the oldest delivery succeed, and returns its queue id.
func (w *world) one() string {
	d := w.busy[0]
	w.busy = w.busy[1:]
	d.then(dsn.Outcome{}, proto.DeliverFinal, nil)
	w.m.deliver()
	return d.req.QueueID
}

// ids is the order in which the next n deliveries end when each takes as long
// as the others.
func (w *world) ids(n int) (list []string) {
	w.m.deliver()
	for range n {
		if len(w.busy) == 0 {
			break
		}
		list = append(list, w.one())
	}
	return list
}

// alone allows one delivery at a time and to a destination, of one recipient.
func alone(s *transportSettings) { s.processes, s.concurrencyLimit, s.recipientLimit = 1, 1, 1 }

func TestOrder(t *testing.T) {
	single := func(s *transportSettings) { s.processes, s.recipientLimit = 1, 2 }
	for _, c := range []struct {
		rule   string
		set    func(*transportSettings)
		queue  []string // "id to,to"
		result string
	}{
		{"first come, first served", alone, []string{"1 a@x", "2 b@x", "3 c@x"}, "1 2 3"},
		{"also between destinations", alone, []string{"1 a@x", "2 b@y", "3 c@x"}, "1 2 3"},
		{"a request takes as many recipients of a destination as the transport does", single,
			[]string{"1 a@x,b@x,c@x,a@y", "2 z@z"}, "1 1 1 2"},
		{"a small message is never preempted", alone, []string{"1 a@x,b@x,c@x,d@x", "2 z@x"}, "1 1 1 1 2"},
	} {
		w := scheduler(t, c.set)
		for _, q := range c.queue {
			id, to, _ := strings.Cut(q, " ")
			w.queue(id, strings.Split(to, ",")...)
		}
		if got := strings.Join(w.ids(20), " "); got != c.result {
			t.Errorf("%s: %s, want %s", c.rule, got, c.result)
		}
	}
}

func TestDestinationsOfAMessageTakeTurns(t *testing.T) {
	w := scheduler(t, func(s *transportSettings) { s.processes, s.recipientLimit, s.slotCost = 3, 1, 0 })
	w.set.delimiters.Set = ""
	w.queue("1", "a@x", "b@x", "c@x", "a@y", "b@y", "c@y", "a@z", "b@z", "c@z")
	w.m.deliver()
	// With one recipient at a time each recipient is a destination.
	got := map[string]int{}
	for len(w.busy) > 0 {
		got[w.busy[0].req.Nexthop]++
		w.one()
	}
	if got["x"] != 3 || got["y"] != 3 || got["z"] != 3 {
		t.Errorf("delivered %v", got)
	}

	w = scheduler(t, func(s *transportSettings) { s.processes, s.recipientLimit, s.slotCost = 3, 2, 0 })
	w.queue("1", "a@x", "b@x", "c@x", "d@x", "e@x", "f@x", "a@y", "b@y", "c@y", "a@z", "b@z", "c@z")
	w.m.deliver()
	first := []string{w.busy[0].req.Nexthop, w.busy[1].req.Nexthop, w.busy[2].req.Nexthop}
	slices.Sort(first)
	if strings.Join(first, "") != "xyz" {
		t.Errorf("the first deliveries go to %v", first)
	}
}

// TestPreemption: 10,000 recipients and one recipient.
func TestPreemption(t *testing.T) {
	big := rcptList(10000, "u%d@x")
	small := func(set func(*transportSettings)) (place int) {
		w := scheduler(t, set)
		w.queue("big", big...)
		w.ids(10)
		w.queue("small", "z@x")
		return slices.Index(w.ids(9000), "small")
	}
	// The one delivery that is under way ends first.
	if at := small(alone); at < 0 || at > 1 {
		t.Errorf("the small message is delivered after %d others", at)
	}
	for _, c := range []struct {
		rule string
		set  func(*transportSettings)
	}{
		{"a slot cost of 0 turns preemption off", func(s *transportSettings) { alone(s); s.slotCost = 0 }},
		{"a slot cost of 1 too", func(s *transportSettings) { alone(s); s.slotCost = 1 }},
		{"no preemption below the minimum of slots", func(s *transportSettings) { alone(s); s.minSlots = 5000 }},
	} {
		if at := small(c.set); at >= 0 {
			t.Errorf("%s: delivered after %d others", c.rule, at)
		}
	}
}

func TestPreemptionIsPaidFor(t *testing.T) {
	for _, cost := range []int{2, 5, 10} {
		w := scheduler(t, func(s *transportSettings) { alone(s); s.slotCost, s.slotLoan, s.slotLoanFactor = cost, 0, 100 })
		w.queue("big", rcptList(2000, "u%d@x")...)
		for i := range 1000 {
			w.queue(fmt.Sprint("small", i), "z@x")
		}
		bigs, smalls := 0, 0
		for _, id := range w.ids(5000) {
			if id == "big" {
				bigs++
			} else {
				smalls++
			}
			if bigs == 2000 {
				break
			}
			if smalls > bigs/cost+2 {
				t.Fatalf("slot cost %d: after %d deliveries of the big message %d of small ones", cost, bigs, smalls)
			}
		}
		if want := min(2000/cost, 1000) - 2; bigs != 2000 || smalls < want {
			t.Errorf("slot cost %d: %d big and %d small deliveries, want %d", cost, bigs, smalls, want)
		}
	}
}

func TestPreemptionPicksTheShortJob(t *testing.T) {
	w := scheduler(t, alone)
	w.queue("big", rcptList(1000, "u%d@x")...)
	w.ids(60)
	w.queue("medium", rcptList(8, "m%d@y")...)
	w.queue("short", "s@z")
	ids := w.ids(40)
	s, m := slices.Index(ids, "short"), slices.Index(ids, "medium")
	if s < 0 || m < 0 || s > m {
		t.Errorf("short comes %d., medium %d. of %v", s, m, ids)
	}
	// What has waited longer for each of its recipients goes first.
	w = scheduler(t, alone)
	w.queue("big", rcptList(1000, "u%d@x")...)
	w.ids(100)
	w.queue("medium", rcptList(4, "m%d@y")...)
	w.clock.pass(time.Minute)
	w.queue("short", "s@z")
	ids = w.ids(40)
	s, m = slices.Index(ids, "short"), slices.Index(ids, "medium")
	if s < 0 || m < 0 || s < m {
		t.Errorf("after a minute: short comes %d., medium %d. of %v", s, m, ids)
	}
}

// TestPreemptionsNest: a preempting job is preempted, ends, and its parent
// goes on; nothing is lost on the way.
func TestPreemptionsNest(t *testing.T) {
	w := scheduler(t, func(s *transportSettings) { alone(s); s.slotCost = 2; s.slotLoan = 100 })
	sizes := []int{3000, 700, 150, 30, 5, 1}
	want := 0
	for round := range 3 {
		for i, n := range sizes {
			w.queue(fmt.Sprintf("%d.%d", round, i), rcptList(n, fmt.Sprintf("u%%d@x%d", i))...)
			want += n
			w.ids(n / 100)
			want -= n / 100
		}
	}
	if got := len(w.ids(want + 1000)); got != want {
		t.Errorf("%d deliveries, want %d", got, want)
	}
	tr := w.m.transports["smtp"]
	for c := range tr.ready {
		if tr.ready[c].len() > 0 {
			t.Errorf("class %d has lanes left", c)
		}
	}
	if len(tr.destinations) != 0 || tr.rcpts != 0 || w.m.rcpts != 0 {
		t.Errorf("left: %d destinations, %d and %d recipients", len(tr.destinations), tr.rcpts, w.m.rcpts)
	}
}

// TestDeadDestinationDelaysNobody: 10,000 messages for a site that does not
// answer, then 100 for a good one.
func TestDeadDestinationDelaysNobody(t *testing.T) {
	w := scheduler(t, nil)
	for i := range 10000 {
		w.queue(fmt.Sprint("bad", i), "u@silent")
	}
	w.m.deliver()
	if len(w.busy) != 5 {
		t.Fatalf("%d deliveries to the silent site, want the initial concurrency 5", len(w.busy))
	}
	for i := range 100 {
		w.queue(fmt.Sprint("good", i), "u@good")
	}
	w.m.deliver()
	good := 0
	for good < 100 {
		i := slices.IndexFunc(w.busy, func(d *delivery) bool { return d.req.Nexthop == "good" })
		if i < 0 {
			t.Fatalf("no delivery to the good site after %d", good)
		}
		d := w.busy[i]
		w.busy = slices.Delete(w.busy, i, i+1)
		d.then(dsn.Outcome{}, proto.DeliverFinal, nil)
		w.m.deliver()
		good++
	}
	if len(w.busy) != 5 {
		t.Errorf("%d deliveries to the silent site are under way, want 5", len(w.busy))
	}
}

func TestTransportsTakeTurns(t *testing.T) {
	w := scheduler(t, func(s *transportSettings) { s.processes = 2 })
	for _, name := range []string{"smtp", "local", "pipe"} {
		msg := &message{id: name, env: &queue.Envelope{}}
		w.m.messages[name] = msg
		var routes []route
		for i := range 10 {
			routes = append(routes, route{proto.Rcpt{Address: fmt.Sprintf("u%d@%d", i, i)}, name, fmt.Sprint(i)})
		}
		w.m.assign(msg, routes)
	}
	w.m.deliver()
	var got []string
	for _, d := range w.busy {
		got = append(got, d.transport)
	}
	if want := "smtp local pipe smtp local pipe"; strings.Join(got, " ") != want {
		t.Errorf("deliveries of %v, want %s", got, want)
	}
}

// BenchmarkPick shows that a choice costs the same for any number of messages
// that wait for blocked and for open destinations.
func BenchmarkPick(b *testing.B) {
	for _, n := range []int{100, 1000, 10000, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := scheduler(b, func(s *transportSettings) { s.processes = 50 })
			for i := range n {
				w.queue(fmt.Sprint("blocked", i), fmt.Sprintf("u@blocked%d", i%7))
			}
			w.queue("big", rcptList(n, "u%d@big")...)
			for i := range n {
				w.queue(fmt.Sprint(i), fmt.Sprintf("u@open%d", i%1000))
			}
			w.m.deliver()
			w.busy = w.busy[35:] // the blocked ones never end
			b.ResetTimer()
			for i := range b.N {
				d := w.busy[0]
				w.busy = w.busy[1:]
				d.then(dsn.Outcome{}, proto.DeliverFinal, nil)
				w.queue(fmt.Sprint("new", i), d.req.Rcpts[0].Address)
				delete(w.m.messages, d.req.QueueID)
				w.m.deliver()
			}
		})
	}
}
