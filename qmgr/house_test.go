package main

import (
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/server"
)

// A world is a queue manager with a spool on disk, and everything else played
// by the test: time, trivial-rewrite, the agents, the bounce services. It
// has no goroutines: work happens in run, in order or in the order that rand
// gives.
type world struct {
	t     testing.TB
	m     *qmgr
	spool *queue.Spool
	root  string
	clock *testClock
	fs    *testFS
	rand  *rand.Rand
	log   logLines

	set   settings
	works []func() func()
	busy  []*delivery // handed to agents

	// deliver is what agents answer; nil: deliveries stay in busy.
	deliver func(req *proto.Request) reply
	// resolve says where mail for an address goes; nil: see Resolve.
	resolve func(sender, address string) (proto.Resolved, error)
	// service can fail what bounce, defer and trace are asked.
	service func(name, verb string) error

	sent, returned map[string]int // by "id recipient"
	events         []string       // in order: "sent to", "bounce id", "warn id", ...
	credit         int

	working, killed bool // see TestNobodyIsForgotten
	kills           int
}

// A delivery is what an agent is doing.
type delivery struct {
	req       *proto.Request
	transport string
	then      func(dsn.Outcome, int, error)
}

// A reply is what becomes of a request: of each recipient by its class
// ('2', '4', '5'; "" is all '2'), and of the destination.
type reply struct {
	classes string
	outcome dsn.Outcome
	err     error
}

// epoch is when a test begins: the kernel stamps files with the real time, and
// no file may come from the future.
func epoch() time.Time { return time.Now().Round(0).Truncate(time.Second).Add(time.Second) }

type testClock struct {
	wall    time.Time
	elapsed time.Duration
}

func (c *testClock) Now() time.Time                                   { return c.wall }
func (c *testClock) Elapsed() time.Duration                           { return c.elapsed }
func (c *testClock) AfterFunc(d time.Duration, f func()) server.Timer { return testTimer{} }

type testTimer struct{}

func (testTimer) Stop() bool               { return true }
func (testTimer) Reset(time.Duration) bool { return true }

func (c *testClock) pass(d time.Duration) {
	c.wall = c.wall.Add(d)
	c.elapsed += d
}

type logLines struct {
	mu   sync.Mutex
	list []string
}

func (l *logLines) Write(level maillog.Level, tag, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, text)
}

