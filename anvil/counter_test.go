package main

import (
	"strings"
	"testing"
	"time"

	"postroad/libmail/proto"
)

func TestCounter(t *testing.T) {
	now := time.Date(2026, 11, 2, 7, 40, 50, 0, time.UTC)
	c := newCounter(params{unit: time.Minute, update: 10 * time.Minute}, func() time.Time { return now })
	a, b := c.join(), c.join()
	const x, y = "smtp:192.0.2.1", "smtp:192.0.2.2"
	type counts = proto.AnvilCounts
	steps := []struct {
		rule  string
		after time.Duration
		from  *local
		verb  string
		ident string
		want  counts
	}{
		{"a first connection", 0, a, proto.AnvilConnect, x, counts{Count: 1, Rate: 1}},
		{"another counts on", 0, a, proto.AnvilConnect, x, counts{Count: 2, Rate: 2}},
		{"from another program as well", 0, b, proto.AnvilConnect, x, counts{Count: 3, Rate: 3}},
		{"another client is counted apart", 0, b, proto.AnvilConnect, y, counts{Count: 1, Rate: 1}},
		{"messages are counted apart", 0, a, proto.AnvilMessage, x, counts{Count: 3, Rate: 1}},
		{"recipients too", 0, a, proto.AnvilRecipient, x, counts{Count: 3, Rate: 1}},
		{"a second recipient", 0, a, proto.AnvilRecipient, x, counts{Count: 3, Rate: 2}},
		{"TLS sessions", 0, a, proto.AnvilNewTLS, x, counts{Count: 3, Rate: 1}},
		{"asking for them does not count", 0, a, proto.AnvilTLSStatus, x, counts{Rate: 1}},
		{"AUTH commands", 0, a, proto.AnvilAuth, x, counts{Count: 3, Rate: 1}},
		{"a look-up shows all", 0, a, proto.AnvilLookup, x, counts{Count: 3, Rate: 3, Mail: 1, Rcpt: 2, NewTLS: 1, Auth: 1}},
		{"a look-up of a stranger", 0, a, proto.AnvilLookup, "smtp:192.0.2.9", counts{}},
		{"an event of a client that connected before we were started", 0, b, proto.AnvilMessage, "smtp:192.0.2.3", counts{Count: 1, Rate: 1}},
		{"and its end", 0, b, proto.AnvilDisconnect, "smtp:192.0.2.3", counts{}},
		{"a disconnect takes one off", 0, a, proto.AnvilDisconnect, x, counts{}},
		{"which shows", 0, a, proto.AnvilLookup, x, counts{Count: 2, Rate: 3, Mail: 1, Rcpt: 2, NewTLS: 1, Auth: 1}},
		{"one that is not one's own does not", 0, b, proto.AnvilDisconnect, y, counts{}},
		{"nor a second time", 0, b, proto.AnvilDisconnect, y, counts{}},
		{"so there is none", 0, b, proto.AnvilLookup, y, counts{Rate: 1}},
		{"within the time unit rates count on", time.Minute, a, proto.AnvilMessage, x, counts{Count: 2, Rate: 2}},
		{"then they start anew, connections stay", time.Second, a, proto.AnvilConnect, x, counts{Count: 3, Rate: 1}},
		{"all of them", 0, a, proto.AnvilLookup, x, counts{Count: 3, Rate: 1}},
		{"a clock set back starts anew too", -time.Hour, a, proto.AnvilMessage, x, counts{Count: 3, Rate: 1}},
	}
	for _, s := range steps {
		now = now.Add(s.after)
		if got := s.from.do(s.verb, s.ident); got != s.want {
			t.Errorf("%s: got %+v, want %+v", s.rule, got, s.want)
		}
	}
	b.leave()
	if got := a.do(proto.AnvilLookup, x); got.Count != 2 {
		t.Errorf("the connections of a program that is gone are gone: %+v", got)
	}
	now = now.Add(2 * time.Minute)
	c.sweep()
	if len(c.remotes) != 1 || c.remotes[x] == nil {
		t.Errorf("a sweep keeps clients with connections only: %v", c.remotes)
	}
	a.leave()
	c.sweep()
	if len(c.remotes) != 0 {
		t.Errorf("and nothing in the end: %v", c.remotes)
	}
}

func TestReport(t *testing.T) {
	now := time.Date(2026, 11, 2, 7, 40, 50, 0, time.UTC)
	c := newCounter(params{unit: time.Minute}, func() time.Time { return now })
	l := c.join()
	l.do(proto.AnvilConnect, "smtp:192.0.2.1")
	l.do(proto.AnvilConnect, "smtp:192.0.2.2")
	l.do(proto.AnvilDisconnect, "smtp:192.0.2.2")
	now = now.Add(time.Second)
	l.do(proto.AnvilConnect, "smtp:192.0.2.2")
	l.do(proto.AnvilMessage, "smtp:192.0.2.2")
	lines := func() string {
		var b strings.Builder
		c.report(func(line string) { b.WriteString(line + "\n") })
		return b.String()
	}
	want := `statistics: max connection rate 2/60s for (smtp:192.0.2.2) at Nov  2 07:40:51
statistics: max connection count 1 for (smtp:192.0.2.1) at Nov  2 07:40:50
statistics: max message rate 1/60s for (smtp:192.0.2.2) at Nov  2 07:40:51
statistics: max cache size 2 at Nov  2 07:40:50
`
	if got := lines(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := lines(); got != "" {
		t.Errorf("a second report has nothing to say: %q", got)
	}
}
