package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"postroad/libmail/maillog"
	"postroad/libmail/mailtest"
	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/resolver"
	daemon "postroad/libmail/server"
	"postroad/libmail/tlsconf"
)

func testParams() *params {
	return &params{port: "smtp", knownPorts: knownPorts("lmtp=24, smtp=25, smtps=submissions=465, submission=587")}
}

func TestParseDestination(t *testing.T) {
	for text, want := range map[string]string{
		"example.com":                 "example.com false 25",
		"example.com:submissions":     "example.com false 465",
		"example.com:2525":            "example.com false 2525",
		"example.com:":                "example.com false 25",
		"[mail.example.com]":          "mail.example.com true 25",
		"[192.0.2.1]:587":             "192.0.2.1 true 587",
		"[2001:db8::1]:587":           "2001:db8::1 true 587",
		"[ipv6:2001:db8::1]":          "2001:db8::1 true 25",
		"[IPv6:192.0.2.1]":            "malformed IPv6 address in server description: [IPv6:192.0.2.1]",
		"[mail.example.com":           "missing \"]\" in server description: [mail.example.com",
		"[mail.example.com]x":         "garbage after \"]\" in server description: [mail.example.com]x",
		"a..b":                        "valid hostname or network address required in server description: a..b",
		"user@example.com":            "valid hostname or network address required in server description: user@example.com",
		":25":                         "missing host in server description: :25",
		"example.com:0":               "bad network port: 0 for destination: example.com:0",
		"example.com:99999":           "bad network port: 99999 for destination: example.com:99999",
		"example.com:no-such-service": "unknown service: no-such-service/tcp for destination: example.com:no-such-service",
	} {
		d, err := testParams().parseDestination(text)
		got := fmt.Sprintf("%s %v %d", d.domain, d.literal, d.port)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func FuzzParseDestination(f *testing.F) {
	f.Add("[192.0.2.1]:25")
	f.Add("example.com:smtp")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := testParams().parseDestination(text)
		if err == nil && (d.domain == "" || d.port < 1 || d.port > 65535) {
			t.Errorf("%q gives %+v", text, d)
		}
	})
}

// servers writes a list as "pref/addr".
func serverList(texts ...string) []server {
	var list []server
	for _, s := range texts {
		pref, a, _ := strings.Cut(s, "/")
		n := 0
		fmt.Sscan(pref, &n)
		list = append(list, server{pref: n, addr: netip.MustParseAddr(a), host: a})
	}
	return list
}

func show(list []server) string {
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprintf("%d/%s", s.pref, s.addr))
	}
	return strings.Join(out, " ")
}

func TestOrderOfServers(t *testing.T) {
	for _, c := range []struct {
		rule    string
		prefer  resolver.Protocols
		limit   int
		balance bool
		list    []string
		want    string
	}{
		{"preference comes before the address family", resolver.IPv4, 0, false,
			[]string{"10/2001:db8::1", "20/192.0.2.2", "10/192.0.2.1"}, "10/192.0.2.1 10/2001:db8::1 20/192.0.2.2"},
		{"IPv6 first", resolver.IPv6, 0, false,
			[]string{"10/192.0.2.1", "10/2001:db8::1"}, "10/2001:db8::1 10/192.0.2.1"},
		{"both families get their share of the limit", 0, 2, true,
			[]string{"10/2001:db8::1", "10/2001:db8::2", "20/192.0.2.2"}, "10/2001:db8::1 20/192.0.2.2"},
		{"the first family gets the odd one", 0, 3, true,
			[]string{"1/192.0.2.1", "2/192.0.2.2", "3/192.0.2.3", "4/2001:db8::1", "5/2001:db8::2"}, "1/192.0.2.1 2/192.0.2.2 4/2001:db8::1"},
		{"without balance nothing is cut", 0, 2, false,
			[]string{"1/2001:db8::1", "2/2001:db8::2", "3/192.0.2.2"}, "1/2001:db8::1 2/2001:db8::2 3/192.0.2.2"},
	} {
		j := &job{client: &client{p: &params{preference: c.prefer, addressLimit: c.limit, balance: c.balance}}}
		if got := show(j.order(serverList(c.list...))); got != c.want {
			t.Errorf("%s: got %s, want %s", c.rule, got, c.want)
		}
	}
}