// count is how many log lines hold text.
func (w *world) count(text string) (n int) {
	for _, line := range w.log.list {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// testFS is the system's files without syncs, and with faults.
type testFS struct {
	queue.System
	fail func(op, path string) error
	open map[*testHandle]bool // what a killed process would close
}

func (f *testFS) fault(op, path string) error {
	if f.fail != nil {
		return f.fail(op, path)
	}
	return nil
}

func (f *testFS) Open(path string, flag int, perm fs.FileMode) (queue.Handle, error) {
	if err := f.fault("open", path); err != nil {
		return nil, err
	}
	h, err := f.System.Open(path, flag, perm)
	if err != nil {
		return nil, err
	}
	th := &testHandle{h, f}
	f.open[th] = true
	return th, nil
}

func (f *testFS) Rename(from, to string) error {
	if err := f.fault("rename", to); err != nil {
		return err
	}
	return f.System.Rename(from, to)
}

func (f *testFS) Remove(path string) error {
	if err := f.fault("remove", path); err != nil {
		return err
	}
	return f.System.Remove(path)
}

func (f *testFS) SetTime(path string, t time.Time) error {
	if err := f.fault("time", path); err != nil {
		return err
	}
	return f.System.SetTime(path, t)
}

func (f *testFS) Lstat(path string) (queue.Info, error) {
	if err := f.fault("stat", path); err != nil {
		return queue.Info{}, err
	}
	return f.System.Lstat(path)
}

func (f *testFS) SyncDir(string) error { return nil }

type testHandle struct {
	queue.Handle
	fs *testFS
}

func (h *testHandle) Sync() error { return nil }

func (h *testHandle) Close() error {
	delete(h.fs.open, h)
	return h.Handle.Close()
}

// defaults are postconf's.
func defaults() settings {
	one, err := parseFeedback("1")
	if err != nil {
		panic(err)
	}
	return settings{
		activeLimit: 20000, rcptLimit: 20000, rcptMinimum: 10, probeLimit: 5000,
		queueRunDelay: 300 * time.Second, minimalBackoff: 300 * time.Second, maximalBackoff: 4000 * time.Second,
		lifetime: 5 * 24 * time.Hour, bounceLifetime: 5 * 24 * time.Hour, transportRetry: time.Minute,
		doubleBounce: "double-bounce", hostname: "mx.example.com", verpBounces: true, decimals: 2,
		logForm: func(a string) string { return a },
		transport: func(name string) transportSettings {
			t := transportSettings{
				concurrencyLimit: 20, initialConcurrency: 5, recipientLimit: 50, cohortLimit: 1,
				positive: one, negative: one,
				slotCost: 5, slotLoan: 3, slotLoanFactor: 50, minSlots: 3,
				rcptLimit: 20000, rcptExtra: 1000, refillLimit: 100, refillDelay: 5 * time.Second,
				processes: 100,
			}
			if name == "local" {
				t.concurrencyLimit, t.recipientLimit = 2, 1
			}
			t.limitWindow()
			return t
		},
	}
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, root: t.TempDir(), clock: &testClock{wall: epoch()}, fs: &testFS{open: map[*testHandle]bool{}}, set: defaults(),
		sent: map[string]int{}, returned: map[string]int{}}
	for _, dir := range []string{queue.Incoming, queue.Active, queue.Deferred, queue.Corrupt, queue.Bounce, queue.Defer, queue.Trace} {
		if err := os.Mkdir(filepath.Join(w.root, dir), 0700); err != nil {
			t.Fatal(err)
		}
	}
	w.spool = queue.New(queue.Options{Root: w.root, LongIDs: true, Owner: os.Getuid(), FS: w.fs,
		Hashed: []string{queue.Deferred, queue.Defer}, Depth: 1,
		Now: func() time.Time { return w.clock.wall }, Warn: func(string, ...any) {}})
	w.deliver = func(*proto.Request) reply { return reply{} }
	w.boot()
	return w
}

// boot starts a queue manager on the spool, as after a crash of the last one.
func (w *world) boot() {
	w.works, w.busy = nil, nil
	for h := range w.fs.open {
		h.Close()
	}
	if err := restore(w.spool, w.clock.wall, w.t.Errorf); err != nil {
		w.t.Fatal(err)
	}
	log := maillog.New("test", &w.log)
	w.m = newQmgr(house{
		log: log, clock: w.clock, spool: w.spool, resolver: w,
		bounce: &testService{w, queue.Bounce}, defers: &testService{w, queue.Defer}, trace: &testService{w, queue.Trace},
		agent:  func(transport string) agent { return testAgent(transport) },
		credit: func(n int) { w.credit += n },
		pause:  func(time.Duration) {},
	}, &w.set)
	w.m.spawn = func(work func() func()) { w.works = append(w.works, work) }
	w.m.ask = func(a agent, req *proto.Request, then func(dsn.Outcome, int, error)) {
		w.busy = append(w.busy, &delivery{req, string(a.(testAgent)), then})
	}
	w.m.start()
}

type testAgent string

func (testAgent) Deliver(*proto.Request) (dsn.Outcome, int, error) { panic("not asked") }

// run lets the queue manager work until it waits for time or agents.
func (w *world) run() {
	more := true
	for more {
		done := make(chan bool, 1)
		w.working = true
		go func() {
			defer close(done)
			done <- w.step()
		}()
		more = <-done
		w.working = false
		if w.killed {
			w.killed, more = false, true
			w.kills++
			w.boot()
		}
	}
}

// step does one piece of work. It runs on a goroutine of its own, so that a
// test can kill it.
func (w *world) step() bool {
	w.m.alarms.rang()
	w.m.alarms.run()
	w.m.checkClock()
	w.m.deliver()
	w.m.admit()
	w.m.giveCredit()
	n := len(w.works)
	if w.deliver != nil {
		n += len(w.busy)
	}
	if n == 0 {
		return false
	}
	i := 0
	if w.rand != nil {
		i = w.rand.Intn(n)
	}
	if i < len(w.works) {
		work := w.works[i]
		w.works = append(w.works[:i:i], w.works[i+1:]...)
		work()()
		return true
	}
	d := w.busy[i-len(w.works)]
	w.answer(d, w.deliver(d.req))
	return true
}

// after lets d pass, from one alarm to the next.
func (w *world) after(d time.Duration) {
	w.run()
	for end := w.clock.elapsed + d; w.clock.elapsed < end; {
		step := end - w.clock.elapsed
		if w.m.alarms.len() > 0 {
			step = min(step, max(w.m.alarms.top().at-w.clock.elapsed, time.Millisecond))
		}
		w.clock.pass(step)
		w.run()
	}
}

// answer ends a delivery as an agent does: recipients are accounted for in
// the file and the logs, then the reply.
func (w *world) answer(d *delivery, r reply) {
	for i, other := range w.busy {
		if other == d {
			w.busy = append(w.busy[:i:i], w.busy[i+1:]...)
		}
	}
	status := proto.DeliverFinal
	if r.err == nil {
		status = w.account(d, r)
	}
	d.then(r.outcome, status, r.err)
}

func (w *world) account(d *delivery, r reply) (status int) {
	req := d.req
	f, err := w.spool.Open(req.QueueName, req.QueueID, queue.Shared)
	if err != nil {
		return proto.DeliverDefer
	}
	defer f.Close()
	for i, rcpt := range req.Rcpts {
		class := byte('2')
		if i < len(r.classes) {
			class = r.classes[i]
		} else if r.classes != "" {
			class = r.classes[0]
		}
		switch d.transport {
		case errorTransport:
			class = '5'
		case retryTransport:
			class = '4'
		}
		key := req.QueueID + " " + rcpt.Address
		switch class {
		case '2':
			w.sent[key]++
			w.event("sent %s", rcpt.Address)
			w.must(f.MarkDone(rcpt.Offset))
		case '5':
			w.must(w.spool.AppendLog(queue.Bounce, req.QueueID, queue.Rcpt(rcpt), dsn.Outcome{Status: "5.1.1", Action: dsn.Failed, Reason: d.req.Nexthop}))
			w.must(f.MarkDone(rcpt.Offset))
		default:
			status = proto.DeliverDefer
			w.must(w.spool.AppendLog(queue.Defer, req.QueueID, queue.Rcpt(rcpt), dsn.Outcome{Status: "4.1.1", Action: dsn.Delayed, Reason: d.req.Nexthop}))
		}
	}
	return status
}

func (w *world) must(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Error(err)
	}
}

func (w *world) event(format string, args ...any) {
	w.events = append(w.events, fmt.Sprintf(format, args...))
}

// Resolve sends user@T.D to transport T, next hop D; other mail to smtp.
func (w *world) Resolve(sender, address string) (proto.Resolved, error) {
	if w.resolve != nil {
		return w.resolve(sender, address)
	}
	_, domain, _ := strings.Cut(address, "@")
	r := proto.Resolved{Transport: "smtp", Nexthop: domain, Recipient: address}
	if name, rest, ok := strings.Cut(domain, "."); ok && rest != "" && name == "local" {
		r.Transport, r.Nexthop, r.Flags = name, rest, proto.ClassLocal
	}
	return r, nil
}

func (w *world) ResolveProbe(sender, address string) (proto.Resolved, error) {
	return w.Resolve(sender, address)
}

func (w *world) Rewrite(rule, address string) (string, error) { return address, nil }
