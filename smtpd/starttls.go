package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/smtpwire"
	"postroad/libmail/table"
	"postroad/libmail/tlsconf"
)

// tlsSettings are the parameters of TLS.
type tlsSettings struct {
	offered  bool // STARTTLS
	required bool // no mail without
	wrapper  bool // TLS from the first byte (smtpd_tls_wrappermode)
	authOnly bool // no AUTH without (smtpd_tls_auth_only)
	asksCert bool // clients are asked for a certificate
	needCert bool // and must have one of a known authority
	digest   string
	depth    int
	logLevel int
}

func readTLS(c *conf.Config) (tlsSettings, error) {
	t := tlsSettings{
		offered:  c.Bool("smtpd_use_tls"),
		required: c.Bool("smtpd_enforce_tls"),
		wrapper:  c.Bool("smtpd_tls_wrappermode"),
		digest:   c.String("smtpd_tls_fingerprint_digest"),
		depth:    c.Int("smtpd_tls_ccert_verifydepth"),
	}
	if level := c.String("smtpd_tls_security_level"); !t.wrapper && level != "" {
		switch l := tlsconf.ParseLevel(level); {
		case l == tlsconf.Invalid:
			return t, fmt.Errorf("invalid TLS level %q", level)
		case l == tlsconf.None:
			t.offered, t.required = false, false
		case l == tlsconf.May:
			t.offered, t.required = true, false
		default: // the stricter levels mean encrypt for a server
			t.offered, t.required = true, true
		}
	}
	t.required = t.required || t.wrapper
	t.offered = t.offered || t.required
	t.authOnly = c.Bool("smtpd_tls_auth_only") || t.required
	t.needCert = t.required && c.Bool("smtpd_tls_req_ccert")
	t.asksCert = c.Bool("smtpd_tls_ask_ccert") || t.needCert
	for _, digit := range []byte(c.String("smtpd_tls_loglevel")) {
		if digit < '0' || digit > '9' {
			break
		}
		t.logLevel = min(t.logLevel*10+int(digit-'0'), 9)
	}
	return t, nil
}

// tlsServer is what it takes to begin TLS.
type tlsServer struct {
	config *tls.Config
	keys   *tlsconf.Keys
	names  *sniKeys // nil: clients that call a name are no different
	roots  *x509.CertPool
}

// openTLS reads certificates and keys, while the program may. Without a
// certificate STARTTLS is announced but does not work: a client that insists on
// it shall not fall back to plain text without a word in the log.
func (sv *service) openTLS(o table.Options) error {
	c, t := sv.params.conf, &sv.params.tls
	if !t.offered {
		return nil
	}
	keys, err := tlsconf.Open(keySources(c))
	if err == nil && keys.Empty() && t.required {
		keys, err = selfSigned(c, sv.log)
	}
	if err != nil || keys.Empty() {
		if err != nil {
			sv.log.Warning("cannot get certificates: %v", err)
		}
		sv.log.Warning("No server certs available. TLS won't be enabled")
		return nil
	}
	roots, err := tlsconf.LoadCAs(c.String("smtpd_tls_CAfile"), c.String("smtpd_tls_CApath"), tlsconf.OnlyConfigured)
	if err != nil {
		return err
	}
	e := &tlsServer{keys: keys, roots: roots}
	if list := c.List("tls_server_sni_maps"); len(list) > 0 {
		o.FileValues = true
		maps, err := table.OpenMaps("tls_server_sni_maps", list, o)
		if err != nil {
			return err
		}
		e.names = &sniKeys{maps: maps, log: sv.log}
	}
	if err := e.configure(c, *t, sv.log); err != nil {
		return err
	}
	sv.encryption = e
	return nil
}

// configure makes the configuration for crypto/tls.
func (e *tlsServer) configure(c *conf.Config, t tlsSettings, log *maillog.Logger) (err error) {
	o := tlsconf.ServerOptions{Keys: e.keys, ClientCAs: e.roots, Tickets: &tlsconf.Tickets{}, SNI: e.names.find}
	o.Rules = tlsconf.Rules{
		Protocols:  c.String("smtpd_tls_protocols"),
		Grade:      c.String("smtpd_tls_ciphers"),
		Exclusions: []string{c.String("smtpd_tls_exclude_ciphers")},
	}
	if t.required {
		o.Protocols, o.Grade = c.String("smtpd_tls_mandatory_protocols"), c.String("smtpd_tls_mandatory_ciphers")
		o.Exclusions = append(o.Exclusions, c.String("smtpd_tls_mandatory_exclude_ciphers"))
	}
	if t.asksCert {
		o.AskCert = tls.RequestClientCert
	}
	var warning string
	if e.config, warning, err = tlsconf.NewServer(o); err != nil {
		return err
	}
	if warning != "" {
		log.Warning("%s", warning)
	}
	e.noteShown()
	return nil
}