func TestCutAtSelf(t *testing.T) {
	for _, c := range []struct {
		rule   string
		listed int
		detect bool
		list   []string
		want   string
	}{
		{"better servers stay", 10, true, []string{"10/192.0.2.9", "20/192.0.2.1", "30/192.0.2.8"}, "10/192.0.2.9"},
		{"those of equal preference go", 10, true, []string{"10/192.0.2.9", "10/192.0.2.1"}, "5.4.6 mail for d loops back to myself"},
		{"we are the best", 10, true, []string{"10/192.0.2.1", "20/192.0.2.9"}, "5.4.6 mail for d loops back to myself"},
		{"the best has no address", 5, true, []string{"10/192.0.2.1"}, "4.4.4 unable to find primary relay for d"},
		{"on other ports nobody looks", 10, false, []string{"10/192.0.2.1"}, "10/192.0.2.1"},
	} {
		j := &job{client: &client{p: &params{own: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}, detectLoops: c.detect}
		f, o := j.cutAtSelf(serverList(c.list...), c.listed, "d")
		got := show(f.servers)
		if o.Status != "" {
			got = o.Status + " " + o.Reason
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.rule, got, c.want)
		}
	}
}

func TestTLSPolicy(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"may", "may  [] []"},
		{"encrypt protocols=>=TLSv1.2 ciphers=high", "encrypt >=TLSv1.2 high [] []"},
		{"secure match=example.com:.example.net match=x", "secure  [] [example.com .example.net x]"},
		{"fingerprint match=AA:BB|CC:DD", "fingerprint  [] [AA:BB CC:DD]"},
		{"verify exclude=aNULL:RC4 servername=hostname", "verify  [aNULL:RC4] []"},
		{"secure { policy_type = sts } { policy_domain = example.com } { mx_host_pattern = *.example.com }", "secure  [] []"},
		{"none protocols=x", "none  [] []"},
		{"", "invalid empty policy"},
		{"strong", `invalid security level "strong"`},
		{"halfdane", `invalid security level "halfdane"`},
		{"may match=x", `attribute "match" invalid at security level "may"`},
		{"encrypt ciphers=", `attribute "ciphers" has empty value`},
		{"encrypt ciphers=high ciphers=low", `attribute "ciphers" is specified multiple times`},
		{"encrypt colour=red", `invalid attribute name: "colour"`},
		{"encrypt protocols", `malformed attribute/value pair "protocols": missing '='`},
		{"encrypt connection_reuse=maybe", `attribute "connection_reuse" has bad value: "maybe"`},
		{"encrypt tafile=/x", `attribute "tafile" invalid at security level "encrypt"`},
		{"secure policy_ttl=5", "built-in policy has unexpected attribute policy_ttl, policy_domain, policy_string, mx_host_pattern or policy_failure"},
	} {
		p := &tlsPolicy{}
		got := ""
		if err := p.parse(c.text); err != nil {
			got = err.Error()
		} else {
			got = strings.TrimSpace(fmt.Sprintf("%s %s %s", p.level, p.protocols, p.grade)) + fmt.Sprintf(" %v %v", p.exclude, p.match)
			got = strings.Replace(got, p.level.String()+" [", p.level.String()+"  [", 1)
		}
		if got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

func FuzzTLSPolicy(f *testing.F) {
	f.Add("secure match=example.com protocols=>=TLSv1.2")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "tafile") {
			return // opens files
		}
		p := &tlsPolicy{}
		if p.parse(text) == nil && p.level == tlsconf.Invalid {
			t.Errorf("%q has no level", text)
		}
	})
}

func TestPolicyFollowsParents(t *testing.T) {
	s := newStage(t)
	s.conf = []string{"smtp_tls_policy_maps = inline:{ {.example.com = encrypt}, {a.example.com = none}, {[b.example.com]:25 = secure} }"}
	s.start()
	for next, want := range map[string]tlsconf.Level{
		"a.example.com": tlsconf.None, "x.example.com": tlsconf.Encrypt, "y.x.example.com": tlsconf.Encrypt,
		"example.com": tlsconf.None, "[b.example.com]:25": tlsconf.Secure, "[x.example.com]": tlsconf.None,
	} {
		d, err := s.client.p.parseDestination(next)
		if err != nil {
			t.Fatal(err)
		}
		j := &job{client: s.client, Request: &proto.Request{}}
		p, o := j.findPolicy(t.Context(), d, server{host: "mx"})
		if o.Status != "" || p.level != want {
			t.Errorf("%s: got %v, %v, want %v", next, p.level, o, want)
		}
	}
}

func TestStsPatterns(t *testing.T) {
	j := &job{client: &client{p: &params{tls: tlsParams{stsPatterns: true}}, log: maillog.Discard()}}
	for host, want := range map[string]bool{"mx.example.com": true, "a.mail.example.com": true, "b.a.mail.example.com": false, "evil.example": false} {
		p := &tlsPolicy{level: tlsconf.Secure, kind: "sts", patterns: []string{"mx.example.com", "*.mail.example.com"}}
		if got := j.allowsHost(p, host); got != want {
			t.Errorf("%s: got %v", host, got)
		}
	}
}

