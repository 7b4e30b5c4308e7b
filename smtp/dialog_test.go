package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/libmail/agent"
	"postroad/libmail/conf"
	"postroad/libmail/dsn"
	"postroad/libmail/maillog"
	"postroad/libmail/mailtest"
	"postroad/libmail/proto"
	"postroad/libmail/resolver"
	daemon "postroad/libmail/server"
	"postroad/libmail/tlsconf"
)

// The dialogs in testdata are played with this test as the server. Beside
// C: and S: they know these words, in the order of the file:
//
//	conf: name = value      a parameter; before the first delivery
//	zone: RECORD            a DNS record
//	deliver: FROM TO...     a delivery begins; words of the form name=value
//	                        set fields of the request
//	body: "..."             content for the deliveries that follow (Go syntax)
//	want: TEXT              the next result, as the log tells it
//	hop: TEXT               the verdict on the destination
//	log: TEXT               a line that was logged
//	S| close, S| reset      the server ends the connection
//	S| "raw"                the server says exactly this
//	S| starttls             the server begins TLS
//	C| quit or close        the client leaves, with or without QUIT
//	C| nothing              the client is silent
//	refuse:                 connections are refused from here on
//
// ":PORT" in a text stands for the port of the server.

// logLines is a sink that remembers.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(level maillog.Level, _, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, text)
}

func (l *logLines) has(pattern string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if mailtest.Like(line, pattern) {
			return true
		}
	}
	return false
}

// book is a ledger for tests.
type book struct {
	mu      sync.Mutex
	results []string
	hop     string
	damaged bool
}

func (b *book) add(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.results = append(b.results, text)
}

func (b *book) Report(r *proto.Rcpt, o dsn.Outcome, via agent.Via) bool {
	status := map[byte]string{'2': "sent", '4': "deferred", '5': "bounced"}[o.Class()]
	text := fmt.Sprintf("to=<%s>, relay=%s", r.Address, via.Relay)
	if via.Relay == "" {
		text = fmt.Sprintf("to=<%s>, relay=none", r.Address)
	}
	if via.ConnUse > 1 {
		text += fmt.Sprintf(", conn_use=%d", via.ConnUse)
	}
	if via.TLS != "" {
		text += ", tls=" + via.TLS
	}
	b.add(fmt.Sprintf("%s, dsn=%s, status=%s (%s)", text, o.Status, status, o.Reason))
	return status != "deferred"
}

func (b *book) Expanded(r *proto.Rcpt)    { b.add("passed " + r.Address) }
func (b *book) Waits(r *proto.Rcpt)       { b.add("waits " + r.Address) }
func (b *book) Unreachable(o dsn.Outcome) { b.hop = o.Status + " " + o.Reason }
func (b *book) Damaged()                  { b.damaged = true }

// text is content for tests.
type text struct {
	lines []string
	err   error // at the end instead of io.EOF
}

func (t *text) Line() ([]byte, bool, error) {
	if len(t.lines) == 0 {
		if t.err != nil {
			return nil, false, t.err
		}
		return nil, false, io.EOF
	}
	line := t.lines[0]
	t.lines = t.lines[1:]
	line, partial := strings.CutSuffix(line, "\\")
	return []byte(line), partial, nil
}

// A stage is one test: the client, and the server that it meets.
type stage struct {
	t        *testing.T
	listener net.Listener
	port     string
	conf     []string
	zone     string
	server   *resolver.Zone
	client   *client
	log      *logLines
	body     string

	conn    net.Conn
	r       *bufio.Reader
	book    *book
	done    chan struct{}
	shown   int
	certDir string
}

func newStage(t *testing.T) *stage {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, listener: l, log: &logLines{}, body: "Subject: test\n\nHello\n", certDir: t.TempDir()}
	_, s.port, _ = net.SplitHostPort(l.Addr().String())
	t.Cleanup(s.close)
	return s
}

func (s *stage) close() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.listener.Close()
	if s.server != nil {
		s.server.Close()
	}
	if s.client != nil {
		s.client.pool.close()
	}
}

