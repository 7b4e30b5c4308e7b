package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/proto"
)

// An entry is what is known about one address. In the cache it is text:
//
//	status:probed:updated:reason       times in Unix seconds, 0 for never
type entry struct {
	status  proto.AddressStatus
	probed  time.Time // when the probe that is under way was sent; zero: none is
	updated time.Time // when the last result came; zero: none did
	reason  string
}

// encode writes an entry.
func (e entry) encode() string {
	return fmt.Sprintf("%d:%d:%d:%s", e.status, seconds(e.probed), seconds(e.updated), e.reason)
}

// parseEntry reads an entry.
func parseEntry(text string) (e entry, err error) {
	f := strings.SplitN(text, ":", 4)
	if len(f) != 4 {
		return e, badEntry(text)
	}
	var n [3]int64
	for i := range n {
		if n[i], err = strconv.ParseInt(f[i], 10, 62); err != nil || n[i] < 0 {
			return e, badEntry(text)
		}
	}
	e = entry{proto.AddressStatus(n[0]), timeOf(n[1]), timeOf(n[2]), f[3]}
	if n[0] > int64(proto.AddressTodo) || n[1] == 0 && n[2] == 0 {
		return entry{}, badEntry(text)
	}
	return e, nil
}

func badEntry(text string) error {
	return fmt.Errorf("bad address verify table entry: %.100q", text)
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func timeOf(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// probeTTL is how long the result of a probe is waited for. If it is too
// short, probes pile up in a queue that is slow.
const probeTTL = 1000 * time.Second

// waiting reports whether the result of a probe may still come.
func (e entry) waiting(now time.Time) bool { return now.Sub(e.probed) <= probeTTL }

// expired reports whether an entry is too old to be told.
func (p *params) expired(e entry, now time.Time) bool {
	age := p.negativeExpire
	if e.status == proto.AddressOK {
		age = p.positiveExpire
	}
	return now.Sub(e.updated) > age
}

// due reports whether an entry is old enough to be probed anew.
func (p *params) due(e entry, now time.Time) bool {
	age := p.negativeRefresh
	if e.status == proto.AddressOK {
		age = p.positiveRefresh
	}
	return now.Sub(e.updated) > age
}