// TestDANE delivers to a server that its zone vouches for, and not to one that
// it does not know.
func TestDANE(t *testing.T) {
	for _, c := range []struct {
		rule, level, zone, want, log string
		tls                          bool
	}{
		{"a server with the right key is verified", "dane", "; secure example.com\n_PORT._tcp.mx.example.com. TLSA 3 1 1 HASH\n",
			"tls=dane, dsn=2.0.0, status=sent (250 Ok)", "Verified TLS connection established to mx.example.com[127.0.0.1]:PORT: ...", true},
		{"a server with another key gets nothing", "dane", "; secure example.com\n_PORT._tcp.mx.example.com. TLSA 3 1 1 " + strings.Repeat("00", 32) + "\n",
			"tls=!dane, dsn=4.7.5, status=deferred (Server certificate not verified)", "certificate verification failed for mx.example.com[127.0.0.1]:PORT: self-signed certificate", true},
		{"without records TLS is opportunistic", "dane", "; secure example.com\n",
			"tls=may, dsn=2.0.0, status=sent (250 Ok)", "Untrusted TLS connection established to ...", true},
		{"records that are not secure do not count", "dane", "_PORT._tcp.mx.example.com. TLSA 3 1 1 HASH\n",
			"tls=may, dsn=2.0.0, status=sent (250 Ok)", "Untrusted TLS connection established to ...", true},
		{"unusable records demand encryption", "dane", "; secure example.com\n_PORT._tcp.mx.example.com. TLSA 1 1 1 HASH\n",
			"tls=encrypt, dsn=2.0.0, status=sent (250 Ok)", "Untrusted TLS connection established to ...", true},
		{"a failed lookup defers", "dane", "; secure example.com\n; servfail _tcp.mx.example.com\n",
			"tls=unknown?, dsn=4.7.5, status=deferred (TLSA lookup error for mx.example.com:PORT)", "warning: TLS policy lookup for example.com:PORT/mx.example.com: TLSA lookup error for mx.example.com:PORT", false},
		{"dane-only insists", "dane-only", "; secure example.com\n",
			"tls=unknown?, dsn=4.7.5, status=deferred (no TLSA records found)", "...", false},
	} {
		t.Run(c.rule, func(t *testing.T) { playDANE(t, c.level, c.zone, c.want, c.log, c.tls) })
	}
}

