package resolver

import (
	"errors"
	"fmt"
	"time"
)

// A Kind says why a lookup has no answer. The order is the order of
// precedence when two lookups for one name fail differently: the greater
// kind is reported.
type Kind uint8

// The kinds of failure. Temporary tells which of them may go away.
const (
	NotFound  Kind = iota + 1 // the name does not exist (RFC 1035 §4.1.1 NXDOMAIN)
	NoData                    // the name exists, but has no such record
	NullMX                    // the domain accepts no mail (RFC 7505)
	NullSRV                   // the domain does not offer the service (RFC 2782)
	Refused                   // the server will not answer this question, ever
	BadReply                  // the reply arrived, but its records are malformed
	ServFail                  // the server cannot answer now
	Timeout                   // no server answered in time
	Policy                    // the reply filter dropped all records
	BadFilter                 // the reply filter itself failed
)

// An Error is a lookup without an answer. Its text is the one that
// Postfix puts in logs and in delivery status notifications.
type Error struct {
	Kind Kind
	Name string        // the name asked, in ASCII form
	Type Type          // the type asked
	TTL  time.Duration // how long a negative answer holds (RFC 2308 §5), or 0
	Text string        // replaces the standard text when set
	Err  error         // cause, or nil
}

// reasons are the texts of the name service errors.
var reasons = map[Kind]string{
	NotFound: "Host not found",
	NoData:   "Host found but no data record of requested type",
	Refused:  "Non-recoverable error",
	ServFail: "Host not found, try again",
	Timeout:  "Host not found, try again",
}

// Error implements error.
func (e *Error) Error() string {
	if e.Text != "" {
		return e.Text
	}
	switch e.Kind {
	case NullMX:
		return fmt.Sprintf("Domain %s does not accept mail (nullMX)", e.Name)
	case NullSRV:
		return fmt.Sprintf("Domain %s does not support SRV requests", e.Name)
	case BadReply:
		return fmt.Sprintf("Name service error for name=%s type=%s: Malformed or unexpected name server reply", e.Name, e.Type)
	case Policy:
		return fmt.Sprintf("Error looking up name=%s type=%s: DNS reply filter drops all results", e.Name, e.Type)
	case BadFilter:
		return fmt.Sprintf("Error looking up name=%s type=%s: Invalid DNS reply filter syntax", e.Name, e.Type)
	}
	return fmt.Sprintf("Host or domain name not found. Name service error for name=%s type=%s: %s",
		e.Name, e.Type, reasons[e.Kind])
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same question may have an answer later.
func (e *Error) Temporary() bool { return e.Kind >= ServFail }

// KindOf returns the kind of a lookup failure. An error that is no *Error,
// an expired context for example, counts as Timeout: it is temporary.
// KindOf(nil) is 0.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Kind
	}
	return Timeout
}

// IsNotFound reports whether the name service said that the data does not
// exist: NXDOMAIN or an empty answer.
func IsNotFound(err error) bool {
	k := KindOf(err)
	return k == NotFound || k == NoData
}

// Temporary reports whether err is a lookup failure that may go away.
func Temporary(err error) bool { return KindOf(err) >= ServFail }