// start reads the settings, once.
func (s *stage) start() {
	s.t.Helper()
	if s.client != nil {
		return
	}
	var err error
	if s.server, err = resolver.ServeZone(s.zone); err != nil {
		s.t.Fatal(err)
	}
	dir := s.t.TempDir()
	resolv, err := s.server.WriteResolvConf(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Setenv("POSTROAD_RESOLV_CONF", resolv)
	s.t.Setenv("POSTROAD_HOSTS", filepath.Join(dir, "hosts"))
	prefix, args := "smtp", []string(nil)
	var overrides []string
	for _, line := range s.conf {
		switch {
		case line == "lmtp":
			prefix = "lmtp"
		case strings.HasPrefix(line, "flags="):
			args = append(args, line)
		default:
			overrides = append(overrides, strings.Replace(line, " = ", "=", 1))
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte("compatibility_level = 3.6\nmyhostname = client.example.org\n"+
		"inet_interfaces = 127.0.0.1\nmaillog_file = /dev/stdout\n"), 0o644); err != nil {
		s.t.Fatal(err)
	}
	c, err := conf.Load(dir, overrides...)
	if err != nil {
		s.t.Fatal(err)
	}
	log := maillog.New("test", s.log)
	p, err := readParams(c, log, prefix, args, func(string) {})
	if err != nil {
		s.t.Fatal(err)
	}
	s.client = newClient(p, log, daemon.RealClock())
	s.client.doubleBounce = "double-bounce@client.example.org"
	s.client.post = func(text []string) error {
		s.log.Write(maillog.Info, "", "notice: "+strings.Join(text, "|"))
		return nil
	}
	s.client.pass = func(transport string, req *proto.Request) (int, error) {
		s.log.Write(maillog.Info, "", "pass: "+transport+":"+req.Nexthop+" "+req.Rcpts[0].Address)
		return 0, nil
	}
}

// deliver begins a delivery.
func (s *stage) deliver(line string) error {
	s.start()
	now := time.Now()
	req := &proto.Request{QueueID: "4A1B2", Nexthop: "[127.0.0.1]:" + s.port, Size: 100,
		Stats: proto.MsgStats{Arrival: now, Active: now}}
	for _, w := range strings.Fields(line) {
		name, value, ok := strings.Cut(w, "=")
		if !ok || strings.Contains(name, "@") {
			if req.Sender == "" && req.Rcpts == nil {
				req.Sender = strings.Trim(w, "<>")
				req.Rcpts = []proto.Rcpt{}
				continue
			}
			req.Rcpts = append(req.Rcpts, proto.Rcpt{Address: w, Orig: w, Offset: 1})
			continue
		}
		last := &proto.Rcpt{}
		if len(req.Rcpts) > 0 {
			last = &req.Rcpts[len(req.Rcpts)-1]
		}
		number, _ := strconv.Atoi(value) // 0 for those that are none
		switch name {
		case "nexthop":
			req.Nexthop = strings.ReplaceAll(strings.ReplaceAll(value, "_", " "), ":PORT", ":"+s.port)
		case "encoding":
			req.Encoding = value
		case "envid":
			req.EnvelopeID = value
		case "ret":
			req.RetFlags = number
		case "notify":
			last.Notify = number
		case "orcpt":
			last.DSNOrig = value
		case "orig":
			last.Orig = value
		case "flags":
			req.Flags = number
		case "sendopts":
			req.SendOpts = number
		case "size":
			req.Size = int64(number)
		case "waited":
			req.Stats.Arrival = now.Add(-time.Hour)
		case "client":
			req.Client = proto.Client{Name: value, Addr: "192.0.2.7", Port: "4711", Proto: "ESMTP", Helo: "helo.example"}
			req.LogIdent, req.RewriteContext = "4A1B2", "remote"
		default:
			return fmt.Errorf("unknown field %q", name)
		}
	}
	body := s.body
	s.book, s.done, s.shown = &book{}, make(chan struct{}), 0
	book, done := s.book, s.done
	go func() {
		defer close(done)
		s.client.deliver(context.Background(), req, book, func() lines {
			return &text{lines: strings.Split(strings.TrimSuffix(body, "\n"), "\n")}
		})
	}()
	return nil
}

// patience limits each wait of a dialog.
const patience = 10 * time.Second

// connected makes sure that there is a connection.
func (s *stage) connected() error {
	if s.conn == nil {
		s.listener.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(patience))
		c, err := s.listener.Accept()
		if err != nil {
			return fmt.Errorf("client does not connect: %w", err)
		}
		s.conn, s.r = c, bufio.NewReader(c)
	}
	return s.conn.SetDeadline(time.Now().Add(patience))
}

func (s *stage) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// finished waits for the end of the delivery.
func (s *stage) finished() error {
	if s.done == nil {
		return errors.New("no delivery")
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(patience):
		return errors.New("delivery does not end")
	}
}

func (s *stage) play(step mailtest.Step) error {
	text := strings.ReplaceAll(step.Text, ":PORT", ":"+s.port)
	switch step.Word {
	case "conf:":
		s.conf = append(s.conf, strings.ReplaceAll(text, "DIR", s.certDir))
	case "zone:":
		s.zone += text + "\n"
	case "body:":
		var err error
		s.body, err = strconv.Unquote(`"` + strings.Trim(text, `"`) + `"`)
		return err
	case "deliver:":
		if s.done != nil {
			if err := s.finished(); err != nil {
				return err
			}
		}
		return s.deliver(step.Text)
	case "S:":
		if err := s.connected(); err != nil {
			return err
		}
		_, err := io.WriteString(s.conn, text+"\r\n")
		return err
	case "C:":
		return s.expect(text)
	case "S|":
		return s.act(text)
	case "C|":
		return s.clientActs(text)
	case "want:":
		if err := s.finished(); err != nil {
			return err
		}
		if s.shown >= len(s.book.results) {
			return errors.New("no further result")
		}
		got := s.book.results[s.shown]
		s.shown++
		if !mailtest.Like(got, text) {
			return fmt.Errorf("got %s", got)
		}
	case "hop:":
		if err := s.finished(); err != nil {
			return err
		}
		if !mailtest.Like(s.book.hop, text) {
			return fmt.Errorf("got %q", s.book.hop)
		}
	case "log:":
		if !s.log.has(text) {
			return fmt.Errorf("the log has\n%s", strings.Join(s.log.lines, "\n"))
		}
	case "nolog:":
		if s.log.has(text) {
			return errors.New("it is there")
		}
	case "refuse:":
		return s.listener.Close()
	default:
		return fmt.Errorf("unknown word %s", step.Word)
	}
	return nil
}

func (s *stage) expect(want string) error {
	if err := s.connected(); err != nil {
		return err
	}
	line, err := s.r.ReadString('\n')
	if err != nil {
		return fmt.Errorf("client said %q, then %v", line, err)
	}
	got, ok := strings.CutSuffix(line, "\r\n")
	if !ok || !mailtest.Like(got, want) {
		return fmt.Errorf("client said %q", line)
	}
	return nil
}

func (s *stage) act(text string) error {
	if text == "close" || text == "reset" {
		if err := s.connected(); err != nil {
			return err
		}
		if text == "reset" {
			s.conn.(*net.TCPConn).SetLinger(0)
		}
		s.hangUp()
		return nil
	}
	if err := s.connected(); err != nil {
		return err
	}
	if text == "starttls" {
		config, err := s.tlsConfig()
		if err != nil {
			return err
		}
		conn := tls.Server(s.conn, config)
		if err := conn.Handshake(); err != nil {
			return err
		}
		s.conn, s.r = conn, bufio.NewReader(conn)
		return nil
	}
	raw, err := strconv.Unquote(text)
	if err != nil {
		return err
	}
	_, err = io.WriteString(s.conn, raw)
	return err
}

// tlsConfig makes a certificate for mx.example.com, once a stage.
func (s *stage) tlsConfig() (*tls.Config, error) {
	cert, key := filepath.Join(s.certDir, "cert.pem"), filepath.Join(s.certDir, "key.pem")
	if _, err := os.Stat(cert); err != nil {
		if err := makeCert(s.certDir); err != nil {
			return nil, err
		}
	}
	keys, err := tlsconf.Open(tlsconf.Sources{Pairs: []tlsconf.Pair{{Cert: cert, Key: key}}})
	if err != nil {
		return nil, err
	}
	c, _, err := tlsconf.NewServer(tlsconf.ServerOptions{Rules: tlsconf.Rules{Protocols: ">=TLSv1.2", Grade: "medium"}, Keys: keys})
	return c, err
}

func makeCert(dir string) error {
	c, k, err := tlsconf.SelfSigned(tlsconf.ECDSA, time.Now(), "mx.example.com")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), c, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "key.pem"), k, 0o600)
}