func playDANE(t *testing.T, level, zone, want, log string, connects bool) {
	s := newStage(t)
	if err := makeCert(s.certDir); err != nil {
		t.Fatal(err)
	}
	pemText, err := os.ReadFile(s.certDir + "/cert.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(pemText)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	fill := strings.NewReplacer("PORT", s.port, "HASH", hex.EncodeToString(sum[:]))
	s.zone = "example.com. MX 10 mx.example.com.\nmx.example.com. A 127.0.0.1\n" + fill.Replace(zone)
	s.conf = []string{"smtp_tls_security_level = " + level, "smtp_dns_support_level = dnssec", "smtp_tls_loglevel = 1"}
	steps := "deliver: a@example.org b@example.com nexthop=example.com:PORT\n"
	if connects {
		steps += "S: 220 mx\nC: EHLO ...\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nS| starttls\n"
		if strings.Contains(want, "sent") {
			steps += "C: EHLO ...\nS: 250 mx\nC: MAIL ...\nS: 250 Ok\nC: RCPT ...\nS: 250 Ok\nC: DATA\nS: 354 go\n" +
				"C: Subject: test\nC:\nC: Hello\nC: .\nS: 250 Ok\n"
		} else {
			steps += "C| quit\n"
		}
	}
	steps += "want: to=<b@example.com>, relay=..., " + strings.ReplaceAll(want, ":PORT", ":"+s.port) + "\nlog: " + log + "\n"
	for i, line := range strings.Split(strings.TrimSuffix(steps, "\n"), "\n") {
		n := strings.IndexAny(line, ":|")
		step := mailtest.Step{Line: i + 1, Word: line[:n+1], Text: strings.TrimPrefix(line[n+1:], " ")}
		if err := s.play(step); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

func TestPoolForgetsTheOldest(t *testing.T) {
	clock := daemon.RealClock()
	p := newPool(clock, time.Minute, 2)
	c := &client{p: mustParams(t, nil), log: maillog.Discard(), clock: clock}
	for i := range 3 {
		s := c.newSession(fakeConn{}, fmt.Sprint("h", i), "a", 0)
		s.keepUntil = clock.Now().Add(time.Minute)
		s.destKey, s.hostKey = fmt.Sprint("d", i), "same server"
		p.put(s)
	}
	if s := p.take("d0"); s != nil {
		t.Error("the oldest is still there")
	}
	if s := p.take("same server"); s == nil || s.host != "h2" {
		t.Errorf("the freshest is not found by its server: %v", s)
	}
	if s := p.take("d2"); s != nil {
		t.Error("a connection is given twice")
	}
	if s := p.take("d1"); s == nil || s.reused != 1 {
		t.Errorf("a connection is not found by its destination: %v", s)
	}
	if len(p.keys)+len(p.timers)+len(p.order) != 0 {
		t.Errorf("the empty pool remembers %v %v %v", p.keys, p.timers, p.order)
	}
}

func TestPoolDoesNotGiveWhatIsTooOld(t *testing.T) {
	clock := daemon.RealClock()
	p := newPool(clock, time.Minute, 2)
	c := &client{p: mustParams(t, nil), log: maillog.Discard(), clock: clock}
	s := c.newSession(fakeConn{}, "h", "a", 0)
	s.destKey, s.keepUntil = "d", clock.Now().Add(-time.Second)
	p.put(s)
	if p.take("d") != nil {
		t.Error("a connection beyond smtp_connection_reuse_time_limit is given")
	}
	p.close()
	p.put(c.newSession(fakeConn{}, "h", "a", 0))
	if len(p.order) != 0 {
		t.Error("a closed pool takes connections")
	}
}

// FuzzLineWriter checks what a server makes of the content: no line holds a
// bare CR or LF, no line but the last is a dot, and taking the dots off again
// gives what was put in.
func FuzzLineWriter(f *testing.F) {
	f.Add(".\n..\nabc\r\n.x", 0)
	f.Add(strings.Repeat("a", 30)+"\n.", 10)
	f.Fuzz(func(t *testing.T, content string, limit int) {
		if limit < 0 || limit == 1 || limit > 2000 { // a limit of 1 leaves no room behind the blank
			return
		}
		var buf bytes.Buffer
		w := bufio.NewWriter(&buf)
		l := newLineWriter(w, limit)
		for _, line := range strings.Split(content, "\n") {
			l.text([]byte(line), message.Hard)
		}
		if w.Flush() != nil || l.err != nil {
			t.Fatal("a buffer has no errors")
		}
		out, ok := strings.CutSuffix(buf.String(), "\r\n")
		if !ok {
			t.Fatalf("%q does not end in CR LF", buf.String())
		}
		var back []string
		for _, line := range strings.Split(out, "\r\n") {
			if strings.ContainsAny(line, "\r\n") || line == "." {
				t.Fatalf("%q gives the line %q", content, line)
			}
			if limit > 0 && len(line) > limit+1 {
				t.Fatalf("line of %d bytes with limit %d", len(line), limit)
			}
			back = append(back, strings.TrimPrefix(line, "."))
		}
		if want := strings.ReplaceAll(content, "\r", " "); limit == 0 && strings.Join(back, "\n") != want {
			t.Fatalf("%q comes out as %q", want, back)
		}
	})
}

func TestWrap(t *testing.T) {
	for _, line := range wrap("In:  " + strings.Repeat("word ", 40)) {
		if len(line) > 84 || line[0] != ' ' {
			t.Errorf("bad line %q", line)
		}
	}
}

// fakeConn is a connection that takes everything and says nothing.
type fakeConn struct{ net.Conn }

func (fakeConn) Read([]byte) (int, error)         { return 0, io.EOF }
func (fakeConn) Write(p []byte) (int, error)      { return len(p), nil }
func (fakeConn) Close() error                     { return nil }
func (fakeConn) SetReadDeadline(time.Time) error  { return nil }
func (fakeConn) SetWriteDeadline(time.Time) error { return nil }

// TestLMTPOverASocket delivers over a Unix socket, twice over one connection.
func TestLMTPOverASocket(t *testing.T) {
	s := newStage(t)
	path := s.certDir + "/lmtp"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s.listener.Close()
	s.listener = l
	s.conf = []string{"lmtp"}
	dialog := "S: 220 store\nC: LHLO client.example.org\nS: 250 store\n"
	message := "C: MAIL FROM:<a@example.org>\nS: 250 Ok\nC: RCPT TO:<b@example.com>\nS: 250 Ok\nC: DATA\nS: 354 go\n" +
		"C: Subject: test\nC:\nC: Hello\nC: .\nS: 250 2.0.0 saved\n"
	deliver := "deliver: a@example.org b@example.com nexthop=unix:" + path + "\n"
	want := "want: to=<b@example.com>, relay=client.example.org[" + path + "], %stls=none, dsn=2.0.0, status=sent (250 2.0.0 saved)\n"
	script := deliver + dialog + message + fmt.Sprintf(want, "") + deliver + message + fmt.Sprintf(want, "conn_use=2, ")
	for i, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		n := strings.IndexAny(line, ":|")
		step := mailtest.Step{Line: i + 1, Word: line[:n+1], Text: strings.TrimPrefix(line[n+1:], " ")}
		if err := s.play(step); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}
