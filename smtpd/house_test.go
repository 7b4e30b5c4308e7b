package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/mailtest"
	"postroad/libmail/proto"
	"postroad/libmail/record"
	"postroad/libmail/resolver"
	"postroad/libmail/server"
	"postroad/libmail/table"
)

// testHost is the configuration that tests begin with.
const testHost = `
compatibility_level = 3.9
myhostname = mx.example.com
mydomain = example.com
myorigin = example.com
mydestination = example.com, localhost
mynetworks = 192.0.2.0/24
inet_protocols = ipv4
relay_domains = relay.example
local_recipient_maps = inline:{user=x, other=x, root=x}
virtual_alias_domains = alias.example
virtual_alias_maps = inline:{known@alias.example=user}
virtual_mailbox_domains = virtual.example
virtual_mailbox_maps = inline:{box@virtual.example=box/}
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtpd_forbid_bare_newline_exclusions =
smtpd_client_connection_count_limit = 0
maillog_file = /dev/null
`

// A testbed is a service with a cleanup, a rewrite and a log that tests can look
// into.
type testbed struct {
	*service
	t   testing.TB
	dir string

	mu       sync.Mutex
	log      []string
	messages []submitted
	verdicts []verdictOf // of cleanup; then there are good ones
	alone    bool
}

// verdictOf is what cleanup says of a message.
type verdictOf struct {
	status int
	reason string
	dies   bool // in the middle of the message
}

// submitted is what cleanup received: "S sender", "R recipient", "N text".
type submitted struct {
	flags   int
	records []string
	done    bool
}

// newTestbed makes a service from testHost and more settings. $dir in them is a
// folder for files.
func newTestbed(t testing.TB, settings string, files map[string]string) *testbed {
	t.Helper()
	dir, err := os.MkdirTemp("", "smtpd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &testbed{t: t, dir: dir}
	files["main.cf"] = testHost + "queue_directory = " + dir + "\n" + strings.ReplaceAll(settings, "$dir", dir)
	for name, text := range files {
		b.write(name, text)
	}
	c, err := conf.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	b.service = &service{name: "smtp", log: maillog.New("smtpd", b), clock: server.RealClock(), stress: func() bool { return false },
		restart: func(string) {}}
	if b.params, err = readParams(c); err != nil {
		t.Fatal(err)
	}
	if err := b.load(table.Options{Delimiters: b.params.delimiters, UTF8: b.params.utf8, Log: b.service.log}); err != nil {
		t.Fatal(err)
	}
	b.freeSpace = func() (int64, error) { return 1 << 40, nil }
	b.resolver = &addressResolver{rewrite: testRewriter{b}, clock: b.clock}
	b.cleanup = proto.NewCleanupClient(b.listen("cleanup", func(c *ipc.Conn) error {
		return proto.ServeCleanup(c, b.receive)
	}), time.Minute)
	b.flush = proto.NewFlushClient(b.listen("flush", func(c *ipc.Conn) error {
		return proto.ServeFlush(c, b.flushSites)
	}), time.Minute)
	b.lookUp("/dev/null")
	return b
}

// lookUp asks the servers of a resolv.conf; $dir/hosts may have names.
func (b *testbed) lookUp(resolvConf string) {
	b.dns = resolver.New(resolver.Options{ResolvConf: resolvConf, Filter: replyFilter(b.tables.dnsFilter)})
	b.native = resolver.New(resolver.Options{ResolvConf: resolvConf, Sources: resolver.Native, Hosts: filepath.Join(b.dir, "hosts")})
}

// write makes a file in $dir.
func (b *testbed) write(name, text string) {
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0600); err != nil {
		b.t.Fatal(err)
	}
}

// listen serves a Unix socket of the testbed.
func (b *testbed) listen(name string, serve func(*ipc.Conn) error) string {
	return b.listenRaw(name, func(c net.Conn) {
		_ = serve(ipc.NewConn(c, time.Minute)) // the client's half tells
	})
}

func (b *testbed) listenRaw(name string, serve func(net.Conn)) (path string) {
	path = filepath.Join(b.dir, name)
	l, err := net.Listen("unix", path)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return path
}

// Write takes log lines.
func (b *testbed) Write(level maillog.Level, tag, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, text)
}

// received is a message on its way into the testbed.
type received struct {
	b *testbed
	submitted
}

func (b *testbed) receive(flags int) (proto.CleanupSession, error) {
	return &received{b: b, submitted: submitted{flags: flags}}, nil
}

func (r *received) ID() string { return "4A1B2" }

func (r *received) Record(t record.Type, data []byte) error {
	r.records = append(r.records, string(t)+" "+string(data))
	if t == record.Extracted && r.b.verdict().dies {
		return errors.New("injected fault")
	}
	return nil
}

