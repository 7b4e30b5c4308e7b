package main

import (
	"slices"
	"strings"

	"postroad/libmail/smtpwire"
	"postroad/libmail/tlsconf"
)

// hello begins the conversation: greeting, EHLO, STARTTLS and EHLO again,
// AUTH. On false the failure is accounted for.
func (j *job) hello(s *session) bool {
	if j.p.tls.wrapper {
		if !j.startTLS(s) {
			return false
		}
	}
	if !j.greeting(s) || !j.ehlo(s) {
		return false
	}
	if s.secure == nil {
		switch j.wantTLS(s) {
		case tlsFailed:
			return false
		case tlsStarts:
			if !j.startTLS(s) || !j.ehlo(s) {
				return false
			}
		}
	}
	if !j.requirements(s) {
		return false
	}
	return j.login(s)
}

// refuses accounts for a server that does not want to talk to us.
func (j *job) refuses(s *session, r smtpwire.Reply) bool {
	j.failAll(s, s.refused(r, "host %s refused to talk to me: %s", s.nameAddr, r.OneLine()), throttle)
	return false
}

// greeting reads the server's first words (RFC 5321 §3.1).
func (j *job) greeting(s *session) bool {
	s.timed.begin(j.p.helo, 0)
	r, err := s.reply()
	if err != nil {
		j.stream(s, err, "receiving the initial server greeting")
		return false
	}
	if r.Code/100 != 2 {
		if r.Code/100 == 5 && j.p.skip5xxGreeting {
			r.Status = "4" + r.Status[1:]
		}
		return j.refuses(s, r)
	}
	j.pixWorkarounds(s, r)
	if words := greetingWords(r); len(words) > 0 {
		if strings.EqualFold(words[0], j.p.myhost) && j.detectLoops {
			j.log.Warning("host %s greeted me with my own hostname %s", s.nameAddrPort, j.p.myhost)
		}
		s.esmtp = slices.ContainsFunc(words[1:], func(w string) bool { return strings.EqualFold(w, "ESMTP") })
	}
	switch {
	case j.p.lmtp:
		s.esmtp = true
	case j.p.neverEHLO || s.noESMTP:
		s.esmtp = false
	case j.p.alwaysEHLO:
		s.esmtp = true
	}
	return true
}

// greetingWords are the words of a greeting, host name first.
func greetingWords(r smtpwire.Reply) []string {
	var words []string
	for _, line := range r.Lines() {
		words = append(words, strings.Fields(line)...)
	}
	return words
}

// pixWorkarounds recognizes the greeting of a PIX firewall, which shows
// nothing but stars, and turns on what helps (smtp_pix_workarounds).
func (j *job) pixWorkarounds(s *session, r smtpwire.Reply) {
	if strings.Trim(r.Text, "20 *\t\n") != "" {
		return
	}
	words := j.p.pixWords
	if list, found, err := j.p.pixMaps.Find(s.addr); err == nil && found { // best effort
		words = destinations(list)
	}
	for _, w := range words {
		switch {
		case strings.EqualFold(w, "disable_esmtp"):
			s.noESMTP = true
		case strings.EqualFold(w, "delay_dotcrlf"):
			s.pixDelay = j.clock.Now().Sub(j.Stats.Arrival) > j.p.pixAge
		}
	}
	if s.noESMTP || s.pixDelay {
		j.log.Info("%s: enabling PIX workarounds: %s for %s", j.QueueID, strings.Join(words, " "), s.nameAddrPort)
	}
}

// ehlo says who we are and learns what the server can (RFC 5321 §4.1.1.1,
// RFC 2033 §4.1).
func (j *job) ehlo(s *session) bool {
	s.timed.begin(j.p.helo, 0)
	if s.secure != nil {
		s.esmtp = true
	}
	s.features = smtpwire.Features{}
	verb := "EHLO"
	if j.p.lmtp {
		verb = "LHLO"
	} else if !s.esmtp {
		verb = "HELO"
	}
	r, ok := j.helloCommand(s, verb)
	if ok && r.Code/100 != 2 && verb == "EHLO" && r.Code != 421 {
		verb, s.esmtp = "HELO", false
		r, ok = j.helloCommand(s, verb)
	}
	if !ok {
		return false
	}
	if r.Code/100 != 2 {
		return j.refuses(s, r)
	}
	if verb == "HELO" {
		return true
	}
	return j.takeFeatures(s, r)
}

func (j *job) helloCommand(s *session, verb string) (smtpwire.Reply, bool) {
	s.command(verb + " " + j.p.heloName)
	r, err := s.reply()
	if err != nil {
		j.stream(s, err, "performing the "+verb+" handshake")
		return r, false
	}
	return r, true
}

