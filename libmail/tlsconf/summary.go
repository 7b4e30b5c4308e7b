package tlsconf

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// A Session is what a log line and a Received: header say of a TLS session.
type Session struct {
	Protocol      string // "TLSv1.3"
	Cipher        string // "TLS_AES_256_GCM_SHA384"
	Bits, AlgBits int
	KeyExchange   string // " key-exchange X25519", TLS 1.3 only
	Signatures    string // " server-signature RSA-PSS (2048 bits) server-digest SHA256", TLS 1.3 only
	Peer          Peer
	ServerName    string // name that the client asked for, or ""
	Resumed       bool
}

// Describe collects what is to be said of a session. own is the leaf
// certificate that this side showed, or nil; server tells which side it is.
func Describe(cs tls.ConnectionState, peer Peer, own *x509.Certificate, side Side) Session {
	s := Session{
		Protocol: VersionName(cs.Version), Peer: peer, ServerName: cs.ServerName, Resumed: cs.DidResume,
	}
	s.Cipher, s.Bits, s.AlgBits = CipherName(cs.CipherSuite)
	if cs.Version < tls.VersionTLS13 {
		return s
	}
	s.KeyExchange = keyExchange(cs.CurveID)
	var server, client *x509.Certificate
	if len(cs.PeerCertificates) > 0 {
		server = cs.PeerCertificates[0]
	}
	client = own
	if side == ServerSide {
		server, client = client, server
	}
	if cs.DidResume { // no certificate was shown in this handshake
		return s
	}
	s.Signatures = signature("server", server) + signature("client", client)
	return s
}

// A Side of a connection.
type Side int

// The sides.
const (
	ClientSide Side = iota
	ServerSide
)

// Text is the part of the log line and of the Received: header that names
// protocol and cipher: "TLSv1.3 with cipher X (256/256 bits)".
func (s Session) Text() string {
	return fmt.Sprintf("%s with cipher %s (%d/%d bits)", s.Protocol, s.Cipher, s.Bits, s.AlgBits)
}

// Summary is the log line for a new session. peer is "to HOST[ADDR]:PORT"
// for a client and "from NAME[ADDR]" for a server.
func (s Session) Summary(peer string) string {
	trust := "Anonymous"
	switch {
	case s.Peer.Secured:
		trust = "Verified"
	case s.Peer.Trusted:
		trust = "Trusted"
	case s.Peer.Present:
		trust = "Untrusted"
	}
	return trust + " TLS connection established " + peer + ": " + s.Text() + s.KeyExchange + s.Signatures
}

func keyExchange(id tls.CurveID) string {
	switch id {
	case 0:
		return ""
	case tls.CurveP256:
		return " key-exchange ECDHE (prime256v1)"
	case tls.CurveP384:
		return " key-exchange ECDHE (secp384r1)"
	case tls.CurveP521:
		return " key-exchange ECDHE (secp521r1)"
	}
	return " key-exchange " + id.String()
}

// signature names the algorithm with which a side proved its key. In TLS
// 1.3 the key decides it, but for the digest of RSA, which is SHA256 with
// every peer that offers it (RFC 8446 §9.1 makes it mandatory).
func signature(side string, c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	name, detail, digest := "", "", ""
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		name, detail, digest = "RSA-PSS", fmt.Sprintf("%d bits", key.N.BitLen()), "SHA256"
	case *ecdsa.PublicKey:
		name = "ECDSA"
		switch key.Curve.Params().BitSize {
		case 256:
			detail, digest = "prime256v1", "SHA256"
		case 384:
			detail, digest = "secp384r1", "SHA384"
		case 521:
			detail, digest = "secp521r1", "SHA512"
		}
	case ed25519.PublicKey:
		name = "ED25519"
	default:
		return ""
	}
	s := " " + side + "-signature " + name
	if detail != "" {
		s += " (" + detail + ")"
	}
	if digest != "" {
		s += " " + side + "-digest " + digest
	}
	return s
}
