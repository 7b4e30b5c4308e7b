package proto

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"postroad/libmail/attr"
	"postroad/libmail/record"
)

// The postdrop conversation: sendmail, and smtpd for a user without
// privileges, hand a message to the postdrop command, over its standard input
// and output. After status 0 the message is in the maildrop queue, on stable
// storage, whether the mail system is up or not.
//
//	S: protocol=postdrop_protocol queue_id=4A1B2C3D
//	C: records of the envelope, M, of the content, X, extracted ones, E
//	S: status=0 reason=
//
// A client that closes before the end record has submitted nothing.

// A Drop is one message on its way into maildrop, on the client's side. Record
// keeps the first error, Finish returns it.
type Drop struct {
	ID string // queue id

	w   *bufio.Writer
	in  *attr.Reader
	buf []byte
	err error
}

// OpenDrop begins a message with a postdrop command that was just started: r
// is its standard output, w its standard input.
func OpenDrop(r io.Reader, w io.Writer) (*Drop, error) {
	d := &Drop{w: bufio.NewWriterSize(w, 64<<10), in: attr.NewReader(bufio.NewReader(r))}
	protocol := d.in.Str("protocol")
	d.ID = d.in.Str("queue_id")
	d.in.End()
	if err := d.in.Err(); err != nil {
		return nil, err
	}
	if protocol != ProtocolPostdrop {
		return nil, fmt.Errorf("it speaks %.100q, not %s", protocol, ProtocolPostdrop)
	}
	return d, nil
}

// Record adds one record to the message.
func (d *Drop) Record(t record.Type, data []byte) {
	if d.err == nil {
		d.buf = record.Append(d.buf[:0], t, data)
		_, d.err = d.w.Write(d.buf)
	}
}

// RecordString is Record for a string.
func (d *Drop) RecordString(t record.Type, data string) {
	if d.err == nil {
		d.buf = record.AppendString(d.buf[:0], t, data)
		_, d.err = d.w.Write(d.buf)
	}
}

// Finish ends the message and waits for the verdict. Only err == nil with
// status == 0 means that the message is queued.
func (d *Drop) Finish() (status int, reason string, err error) {
	d.Record(record.End, nil)
	if d.err == nil {
		d.err = d.w.Flush()
	}
	if d.err != nil {
		return StatWrite, "", d.err
	}
	status = int(d.in.Int("status"))
	reason = d.in.Str("reason")
	d.in.End()
	if d.in.Err() != nil {
		return StatWrite, "", d.in.Err()
	}
	return status, reason, nil
}

// A DropSession receives one message on postdrop's side.
type DropSession interface {
	// Record takes the next record; data are valid during the call. An error
	// ends the conversation without an answer.
	Record(t record.Type, data []byte) error
	// Finish makes the message durable and gives the verdict.
	Finish() (status int, reason string)
}

// ErrCancelled reports that the client closed before the end record.
var ErrCancelled = errors.New("request cancelled")

// ServeDrop runs postdrop's half: it announces the queue id, passes on the
// records, none longer than maxRecord bytes, and replies with the verdict.
func ServeDrop(r io.Reader, w io.Writer, id string, maxRecord int, s DropSession) error {
	bw := bufio.NewWriter(w)
	out := attr.NewWriter(bw)
	out.Str("protocol", ProtocolPostdrop)
	out.Str("queue_id", id)
	out.End()
	if err := out.Flush(); err != nil {
		return err
	}
	records := record.NewReader(bufio.NewReaderSize(r, 64<<10), maxRecord)
	for {
		t, data, err := records.Next()
		if err == io.EOF {
			return ErrCancelled
		}
		if err != nil {
			return fmt.Errorf("malformed input: %w", err)
		}
		if err := s.Record(t, data); err != nil {
			return err
		}
		if t == record.End {
			break
		}
	}
	status, reason := s.Finish()
	out.Int("status", int64(status))
	out.Str("reason", reason)
	out.End()
	return out.Flush()
}
