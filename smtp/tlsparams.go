package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"postroad/libmail/conf"
	"postroad/libmail/table"
	"postroad/libmail/tlsconf"
)

// tlsParams are the TLS settings of the client.
type tlsParams struct {
	level       tlsconf.Level // for destinations without a policy
	policies    *table.Maps   // smtp_tls_policy_maps
	perSite     *table.Maps   // smtp_tls_per_site; only without policies
	wrapper     bool
	noteOffer   bool
	logSummary  bool
	logTrust    bool
	blockEarly  bool
	stsPatterns bool
	reuse       bool // whether TLS connections are kept

	protocols, mustProtocols string
	grade, mustGrade         string
	exclude, mustExclude     string
	servername               string
	verifyMatch, secureMatch []string
	fingerprints             []string
	digest                   string
	depth                    int
	insecureMX               tlsconf.Level // smtp_tls_dane_insecure_mx_policy
	forceTLSA                bool

	keys     *tlsconf.Keys
	roots    *x509.CertPool
	anchors  *x509.CertPool // smtp_tls_trust_anchor_file; nil: roots
	sessions tls.ClientSessionCache
}

// tlsSessions bounds the TLS sessions that are kept for resumption.
const tlsSessions = 1000

func (t *tlsParams) read(s *source) {
	t.level = globalLevel(s)
	t.policies, t.perSite = s.maps("tls_policy_maps"), s.maps("tls_per_site")
	t.wrapper, t.noteOffer = s.yes("tls_wrappermode"), s.yes("tls_note_starttls_offer")
	logs := tlsLogWords(s.str("tls_loglevel"))
	t.logSummary, t.logTrust = logs["summary"], logs["untrusted"]
	t.blockEarly, t.stsPatterns = s.yes("tls_block_early_mail_reply"), s.yes("tls_enforce_sts_mx_patterns")
	// Postfix needs another process for this and leaves it off; here it costs
	// nothing, so only an explicit "no" turns it off.
	t.reuse = s.yes("tls_connection_reuse") || !s.IsSet(s.prefix+"_tls_connection_reuse")
	t.protocols, t.mustProtocols = s.str("tls_protocols"), s.str("tls_mandatory_protocols")
	t.grade, t.mustGrade = s.str("tls_ciphers"), s.str("tls_mandatory_ciphers")
	t.exclude, t.mustExclude = s.str("tls_exclude_ciphers"), s.str("tls_mandatory_exclude_ciphers")
	t.servername = s.str("tls_servername")
	t.verifyMatch, t.secureMatch = matchNames(s.str("tls_verify_cert_match")), matchNames(s.str("tls_secure_cert_match"))
	t.fingerprints, t.digest = s.words("tls_fingerprint_cert_match"), s.str("tls_fingerprint_digest")
	t.depth = s.num("tls_scert_verifydepth")
	if s.prefix == "smtp" {
		t.insecureMX = tlsconf.ParseLevel(s.String("smtp_tls_dane_insecure_mx_policy"))
	} else {
		t.insecureMX = tlsconf.DANE
	}
	t.forceTLSA = s.yes("tls_force_insecure_host_tlsa_lookup")
	t.files(s)
}

// files reads keys and authorities.
func (t *tlsParams) files(s *source) {
	sources := tlsconf.Sources{
		Chains: s.words("tls_chain_files"),
		Pairs: []tlsconf.Pair{
			{Cert: s.str("tls_cert_file"), Key: s.str("tls_key_file")},
			{Cert: s.str("tls_eccert_file"), Key: s.str("tls_eckey_file")},
		},
	}
	var err error
	t.keys, err = tlsconf.Open(sources)
	s.fail("tls_chain_files", err)
	system := tlsconf.OnlyConfigured
	if s.Bool("tls_append_default_CA") {
		system = tlsconf.AppendSystem
	}
	t.roots, err = tlsconf.LoadCAs(s.str("tls_CAfile"), s.str("tls_CApath"), system)
	s.fail("tls_CAfile", err)
	if files := s.words("tls_trust_anchor_file"); len(files) > 0 {
		t.anchors, err = loadAnchors(files)
		s.fail("tls_trust_anchor_file", err)
	}
	if s.str("tls_session_cache_database") != "" {
		t.sessions = tls.NewLRUClientSessionCache(tlsSessions)
	}
}

// loadAnchors reads files of certificates that are trusted by themselves.
func loadAnchors(files []string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, f := range files {
		if err := tlsconf.AddCAs(pool, f); err != nil {
			return nil, err
		}
	}
	return pool, nil
}

// globalLevel is the level for destinations without a policy of their own,
// from the current parameter or from its two forerunners.
func globalLevel(s *source) tlsconf.Level {
	if name := s.str("tls_security_level"); name != "" {
		level := tlsconf.ParseLevel(name)
		if level == tlsconf.Invalid {
			s.fail("tls_security_level", fmt.Errorf("invalid tls security level: %q", name))
		}
		return level
	}
	switch {
	case s.yes("enforce_tls") && s.yes("tls_enforce_peername"):
		return tlsconf.Verify
	case s.yes("enforce_tls"):
		return tlsconf.Encrypt
	case s.yes("use_tls"):
		return tlsconf.May
	}
	return tlsconf.None
}

// tlsLogWords reads a TLS log level: a number or words. Levels that dump
// packets log what level 2 logs.
func tlsLogWords(text string) map[string]bool {
	words := map[string]bool{}
	for _, w := range conf.SplitWords(strings.ToLower(text)) {
		switch {
		case w == "0" || w == "none":
		case slices.Contains([]string{"1", "routine", "summary"}, w):
			words["summary"] = true
		case w == "untrusted" || w == "peercert" || w == "certmatch":
			words["untrusted"] = true
		default:
			words["summary"], words["untrusted"] = true, true
		}
	}
	return words
}

// matchNames splits a list of names that a certificate may have.
func matchNames(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == ',' || r == ' ' || r == '\t' })
}
