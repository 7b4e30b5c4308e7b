package maillog

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// A Delivery is what became of one recipient, for the line that every
// delivery agent writes.
type Delivery struct {
	ID      string
	To      string // external (quoted) form
	OrigTo  string // "" when unknown or the same
	Relay   string // "local", "none", "mx.example.com[192.0.2.1]:25"
	ConnUse int    // how often the connection was used, logged above 1
	Times   Times
	TLS     string // TLS feature status, "" for agents that have none
	DSN     string // "2.0.0"
	Status  string // "sent", "bounced", "deferred", "deliverable", "undeliverable"
	Text    string // "delivered to mailbox"
}

// Times are when a delivery passed its stages. Zero times are filled in from
// their neighbours.
type Times struct {
	Arrival, Active, Handover, ConnDone, Done time.Time
	Decimals                                  int // delay_logging_resolution_limit, 0 to 6
}

// Delivery logs one recipient's end or delay (wire.md §8.3):
//
//	ID: to=<u@example.com>, relay=local, delay=0.3, delays=0.1/0.1/0/0.1, dsn=2.0.0, status=sent (delivered to mailbox)
func (l *Logger) Delivery(d Delivery) {
	b := make([]byte, 0, 256)
	b = append(b, d.ID...)
	b = append(b, ": to=<"...)
	b = append(b, d.To...)
	if d.OrigTo != "" && !strings.EqualFold(d.OrigTo, d.To) {
		b = append(b, ">, orig_to=<"...)
		b = append(b, d.OrigTo...)
	}
	b = append(b, ">, relay="...)
	b = append(b, d.Relay...)
	if d.ConnUse > 1 {
		b = append(b, ", conn_use="...)
		b = strconv.AppendInt(b, int64(d.ConnUse), 10)
	}
	b = d.Times.append(b)
	if d.TLS != "" {
		b = append(b, ", tls="...)
		b = append(b, d.TLS...)
	}
	b = append(b, ", dsn="...)
	b = append(b, d.DSN...)
	b = append(b, ", status="...)
	b = append(b, d.Status...)
	b = append(b, " ("...)
	b = append(b, d.Text...)
	b = append(b, ')')
	l.write(Info, string(b))
}

// append writes the total delay and its four parts: before the active queue,
// in it, connection set-up, transmission. A stage that did not happen takes no
// time, and what lies between is counted to the stage before.
func (t Times) append(b []byte) []byte {
	done := t.Done
	if done.IsZero() {
		done = time.Now()
	}
	stages := [5]time.Time{t.Arrival, t.Active, t.Handover, t.ConnDone, done}
	for i := 3; i >= 0; i-- {
		if stages[i].IsZero() {
			stages[i] = stages[i+1]
		}
	}
	if t.ConnDone.IsZero() {
		stages[3] = stages[2] // no connection: all is transmission
	}
	b = append(b, ", delay="...)
	b = t.seconds(b, stages[4].Sub(stages[0]))
	b = append(b, ", delays="...)
	for i := range 4 {
		if i > 0 {
			b = append(b, '/')
		}
		b = t.seconds(b, stages[i+1].Sub(stages[i]))
	}
	return b
}

// seconds writes a delay with two significant digits and no more decimals
// than wanted, without trailing zeros: 200, 34, 0.32, 0.
func (t Times) seconds(b []byte, d time.Duration) []byte {
	if d < 0 {
		d = 0
	}
	s := d.Seconds()
	if s >= 10 || t.Decimals == 0 {
		return strconv.AppendInt(b, int64(math.Round(s)), 10)
	}
	decimals := 1
	for limit := 1.0; s < limit && decimals < 6; limit /= 10 {
		decimals++
	}
	text := strconv.FormatFloat(s, 'f', min(decimals, t.Decimals), 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return append(b, text...)
}
