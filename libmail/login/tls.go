package login

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/tlsconf"
)

// handshakeLimit bounds a TLS handshake.
const handshakeLimit = 30 * time.Second

// A TLS is what a front needs to encrypt (postconf(5): login_tls_*).
type TLS struct {
	Wrapper bool // TLS from the first byte: ports 993 and 995
	Level   tlsconf.Level

	plaintext bool
	config    *tls.Config
	keys      *tlsconf.Keys
}

// OpenTLS reads certificates and keys; call it while the program is
// privileged. Where none is configured a self-signed certificate is made in
// data_directory, with a warning: better encrypted for an unknown server than
// not at all.
func OpenTLS(c *conf.Config, log *maillog.Logger) (*TLS, error) {
	t := &TLS{Wrapper: c.Bool("login_tls_wrappermode"), Level: tlsconf.ParseLevel(c.String("login_tls_security_level")),
		plaintext: c.Bool("login_plaintext_auth")}
	if t.Level == tlsconf.None && !t.Wrapper {
		return t, nil
	}
	sources := tlsconf.Sources{Chains: c.List("login_tls_chain_files"),
		Pairs: []tlsconf.Pair{{Cert: c.String("login_tls_cert_file"), Key: c.String("login_tls_key_file")}}}
	keys, err := tlsconf.Open(sources)
	if err != nil {
		return nil, err
	}
	if keys.Empty() {
		path := filepath.Join(c.String("data_directory"), "selfsigned.pem")
		if err := tlsconf.SelfSignedFile(path, c.String("myhostname")); err != nil {
			return nil, err
		}
		log.Warning("login_tls_cert_file is not set: using the self-signed certificate %s, which no mail program trusts", path)
		if keys, err = tlsconf.Open(tlsconf.Sources{Chains: []string{path}}); err != nil {
			return nil, err
		}
	}
	config, warning, err := tlsconf.NewServer(tlsconf.ServerOptions{Keys: keys, Tickets: &tlsconf.Tickets{}, Rules: tlsconf.Rules{
		Protocols: c.String("smtpd_tls_mandatory_protocols"), Grade: c.String("smtpd_tls_mandatory_ciphers")}})
	if err != nil {
		return nil, err
	}
	if warning != "" {
		log.Warning("%s", warning)
	}
	t.config, t.keys = config, keys
	return t, nil
}

// Offered reports whether a plain connection may turn into TLS.
func (t *TLS) Offered() bool { return t.config != nil && !t.Wrapper }

// MayLogIn reports whether a client may say its password: under TLS, from this
// host, or where login_plaintext_auth allows it.
func (t *TLS) MayLogIn(c *Client) bool {
	return c.Secured || t.plaintext && !t.Level.Mandatory()
}

// Start makes the connection a TLS session. What the client sent in clear
// before the handshake must be thrown away by the caller before.
func (t *TLS) Start(ctx context.Context, c *Client) error {
	if t.config == nil {
		return errors.New("TLS is not available")
	}
	if _, err := t.keys.Refresh(); err != nil && !errors.Is(err, tlsconf.ErrRestart) {
		return err
	}
	conn := tls.Server(c.Raw, t.config)
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	c.Conn, c.Secured = conn, true
	return nil
}

// Stale reports whether the certificate files have changed and this process
// can't read them any more: a new process can.
func (t *TLS) Stale() bool {
	if t.keys == nil {
		return false
	}
	_, err := t.keys.Refresh()
	return errors.Is(err, tlsconf.ErrRestart)
}

// NewClient is the client behind a connection. One from this host is as good
// as encrypted.
func NewClient(conn net.Conn) *Client {
	c := &Client{Conn: conn, Raw: conn, Session: NewSession()}
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok && a.IP.IsLoopback() {
		c.Secured = true
	}
	return c
}

// Encrypted reports whether the client speaks TLS.
func (c *Client) Encrypted() bool { return c.Conn != c.Raw }