// noteShown makes the connection know which certificate its client was shown.
func (e *tlsServer) noteShown() {
	choose := e.config.GetCertificate
	e.config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := choose(hello)
		if c, ok := hello.Conn.(*timedConn); ok && err == nil {
			c.shown = cert.Leaf
		}
		return cert, err
	}
}

// selfSigned is what a service that takes no mail without TLS does when no
// certificate is configured: as it stands, nobody could use it.
func selfSigned(c *conf.Config, log *maillog.Logger) (*tlsconf.Keys, error) {
	path := filepath.Join(c.String("data_directory"), "selfsigned.pem")
	if err := tlsconf.SelfSignedFile(path, c.String("myhostname")); err != nil {
		return nil, err
	}
	log.Warning("smtpd_tls_cert_file is not set: using the self-signed certificate %s, which no mail program trusts", path)
	return tlsconf.Open(tlsconf.Sources{Chains: []string{path}})
}

// keySources are the files of smtpd_tls_chain_files, or of the older
// parameters.
func keySources(c *conf.Config) tlsconf.Sources {
	return tlsconf.Sources{
		Chains: c.List("smtpd_tls_chain_files"),
		Pairs: []tlsconf.Pair{
			{Cert: c.String("smtpd_tls_cert_file"), Key: c.String("smtpd_tls_key_file")},
			{Cert: c.String("smtpd_tls_eccert_file"), Key: c.String("smtpd_tls_eckey_file")},
			{Cert: c.String("smtpd_tls_dcert_file"), Key: c.String("smtpd_tls_dkey_file")},
		},
	}
}

// tlsState is a TLS session.
type tlsState struct {
	conn    *tls.Conn
	session tlsconf.Session
	peer    *tlsconf.Peer
	sni     string // name that the client called, with tls_server_sni_maps
}

// cmdSTARTTLS begins TLS (RFC 3207 §4).
func (s *session) cmdSTARTTLS(args []smtpwire.Token) reply {
	switch {
	case len(args) != 1:
		return protocolError(501, "5.5.4", "Syntax: STARTTLS")
	case s.tls != nil:
		return protocolError(554, "5.5.1", "Error: TLS already active")
	case !s.params.tls.offered || s.alone || s.discard&smtpwire.STARTTLS != 0:
		return protocolError(502, "5.5.1", "Error: command not implemented")
	case s.encryption == nil:
		r := say(454, "4.7.0", "TLS not available due to local problem")
		r.class = softwareTrouble
		return r
	}
	if s.tooMuchTLS() {
		s.log.Warning("Refusing STARTTLS request from %s for service %s", s.client.namaddr, s.name)
		return policyError(454, "4.7.0", "Error: too many new TLS sessions from %s", s.client.namaddr)
	}
	return reply{code: 220, status: "2.0.0", text: "Ready to start TLS", then: (*session).upgrade}
}

// upgrade makes the handshake. Nothing that the client said before counts any
// more, least of all what it sent in plain text after STARTTLS.
func (s *session) upgrade() reply {
	s.wire.purge()
	s.helo = ""
	s.resetMail()
	if err := s.handshake(); err != nil {
		return reply{lost: err}
	}
	if r := s.afterHandshake(); r != nil {
		return *r
	}
	return reply{silent: true}
}

// wrap makes the handshake of a service that speaks TLS from the first byte.
func (s *session) wrap() error {
	if s.encryption == nil {
		s.log.Warning("Wrapper-mode request dropped from %s for service %s. TLS context initialization failed. For details see earlier warnings in your logs.",
			s.client.namaddr, s.name)
		return errQuiet
	}
	if s.tooMuchTLS() {
		s.log.Warning("Refusing TLS service request from %s for service %s", s.client.namaddr, s.name)
		return errQuiet
	}
	if err := s.handshake(); err != nil {
		return err
	}
	if r := s.afterHandshake(); r != nil {
		return s.finish(*r)
	}
	return nil
}

// handshake begins TLS on the connection.
func (s *session) handshake() error {
	if changed, err := s.encryption.keys.Refresh(); errors.Is(err, tlsconf.ErrRestart) {
		s.restart("certificate file has changed")
	} else if err != nil {
		s.log.Warning("cannot renew certificates: %v", err)
	} else if changed {
		s.log.Info("certificates were renewed")
	}
	conn := tls.Server(s.wire.timed, s.encryption.config)
	ctx, cancel := context.WithTimeout(s.ctx, s.limits().starttlsTimeout)
	defer cancel()
	s.wire.timed.request(0)
	if err := conn.HandshakeContext(ctx); err != nil {
		s.logHandshake(err)
		return io.EOF
	}
	state := conn.ConnectionState()
	peer := tlsconf.Examine(state, tlsconf.Demands{
		Roots: s.encryption.roots, Depth: s.params.tls.depth, Digest: s.params.tls.digest,
		Usage: x509.ExtKeyUsageClientAuth, Now: s.clock.Now(),
	})
	s.tls = &tlsState{conn: conn, session: tlsconf.Describe(state, peer, s.wire.timed.shown, tlsconf.ServerSide)}
	s.calledName(state.ServerName)
	s.tls.peer = &s.tls.session.Peer
	s.wire.conn = conn
	if s.params.tls.logLevel > 0 {
		from := "from " + s.client.namaddr
		if s.tls.sni != "" {
			from += " to " + s.tls.sni
		}
		s.log.Info("%s", s.tls.session.Summary(from))
	}
	return nil
}

