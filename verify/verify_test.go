package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/libmail/maillog"
	"postroad/libmail/proto"
)

// epoch is when the tests begin.
var epoch = time.Unix(1_800_000_000, 0)

// newService makes a service whose probes are collected and whose clock is at
// *now.
func newService(c cache, now *time.Time, fail error) (*service, *[]string) {
	var probed []string
	s := &service{cache: c, log: maillog.Discard(), now: func() time.Time { return *now },
		probes: make(chan struct{}, maxProbes), params: params{
			positiveExpire: 31 * 24 * time.Hour, positiveRefresh: 7 * 24 * time.Hour,
			negativeExpire: 3 * 24 * time.Hour, negativeRefresh: 3 * time.Hour, negativeCache: true}}
	s.probe = func(address string) error { probed = append(probed, address); return fail }
	s.start = func(f func()) { // while the query waits, as on a goroutine that is quick
		s.mu.Unlock()
		f()
		s.mu.Lock()
	}
	return s, &probed
}

func TestQuery(t *testing.T) {
	for _, c := range []struct {
		rule   string
		known  string // entry, with ages for times
		status proto.AddressStatus
		reason string
		probes bool
		stored string
	}{
		{"an unknown address is probed", "", 3, "Address verification in progress", true, "3:now:0:Address verification in progress"},
		{"a good address is told", "0:0:1h:ok", 0, "ok", false, "0:0:1h:ok"},
		{"a good address is probed again in time", "0:0:170h:ok", 0, "ok", true, "0:now:170h:ok"},
		{"a good address expires", "0:0:750h:ok", 3, "Address verification in progress", true, "3:now:0:Address verification in progress"},
		{"a bad address is told", "2:0:1h:no such user", 2, "no such user", false, "2:0:1h:no such user"},
		{"a bad address is probed again in time", "2:0:4h:no such user", 2, "no such user", true, "2:now:4h:no such user"},
		{"a bad address expires", "2:0:73h:no", 3, "Address verification in progress", true, "3:now:0:Address verification in progress"},
		{"an address that could not be decided is probed again", "1:0:4h:later", 1, "later", true, "1:now:4h:later"},
		{"a probe that is under way is waited for", "3:100s:0:wait", 3, "wait", false, "3:100s:0:wait"},
		{"a lost probe is sent again", "3:1001s:0:wait", 3, "Address verification in progress", true, "3:now:0:Address verification in progress"},
		{"an expired entry whose probe is under way is told", "2:100s:80h:no", 2, "no", false, "2:100s:80h:no"},
		{"an unreadable entry is probed", "nonsense", 3, "Address verification in progress", true, "3:now:0:Address verification in progress"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			now := epoch
			m := &memory{entries: map[string]string{}}
			if c.known != "" {
				m.entries["a@b"] = ages(c.known)
			}
			s, probed := newService(m, &now, nil)
			status, reason, err := s.Query("a@b")
			if status != c.status || reason != c.reason || err != nil {
				t.Errorf("got %d %q %v", status, reason, err)
			}
			if (len(*probed) == 1) != c.probes {
				t.Errorf("probes %q", *probed)
			}
			if m.entries["a@b"] != ages(c.stored) {
				t.Errorf("stored %q, want %q", m.entries["a@b"], ages(c.stored))
			}
		})
	}
}

// ages replaces ages in an entry by times.
func ages(text string) string {
	f := strings.SplitN(text, ":", 4)
	if len(f) < 4 {
		return text
	}
	for i := 1; i < 3; i++ {
		if f[i] == "now" {
			f[i] = "0s"
		}
		if d, err := time.ParseDuration(f[i]); err == nil && f[i] != "0" {
			f[i] = fmt.Sprint(epoch.Add(-d).Unix())
		}
	}
	return strings.Join(f, ":")
}

func TestUpdate(t *testing.T) {
	for _, c := range []struct {
		rule, known string
		status      proto.AddressStatus
		stored      string
		fails       bool
	}{
		{"a result is kept", "3:5s:0:wait", proto.AddressBounce, "2:0:now:why", false},
		{"a result without a query is kept", "", proto.AddressOK, "0:0:now:why", false},
		{"a good result replaces a bad one", "2:0:1h:no", proto.AddressOK, "0:0:now:why", false},
		{"a bad result does not replace a good one", "0:0:1h:ok", proto.AddressBounce, "0:0:1h:ok", false},
		{"TODO is no result", "2:0:1h:no", proto.AddressTodo, "2:0:1h:no", true},
		{"an unknown status is no result", "2:0:1h:no", 9, "2:0:1h:no", true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			now := epoch
			m := &memory{entries: map[string]string{}}
			if c.known != "" {
				m.entries["a@[IPv6__1]"] = ages(c.known)
			}
			s, _ := newService(m, &now, nil)
			err := s.Update("a@[IPv6::1]", c.status, "why")
			if m.entries["a@[IPv6__1]"] != ages(c.stored) || (err != nil) != c.fails {
				t.Errorf("stored %q %v", m.entries["a@[IPv6__1]"], err)
			}
		})
	}
}

