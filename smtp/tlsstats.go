package main

import "postroad/libmail/tlsconf"

// tlsStats are the TLS features of a delivery for the log,
// "may:none/requiretls" (smtp_log_tls_feature_status): what was wanted, and
// after a colon what it came to. A "?" says that it was left undecided, a
// "!" that the policy was violated.
type tlsStats struct {
	level   feature
	require feature
}

type feature struct {
	wanted, got string
	state       featureState
}

type featureState uint8

const (
	inactive featureState = iota
	undecided
	compliant
	violation
)

// begin forgets everything and names the wanted level.
func (t *tlsStats) begin(level string, r requireLevel) {
	*t = tlsStats{level: feature{wanted: level, state: undecided}}
	if r > requireDisabled {
		t.require = feature{wanted: "requiretls", state: undecided}
	}
}

// reached decides the security level.
func (t *tlsStats) reached(l tlsconf.Level, state featureState) {
	if t.level.state == undecided {
		t.level.got, t.level.state = l.String(), state
	}
}

// required decides REQUIRETLS.
func (t *tlsStats) required(got string, state featureState) {
	if t.require.state == undecided {
		t.require.got, t.require.state = got, state
	}
}

// String is the text for the log line, or "".
func (t *tlsStats) String() string {
	text := t.level.String()
	if r := t.require.String(); r != "" {
		text += "/" + r
	}
	return text
}

func (f feature) String() string {
	if f.state == inactive {
		return ""
	}
	text := f.wanted
	if f.got != "" && f.got != f.wanted {
		text += ":" + f.got
	}
	switch f.state {
	case violation:
		text = "!" + text
	case undecided:
		text += "?"
	}
	return text
}
