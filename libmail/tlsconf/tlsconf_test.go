package tlsconf

import (
	"bufio"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseProtocols(t *testing.T) {
	for _, c := range []struct{ rule, list, want string }{
		{"a floor", ">=TLSv1.2", "TLSv1.2-TLSv1.3"},
		{"a floor below what is supported", ">=SSLv3", "TLSv1-TLSv1.3"},
		{"floor and ceiling", ">=TLSv1, <=TLSv1.2", "TLSv1-TLSv1.2"},
		{"no list", "", "TLSv1-TLSv1.3"},
		{"exclusions", "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1", "TLSv1.2-TLSv1.3"},
		{"inclusions", "TLSv1.2 TLSv1.3", "TLSv1.2-TLSv1.3"},
		{"a colon separates too", "TLSv1.1:TLSv1.2", "TLSv1.1-TLSv1.2"},
		{"above a gap", "!TLSv1.1", "TLSv1.2-TLSv1.3 (TLSv1 is not offered: the protocol list has a gap above it)"},
		{"a number", ">=0x0303", "TLSv1.2-TLSv1.3"},
		{"only SSL", "SSLv3", `TLS protocol list "SSLv3": leaves no supported protocol`},
		{"nonsense", "TLSv9", `TLS protocol list "TLSv9": unknown protocol "TLSv9"`},
	} {
		v, err := ParseProtocols(c.list)
		got := VersionName(v.Min) + "-" + VersionName(v.Max)
		if v.Warning != "" {
			got += " (" + v.Warning + ")"
		}
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q gives %s, want %s", c.rule, c.list, got, c.want)
		}
	}
}

func TestSuites(t *testing.T) {
	for _, c := range []struct {
		rule, grade string
		exclude     []string
		has, hasNot string
	}{
		{"medium has everything", "medium", nil, "ECDHE-RSA-AES256-GCM-SHA384 AES128-SHA DES-CBC3-SHA", ""},
		{"high has no 3DES", "high", nil, "AES128-SHA", "DES-CBC3-SHA RC4-SHA"},
		{"retired grades mean medium", "export", nil, "DES-CBC3-SHA", ""},
		{"a word excludes all suites that have it", "medium", []string{"aNULL, RC4, 3DES, kRSA"}, "ECDHE-RSA-AES128-SHA", "AES128-SHA RC4-SHA ECDHE-RSA-DES-CBC3-SHA"},
		{"plus needs all words", "medium", []string{"kEECDH+SHA1"}, "AES128-SHA ECDHE-RSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA"},
		{"a name excludes one suite", "medium", []string{"AES128-SHA", "AES256-SHA"}, "AES128-SHA256", "AES128-SHA AES256-SHA"},
	} {
		ids, err := Suites(c.grade, c.exclude...)
		if err != nil {
			t.Errorf("%s: %v", c.rule, err)
		}
		names := map[string]bool{}
		for _, id := range ids {
			name, _, _ := CipherName(id)
			names[name] = true
		}
		for _, n := range strings.Fields(c.has) {
			if !names[n] {
				t.Errorf("%s: %s is missing", c.rule, n)
			}
		}
		for _, n := range strings.Fields(c.hasNot) {
			if names[n] {
				t.Errorf("%s: %s is there", c.rule, n)
			}
		}
	}
	for _, bad := range [][]string{{"null"}, {"best"}, {"high", "!AES"}, {"high", "HIGH"}} {
		if ids, err := Suites(bad[0], bad[1:]...); err == nil {
			t.Errorf("%v: got %d suites, want an error", bad, len(ids))
		}
	}
}

func TestEverySuiteOfGoHasAName(t *testing.T) {
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if _, bits, alg := CipherName(s.ID); bits == 0 || alg == 0 {
			t.Errorf("%s is not in the table", s.Name)
		}
	}
}

func TestLevels(t *testing.T) {
	for name, want := range map[string]Level{"none": None, "may": May, "Encrypt": Encrypt, "fingerprint": Fingerprint,
		"verify": Verify, "secure": Secure, "dane": DANE, "dane-only": DANEOnly, "halfdane": Invalid, "": Invalid} {
		if got := ParseLevel(name); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

// files writes a self-signed certificate and returns the two names.
func files(t *testing.T, dir string, kind KeyKind, hosts ...string) (cert, key string) {
	t.Helper()
	c, k, err := SelfSigned(kind, time.Now(), hosts...)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if os.WriteFile(cert, c, 0o644) != nil || os.WriteFile(key, k, 0o600) != nil {
		t.Fatal("cannot write")
	}
	return cert, key
}

// handshake plays both sides and returns what each sees.
func handshake(t *testing.T, server, client *tls.Config) (ss, cs tls.ConnectionState) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			s := tls.Server(c, server)
			if err = s.Handshake(); err == nil {
				ss = s.ConnectionState()
				_, err = s.Write([]byte("x"))
			}
			s.Close()
		}
		done <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(c, client)
	defer conn.Close()
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	conn.Read(one) // takes in the session tickets
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return ss, conn.ConnectionState()
}

