// Package tlsconf turns TLS parameters into crypto/tls settings: certificate
// files, protocol and cipher lists, trust, and the verdict on a peer.
//
//	cert, key, chain files --Open--> *Keys --(watched; renewed in place)--+
//	protocols, ciphers ----ParseProtocols, Suites------------------------ +--> *tls.Config
//	CAfile, CApath --------LoadCAs-----------------------------------------+
//	after the handshake: Verify (trusted? matched?), Summary (the log line)
//
// crypto/tls knows TLS 1.0 to 1.3 and no others, has no finite-field DH, no
// anonymous, DSS, export or NULL ciphers, always prefers its own cipher
// order, and lets nobody choose among TLS 1.3 ciphers. Parameters that ask
// for such things are accepted; what they cannot get is told as a warning.
package tlsconf

import "strings"

// A Level is a TLS security level (smtp_tls_security_level,
// smtpd_tls_security_level). Greater is stricter.
type Level int

// The security levels.
const (
	Invalid     Level = iota - 1
	None              // no TLS
	May               // TLS when offered, plaintext otherwise
	Encrypt           // no mail without TLS
	Fingerprint       // the certificate or key has a known fingerprint
	HalfDANE          // DANE behind an insecure MX; only for the log
	DANE              // RFC 7672, opportunistic
	DANEOnly          // RFC 7672, mandatory
	Verify            // trusted certificate that matches the MX host name
	Secure            // trusted certificate that matches the next-hop domain
)

var levelNames = map[Level]string{
	None: "none", May: "may", Encrypt: "encrypt", Fingerprint: "fingerprint",
	HalfDANE: "halfdane", DANE: "dane", DANEOnly: "dane-only", Verify: "verify", Secure: "secure",
}

// String returns the level's name in main.cf.
func (l Level) String() string {
	if name := levelNames[l]; name != "" {
		return name
	}
	return "invalid"
}

// ParseLevel returns the level with the given name, or Invalid. Like
// Postfix it minds no case, and does not accept "halfdane".
func ParseLevel(name string) Level {
	for l, n := range levelNames {
		if strings.EqualFold(n, name) && l != HalfDANE {
			return l
		}
	}
	return Invalid
}

// MustMatch reports whether mail may go only to an authenticated peer.
func (l Level) MustMatch() bool { return l >= Fingerprint }

// Mandatory reports whether mail may go only over TLS.
func (l Level) Mandatory() bool { return l >= Encrypt }

// words splits a list at commas, colons and white space.
func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool {
		return r == ',' || r == ':' || r == ' ' || r == '\t' || r == '\r' || r == '\n'
	})
}
