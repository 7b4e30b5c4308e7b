package tlsconf

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Peer is the verdict on the other side after a handshake.
type Peer struct {
	Present bool // it showed a certificate
	Trusted bool // the certificate leads to a known authority
	Matched bool // and is what the policy demands
	Secured bool // and the policy is one that an attacker cannot influence

	Subject           string // common name, printable
	Issuer            string // common name of the issuer, printable
	FingerprintCert   string // "AA:BB:..."
	FingerprintPubkey string
	Reason            string // why it is not trusted or not matched, for the log
}

// Demands are what a policy wants of a peer's certificate.
type Demands struct {
	Level        Level
	Roots        *x509.CertPool // nil: nobody is trusted
	Depth        int            // certificates between the leaf and the root, at most (smtp_tls_scert_verifydepth)
	Names        []string       // at Verify and Secure: one must match; ".example.com" matches names below
	Fingerprints []string       // at Fingerprint: one must match
	TLSA         []Association  // at DANE levels: one must match
	Digest       string         // fingerprint algorithm (smtp_tls_fingerprint_digest)
	Usage        x509.ExtKeyUsage
	Now          time.Time // zero: the present
}

// Examine judges the peer of a finished handshake. It never fails: what a
// missing or bad certificate means is the caller's decision.
func Examine(cs tls.ConnectionState, d Demands) Peer {
	if len(cs.PeerCertificates) == 0 {
		return Peer{Reason: "no certificate"}
	}
	leaf := cs.PeerCertificates[0]
	p := Peer{
		Present: true,
		Subject: commonName(leaf.Subject.CommonName),
		Issuer:  commonName(leaf.Issuer.CommonName),
	}
	var err error
	p.FingerprintCert, p.FingerprintPubkey, err = FingerprintOf(leaf, d.Digest)
	if err != nil {
		p.Reason = err.Error()
	}
	if d.Level == Fingerprint {
		for _, f := range d.Fingerprints {
			if f != "" && (strings.EqualFold(f, p.FingerprintCert) || strings.EqualFold(f, p.FingerprintPubkey)) {
				p.Trusted, p.Matched, p.Secured = true, true, true
				return p
			}
		}
		p.Reason = "not trusted by local or TLSA policy"
		return p
	}
	if d.Level >= HalfDANE && d.Level <= DANEOnly {
		if d.endEntity(leaf) { // RFC 7672 §3.1.1: names and dates do not matter
			p.Trusted, p.Matched, p.Secured = true, true, d.Level != HalfDANE
			return p
		}
		d.Roots = d.trustAnchors(cs.PeerCertificates)
	}
	if p.Reason = untrusted(cs.PeerCertificates, d); p.Reason != "" {
		return p
	}
	p.Trusted = true
	if !d.Level.MustMatch() {
		return p
	}
	for _, name := range d.Names {
		if matchesName(leaf, name) {
			p.Matched, p.Secured = true, d.Level != HalfDANE
			return p
		}
	}
	p.Reason = "num=62:hostname mismatch"
	return p
}

// untrusted returns why a chain is not trusted, in the words of the log,
// or "".
func untrusted(chain []*x509.Certificate, d Demands) string {
	opts := x509.VerifyOptions{
		Roots: d.Roots, CurrentTime: d.Now, Intermediates: x509.NewCertPool(),
		KeyUsages: []x509.ExtKeyUsage{d.Usage},
	}
	if opts.Roots == nil {
		opts.Roots = x509.NewCertPool()
	}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	chains, err := chain[0].Verify(opts)
	if err == nil {
		if d.Depth > 0 && len(chains[0])-2 > d.Depth {
			return fmt.Sprintf("certificate chain longer than limit(%d)", d.Depth)
		}
		return ""
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) {
		switch invalid.Reason {
		case x509.Expired:
			now := d.Now
			if now.IsZero() {
				now = time.Now()
			}
			if now.Before(invalid.Cert.NotBefore) {
				return "certificate not yet valid"
			}
			return "certificate has expired"
		case x509.IncompatibleUsage:
			return "not designated for use as a server certificate"
		}
		return printable(invalid.Error())
	}
	leaf := chain[0]
	if len(chain) == 1 && leaf.Subject.String() == leaf.Issuer.String() {
		return "self-signed certificate"
	}
	return "untrusted issuer " + oneline(chain[len(chain)-1])
}

// oneline writes an issuer as OpenSSL's short form does: /O=Org/CN=Name.
func oneline(c *x509.Certificate) string {
	var b strings.Builder
	for _, rdn := range c.Issuer.ToRDNSequence() {
		for _, atv := range rdn {
			key := map[string]string{
				"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST",
				"2.5.4.10": "O", "2.5.4.11": "OU",
			}[atv.Type.String()]
			if key == "" {
				key = atv.Type.String()
			}
			fmt.Fprintf(&b, "/%s=%v", key, atv.Value)
		}
	}
	return printable(b.String())
}

// matchesName reports whether a certificate is for name (RFC 6125 §6.4):
// its DNS names count, or its common name if it has none. A wildcard
// stands for one whole label. name with a leading dot matches any name
// below it.
func matchesName(leaf *x509.Certificate, name string) bool {
	names := leaf.DNSNames
	if len(names) == 0 && leaf.Subject.CommonName != "" {
		names = []string{leaf.Subject.CommonName}
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for _, n := range names {
		n = strings.ToLower(strings.TrimSuffix(n, "."))
		switch {
		case name == "" || name == ".":
		case name[0] == '.':
			if strings.HasSuffix(n, name) && len(n) > len(name) {
				return true
			}
		case n == name:
			return true
		case strings.HasPrefix(n, "*.") && strings.Count(n, ".") > 1:
			if _, rest, ok := strings.Cut(name, "."); ok && rest == n[2:] {
				return true
			}
		}
	}
	return false
}

// FingerprintOf returns the fingerprints of a certificate and of its
// public key, "AA:BB:...". The algorithm is md5, sha1, sha256, sha384 or
// sha512; empty means sha256.
func FingerprintOf(c *x509.Certificate, algorithm string) (cert, pubkey string, err error) {
	sum := func(data []byte) []byte { s := sha256.Sum256(data); return s[:] }
	switch strings.ToLower(algorithm) {
	case "", "sha256":
	case "md5":
		sum = func(data []byte) []byte { s := md5.Sum(data); return s[:] }
	case "sha1":
		sum = func(data []byte) []byte { s := sha1.Sum(data); return s[:] }
	case "sha384":
		sum = func(data []byte) []byte { s := sha512.Sum384(data); return s[:] }
	case "sha512":
		sum = func(data []byte) []byte { s := sha512.Sum512(data); return s[:] }
	default:
		return "", "", fmt.Errorf("fingerprint digest %q: not known", algorithm)
	}
	return colons(sum(c.Raw)), colons(sum(c.RawSubjectPublicKeyInfo)), nil
}

func colons(sum []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
}

// commonName returns a name fit for logs and headers.
func commonName(name string) string { return printable(name) }

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return '?'
		}
		return r
	}, s)
}
