package tlsconf

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// A Pair names a certificate file, with its chain, and the file of its
// private key (smtpd_tls_cert_file, smtpd_tls_key_file). Both may be one.
type Pair struct{ Cert, Key string }

// Sources say where certificates come from. Chain files
// (smtpd_tls_chain_files) come before pairs: with them pairs are ignored.
type Sources struct {
	Chains []string // each: private key, its certificate, its chain, next private key ...
	Pairs  []Pair   // empty ones and "none" are skipped
}

// maxFile bounds a key or certificate file, in bytes.
const maxFile = 1 << 20

// Keys are certificates with private keys. They follow their files: a
// renewed file is used by the next session, without a reload, as long as
// the process may read it. Keys are safe for use by many goroutines.
type Keys struct {
	sources Sources
	watch   *watch

	mu    sync.Mutex
	certs []tls.Certificate
}

// Open reads the files, usually while the program is privileged. Without
// files the result is valid and Empty.
func Open(s Sources) (*Keys, error) {
	k := &Keys{sources: s}
	certs, files, err := s.load()
	if err != nil {
		return nil, err
	}
	k.certs = certs
	k.watch = watchFiles(files) // before this a change may be missed for the length of load
	return k, nil
}

// ParseKeys reads certificates from text in the form of chain files, such as a
// value of tls_server_sni_maps holds. They stay as they are.
func ParseKeys(text []byte) (*Keys, error) {
	certs, err := parseChains(text)
	if err != nil {
		return nil, err
	}
	return &Keys{certs: certs}, nil
}

// Close ends the watch over the files.
func (k *Keys) Close() { k.watch.close() }

// Empty reports whether there is no certificate.
func (k *Keys) Empty() bool { return k == nil || len(k.Certificates()) == 0 }

// Certificates returns the current certificates.
func (k *Keys) Certificates() []tls.Certificate {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.certs
}

// ErrRestart means that a file has changed that only a fresh, privileged
// process can read: finish the sessions and restart.
var ErrRestart = errors.New("certificate file has changed, and only a restart can read it")

// Refresh reads the files again if they have changed. It is cheap when they
// have not, and is meant to be called before each session. On an error the
// old certificates stay in use; ErrRestart asks for a new process.
func (k *Keys) Refresh() (changed bool, err error) {
	if k == nil || !k.watch.changed() {
		return false, nil
	}
	certs, _, err := k.sources.load()
	if errors.Is(err, fs.ErrPermission) {
		return false, fmt.Errorf("%w: %w", ErrRestart, err)
	}
	if err != nil {
		return false, err // half written, perhaps: the watch reports the rest
	}
	k.mu.Lock()
	k.certs = certs
	k.mu.Unlock()
	return true, nil
}

// load reads all files; it also returns their names.
func (s Sources) load() (certs []tls.Certificate, files []string, err error) {
	if len(s.Chains) > 0 {
		// Keys and certificates may be spread over the files in this order.
		var text []byte
		for _, name := range s.Chains {
			data, err := readFile(name)
			if err != nil {
				return nil, nil, err
			}
			text = append(append(text, data...), '\n')
			files = append(files, name)
		}
		certs, err = parseChains(text)
		if err != nil {
			return nil, nil, fmt.Errorf("certificate chain files %v: %w", s.Chains, err)
		}
		return certs, files, nil
	}
	for _, p := range s.Pairs {
		if p.Cert == "" || p.Cert == "none" {
			continue
		}
		if p.Key == "" {
			p.Key = p.Cert
		}
		certText, err := readFile(p.Cert)
		if err != nil {
			return nil, nil, err
		}
		keyText, err := readFile(p.Key)
		if err != nil {
			return nil, nil, err
		}
		c, err := tls.X509KeyPair(certText, keyText)
		if err != nil {
			return nil, nil, fmt.Errorf("certificate %s, key %s: %w", p.Cert, p.Key, err)
		}
		certs = append(certs, c)
		files = append(files, p.Cert, p.Key)
	}
	return certs, files, nil
}

// readFile reads a whole file of at most maxFile bytes.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	return data, err
}

// parseChains reads the form of smtpd_tls_chain_files: each private key is
// followed by its certificate and the chain of that.
func parseChains(text []byte) ([]tls.Certificate, error) {
	var certs []tls.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		switch block.Type {
		case "CERTIFICATE":
			if len(certs) == 0 {
				return nil, errors.New("certificate before the first private key")
			}
			last := &certs[len(certs)-1]
			last.Certificate = append(last.Certificate, block.Bytes)
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
			key, err := parseKey(block)
			if err != nil {
				return nil, err
			}
			if n := len(certs); n > 0 && len(certs[n-1].Certificate) == 0 {
				return nil, errors.New("two private keys without a certificate between them")
			}
			certs = append(certs, tls.Certificate{PrivateKey: key})
		case "EC PARAMETERS":
			// Written by openssl before a key, which repeats them.
		default:
			return nil, fmt.Errorf("unexpected PEM block %q", block.Type)
		}
	}
	if len(certs) == 0 {
		return nil, errors.New("no private key")
	}
	for i := range certs {
		if len(certs[i].Certificate) == 0 {
			return nil, errors.New("private key without a certificate")
		}
		leaf, err := x509.ParseCertificate(certs[i].Certificate[0])
		if err != nil {
			return nil, err
		}
		if !sameKey(leaf.PublicKey, certs[i].PrivateKey) {
			return nil, fmt.Errorf("certificate of %s does not match the private key before it", leaf.Subject)
		}
		certs[i].Leaf = leaf
	}
	return certs, nil
}

func parseKey(block *pem.Block) (crypto.PrivateKey, error) {
	switch block.Type {
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	}
	return x509.ParsePKCS8PrivateKey(block.Bytes)
}

func sameKey(public any, private crypto.PrivateKey) bool {
	signer, ok := private.(crypto.Signer)
	if !ok {
		return false
	}
	a, errA := x509.MarshalPKIXPublicKey(public)
	b, errB := x509.MarshalPKIXPublicKey(signer.Public())
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
