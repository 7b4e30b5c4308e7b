package message

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/libmail/mailtest"
)

func TestFormatDate(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	tests := []struct {
		t    time.Time
		want string
	}{
		{time.Date(2026, 11, 22, 16, 47, 0, 0, zone), "Sun, 22 Nov 2026 16:47:00 +0100 (CET)"},
		{time.Date(2026, 2, 1, 6, 7, 8, 0, time.UTC), "Sun,  1 Feb 2026 06:07:08 +0000 (UTC)"},
	}
	for _, tt := range tests {
		if got := FormatDate(tt.t); got != tt.want {
			t.Errorf("FormatDate = %q, want %q", got, tt.want)
		}
		if back, err := ParseDate(tt.want); err != nil || !back.Equal(tt.t) {
			t.Errorf("ParseDate(%q) = %v, %v", tt.want, back, err)
		}
	}
}

func TestParseDate(t *testing.T) {
	tests := []struct{ rule, in, want string }{
		{"RFC 5322", "Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
		{"no day of the week", "21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
		{"no seconds", "21 Nov 1997 09:55 +0000", "1997-11-21T09:55:00Z"},
		{"no zone", "21 Nov 1997 09:55:06", "1997-11-21T09:55:06Z"},
		{"two digits of a year", "21 Nov 97 09:55:06 GMT", "1997-11-21T09:55:06Z"},
		{"two digits of a later year", "21 Nov 49 09:55:06 GMT", "2049-11-21T09:55:06Z"},
		{"three digits of a year", "21 Nov 102 09:55:06 GMT", "2002-11-21T09:55:06Z"},
		{"a zone with a name", "21 Nov 1997 09:55:06 PST", "1997-11-21T09:55:06-08:00"},
		{"an unknown zone is UTC", "21 Nov 1997 09:55:06 XYZ", "1997-11-21T09:55:06Z"},
		{"comments", "Fri (x(y)) ,21(z) Nov 1997(a) 09:55:06 -0600 (b)", "1997-11-21T09:55:06-06:00"},
		{"asctime", "Fri Nov 21 09:55:06 1997", "1997-11-21T09:55:06Z"},
		{"a leap second", "31 Dec 1998 23:59:60 +0000", "1999-01-01T00:00:00Z"},
		{"a wrong day of the week", "Sun, 21 Nov 1997 09:55:06 +0000", "1997-11-21T09:55:06Z"},
		{"day 31 of November", "31 Nov 1997 09:55:06 +0000", ""},
		{"29 February of a leap year", "29 Feb 2024 00:00:00 +0000", "2024-02-29T00:00:00Z"},
		{"29 February of another year", "29 Feb 2023 00:00:00 +0000", ""},
		{"hour 24", "21 Nov 1997 24:00:00 +0000", ""},
		{"an empty text", "", ""},
		{"words", "not a date at all", ""},
		{"a zone of three digits", "21 Nov 1997 09:55:06 +100", ""},
	}
	for _, tt := range tests {
		got, err := ParseDate(tt.in)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s: ParseDate(%q) = %v, want an error", tt.rule, tt.in, got)
			}
			continue
		}
		if want, _ := time.Parse(time.RFC3339, tt.want); err != nil || !got.Equal(want) {
			t.Errorf("%s: ParseDate(%q) = %v, %v; want %s", tt.rule, tt.in, got, err, tt.want)
		}
	}
}

// TestDateSet reads the dates of the mail-parser set.
func TestDateSet(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(mailtest.Corpora(t, "address/mail-parser"), "date.json"))
	if err != nil {
		t.Fatal(err)
	}
	var set []struct {
		Header   string
		Expected *struct {
			Year, Month, Day, Hour, Minute, Second int
			Before                                 bool `json:"tz_before_gmt"`
			ZoneHour                               int  `json:"tz_hour"`
			ZoneMinute                             int  `json:"tz_minute"`
		}
	}
	if err := json.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	ours := map[string]string{ // where we read a date otherwise, and why
		"Tue, 1 Jul 2003 ((invalid)\ncomment) 10:52:37 +0200": "the comment is nested and balanced",
		"Thu, 10 Jul 1997 14:53:31 EST5EDT":                   "an unknown zone name counts as UTC",
	}
	for _, c := range set {
		if ours[c.Header] != "" || strings.HasPrefix(c.Header, "by ") { // the latter is a whole Received header
			continue
		}
		got, err := ParseDate(c.Header)
		if c.Expected == nil {
			if err == nil {
				t.Errorf("%q: %v, want an error", c.Header, got)
			}
			continue
		}
		e := c.Expected
		zone := (e.ZoneHour*60 + e.ZoneMinute) * 60
		if e.Before {
			zone = -zone
		}
		want := time.Date(e.Year, time.Month(e.Month), e.Day, e.Hour, e.Minute, e.Second, 0, time.FixedZone("", zone))
		if err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", c.Header, got, err, want)
		}
	}
}

func FuzzParseDate(f *testing.F) {
	for _, s := range []string{"Fri, 21 Nov 1997 09:55:06 -0600", "1 1 1 1:1", "Fri Nov 21 09:55:06 1997", "((", "\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDate(s)
		if err != nil {
			return
		}
		if back, err := ParseDate(FormatDate(d)); d.Year() > 999 && (err != nil || !back.Equal(d)) {
			t.Errorf("%q: %v is written as %q and read as %v, %v", s, d, FormatDate(d), back, err)
		}
	})
}
