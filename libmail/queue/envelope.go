package queue

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/record"
)

// An Rcpt is one recipient of a queue file.
type Rcpt struct {
	Orig    string // before rewriting, or ""
	Address string
	Offset  int64  // of its record, for MarkDone; -1 for one that is not in the file
	DSNOrig string // "type;address" (RFC 3461 §4.2), or ""
	Notify  int    // 1 NEVER, 2 SUCCESS, 4 FAILURE, 8 DELAY, summed; 0 for none (RFC 3461 §4.1)
}

// A Client is where a message came from; empty strings are unknown.
type Client struct {
	Name, Addr, Port, Proto, Helo string
}

// A SASL is how the client authenticated.
type SASL struct {
	Method, Username, Sender string
}

// An Envelope is all of a message but its content.
type Envelope struct {
	Sizes
	Arrival        time.Time
	Created        time.Time // life time and backoff count from here
	Sender         string
	FullName       string
	EnvelopeID     string // RFC 3461 §4.4, decoded
	RetFlags       int    // RFC 3461 §4.3: 1 FULL, 2 HDRS, 0 neither
	Encoding       string // "8bit", "7bit" or ""
	LogIdent       string
	RewriteContext string // "local" or "remote"
	LogClient      Client // for the log; XFORWARD may have set it
	Client         Client // who really was connected
	SASL           SASL
	TraceFlags     int
	TraceOffset    int64 // for MarkKilled; 0 when there are no flags
	Filter         string
	Inspector      string
	Redirect       string
	VERP           string
	Warn           int64 // time of the delay warning in seconds, negative once it was sent
	WarnOffset     int64 // for MarkWarned; 0 when there is none
	MessageID      string
	Attrs          map[string]string // all named attributes, the first of each name

	Rcpts  []Rcpt   // the first batch
	Next   int64    // where MoreRcpts goes on; 0 when these are all
	Unread int      // recipients that may still come
	Notes  []string // what was odd but harmless, for the log
}

// maxAttrs bounds what one file may put in Envelope.Attrs.
const maxAttrs = 1000

// Envelope reads a whole file but its content and at most max recipients (all
// if max is 0). Recipients that are done or cancelled are left out. A file
// that breaks the rules, or lacks size, arrival, sender or end record, gives ErrCorrupt.
func (m *Message) Envelope(max int) (*Envelope, error) {
	p := envelopeParser{e: &Envelope{Attrs: map[string]string{}}, w: m.Records(0), max: max}
	if err := p.run(); err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	e := p.e
	switch {
	case e.Arrival.IsZero():
		return nil, fmt.Errorf("%s: %w: missing arrival time record", m.name, ErrCorrupt)
	case !p.senderSeen:
		return nil, fmt.Errorf("%s: %w: missing sender record", m.name, ErrCorrupt)
	case e.DataOffset == 0:
		return nil, fmt.Errorf("%s: %w: missing size record", m.name, ErrCorrupt)
	}
	p.fillIn()
	return e, nil
}

// MoreRcpts reads the next batch, at most max recipients (all if max is 0),
// from next on. It returns where to go on, or 0 after the last.
func (m *Message) MoreRcpts(e *Envelope, next int64, max int) ([]Rcpt, int64, error) {
	p := envelopeParser{e: &Envelope{Sizes: e.Sizes}, w: m.Records(next), max: max, rcptsOnly: true}
	if err := p.run(); err != nil {
		return nil, next, fmt.Errorf("%s: %w", m.name, err)
	}
	return p.e.Rcpts, p.e.Next, nil
}

// envelopeParser reads envelope and extracted segment. Records may stand in
// any order; a recipient takes the O, dsn_orig_rcpt and notify_flags before it.
type envelopeParser struct {
	e          *Envelope
	w          *record.Walker
	max        int
	rcptsOnly  bool // all else is known
	senderSeen bool
	haveLog    bool // log_client_* seen
	next       Rcpt // attributes of the recipient to come
}

const envelopeSet = record.EnvelopeTypes + record.ExtractedTypes

