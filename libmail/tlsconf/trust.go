package tlsconf

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
)

// LoadCAs reads the certification authorities of a file (smtp_tls_CAfile)
// and of a directory of hashed names (smtp_tls_CApath); either may be
// empty. With system set the system's authorities are added
// (tls_append_default_CA). Without any the pool is empty: nobody is trusted.
func LoadCAs(file, dir string, system System) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if system == AppendSystem {
		p, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("system certification authorities: %w", err)
		}
		pool = p
	}
	if file != "" {
		if err := AddCAs(pool, file); err != nil {
			return nil, err
		}
	}
	if dir != "" {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			data, err := readFile(filepath.Join(dir, e.Name()))
			if err == nil {
				pool.AppendCertsFromPEM(data) // what is no certificate is skipped, as OpenSSL does
			}
		}
	}
	return pool, nil
}

// AddCAs adds the certificates of a PEM file to a pool.
func AddCAs(pool *x509.CertPool, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(data) {
		return fmt.Errorf("%s: no certificate", file)
	}
	return nil
}

// System says whether the system's authorities are trusted.
type System int

// The values of System.
const (
	OnlyConfigured System = iota
	AppendSystem
)
