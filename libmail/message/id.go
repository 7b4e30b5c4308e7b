package message

import (
	"bytes"
	"time"
)

// MakeID makes a message id with its angle brackets (RFC 5322 §3.6.4) from
// the queue id and the name of this host. Queue ids that come again need the
// time at which this one was given; the zero time leaves it out.
func MakeID(given time.Time, queueID, host string) string {
	if given.IsZero() {
		return "<" + queueID + "@" + host + ">"
	}
	return "<" + given.UTC().Format("20060102150405") + "." + queueID + "@" + host + ">"
}

// FirstID returns the message id, brackets included, that a header value
// begins with, or nil. Brackets inside it must balance.
func FirstID(value []byte) []byte {
	if !bytes.HasPrefix(value, []byte("<")) {
		return nil
	}
	depth := 0
	for i, c := range value {
		switch c {
		case '<':
			depth++
		case '>':
			if depth--; depth == 0 {
				return value[:i+1]
			}
		}
	}
	return nil
}
