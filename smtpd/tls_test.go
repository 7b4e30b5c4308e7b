package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"postroad/libmail/tlsconf"
)

// testTLS is a server with a certificate of its own making.
func testTLS(t testing.TB) *tlsServer {
	t.Helper()
	cert, key, err := tlsconf.SelfSigned(tlsconf.ECDSA, time.Now(), "mx.example.com")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(path, append(key, cert...), 0600); err != nil {
		t.Fatal(err)
	}
	keys, err := tlsconf.Open(tlsconf.Sources{Chains: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	config, _, err := tlsconf.NewServer(tlsconf.ServerOptions{Keys: keys, Rules: tlsconf.Rules{Protocols: ">=TLSv1.2", Grade: "medium"}})
	if err != nil {
		t.Fatal(err)
	}
	return &tlsServer{config: config, keys: keys}
}