func server(t *testing.T, keys *Keys) *tls.Config {
	c, _, err := NewServer(ServerOptions{Rules: Rules{">=TLSv1", "medium", nil}, Keys: keys, Tickets: new(Tickets)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVerdicts(t *testing.T) {
	dir := t.TempDir()
	cert, key := files(t, dir, ECDSA, "mx.example.com", "*.wild.example.com")
	keys, err := Open(Sources{Pairs: []Pair{{cert, key}, {"none", ""}, {}}})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	pool, err := LoadCAs(cert, "", OnlyConfigured)
	if err != nil {
		t.Fatal(err)
	}
	client, _, err := NewClient(ClientOptions{Rules: Rules{">=TLSv1.2", "high", []string{"aNULL"}}})
	if err != nil {
		t.Fatal(err)
	}
	_, cs := handshake(t, server(t, keys), client)
	print, pub, _ := FingerprintOf(cs.PeerCertificates[0], "sha256")
	leaf := cs.PeerCertificates[0]
	usage := x509.ExtKeyUsageServerAuth
	for _, c := range []struct {
		rule string
		d    Demands
		want string
	}{
		{"without authorities nobody is trusted", Demands{Level: May}, "Untrusted: self-signed certificate"},
		{"a known authority", Demands{Level: May, Roots: pool}, "Trusted"},
		{"the name matches", Demands{Level: Secure, Roots: pool, Names: []string{"mx.example.com"}}, "Verified"},
		{"names have no case", Demands{Level: Verify, Roots: pool, Names: []string{"MX.Example.COM"}}, "Verified"},
		{"a wildcard is one label", Demands{Level: Secure, Roots: pool, Names: []string{"a.wild.example.com"}}, "Verified"},
		{"and no more", Demands{Level: Secure, Roots: pool, Names: []string{"a.b.wild.example.com"}}, "Trusted: num=62:hostname mismatch"},
		{"a leading dot means names below", Demands{Level: Secure, Roots: pool, Names: []string{".example.com"}}, "Verified"},
		{"another name", Demands{Level: Secure, Roots: pool, Names: []string{"example.com"}}, "Trusted: num=62:hostname mismatch"},
		{"fingerprint of the certificate", Demands{Level: Fingerprint, Fingerprints: []string{strings.ToLower(print)}}, "Verified"},
		{"fingerprint of the key", Demands{Level: Fingerprint, Fingerprints: []string{"AA", pub}}, "Verified"},
		{"another fingerprint", Demands{Level: Fingerprint, Fingerprints: []string{"AA:BB"}}, "Untrusted: not trusted by local or TLSA policy"},
		{"DANE-EE matches the key, whatever the name", Demands{Level: DANE, TLSA: tlsa(3, 1, 1, leaf), Names: []string{"other.example"}}, "Verified"},
		{"DANE-EE does not mind the date", Demands{Level: DANE, TLSA: tlsa(3, 0, 2, leaf), Now: time.Now().AddDate(11, 0, 0)}, "Verified"},
		{"DANE-EE with another key", Demands{Level: DANE, TLSA: []Association{{3, 1, 1, make([]byte, 32)}}}, "Untrusted: self-signed certificate"},
		{"DANE-TA needs the name", Demands{Level: DANEOnly, TLSA: tlsa(2, 0, 1, leaf), Names: []string{"other.example"}}, "Trusted: num=62:hostname mismatch"},
		{"DANE-TA with the name", Demands{Level: DANEOnly, TLSA: tlsa(2, 0, 0, leaf), Names: []string{"mx.example.com"}}, "Verified"},
		{"DANE behind an insecure MX is not called verified", Demands{Level: HalfDANE, TLSA: tlsa(3, 1, 1, leaf)}, "Trusted"},
		{"PKIX usages do not count in mail", Demands{Level: DANE, TLSA: tlsa(1, 1, 1, leaf)}, "Untrusted: self-signed certificate"},
		{"expired", Demands{Level: May, Roots: pool, Now: time.Now().AddDate(11, 0, 0)}, "Untrusted: certificate has expired"},
		{"not yet valid", Demands{Level: May, Roots: pool, Now: time.Now().AddDate(-1, 0, 0)}, "Untrusted: certificate not yet valid"},
	} {
		c.d.Usage = usage
		p := Examine(cs, c.d)
		got, _, _ := strings.Cut(Describe(cs, p, nil, ClientSide).Summary("to x"), " ")
		if p.Reason != "" {
			got += ": " + p.Reason
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.rule, got, c.want)
		}
	}
}

// tlsa makes a record for a certificate.
func tlsa(usage, selector, matching uint8, c *x509.Certificate) []Association {
	data := c.Raw
	if selector == 1 {
		data = c.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return []Association{{usage, selector, matching, data}}
}

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		rule, protocols string
		kind            KeyKind
		want            string
	}{
		{"TLS 1.3 with ECDSA", ">=TLSv1.3", ECDSA, "Untrusted TLS connection established to mx[192.0.2.1]:25: TLSv1.3 with cipher " +
			"TLS_AES_128_GCM_SHA256 (128/128 bits) key-exchange X25519MLKEM768 server-signature ECDSA (prime256v1) server-digest SHA256"},
		{"TLS 1.3 with RSA", "TLSv1.3", RSA, "Untrusted TLS connection established to mx[192.0.2.1]:25: TLSv1.3 with cipher " +
			"TLS_AES_128_GCM_SHA256 (128/128 bits) key-exchange X25519MLKEM768 server-signature RSA-PSS (2048 bits) server-digest SHA256"},
		{"TLS 1.2 has no details", "<=TLSv1.2", RSA, "Untrusted TLS connection established to mx[192.0.2.1]:25: TLSv1.2 with cipher " +
			"ECDHE-RSA-AES128-GCM-SHA256 (128/128 bits)"},
	} {
		cert, key := files(t, t.TempDir(), c.kind, "mx.example.com")
		keys, err := Open(Sources{Pairs: []Pair{{cert, key}}})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		client, _, err := NewClient(ClientOptions{Rules: Rules{c.protocols, "high", []string{"AES256", "CHACHA20"}}})
		if err != nil {
			t.Fatal(err)
		}
		_, cs := handshake(t, server(t, keys), client)
		got := Describe(cs, Examine(cs, Demands{}), nil, ClientSide).Summary("to mx[192.0.2.1]:25")
		got = strings.Replace(got, "TLS_AES_256_GCM_SHA384 (256/256", "TLS_AES_128_GCM_SHA256 (128/128", 1) // both sides' hardware decides
		got = strings.Replace(got, "TLS_CHACHA20_POLY1305_SHA256 (256/256", "TLS_AES_128_GCM_SHA256 (128/128", 1)
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.rule, got, c.want)
		}
	}
}

