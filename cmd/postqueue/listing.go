package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// A listing prints messages as they come.
type listing interface {
	message(m proto.ShowqMessage) error
	rcpt(r proto.ShowqRcpt) error
	end() error
}

// read prints what showq sends.
func read(conn *ipc.Conn, l listing) error {
	var failed error
	keep := func(err error) error {
		failed = err
		return err
	}
	err := proto.ReadShowq(conn,
		func(m proto.ShowqMessage) error { return keep(l.message(m)) },
		func(r proto.ShowqRcpt) error { return keep(l.rcpt(r)) })
	switch {
	case failed != nil:
		return fmt.Errorf("output write error: %w", failed)
	case err != nil:
		return fmt.Errorf("malformed showq server response: %w", err)
	}
	return l.end()
}

// mailqListing is the traditional form.
type mailqListing struct {
	out    io.Writer
	long   bool // wide enough for long queue ids
	count  int
	size   int64
	reason string // of the last recipient
}

// Columns of the two forms.
const (
	shortText = "%-11s %7s %-20s %s\n"
	shortRow  = "%-11s %7d %20.20s %s\n"
	longText  = "%-17s %8s %-19s %s\n"
	longRow   = "%-17s %8d %19.19s %s\n"
)

func (l *mailqListing) message(m proto.ShowqMessage) error {
	text, row := shortText, shortRow
	headings := []any{"-Queue ID-", "--Size--", "----Arrival Time----", "-Sender/Recipient-------"}
	if l.long {
		text, row = longText, longRow
		headings = []any{"----Queue ID-----", "--Size--", "---Arrival Time----", "--Sender/Recipient------"}
	}
	if l.count == 0 {
		fmt.Fprintf(l.out, text, headings...)
	} else {
		fmt.Fprintln(l.out)
	}
	l.count++
	l.size += m.Size
	l.reason = ""
	id := m.QueueID
	switch m.QueueName {
	case queue.Active:
		id += "*"
	case queue.Hold:
		id += "!"
	}
	if m.ForcedExpire != 0 {
		id += "#"
	}
	_, err := fmt.Fprintf(l.out, row, maillog.Printable(id), m.Size, m.Arrival.Local().Format(time.ANSIC)+"\n",
		maillog.Printable(m.Sender))
	return err
}

func (l *mailqListing) rcpt(r proto.ShowqRcpt) error {
	if r.Reason != l.reason {
		l.reason = r.Reason
		show := "reason unavailable"
		if r.Reason != "" {
			show = maillog.Printable(r.Reason)
		}
		fmt.Fprintf(l.out, "%*s(%s)\n", max(0, 76-len(show)), "", show)
	}
	text := shortText
	if l.long {
		text = longText
	}
	_, err := fmt.Fprintf(l.out, text, "", "", "", maillog.Printable(r.Address))
	return err
}

func (l *mailqListing) end() error {
	if l.count == 0 {
		_, err := fmt.Fprintln(l.out, "Mail queue is empty")
		return err
	}
	plural := "s"
	if l.count == 1 {
		plural = ""
	}
	_, err := fmt.Fprintf(l.out, "\n-- %d Kbytes in %d Request%s.\n", l.size/1024, l.count, plural)
	return err
}

// jsonListing is one object a line (RFC 8259), members always in this order.
type jsonListing struct {
	out   io.Writer
	open  bool // a message is not ended
	rcpts int
}

func (l *jsonListing) message(m proto.ShowqMessage) error {
	l.close()
	l.open, l.rcpts = true, 0
	_, err := fmt.Fprintf(l.out, `{"queue_name": %s, "queue_id": %s, "arrival_time": %d, "message_size": %d, "forced_expire": %t, "sender": %s, "recipients": [`,
		quote(m.QueueName), quote(m.QueueID), m.Arrival.Unix(), m.Size, m.ForcedExpire != 0, quote(m.Sender))
	return err
}

func (l *jsonListing) rcpt(r proto.ShowqRcpt) error {
	if l.rcpts++; l.rcpts > 1 {
		io.WriteString(l.out, ", ") // the buffered writer keeps its error
	}
	_, err := fmt.Fprintf(l.out, `{"orig_address": %s, "address": %s`, quote(r.Orig), quote(r.Address))
	if r.Reason != "" {
		member := "other_reason"
		switch r.LogClass {
		case queue.Defer:
			member = "delay_reason"
		case queue.Bounce:
			member = "bounce_reason"
		}
		_, err = fmt.Fprintf(l.out, `, "%s": %s`, member, quote(r.Reason))
	}
	if err == nil {
		_, err = io.WriteString(l.out, "}")
	}
	return err
}

func (l *jsonListing) close() {
	if l.open {
		io.WriteString(l.out, "]}\n") // the buffered writer keeps its error
	}
	l.open = false
}

func (l *jsonListing) end() error {
	l.close()
	return nil
}

// quote is a JSON string (RFC 8259 §7). Bytes that are no UTF-8 become '?'.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case c == utf8.RuneError && n == 1:
			b.WriteByte('?')
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(byte(c))
		case c < ' ' || c == 0x7f:
			b.WriteString(control(c))
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	b.WriteByte('"')
	return b.String()
}

func control(c rune) string {
	switch c {
	case '\b':
		return `\b`
	case '\f':
		return `\f`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	return fmt.Sprintf(`\u%04X`, c)
}
