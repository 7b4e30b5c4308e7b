package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"postroad/libmail/proto"
	"postroad/libmail/resolver"
	"postroad/libmail/tlsconf"
)

// A tlsSession is what is known of the TLS of a session.
type tlsSession struct {
	peer  tlsconf.Peer
	level tlsconf.Level
}

// startTLS does the handshake and judges the server's certificate. On false
// the failure is accounted for.
func (j *job) startTLS(s *session) bool {
	s.timed.begin(j.p.starttls, 0)
	if !s.policy.reuse {
		s.keepUntil = time.Time{}
	}
	config, err := j.tlsConfig(s)
	if err != nil {
		j.log.Warning("%s: %v", s.nameAddrPort, err)
		return j.handshakeFailed(s)
	}
	if s.r.Buffered() > 0 {
		// What came in plaintext must not be taken for part of the session:
		// somebody may have put it there (RFC 3207 §6).
		j.log.Warning("%s: plaintext behind the STARTTLS response", s.nameAddrPort)
		return j.handshakeFailed(s)
	}
	conn := tls.Client(s.timed, config)
	if err := conn.Handshake(); err != nil {
		j.log.Info("SSL_connect error to %s: %s", s.nameAddrPort, handshakeError(err))
		return j.handshakeFailed(s)
	}
	return j.judge(s, conn)
}

// handshakeError is the reason of a failed handshake for the log.
func handshakeError(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return "lost connection"
	}
	return err.Error()
}

// handshakeFailed accounts for a session that is in no known state now.
func (j *job) handshakeFailed(s *session) bool {
	s.broken = true
	flags := throttle
	if s.policy.level == tlsconf.May {
		flags = 0
	}
	if j.plainAllowed(s) {
		j.retryPlain(s)
	}
	j.failAll(s, local("4.7.5", "Cannot start TLS: handshake failure"), flags)
	return false
}

// plainAllowed reports whether a message may go in plaintext after TLS has
// failed: only where TLS is opportunistic, where no password would be sent,
// and not before the message has waited for a while.
func (j *job) plainAllowed(s *session) bool {
	if s.policy == nil || s.policy.level != tlsconf.May || j.require >= requireTLSOnly {
		return false
	}
	waited := j.Stats.Active.Sub(j.Stats.Arrival) >= j.p.minBackoff
	if j.Flags&proto.DeliverTraceOnly == 0 && !waited {
		return false
	}
	if !j.p.sasl.enabled {
		return true
	}
	_, _, found, err := j.credentials(s)
	return err == nil && !found
}

// retryPlain asks for another try with the same server, without TLS.
func (j *job) retryPlain(s *session) {
	s.retryPlain = true
	j.finalServer = false
}

// judge decides whether the server is the right one.
func (j *job) judge(s *session, conn *tls.Conn) bool {
	cs := conn.ConnectionState()
	level := s.policy.level
	demands := tlsconf.Demands{
		Level: level, Roots: j.p.tls.roots, Depth: j.p.tls.depth, TLSA: s.policy.tlsa,
		Digest: j.p.tls.digest, Usage: x509.ExtKeyUsageServerAuth, Now: j.clock.Now(),
	}
	if s.policy.anchors != nil {
		demands.Roots = s.policy.anchors
	}
	if level == tlsconf.Fingerprint {
		demands.Fingerprints = s.policy.match
	} else {
		demands.Names = j.certNames(s)
	}
	peer := tlsconf.Examine(cs, demands)
	if s.policy.failure != "" && peer.Matched {
		peer.Matched, peer.Secured, peer.Trusted = false, false, false
		peer.Reason = fmt.Sprintf("external policy failure (%s)", s.policy.failure)
	}
	s.secure = &tlsSession{peer: peer, level: level}
	s.over(conn)
	if peer.Reason != "" && (j.p.tls.logTrust || level.MustMatch()) {
		j.log.Info("certificate verification failed for %s: %s", s.nameAddrPort, peer.Reason)
	}
	if j.p.tls.logSummary {
		j.log.Info("%s", tlsconf.Describe(cs, peer, nil, tlsconf.ClientSide).Summary("to "+s.nameAddrPort))
	}
	if level.MustMatch() && !peer.Matched {
		return j.notMatched(s, peer)
	}
	j.stats.reached(level, compliant)
	return true
}

// notMatched accounts for a server that has not proved who it is.
func (j *job) notMatched(s *session, peer tlsconf.Peer) bool {
	j.stats.reached(s.policy.level, violation)
	if j.require == requireEnforced {
		j.stats.required("nocertmatch", violation)
		what := "trusted"
		if peer.Trusted {
			what = "matching"
		}
		j.failAll(s, local("5.7.10", "Sender requested REQUIRETLS, but no %s server certificate was found. "+
			"The last attempted server was %s", what, s.nameAddr), dontKeep|softNonFinal)
		return false
	}
	j.stats.required("nocertmatch", compliant)
	j.failAll(s, local("4.7.5", "Server certificate not verified"), throttle)
	return false
}

// certNames are the names that the server's certificate may have.
func (j *job) certNames(s *session) []string {
	var names []string
	for _, m := range s.policy.match {
		switch strings.ToLower(m) {
		case "nexthop":
			m = s.nexthop
		case "dot-nexthop":
			m = "." + s.nexthop
		case "hostname":
			m = s.host
		}
		dot := strings.HasPrefix(m, ".")
		m = resolver.ASCII(strings.TrimPrefix(m, "."))
		if dot {
			m = "." + m
		}
		names = append(names, m)
	}
	return names
}

// tlsConfig makes the settings for one handshake.
func (j *job) tlsConfig(s *session) (*tls.Config, error) {
	o := tlsconf.ClientOptions{
		Rules: tlsconf.Rules{Protocols: s.policy.protocols, Grade: s.policy.grade, Exclusions: s.policy.exclude},
	}
	switch s.policy.servername {
	case "hostname":
		o.ServerName = s.host
	case "nexthop":
		o.ServerName = s.nexthop
	default:
		o.ServerName = s.policy.servername
	}
	if s.policy.base != "" { // RFC 7672 §8.1: the name that the records belong to
		o.ServerName = s.policy.base
	}
	o.ServerName = resolver.ASCII(o.ServerName)
	if !j.p.tls.keys.Empty() {
		o.Keys = j.p.tls.keys
	}
	if j.p.tls.sessions != nil {
		key := strings.Join(append([]string{s.nexthop, s.nameAddrPort, s.policy.level.String(), s.policy.protocols,
			s.policy.grade, o.ServerName}, s.policy.match...), "\x00")
		o.Sessions = keyedSessions{j.p.tls.sessions, key}
	}
	config, warning, err := tlsconf.NewClient(o)
	if warning != "" {
		j.log.Debug("%s: %s", s.nameAddrPort, warning)
	}
	return config, err
}

// keyedSessions keeps a session under all that it depends on, not under the
// server's name alone.
type keyedSessions struct {
	tls.ClientSessionCache
	key string
}

// Get implements tls.ClientSessionCache.
func (k keyedSessions) Get(string) (*tls.ClientSessionState, bool) {
	return k.ClientSessionCache.Get(k.key)
}

// Put implements tls.ClientSessionCache.
func (k keyedSessions) Put(_ string, state *tls.ClientSessionState) {
	k.ClientSessionCache.Put(k.key, state)
}