func TestWithoutNegativeCacheOnlyResultsAreKept(t *testing.T) {
	now := epoch
	m := &memory{entries: map[string]string{"old@b": ages("2:0:80h:no")}}
	s, probed := newService(m, &now, nil)
	s.negativeCache = false
	for _, address := range []string{"new@b", "old@b"} {
		if status, _, _ := s.Query(address); status != proto.AddressTodo {
			t.Errorf("%s: %d", address, status)
		}
	}
	if len(m.entries) != 0 || len(*probed) != 2 {
		t.Errorf("kept %v, probed %v", m.entries, *probed)
	}
}

func TestAProbeThatCannotBeSentIsSentAgain(t *testing.T) {
	now := epoch
	m := &memory{entries: map[string]string{}}
	s, probed := newService(m, &now, errors.New("cleanup is down"))
	for range 2 {
		if status, _, err := s.Query("a@b"); status != proto.AddressTodo || err != nil {
			t.Errorf("got %d %v", status, err)
		}
	}
	if len(*probed) != 2 || len(m.entries) != 0 {
		t.Errorf("probed %v, kept %v", *probed, m.entries)
	}
}

func TestNoMoreProbesThanTheLimit(t *testing.T) {
	now := epoch
	s, _ := newService(&memory{entries: map[string]string{}}, &now, nil)
	sent := 0
	s.start = func(func()) { sent++ }
	for i := range maxProbes + 10 {
		s.Query(fmt.Sprint("user", i))
	}
	if sent != maxProbes {
		t.Errorf("%d probes", sent)
	}
}

// TestCaches holds for both kinds of cache.
func TestCaches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache.bbolt")
	for _, where := range []string{"", path} {
		c, err := openCache(where, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2500 {
			if i%50 != 0 && where != "" && i > 100 { // syncs take their time
				continue
			}
			if err := c.put(fmt.Sprint("k", i), map[bool]string{true: "keep", false: "drop"}[i%2 == 0]); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := c.get("k7"); got != "drop" || err != nil {
			t.Errorf("%s: got %q %v", c, got, err)
		}
		if got, err := c.get("none"); got != "" || err != nil {
			t.Errorf("%s: got %q %v", c, got, err)
		}
		if at, err := c.cleaned(); !at.IsZero() || err != nil {
			t.Errorf("%s: cleaned at %v %v", c, at, err)
		}
		retained, dropped, err := c.clean(context.Background(), epoch, func(text string) bool { return text == "keep" })
		if err != nil || retained == 0 || dropped == 0 {
			t.Errorf("%s: retained %d dropped %d %v", c, retained, dropped, err)
		}
		if got, _ := c.get("k7"); got != "" {
			t.Errorf("%s: k7 is still %q", c, got)
		}
		if got, _ := c.get("k8"); got != "keep" {
			t.Errorf("%s: k8 is %q", c, got)
		}
		if at, err := c.cleaned(); !at.Equal(epoch) || err != nil {
			t.Errorf("%s: cleaned at %v %v", c, at, err)
		}
		if err := c.remove("k8"); err != nil {
			t.Error(err)
		}
		if got, _ := c.get("k8"); got != "" {
			t.Errorf("%s: k8 is still %q", c, got)
		}
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}
	c, err := openCache(path, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if got, _ := c.get("k10"); got != "keep" {
		t.Errorf("after a restart k10 is %q", got)
	}
}

func TestADamagedCacheIsPutAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache.bbolt")
	if err := os.WriteFile(path, []byte(strings.Repeat("garbage ", 10000)), 0o600); err != nil {
		t.Fatal(err)
	}
	warned := 0
	c, err := openCache(path, func(string, ...any) { warned++ })
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, err := os.Stat(path + ".damaged"); err != nil || warned != 1 {
		t.Errorf("%v, %d warnings", err, warned)
	}
	if err := c.put("a", "b"); err != nil {
		t.Error(err)
	}
}

func TestProbeSender(t *testing.T) {
	for _, c := range []struct {
		rule, sender string
		ttl          time.Duration
		want         string
	}{
		{"the sender is completed", "double-bounce", 0, "double-bounce@host.test"},
		{"a domain stays", "a@b.test", 0, "a@b.test"},
		{"a time stamp follows the local part", "a@b.test", time.Hour, "aJS91@b.test"},
		{"a time stamp may follow all", "a", time.Hour, "aJS91@host.test"},
		{"the null sender has no time stamp", "<>", time.Hour, ""},
		{"nor has the empty one", "", time.Hour, ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			p := &prober{sender: c.sender, ttl: c.ttl, now: func() time.Time { return epoch },
				rewrite: func(_, address string) (string, error) {
					if !strings.Contains(address, "@") {
						address += "@host.test"
					}
					return address, nil
				}}
			if got, err := p.from(); got != c.want || err != nil {
				t.Errorf("got %q %v", got, err)
			}
		})
	}
	for _, bad := range []string{"@b", "a@"} {
		if (&prober{sender: bad}).check() == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func FuzzEntry(f *testing.F) {
	for _, seed := range []string{"", "0:0:1:ok", "3:1:0:", "9:9:9:9", "::::", "-1:0:0:x", "0:99999999999999999999:0:x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := parseEntry(text)
		if err != nil {
			return
		}
		again, err := parseEntry(e.encode())
		if err != nil || again != e {
			t.Errorf("%q: %+v, again %+v %v", text, e, again, err)
		}
	})
}
