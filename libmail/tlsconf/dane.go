package tlsconf

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
)

// An Association is a certificate association of a TLSA record (RFC 6698
// §2.1).
type Association struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// Certificate usages of mail (RFC 7672 §3.1); 0 and 1 are not used.
const (
	TrustAnchor = 2
	EndEntity   = 3
)

// Usable reports whether a mail client can do anything with the record
// (RFC 7672 §3.1).
func (a Association) Usable() bool {
	sizes := map[uint8]int{1: sha256.Size, 2: sha512.Size}
	switch {
	case a.Usage != TrustAnchor && a.Usage != EndEntity, a.Selector > 1, a.Matching > 2, len(a.Data) == 0:
		return false
	case a.Matching > 0:
		return len(a.Data) == sizes[a.Matching]
	case a.Selector == 0:
		_, err := x509.ParseCertificate(a.Data)
		return err == nil
	}
	_, err := x509.ParsePKIXPublicKey(a.Data)
	return err == nil
}

// matches reports whether the record is about a certificate.
func (a Association) matches(c *x509.Certificate) bool {
	data := c.Raw
	if a.Selector == 1 {
		data = c.RawSubjectPublicKeyInfo
	}
	switch a.Matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, a.Data)
}

// endEntity reports whether a record names the server's own certificate.
func (d Demands) endEntity(leaf *x509.Certificate) bool {
	for _, a := range d.TLSA {
		if a.Usage == EndEntity && a.Usable() && a.matches(leaf) {
			return true
		}
	}
	return false
}

// trustAnchors are the certificates that records make authorities for this
// server: those that it showed, and whole ones in the records.
func (d Demands) trustAnchors(chain []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, a := range d.TLSA {
		if a.Usage != TrustAnchor || !a.Usable() {
			continue
		}
		for _, c := range chain {
			if a.matches(c) {
				pool.AddCert(c)
			}
		}
		if a.Selector == 0 && a.Matching == 0 {
			if c, err := x509.ParseCertificate(a.Data); err == nil { // Usable has looked
				pool.AddCert(c)
			}
		}
	}
	return pool
}
