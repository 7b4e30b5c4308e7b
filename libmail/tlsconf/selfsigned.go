package tlsconf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"
)

// SelfSignedFile is a file with a private key and its certificate, made where
// it is missing, for a server that must encrypt and has no certificate yet:
// better encrypted for an unknown server than not at all.
func SelfSignedFile(path, host string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	cert, key, err := SelfSigned(ECDSA, time.Now(), host, "localhost")
	if err != nil {
		return err
	}
	temp := fmt.Sprintf("%s.%d", path, os.Getpid())
	err = os.WriteFile(temp, append(key, cert...), 0o600)
	if err == nil {
		err = os.Link(temp, path) // of several programs one wins
	}
	_ = os.Remove(temp) // the other name stays
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("self-signed certificate: %w", err)
	}
	return nil
}

// A KeyKind is the kind of a new private key.
type KeyKind int

// The kinds of new keys.
const (
	ECDSA KeyKind = iota // P-256
	RSA                  // 2048 bits
)

// SelfSigned makes a private key and a certificate that it signs itself,
// for the given host names and for ten years, both in PEM form. Such a
// certificate is enough for opportunistic TLS.
func SelfSigned(kind KeyKind, now time.Time, hosts ...string) (cert, key []byte, err error) {
	if len(hosts) == 0 {
		return nil, nil, fmt.Errorf("self-signed certificate: no host name")
	}
	var signer crypto.Signer
	if kind == RSA {
		signer, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: hosts[0]},
		DNSNames:              hosts,
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