func (p *envelopeParser) run() error {
	for {
		expected := envelopeSet
		if pos := p.w.Pos(); pos == p.e.DataOffset && pos > 0 {
			p.w.Goto(pos + p.e.DataSize)
			expected = string(record.Extracted)
		}
		t, data, err := p.w.NextRaw()
		if err != nil {
			return fmt.Errorf("%w: %v", ErrCorrupt, noEOF(err))
		}
		if t == record.Pointer {
			if err := p.w.Follow(data); err != nil {
				return fmt.Errorf("%w: %v", ErrCorrupt, err)
			}
			continue
		}
		if !t.In(expected) {
			return fmt.Errorf("%w: unexpected record %q at %d", ErrCorrupt, byte(t), p.w.Offset())
		}
		if t == record.End {
			return nil
		}
		if done, err := p.record(t, data); done || err != nil {
			return err
		}
	}
}

// record takes one record; done is true when the rest of the file need not
// be read.
func (p *envelopeParser) record(t record.Type, data []byte) (done bool, err error) {
	var name string
	if t == record.Attr {
		var value []byte
		name, value, err = SplitAttr(data)
		if err != nil {
			return false, err
		}
		if pseudo := AttrType(name); pseudo != 0 {
			t, data = pseudo, value
		} else {
			data = value
		}
	}
	switch t {
	case record.Rcpt, record.Done, record.Cancelled:
		return p.rcpt(t, string(data)), nil
	case record.OrigRcpt, record.DSNRcpt, record.DSNNotify:
		p.rcptAttr(t, string(data))
		return false, nil
	}
	if p.rcptsOnly {
		return false, nil
	}
	return false, p.other(t, name, data)
}

// rcpt ends the attributes of one recipient.
func (p *envelopeParser) rcpt(t record.Type, address string) (done bool) {
	e := p.e
	if e.Next != 0 {
		return false // a later batch
	}
	e.Unread--
	r := p.next
	p.next = Rcpt{}
	if t != record.Rcpt {
		return false
	}
	r.Address, r.Offset = address, p.w.Offset()
	e.Rcpts = append(e.Rcpts, r)
	if p.max == 0 || len(e.Rcpts) < p.max {
		return false
	}
	e.Next = p.w.Pos()
	switch {
	case p.rcptsOnly, e.Flags&MixedRcpts == 0 && p.w.Offset() > e.DataOffset:
		return true
	case e.Flags&MixedRcpts == 0:
		p.w.Goto(e.DataOffset) // only recipients are left in this segment
	}
	return false
}

func (p *envelopeParser) rcptAttr(t record.Type, value string) {
	if p.e.Next != 0 {
		return
	}
	switch t {
	case record.OrigRcpt:
		if p.next.Orig != "" {
			p.note("ignoring out-of-order original recipient <%.200s>", p.next.Orig)
		}
		p.next.Orig = value
	case record.DSNRcpt:
		if p.next.DSNOrig != "" {
			p.note("ignoring out-of-order DSN original recipient address <%.200s>", p.next.DSNOrig)
		}
		p.next.DSNOrig = value
	case record.DSNNotify:
		n, err := strconv.Atoi(value)
		if err != nil || n <= 0 || n&^notifyAll != 0 || n&notifyNever != 0 && n != notifyNever {
			p.note("ignoring malformed DSN notify flags <%.200s>", value)
			return
		}
		p.next.Notify = n
	}
}

func (p *envelopeParser) note(format string, args ...any) {
	if len(p.e.Notes) < 20 {
		p.e.Notes = append(p.e.Notes, fmt.Sprintf(format, args...))
	}
}

// other takes what is not about one recipient.
func (p *envelopeParser) other(t record.Type, name string, data []byte) error {
	e := p.e
	switch t {
	case record.Size:
		return p.sizes(data)
	case record.Time:
		if e.Arrival.IsZero() {
			e.Arrival = ParseTime(data)
		}
	case record.Created:
		if n, err := strconv.ParseInt(string(data), 10, 64); err == nil && e.Created.IsZero() {
			e.Created = time.Unix(n, 0)
		}
	case record.Sender:
		if !p.senderSeen {
			e.Sender, p.senderSeen = string(data), true
		}
	case record.FullName:
		e.FullName = string(data)
	case record.Filter:
		e.Filter = string(data)
	case record.Inspector:
		e.Inspector = string(data)
	case record.Redirect:
		e.Redirect = string(data)
	case record.Warn:
		p.warn(data)
	case record.Verp:
		p.verp(string(data))
	case record.DSNEnvID:
		e.EnvelopeID = string(data)
	case record.DSNReturn:
		if n, err := strconv.Atoi(string(data)); err == nil && (n == 1 || n == 2) {
			e.RetFlags = n
		} else {
			p.note("ignoring malformed DSN RET flags in queue file record:%.100s", data)
		}
	case record.Attr:
		p.attr(name, string(data))
	}
	return nil
}