func (s *stage) clientActs(what string) error {
	if what == "nothing" {
		s.conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if b, err := s.r.Peek(1); err == nil {
			return fmt.Errorf("client said %q", b)
		}
		return nil
	}
	if err := s.connected(); err != nil {
		return err
	}
	line, err := s.r.ReadString('\n')
	switch {
	case what == "quit" && line != "QUIT\r\n", what == "close" && line != "", what != "quit" && what != "close":
		return fmt.Errorf("client said %q, %v", line, err)
	}
	s.hangUp()
	return nil
}

func TestDialogs(t *testing.T) {
	for _, d := range mailtest.ReadDialogs(t, "testdata/*.txt") {
		t.Run(d.Name, func(t *testing.T) {
			s := newStage(t)
			if needsCert(d) {
				if err := makeCert(s.certDir); err != nil {
					t.Fatal(err)
				}
			}
			for _, step := range append(d.Head, d.Steps...) {
				if err := s.play(step); err != nil {
					t.Fatalf("%s.txt:%d: %s %s: %v", d.Name, step.Line, step.Word, step.Text, err)
				}
			}
			if s.done == nil {
				t.Fatal("the dialog delivers nothing")
			}
			s.hangUp()
			if err := s.finished(); err != nil {
				t.Fatal(err)
			}
			for _, extra := range s.book.results[s.shown:] {
				t.Errorf("not wanted: %s", extra)
			}
		})
	}
}

func needsCert(d *mailtest.Dialog) bool {
	for _, s := range d.Head {
		if strings.Contains(s.Text, "DIR") {
			return true
		}
	}
	return false
}
