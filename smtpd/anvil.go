package main

import "postroad/libmail/proto"

// A counter counts what clients do: the anvil service.
type counter interface {
	Do(verb, ident string) (proto.AnvilCounts, error)
}

// counts reports whether this client's events are counted. A client that may
// use XCLIENT is not the client it acts for.
func (s *session) counts() bool {
	return !s.alone && !s.xclientAllowed && s.anvil != nil && s.client.ip.IsValid() && !s.listed(s.lists.unlimited)
}

// event counts one event; ok is false when nothing is known.
func (s *session) event(verb string) (n proto.AnvilCounts, ok bool) {
	n, err := s.anvil.Do(verb, s.name+":"+s.client.anvilRange(s.params.anvil))
	if err != nil {
		s.log.Warning("anvil: %v", err)
		return n, false
	}
	return n, true
}

// countConnection counts a new connection, or refuses it.
func (s *session) countConnection() *reply {
	if !s.counts() {
		return nil
	}
	n, ok := s.event(proto.AnvilConnect)
	if !ok {
		return nil
	}
	s.anvilCounted = true
	l := s.params.anvil
	r := policyError(421, "4.7.0", "%s Error: too many connections from %s", s.params.hostname, s.client.addr)
	switch {
	case l.connections > 0 && n.Count > l.connections:
		s.log.Warning("Connection concurrency limit exceeded: %d from %s for service %s", n.Count, s.client.namaddr, s.name)
	case l.connectionRate > 0 && n.Rate > l.connectionRate:
		r.class = 0
		s.log.Warning("Connection rate limit exceeded: %d from %s for service %s", n.Rate, s.client.namaddr, s.name)
	default:
		return nil
	}
	return &r
}

// uncountConnection tells that the client that was counted is gone.
func (s *session) uncountConnection() {
	if s.anvilCounted {
		s.anvilCounted = false
		s.event(proto.AnvilDisconnect) // there is no answer to act on
	}
}

// exceeds counts an event and logs when there are too many of it.
func (s *session) exceeds(verb string, limit int, what string) bool {
	if limit <= 0 || !s.counts() {
		return false
	}
	n, ok := s.event(verb)
	if !ok || n.Rate <= limit {
		return false
	}
	s.log.Warning("%s limit exceeded: %d from %s for service %s", what, n.Rate, s.client.namaddr, s.name)
	return true
}

func (s *session) countMessage() *reply {
	if !s.exceeds(proto.AnvilMessage, s.params.anvil.messages, "Message delivery request rate") {
		return nil
	}
	r := policyError(450, "4.7.1", "Error: too much mail from %s", s.client.addr)
	return &r
}

func (s *session) countRecipient() *reply {
	if !s.exceeds(proto.AnvilRecipient, s.params.anvil.recipients, "Recipient address rate") {
		return nil
	}
	r := policyError(450, "4.7.1", "Error: too many recipients from %s", s.client.addr)
	return &r
}

func (s *session) countAuth() *reply {
	if !s.exceeds(proto.AnvilAuth, s.params.anvil.auth, "AUTH command rate") {
		return nil
	}
	r := policyError(450, "4.7.1", "Error: too many AUTH commands from %s", s.client.addr)
	return &r
}

// tooMuchTLS reports whether the client has begun so many new TLS sessions
// lately that we save ourselves another handshake.
func (s *session) tooMuchTLS() bool {
	limit := s.params.anvil.newTLS
	if limit <= 0 || !s.counts() {
		return false
	}
	n, ok := s.event(proto.AnvilTLSStatus)
	return ok && n.Rate > limit
}
