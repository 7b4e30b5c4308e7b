package main

import (
	"testing"

	"postroad/libmail/dsn"
)

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		rule    string
		class   byte
		nexthop string
		want    dsn.Outcome
	}{
		{"a text alone fails for good", '5', "mailbox unavailable", dsn.Outcome{Status: "5.0.0", Reason: "mailbox unavailable"}},
		{"a status is taken", '5', "5.1.6 moved", dsn.Outcome{Status: "5.1.6", Reason: "moved"}},
		{"error does not keep mail", '5', "4.1.6 moved", dsn.Outcome{Status: "5.0.0", Reason: "moved"}},
		{"retry keeps mail", '4', "closed", dsn.Outcome{Status: "4.0.0", Reason: "closed"}},
		{"retry does not send back", '4', "5.3.2 closed", dsn.Outcome{Status: "4.0.0", Reason: "closed"}},
	} {
		if got := verdict(c.class, c.nexthop); got != c.want {
			t.Errorf("%s: %+v", c.rule, got)
		}
	}
}