// takeFeatures reads the answer to EHLO, without what is to be ignored
// (smtp_discard_ehlo_keywords).
func (j *job) takeFeatures(s *session, r smtpwire.Reply) bool {
	discard := j.p.discard
	words, found, err := j.p.discardMaps.Find(s.addr)
	if err != nil {
		j.log.Warning("%s: %s map lookup error for %s: %v", j.QueueID, j.p.discardMaps.Title(), s.addr, err)
		j.stream(s, errData, "")
		return false
	}
	if found {
		discard, _ = smtpwire.ParseKeywords(words) // unknown words discard nothing
	}
	if discard != 0 && !discard.Has(smtpwire.SilentDiscard) {
		j.log.Info("discarding EHLO keywords: %s", strings.Join(discard.Names(), " "))
	}
	s.features = smtpwire.ParseEHLO(&r)
	s.features.Set &^= discard
	if discard.Has(smtpwire.Size) {
		s.features.MaxSize = 0
	}
	if discard.Has(smtpwire.XFORWARD) {
		s.features.XFORWARD = nil
	}
	if s.secure == nil {
		s.features.Set &^= smtpwire.RequireTLS // RFC 8689 §2: only inside TLS
	}
	if !strings.EqualFold(s.features.Name, j.p.myhost) || !j.detectLoops {
		return true
	}
	j.log.Warning("host %s replied to HELO/EHLO with my own hostname %s", s.nameAddrPort, j.p.myhost)
	status := "4.4.6"
	if s.bestMX {
		status = "5.4.6"
	}
	j.failAll(s, local(status, "mail for %s loops back to myself", j.Nexthop), throttle)
	return false
}

// wantTLS decides whether TLS starts now.
func (j *job) wantTLS(s *session) tlsDecision {
	level := s.policy.level
	offered := s.has(smtpwire.STARTTLS)
	if offered && j.p.tls.noteOffer && level <= tlsconf.None {
		j.log.Info("Host offered STARTTLS: [%s]", s.host)
	}
	must := level.Mandatory() || j.require >= requireTLSOnly
	if offered && level >= tlsconf.May {
		s.timed.begin(j.p.starttls, 0)
		s.command("STARTTLS")
		r, err := s.reply()
		if err != nil {
			j.stream(s, err, "receiving the STARTTLS response")
			return tlsFailed
		}
		if r.Code/100 == 2 {
			return tlsStarts
		}
		if must {
			j.noTLS("nostarttls", level)
			if j.require >= requireTLSOnly {
				j.failAll(s, local("5.7.10", "Sender requested REQUIRETLS, but host %s refused to start TLS: %s",
					s.nameAddr, r.OneLine()), dontKeep|softNonFinal)
			} else {
				j.failAll(s, s.refused(r, "TLS is required, but host %s refused to start TLS: %s", s.nameAddr, r.OneLine()), throttle)
			}
			return tlsFailed
		}
	} else if must {
		j.noTLS("nostarttls", level)
		if j.require >= requireTLSOnly {
			j.failAll(s, local("5.7.30", "Sender requested REQUIRETLS, but TLS service was not offered by host %s",
				s.nameAddr), dontKeep|softNonFinal)
		} else {
			j.failAll(s, local("4.7.4", "TLS is required, but was not offered by host %s", s.nameAddr), throttle)
		}
		return tlsFailed
	}
	j.stats.reached(tlsconf.None, compliant)
	j.stats.required("none", compliant)
	return tlsStays
}

// noTLS notes for the log that TLS was demanded and not to be had.
func (j *job) noTLS(why string, level tlsconf.Level) {
	if j.require >= requireTLSOnly {
		j.stats.required(why, violation)
	}
	if level.Mandatory() {
		j.stats.reached(level, violation)
	}
}

// A tlsDecision is what becomes of a plaintext session.
type tlsDecision int

const (
	tlsStays  tlsDecision = iota // plaintext it is
	tlsStarts                    // the server waits for the handshake
	tlsFailed                    // accounted for
)

// requirements checks that the server can do what the message needs.
func (j *job) requirements(s *session) bool {
	if !s.has(smtpwire.SMTPUTF8) && j.needsUTF8() {
		j.failAll(s, local("5.6.7", "message requires SMTPUTF8, but no server was found that supports SMTPUTF8. "+
			"The last attempted server was %s", s.nameAddr), dontKeep|softNonFinal)
		return false
	}
	if s.has(smtpwire.SMTPUTF8) && !s.has(smtpwire.EightBitMIME) {
		j.log.Info("host %s offers SMTPUTF8 support, but not 8BITMIME", s.nameAddr)
		s.features.Set |= smtpwire.EightBitMIME
	}
	if j.require == requireDisabled || s.secure == nil {
		return true
	}
	switch {
	case s.has(smtpwire.RequireTLS):
		got := "requiretls"
		if !s.secure.peer.Matched {
			got = "nocertmatch"
		}
		j.stats.required(got, compliant)
	case j.require == requireEnforced:
		j.stats.required("none", violation)
		j.failAll(s, local("5.7.30", "Sender requested REQUIRETLS, but no server was found that supports REQUIRETLS. "+
			"The last attempted server was %s", s.nameAddr), dontKeep|softNonFinal)
		return false
	default:
		j.stats.required("none", compliant)
		j.log.Info("%s: Sender requested REQUIRETLS, but REQUIRETLS support was not offered by host %s", j.QueueID, s.nameAddr)
	}
	return true
}