func TestSessionsAreResumedWithTickets(t *testing.T) {
	cert, key := files(t, t.TempDir(), ECDSA, "mx.example.com")
	keys, err := Open(Sources{Pairs: []Pair{{cert, key}}})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	shared := [][32]byte{{1, 2, 3}}
	client, _, _ := NewClient(ClientOptions{Rules: Rules{">=TLSv1.2", "high", nil}, ServerName: "mx.example.com",
		Sessions: tls.NewLRUClientSessionCache(4)})
	for i, want := range []bool{false, true} {
		tickets := new(Tickets)
		tickets.Set(shared) // two server processes with the same keys
		sc, _, err := NewServer(ServerOptions{Rules: Rules{">=TLSv1.2", "high", nil}, Keys: keys, Tickets: tickets})
		if err != nil {
			t.Fatal(err)
		}
		if _, cs := handshake(t, sc, client); cs.DidResume != want {
			t.Errorf("session %d: resumed=%v, want %v", i, cs.DidResume, want)
		}
	}
}

func TestClientCertificate(t *testing.T) {
	cert, key := files(t, t.TempDir(), RSA, "client.example.com")
	keys, err := Open(Sources{Pairs: []Pair{{cert, key}}})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	sc, _, err := NewServer(ServerOptions{Rules: Rules{"", "medium", nil}, Keys: keys, AskCert: tls.RequestClientCert})
	if err != nil {
		t.Fatal(err)
	}
	client, _, err := NewClient(ClientOptions{Rules: Rules{"", "medium", nil}, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	ss, _ := handshake(t, sc, client)
	p := Examine(ss, Demands{Level: May, Usage: x509.ExtKeyUsageClientAuth})
	if !p.Present || p.Subject != "client.example.com" || !strings.Contains(p.FingerprintCert, ":") {
		t.Errorf("server sees %+v", p)
	}
}

func TestChainFiles(t *testing.T) {
	cert1, key1, _ := SelfSigned(ECDSA, time.Now(), "one.example")
	cert2, key2, _ := SelfSigned(RSA, time.Now(), "two.example")
	join := func(parts ...[]byte) string {
		s := ""
		for _, p := range parts {
			s += string(p)
		}
		return s
	}
	for _, c := range []struct{ rule, text, want string }{
		{"key before certificate", join(key1, cert1), "one.example"},
		{"two keys", join(key1, cert1, key2, cert2), "one.example two.example"},
		{"a chain follows its certificate", join(key1, cert1, cert2), "one.example"},
		{"certificate first", join(cert1, key1), "certificate before the first private key"},
		{"two keys in a row", join(key1, key2, cert2), "two private keys without a certificate between them"},
		{"no certificate", join(key1), "private key without a certificate"},
		{"nothing", "", "no private key"},
		{"wrong certificate", join(key1, cert2), "certificate of CN=two.example does not match the private key before it"},
	} {
		certs, err := parseChains([]byte(c.text))
		var names []string
		for _, cert := range certs {
			names = append(names, cert.Leaf.Subject.CommonName)
		}
		got := strings.Join(names, " ")
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.rule, got, c.want)
		}
	}
}

