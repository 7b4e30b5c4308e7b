// Package mailbox is a user's mail on disk; it is the only code that touches
// it.
//
// A Maildir is a directory with tmp, new and cur; each message is a file with
// LF line ends. A delivery writes to tmp, and renames to new what is synced:
//
//	new/1700000000.V801I2a3bM123456.mx.example.com,S=1024,W=1050
//	    seconds    device, inode, microseconds, host; size, size with CRLF
//
// An mbox is one file; each message begins with a "From " line and ends with
// an empty one, and body lines that begin with "From " get a ">" before them.
package mailbox

import (
	"errors"
	"io"
)

// Errors of a delivery, beside those of the system.
var (
	ErrLocked   = errors.New("mailbox is locked")
	ErrTooLarge = errors.New("mailbox size limit exceeded")
	ErrUnsafe   = errors.New("not a safe mailbox")
	ErrOwner    = errors.New("not owned by the recipient")
)

// A Message is what is delivered: lines that go before it, and the message,
// both with LF line ends.
type Message struct {
	Head string // "Return-Path: <a@example.org>\nDelivered-To: b@example.com\n"
	Body io.Reader
}

// copyBuffer is how much of a message is in memory at a time.
const copyBuffer = 64 << 10
