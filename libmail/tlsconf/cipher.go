package tlsconf

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// A suite is a cipher suite with the words by which cipher lists name it.
type suite struct {
	id    uint16
	name  string // as OpenSSL and the mail log write it
	bits  int    // of the secret key
	alg   int    // bits of the algorithm
	words string // key exchange, authentication, encryption, digest
}

// suites are all suites of crypto/tls, best first. The TLS 1.3 suites have
// no words: no cipher list reaches them.
var suites = []suite{
	{tls.TLS_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384", 256, 256, ""},
	{tls.TLS_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256", 256, 256, ""},
	{tls.TLS_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256", 128, 128, ""},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", 256, 256, "kEECDH aECDSA AES256 AESGCM SHA384 AEAD HIGH"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", 256, 256, "kEECDH aRSA AES256 AESGCM SHA384 AEAD HIGH"},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", 256, 256, "kEECDH aECDSA CHACHA20 AEAD HIGH"},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", 256, 256, "kEECDH aRSA CHACHA20 AEAD HIGH"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", 128, 128, "kEECDH aECDSA AES128 AESGCM SHA256 AEAD HIGH"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", 128, 128, "kEECDH aRSA AES128 AESGCM SHA256 AEAD HIGH"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE-ECDSA-AES128-SHA256", 128, 128, "kEECDH aECDSA AES128 SHA256 HIGH"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256", 128, 128, "kEECDH aRSA AES128 SHA256 HIGH"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", 256, 256, "kEECDH aECDSA AES256 SHA1 HIGH"},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", 256, 256, "kEECDH aRSA AES256 SHA1 HIGH"},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", 128, 128, "kEECDH aECDSA AES128 SHA1 HIGH"},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", 128, 128, "kEECDH aRSA AES128 SHA1 HIGH"},
	{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384", 256, 256, "kRSA aRSA AES256 AESGCM SHA384 AEAD HIGH"},
	{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256", 128, 128, "kRSA aRSA AES128 AESGCM SHA256 AEAD HIGH"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA256", 128, 128, "kRSA aRSA AES128 SHA256 HIGH"},
	{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA", 256, 256, "kRSA aRSA AES256 SHA1 HIGH"},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA", 128, 128, "kRSA aRSA AES128 SHA1 HIGH"},
	{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, "ECDHE-RSA-DES-CBC3-SHA", 112, 168, "kEECDH aRSA 3DES SHA1 MEDIUM"},
	{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, "DES-CBC3-SHA", 112, 168, "kRSA aRSA 3DES SHA1 MEDIUM"},
	{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, "ECDHE-ECDSA-RC4-SHA", 128, 128, "kEECDH aECDSA RC4 SHA1 MEDIUM"},
	{tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, "ECDHE-RSA-RC4-SHA", 128, 128, "kEECDH aRSA RC4 SHA1 MEDIUM"},
	{tls.TLS_RSA_WITH_RC4_128_SHA, "RC4-SHA", 128, 128, "kRSA aRSA RC4 SHA1 MEDIUM"},
}

// synonyms maps other words of OpenSSL's cipher lists to ours.
var synonyms = map[string][]string{
	"ALL": {"HIGH", "MEDIUM"}, "COMPLEMENTOFALL": {},
	"AES": {"AES128", "AES256"}, "SHA": {"SHA1"}, "RSA": {"kRSA", "aRSA"},
	"EECDH": {"kEECDH"}, "ECDHE": {"kEECDH"}, "kECDHE": {"kEECDH"}, "ECDH": {"kEECDH"},
	"ECDSA": {"aECDSA"}, "CHACHA20-POLY1305": {"CHACHA20"},
}

// Suites returns the TLS 1.0 to 1.2 cipher suites of a grade
// (smtp_tls_ciphers: high, medium; the retired grades low and export mean
// medium) without those that the exclusion lists name. The grade null has
// no suite in crypto/tls, and an empty result is an error.
func Suites(grade string, exclusions ...string) ([]uint16, error) {
	var grades []string
	switch strings.ToLower(grade) {
	case "high":
		grades = []string{"HIGH"}
	case "medium", "low", "export":
		grades = []string{"HIGH", "MEDIUM"}
	case "null":
		return nil, fmt.Errorf("cipher grade %q: not supported", grade)
	default:
		return nil, fmt.Errorf("cipher grade %q: not known", grade)
	}
	var ids []uint16
	for _, s := range suites {
		if s.words == "" || !s.isAny(grades) {
			continue
		}
		excluded := false
		for _, list := range exclusions {
			for _, w := range words(list) {
				if strings.ContainsAny(w[:1], "!+-@") {
					return nil, fmt.Errorf("cipher exclusion %q: must not start with %q", w, w[:1])
				}
				excluded = excluded || s.named(w)
			}
		}
		if !excluded {
			ids = append(ids, s.id)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("cipher grade %q: exclusions leave no cipher", grade)
	}
	return ids, nil
}

// named reports whether a word of a cipher list names the suite: its name,
// or properties of it joined by "+".
func (s suite) named(word string) bool {
	if word == s.name {
		return true
	}
	for _, property := range strings.Split(word, "+") {
		any, known := synonyms[property]
		if !known {
			any = []string{property}
		}
		if !s.isAny(any) {
			return false
		}
	}
	return true
}

func (s suite) isAny(properties []string) bool {
	have := strings.Fields(s.words)
	for _, p := range properties {
		if slices.Contains(have, p) {
			return true
		}
	}
	return false
}

// cipher returns what the log says of a cipher suite.
func cipher(id uint16) suite {
	for _, s := range suites {
		if s.id == id {
			return s
		}
	}
	return suite{id: id, name: tls.CipherSuiteName(id)}
}

// CipherName returns OpenSSL's name of a cipher suite, and the bits that
// its key and its algorithm have.
func CipherName(id uint16) (name string, bits, algorithmBits int) {
	s := cipher(id)
	return s.name, s.bits, s.alg
}