func TestRenewalNeedsNoReload(t *testing.T) {
	dir := t.TempDir()
	cert, key := files(t, dir, ECDSA, "old.example")
	keys, err := Open(Sources{Pairs: []Pair{{cert, key}}})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	if changed, err := keys.Refresh(); changed || err != nil {
		t.Errorf("untouched files: changed=%v, %v", changed, err)
	}
	files(t, dir, ECDSA, "new.example")
	if changed, err := keys.Refresh(); !changed || err != nil {
		t.Fatalf("renewed files: changed=%v, %v", changed, err)
	}
	if name := keys.Certificates()[0].Leaf.Subject.CommonName; name != "new.example" {
		t.Errorf("certificate of %s is used", name)
	}
	if err := os.WriteFile(key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Refresh(); err == nil {
		t.Error("a broken file is no error")
	}
	if keys.Empty() {
		t.Error("a broken file took the old certificate away")
	}
}

// TestUnreadableRenewalAsksForRestart plays a process that opened its keys
// as root and then became somebody else: this program again, as a child.
func TestUnreadableRenewalAsksForRestart(t *testing.T) {
	if dir := os.Getenv("TLSCONF_CHILD"); dir != "" {
		child(dir)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root can play this")
	}
	dir := filepath.Join(t.TempDir(), "private")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	files(t, dir, ECDSA, "old.example")
	cmd := exec.Command(os.Args[0], "-test.run=^TestUnreadableRenewalAsksForRestart$")
	cmd.Env = append(os.Environ(), "TLSCONF_CHILD="+dir)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	if lines.Text() != "ready unchanged" {
		t.Errorf("child says %q", lines.Text())
	}
	files(t, dir, ECDSA, "new.example")
	fmt.Fprintln(in, "renewed")
	lines.Scan()
	if lines.Text() != "restart" {
		t.Errorf("child says %q, want a restart", lines.Text())
	}
	cmd.Wait()
}

func child(dir string) {
	keys, err := Open(Sources{Pairs: []Pair{{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := syscall.Setuid(65534); err != nil {
		fmt.Println(err)
		return
	}
	changed, err := keys.Refresh()
	if changed || err != nil {
		fmt.Println(changed, err)
	}
	fmt.Println("ready unchanged")
	bufio.NewScanner(os.Stdin).Scan()
	_, err = keys.Refresh()
	if errors.Is(err, ErrRestart) {
		fmt.Println("restart")
	} else {
		fmt.Println(err)
	}
}

func TestLoadCAs(t *testing.T) {
	dir := t.TempDir()
	cert, _ := files(t, dir, ECDSA, "ca.example")
	pool, err := LoadCAs("", dir, OnlyConfigured)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(cert)
	block, _ := pem.Decode(text)
	leaf, _ := x509.ParseCertificate(block.Bytes)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Error(err)
	}
	if _, err := LoadCAs(filepath.Join(dir, "key.pem"), "", OnlyConfigured); err == nil {
		t.Error("a file without a certificate is no error")
	}
}

func FuzzParseChains(f *testing.F) {
	cert, key, _ := SelfSigned(ECDSA, time.Now(), "one.example")
	f.Add(append(key, cert...))
	f.Fuzz(func(t *testing.T, text []byte) {
		certs, err := parseChains(text)
		for _, c := range certs {
			if err == nil && (c.Leaf == nil || len(c.Certificate) == 0) {
				t.Error("incomplete certificate")
			}
		}
	})
}

func FuzzParseProtocols(f *testing.F) {
	f.Add(">=TLSv1.2, !SSLv3")
	f.Fuzz(func(t *testing.T, list string) {
		if v, err := ParseProtocols(list); err == nil && (v.Min < tls.VersionTLS10 || v.Max < v.Min || v.Max > tls.VersionTLS13) {
			t.Errorf("%q gives %v", list, v)
		}
	})
}
