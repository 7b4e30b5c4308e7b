package main

import (
	"crypto/tls"
	"testing"
	"time"

	"postroad/libmail/table"
	"postroad/libmail/tlsconf"
)

// selfMade is a private key and a certificate of its own making.
func selfMade(t testing.TB, name string) string {
	t.Helper()
	cert, key, err := tlsconf.SelfSigned(tlsconf.ECDSA, time.Now(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(key) + string(cert)
}

// encrypts gives the server what its settings say about TLS.
func (b *testbed) encrypts() {
	b.t.Helper()
	if err := b.openTLS(table.Options{Log: b.service.log}); err != nil {
		b.t.Fatal(err)
	}
	if b.encryption == nil {
		b.t.Fatal("no certificate")
	}
	b.t.Cleanup(b.encryption.keys.Close)
}

// TestNamesOfTheServer: clients see the certificate of the name that they call
// (tls_server_sni_maps), or none when it cannot be had.
func TestNamesOfTheServer(t *testing.T) {
	b := newTestbed(t, `
smtpd_tls_security_level = may
smtpd_tls_chain_files = $dir/mx.pem
smtpd_tls_loglevel = 1
tls_server_sni_maps = texthash:$dir/sni
`, map[string]string{"mx.pem": selfMade(t, "mx.example.com"), "other.pem": selfMade(t, "other.example"), "wrong.pem": "no key"})
	b.write("sni", "mail.other.example "+b.dir+"/other.pem\n.sub.example "+b.dir+"/other.pem\nwrong.example "+b.dir+"/wrong.pem\nmissing.example "+b.dir+"/nothing\n")
	b.encrypts()
	for _, c := range []struct{ name, want, log string }{
		{"", "mx.example.com", "Anonymous TLS connection established from unknown[203.0.113.7]: TLSv1.3 ..."},
		{"mail.other.example", "other.example", "Anonymous TLS connection established from unknown[203.0.113.7] to mail.other.example: TLSv1.3 ..."},
		{"Mail.Other.Example", "other.example", "Anonymous ..."},
		{"a.b.sub.example", "other.example", "Anonymous ..."},
		{"sub.example", "mx.example.com", "TLS SNI sub.example from unknown[203.0.113.7] not matched, using default chain"},
		{"nobody.example", "mx.example.com", "TLS SNI nobody.example from unknown[203.0.113.7] not matched, using default chain"},
		{"wrong.example", "", "warning: tls_server_sni_maps: wrong.example: no private key"},
		{"missing.example", "mx.example.com", "TLS SNI missing.example ... not matched, using default chain"}, // its file does not exist
	} {
		client := b.call()
		client.ask("STARTTLS", "220")
		secure := tls.Client(client.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: c.name})
		got := ""
		if err := secure.Handshake(); err == nil {
			got = secure.ConnectionState().PeerCertificates[0].DNSNames[0]
		}
		if got != c.want {
			t.Errorf("%q sees %q, want %q", c.name, got, c.want)
		}
		if err := b.logged(c.log); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		client.Close()
	}
}