func (p *envelopeParser) sizes(data []byte) (err error) {
	if p.e.DataOffset != 0 {
		return nil // postsuper -r leaves the size record of an earlier life
	}
	p.e.Sizes, err = ParseSizes(data)
	p.e.Unread += p.e.Sizes.Rcpts
	return err
}

func (p *envelopeParser) warn(data []byte) {
	if p.e.WarnOffset == 0 {
		p.e.WarnOffset = p.w.Offset()
		n, err := strconv.ParseInt(string(bytes.TrimSpace(data)), 10, 64)
		if err != nil {
			p.note("ignoring malformed warning time <%.30s>", data)
			return
		}
		p.e.Warn = n
	}
}

func (p *envelopeParser) verp(delims string) {
	switch {
	case p.e.VERP != "":
	case p.e.Sender == "":
		p.note("ignoring VERP request for null sender")
	case len(delims) != 2:
		p.note("ignoring bad VERP request: %.100q", delims)
	default:
		p.e.VERP = delims
	}
}

// attr takes a named attribute. Some may be given again in the extracted
// segment and then override; the others count once.
func (p *envelopeParser) attr(name, value string) {
	e := p.e
	old, seen := e.Attrs[name]
	if !seen && len(e.Attrs) < maxAttrs {
		e.Attrs[name] = value
	}
	switch name {
	case "encoding":
		e.Encoding = value
		return
	case "trace_flags":
		if n, err := strconv.Atoi(value); err == nil && e.TraceFlags == 0 {
			e.TraceFlags, e.TraceOffset = n, p.w.Offset()
		}
		return
	case "message_id":
		e.MessageID = value
		return
	}
	if slot := e.clientSlot(name); slot != nil {
		*slot = value
		p.haveLog = p.haveLog || strings.HasPrefix(name, "log_")
		return
	}
	if slot := e.onceSlot(name); slot != nil {
		if seen && old != "" {
			p.note("ignoring multiple %s attribute: %.200s", name, value)
			return
		}
		*slot = value
	}
}

func (e *Envelope) clientSlot(name string) *string {
	switch name {
	case "log_client_name":
		return &e.LogClient.Name
	case "log_client_address":
		return &e.LogClient.Addr
	case "log_client_port":
		return &e.LogClient.Port
	case "log_protocol_name":
		return &e.LogClient.Proto
	case "log_helo_name":
		return &e.LogClient.Helo
	case "client_name":
		return &e.Client.Name
	case "client_address":
		return &e.Client.Addr
	case "client_port":
		return &e.Client.Port
	case "protocol_name":
		return &e.Client.Proto
	case "helo_name":
		return &e.Client.Helo
	}
	return nil
}

func (e *Envelope) onceSlot(name string) *string {
	switch name {
	case "sasl_method":
		return &e.SASL.Method
	case "sasl_username":
		return &e.SASL.Username
	case "sasl_sender":
		return &e.SASL.Sender
	case "log_ident":
		return &e.LogIdent
	case "rewrite_context":
		return &e.RewriteContext
	}
	return nil
}

// fillIn gives what older files lack.
func (p *envelopeParser) fillIn() {
	e := p.e
	if !p.haveLog {
		e.LogClient = e.Client
	}
	if e.RewriteContext == "" {
		e.RewriteContext = "local"
	}
	if e.Created.IsZero() {
		e.Created = time.Unix(e.Arrival.Unix(), 0)
	}
	if p.next != (Rcpt{}) {
		p.note("ignoring out-of-order original recipient <%.200s>", p.next.Orig)
	}
	if e.Unread < 0 || e.Next == 0 && e.Unread != 0 {
		p.note("rcpt count mismatch (%d)", e.Unread)
		e.Unread = 0
	}
}
