package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
)

// Rules are the protocol and cipher rules of one side.
type Rules struct {
	Protocols  string   // value of *_tls_protocols or *_tls_mandatory_protocols
	Grade      string   // value of *_tls_ciphers or *_tls_mandatory_ciphers
	Exclusions []string // values of *_tls_exclude_ciphers, ..._mandatory_exclude_ciphers
}

// apply sets versions and suites; the warning may be empty.
func (r Rules) apply(c *tls.Config) (warning string, err error) {
	v, err := ParseProtocols(r.Protocols)
	if err != nil {
		return "", err
	}
	c.MinVersion, c.MaxVersion = v.Min, v.Max
	c.CipherSuites, err = Suites(r.Grade, r.Exclusions...)
	if err != nil && v.Min >= tls.VersionTLS13 {
		err = nil // no suite of the list would be used
	}
	return v.Warning, err
}

// ServerOptions are the TLS settings of a server.
type ServerOptions struct {
	Rules
	Keys *Keys

	// SNI, if set, returns the certificates for the name that the client
	// asks for, or nil for those of Keys (tls_server_sni_maps).
	SNI func(name string) *Keys

	// AskCert asks clients for a certificate (smtpd_tls_ask_ccert); ClientCAs
	// are the authorities named in the question. A client without one is
	// let in, and Examine's verdict tells what was shown.
	AskCert   tls.ClientAuthType
	ClientCAs *x509.CertPool

	// Tickets holds the session ticket keys; nil turns tickets off.
	Tickets *Tickets
}

// NewServer returns the configuration for tls.Server, which all sessions
// share. Renewed certificates and ticket keys reach it by themselves. The
// warning tells what of the rules crypto/tls cannot do, or is empty.
func NewServer(o ServerOptions) (c *tls.Config, warning string, err error) {
	c = &tls.Config{ClientAuth: o.AskCert, ClientCAs: o.ClientCAs}
	if warning, err = o.apply(c); err != nil {
		return nil, "", err
	}
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		keys := o.Keys
		if o.SNI != nil && hello.ServerName != "" {
			if k := o.SNI(hello.ServerName); k != nil {
				keys = k
			}
		}
		return choose(keys.Certificates(), hello)
	}
	c.SessionTicketsDisabled = o.Tickets == nil
	if o.Tickets != nil {
		o.Tickets.attach(c)
	}
	return c, warning, nil
}

// choose picks the first certificate that the client can verify, or else
// the first of all: its handshake then fails with the right alert.
func choose(certs []tls.Certificate, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(certs) == 0 {
		return nil, fmt.Errorf("no certificate")
	}
	// A certificate's names do not matter in mail: only its key does.
	nameless := *hello
	nameless.ServerName = ""
	for i := range certs {
		if nameless.SupportsCertificate(&certs[i]) == nil {
			return &certs[i], nil
		}
	}
	return &certs[0], nil
}

// Tickets are the session ticket keys of a server. Several processes that
// are given the same keys accept each other's tickets. The zero value lets
// crypto/tls make and rotate keys of its own, good within one process.
type Tickets struct {
	mu      sync.Mutex
	keys    [][32]byte
	configs []*tls.Config
}

// Set replaces the keys. The first makes new tickets, all are accepted. It
// takes effect with the next session.
func (t *Tickets) Set(keys [][32]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys = keys
	for _, c := range t.configs {
		c.SetSessionTicketKeys(keys)
	}
}

func (t *Tickets) attach(c *tls.Config) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.configs = append(t.configs, c)
	if len(t.keys) > 0 {
		c.SetSessionTicketKeys(t.keys)
	}
}

// ClientOptions are the TLS settings of a client for one destination.
type ClientOptions struct {
	Rules
	Keys       *Keys                  // client certificates, or nil
	ServerName string                 // name to ask for (smtp_tls_servername), or ""
	Sessions   tls.ClientSessionCache // or nil: no resumption
}

// NewClient returns the configuration for tls.Client. It accepts every
// certificate: what one is worth is told by Examine after the handshake,
// because opportunistic TLS goes on with any.
func NewClient(o ClientOptions) (c *tls.Config, warning string, err error) {
	c = &tls.Config{
		InsecureSkipVerify: true, // see above
		ServerName:         o.ServerName,
		ClientSessionCache: o.Sessions,
	}
	if warning, err = o.apply(c); err != nil {
		return nil, "", err
	}
	if o.Keys != nil {
		c.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			for _, cert := range o.Keys.Certificates() {
				if info.SupportsCertificate(&cert) == nil {
					return &cert, nil
				}
			}
			return new(tls.Certificate), nil // none, as far as this server is concerned
		}
	}
	return c, warning, nil
}