// calledName notes the name that the client called us by, where that matters.
func (s *session) calledName(name string) {
	switch names := s.encryption.names; {
	case names == nil || name == "":
	case !addr.ValidHostname(name):
		s.log.Warning("TLS SNI from %s is invalid: %s", s.client.namaddr, name)
	default:
		if s.tls.sni = name; names.find(name) == nil {
			s.log.Info("TLS SNI %s from %s not matched, using default chain", name, s.client.namaddr)
		}
	}
}

func (s *session) logHandshake(err error) {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		s.log.Info("SSL_accept error from %s: lost connection", s.client.namaddr)
	case errors.Is(err, context.DeadlineExceeded):
		s.log.Info("SSL_accept error from %s: Connection timed out", s.client.namaddr)
	default:
		s.log.Info("SSL_accept error from %s: -1", s.client.namaddr)
		s.log.Warning("TLS library problem: %v", err)
	}
}

// afterHandshake counts the TLS session, wants a certificate where one is
// required, and offers the mechanisms that need TLS.
func (s *session) afterHandshake() *reply {
	if limit := s.params.anvil.newTLS; !s.tls.session.Resumed && s.exceeds(proto.AnvilNewTLS, limit, "New TLS session rate") {
		r := policyError(421, "4.7.0", "%s Error: too many new TLS sessions from %s", s.params.hostname, s.client.namaddr)
		return &r
	}
	if s.params.tls.needCert && !s.tls.peer.Trusted {
		return s.wantCert()
	}
	s.logout()
	s.activateSASL()
	return nil
}

// wantCert ends a session without a good client certificate. The client is told
// after its next command, as it now expects to speak first.
func (s *session) wantCert() *reply {
	text := "No client certificate presented"
	if s.tls.peer.Present {
		text = "Client certificate not trusted"
	}
	if s.params.tls.logLevel > 0 && s.tls.peer.Present {
		s.log.Info("certificate verification failed for %s: %s", s.client.namaddr, s.tls.peer.Reason)
	}
	s.log.Info("NOQUEUE: abort: TLS from %s: %s", s.client.namaddr, text)
	refusal := policyError(421, "4.7.1", "%s Error: %s", s.params.hostname, text)
	refusal.forgiven = true // TLS itself works
	if s.params.tls.wrapper {
		return &refusal
	}
	return &reply{silent: true, then: func(s *session) reply {
		if _, _, err := s.readLine(s.params.lineLimit); err != nil {
			return reply{lost: err}
		}
		return refusal
	}}
}

// closeTLS says good-bye to the TLS layer of the client.
func (s *session) closeTLS() {
	if s.tls != nil {
		s.tls.conn.CloseWrite() // the client may be gone
	}
}

// receivedLines are the lines of the Received header about TLS
// (smtpd_tls_received_header).
func (t *tlsState) receivedLines(asked bool) []string {
	x := &t.session
	lines := []string{"\t(using " + x.Text()}
	server, client, found := strings.Cut(x.KeyExchange+x.Signatures, " client-signature")
	if server != "" {
		lines = append(lines, "\t"+server)
	}
	if found {
		lines = append(lines, "\t client-signature"+client)
	}
	lines[len(lines)-1] += ")"
	switch {
	case t.peer.Present:
		verified := "not verified"
		if t.peer.Trusted {
			verified = "verified OK"
		}
		lines = append(lines, fmt.Sprintf("\t(Client CN \"%s\", Issuer \"%s\" (%s))", commentText(t.peer.Subject), commentText(t.peer.Issuer), verified))
	case asked:
		lines = append(lines, "\t(Client did not present a certificate)")
	default:
		lines = append(lines, "\t(No client certificate requested)")
	}
	return lines
}

// policyTLS is what policy servers are told about TLS.
type policyTLS struct {
	subject, issuer, fingerprint, pubkeyFingerprint string
	protocol, cipher, sni                           string
	bits                                            int
}

func tlsAttributes(t *tlsState) (a policyTLS) {
	if t == nil {
		return a
	}
	a = policyTLS{
		fingerprint: t.peer.FingerprintCert, pubkeyFingerprint: t.peer.FingerprintPubkey,
		protocol: t.session.Protocol, cipher: t.session.Cipher, bits: t.session.Bits, sni: t.sni,
	}
	if t.peer.Trusted {
		a.subject, a.issuer = smtpwire.EncodeXtext(t.peer.Subject, ""), smtpwire.EncodeXtext(t.peer.Issuer, "")
	}
	return a
}
