package main

import (
	"testing"

	"postroad/libmail/dsn"
)

func TestVerdict(t *testing.T) {
	for nexthop, want := range map[string]dsn.Outcome{
		"nobody wants this": {Status: "2.0.0", Reason: "nobody wants this"},
		"2.1.5 gone":        {Status: "2.1.5", Reason: "gone"},
		"5.1.1 gone":        {Status: "2.0.0", Reason: "gone"},
		"example.com":       {Status: "2.0.0", Reason: "example.com"},
	} {
		if got := verdict(nexthop); got != want {
			t.Errorf("%q: %+v", nexthop, got)
		}
	}
}
