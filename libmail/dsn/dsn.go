// Package dsn is delivery outcomes: the status codes of RFC 3463 and the
// error that every layer returns.
package dsn

import (
	"errors"
	"fmt"
	"strings"
)

// Actions of a delivery status notification (RFC 3464 §2.3.3), and the two
// verdicts of an address probe, which are Postfix's.
const (
	Failed        = "failed"
	Delayed       = "delayed"
	Delivered     = "delivered"
	Relayed       = "relayed"
	Expanded      = "expanded"
	Deliverable   = "deliverable"
	Undeliverable = "undeliverable"
)

// An Outcome is what became of one recipient: the fields of one entry of a
// bounce or defer log, and of one per-recipient group of a DSN (RFC 3464
// §2.3). Empty strings are absent fields.
type Outcome struct {
	Status   string // RFC 3463 class.subject.detail, "5.1.1"
	Action   string // one of the constants above; "" when the status says it
	Reason   string // one line for the log and the sender
	DiagType string // Diagnostic-Code type, "smtp" or "x-unix"
	DiagText string
	MTAType  string // Remote-MTA type, "dns"
	MTAName  string
}

// Class is the first digit of the status, '2', '4' or '5'. An outcome without
// a valid status is temporary: '4'.
func (o Outcome) Class() byte {
	if Valid(o.Status) {
		return o.Status[0]
	}
	return '4'
}

// An Error is a delivery failure that knows what to tell the sender.
type Error struct {
	Status string // RFC 3463 class.subject.detail, "4.2.2"
	Text   string // for the DSN and the log; one line
	Err    error  // cause, or nil; never shown to the peer
}

// Errorf makes an Error without a cause.
func Errorf(status, format string, args ...any) *Error {
	return &Error{Status: status, Text: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Status + " " + e.Text + ": " + e.Err.Error()
	}
	return e.Status + " " + e.Text
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether delivery may be tried again. An error without a
// status is temporary: a queue may keep mail too long, never lose it.
func Temporary(err error) bool {
	var e *Error
	if errors.As(err, &e) && Valid(e.Status) {
		return e.Status[0] != '5'
	}
	return true
}

// Of makes the Outcome of a failure. An error without a status becomes
// 4.3.0, and its text is the reason.
func Of(err error) Outcome {
	var e *Error
	if errors.As(err, &e) {
		o := Outcome{Status: e.Status, Reason: e.Text}
		if !Valid(o.Status) {
			o.Status = "4.3.0"
		}
		return o
	}
	return Outcome{Status: "4.3.0", Reason: err.Error()}
}

// Valid reports whether s is an enhanced status code: class 2, 4 or 5, and
// two numbers of one to three digits (RFC 3463 §2).
func Valid(s string) bool {
	return prefixLen(s) == len(s) && s != ""
}

// Split takes a leading enhanced status code off text: "5.1.1 no such user"
// gives "5.1.1" and "no such user". A text without one keeps the default.
func Split(text, defaultStatus string) (status, rest string) {
	text = strings.TrimLeft(text, " \t")
	n := prefixLen(text)
	if n == 0 || n < len(text) && text[n] != ' ' && text[n] != '\t' {
		return defaultStatus, text
	}
	return text[:n], strings.TrimLeft(text[n:], " \t")
}

// prefixLen is the length of the status code that s begins with, or 0.
func prefixLen(s string) int {
	if len(s) < 5 || (s[0] != '2' && s[0] != '4' && s[0] != '5') || s[1] != '.' {
		return 0
	}
	i := 2
	for part := 0; part < 2; part++ {
		start := i
		for i < len(s) && i-start < 3 && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		if i == start {
			return 0
		}
		if part == 0 {
			if i >= len(s) || s[i] != '.' {
				return 0
			}
			i++
		}
	}
	return i
}