// verdict is what the present message will hear.
func (b *testbed) verdict() (v verdictOf) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.verdicts) > 0 {
		v = b.verdicts[0]
	}
	return v
}

func (r *received) Finish() (int, string) {
	v := r.b.verdict()
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.done = v.status == 0
	r.b.messages = append(r.b.messages, r.submitted)
	r.b.verdicts = r.b.verdicts[min(1, len(r.b.verdicts)):]
	return v.status, v.reason
}

func (r *received) Abort() {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.b.messages = append(r.b.messages, r.submitted)
	if len(r.b.verdicts) > 0 && r.b.verdicts[0].dies {
		r.b.verdicts = r.b.verdicts[1:]
	}
}

func (b *testbed) flushSites(r proto.FlushRequest) proto.FlushStatus {
	if r.Site == "example.org" {
		return proto.FlushDenied
	}
	return proto.FlushOK
}

// testRewriter is trivial-rewrite for the domains of testHost.
type testRewriter struct{ b *testbed }

func (testRewriter) Rewrite(rule, address string) (string, error) {
	if address == "fail@example.com" {
		return "", errors.New("no answer")
	}
	if !strings.Contains(address, "@") {
		address += "@example.com"
	}
	return address, nil
}

func (w testRewriter) Resolve(sender, address string) (r proto.Resolved, err error) {
	c := w.b.params.conf
	in := func(domain, name string) bool { return slices.Contains(c.List(name), addr.Fold(domain)) }
	local, domain, _ := addr.SplitDomain(address)
	if inner, route, ok := strings.Cut(local, "%"); ok && in(domain, "mydestination") {
		local, domain, r.Flags = inner, route, proto.ResolveRouted
	}
	r.Transport, r.Nexthop, r.Recipient = "smtp", domain, local+"@"+domain
	switch {
	case domain == "bad..example":
		r.Flags |= proto.ResolveError
	case in(domain, "mydestination"):
		r.Flags |= proto.ClassLocal
		r.Transport = "local"
	case in(domain, "virtual_alias_domains"):
		r.Flags |= proto.ClassAlias
		r.Transport, r.Nexthop = "error", "5.1.1 User unknown in virtual alias table"
	case in(domain, "virtual_mailbox_domains"):
		r.Flags |= proto.ClassVirtual
		r.Transport = "virtual"
	case in(domain, "relay_domains"):
		r.Flags |= proto.ClassRelay
		r.Transport = "relay"
	default:
		r.Flags |= proto.ClassDefault
	}
	return r, nil
}

// connect opens a session from the address that tests come from. What is early
// is sent before the server sees the connection.
func (b *testbed) connect(early ...string) net.Conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	defer l.Close() // one connection
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, text := range early {
		if _, err := client.Write([]byte(text)); err != nil {
			b.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.serve(ctx, testConn{conn, b}, b.alone)
		conn.Close() // as the skeleton does
	}()
	b.t.Cleanup(func() {
		cancel()
		client.Close()
		<-done
	})
	return client
}

// testConn is a connection from the network, so that it is no neighbour.
type testConn struct {
	net.Conn
	b *testbed
}

func (c testConn) RemoteAddr() net.Addr {
	ip := "203.0.113.7"
	if c.b.params.conf.IsSet("client_ip") {
		ip, _ = c.b.params.conf.User("client_ip")
	}
	return &net.TCPAddr{IP: net.ParseIP(ip), Port: 40000}
}

func (c testConn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 25} }

func (c testConn) SyscallConn() (syscall.RawConn, error) { return c.Conn.(*net.TCPConn).SyscallConn() }

// logged waits for a line like pattern among those that were not asked for yet.
func (b *testbed) logged(pattern string) error {
	var seen []string
	for range 200 {
		b.mu.Lock()
		seen = b.log
		for i, line := range b.log {
			if mailtest.Like(line, pattern) {
				b.log = b.log[i+1:]
				b.mu.Unlock()
				return nil
			}
		}
		b.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("not logged; there is %q", seen)
}

// queued looks for a record in the last message, and forgets those before it.
func (b *testbed) queued(pattern string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.messages) == 0 {
		return errors.New("no message")
	}
	m := &b.messages[len(b.messages)-1]
	for i, r := range m.records {
		if mailtest.Like(r, pattern) {
			m.records = m.records[i+1:]
			return nil
		}
	}
	return fmt.Errorf("no such record in %q", m.records)
}

// count compares the number of messages that were accepted.
func (b *testbed) count(want string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, m := range b.messages {
		if m.done {
			n++
		}
	}
	if got := fmt.Sprint(n); got != want {
		return fmt.Errorf("there are %s", got)
	}
	return nil
}
