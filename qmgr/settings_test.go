package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
)

func load(t *testing.T, mainCF, masterCF string) (*settings, *logLines) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.cf": mainCF, "master.cf": masterCF} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := conf.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	log := &logLines{}
	return readSettings(c, maillog.New("test", log)), log
}

// TestDefaults: the tests run with what postconf -d says.
func TestDefaults(t *testing.T) {
	got, log := load(t, "compatibility_level = 3.6\nmyhostname = mx.example.com\n", "")
	want := defaults()
	if got.activeLimit != want.activeLimit || got.rcptLimit != want.rcptLimit || got.rcptMinimum != want.rcptMinimum ||
		got.probeLimit != want.probeLimit || got.queueRunDelay != want.queueRunDelay || got.minimalBackoff != want.minimalBackoff ||
		got.maximalBackoff != want.maximalBackoff || got.lifetime != want.lifetime || got.bounceLifetime != want.bounceLifetime ||
		got.transportRetry != want.transportRetry || got.doubleBounce != want.doubleBounce || got.hostname != want.hostname ||
		got.verpBounces != want.verpBounces || got.decimals != want.decimals || got.clogWarnTime != 300*time.Second ||
		got.watchdog != 1000*time.Second || !got.flow || got.delayCleared || len(got.deferTransports) != 0 {
		t.Errorf("settings %+v", got)
	}
	for _, name := range []string{"smtp", "local", "other"} {
		a, b := got.transport(name), want.transport(name)
		a.positive, a.negative, b.positive, b.negative = feedback{}, feedback{}, feedback{}, feedback{}
		if a.concurrencyLimit != b.concurrencyLimit || a.initialConcurrency != b.initialConcurrency || a.recipientLimit != b.recipientLimit ||
			a.cohortLimit != b.cohortLimit || a.slotCost != b.slotCost || a.slotLoan != b.slotLoan || a.slotLoanFactor != b.slotLoanFactor ||
			a.minSlots != b.minSlots || a.rcptLimit != b.rcptLimit || a.rcptExtra != b.rcptExtra || a.refillLimit != b.refillLimit ||
			a.refillDelay != b.refillDelay || a.destinationDelay != 0 || a.transportDelay != 0 || a.processes != 100 {
			t.Errorf("%s: %+v, want %+v", name, a, b)
		}
	}
	if len(log.list) > 0 {
		t.Errorf("log %q", log.list)
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		rule, main, master string
		holds              func(*settings) bool
		log                string
	}{
		{"a transport's own parameter wins", "slow_destination_concurrency_limit = 3\ndefault_destination_concurrency_limit = 7\n", "",
			func(s *settings) bool {
				return s.transport("slow").concurrencyLimit == 3 && s.transport("smtp").concurrencyLimit == 7
			}, ""},
		{"the initial concurrency is at most the limit", "default_destination_concurrency_limit = 2\n", "",
			func(s *settings) bool { return s.transport("smtp").initialConcurrency == 2 }, ""},
		{"a rate delay makes the limit 1", "slow_destination_rate_delay = 1s\n", "",
			func(s *settings) bool {
				return s.transport("slow").concurrencyLimit == 1 && s.transport("slow").destinationDelay == time.Second
			}, ""},
		{"maxproc bounds the deliveries", "", "slow unix - - n - 3 smtp\nall unix - - n - 0 smtp\n",
			func(s *settings) bool {
				return s.transport("slow").processes == 3 && s.transport("all").processes == 0 && s.transport("none").processes == 100
			}, ""},
		{"feedback may depend on the concurrency", "default_destination_concurrency_positive_feedback = 1/concurrency\n", "",
			func(s *settings) bool { return s.transport("smtp").positive.at(4) == 0.25 }, ""},
		{"bad feedback counts as 1", "slow_destination_concurrency_negative_feedback = 7\n", "",
			func(s *settings) bool { return s.transport("slow").negative.at(4) == 1 },
			"warning: slow_destination_concurrency_negative_feedback: ignoring malformed or unreasonable feedback: 7"},
		{"recipients are at least as many as messages", "qmgr_message_recipient_limit = 10\n", "",
			func(s *settings) bool { return s.rcptLimit == 20000 },
			"warning: qmgr_message_recipient_limit is smaller than qmgr_message_active_limit - adjusting qmgr_message_recipient_limit"},
		{"a bounce lives no longer than other mail", "maximal_queue_lifetime = 1d\n", "",
			func(s *settings) bool { return s.bounceLifetime == 24*time.Hour },
			"warning: bounce_queue_lifetime is larger than maximal_queue_lifetime - adjusting bounce_queue_lifetime"},
		{"addresses are logged as in SMTP", "", "",
			func(s *settings) bool { return s.logForm("a b@x") == `"a b"@x` && s.logForm("") == "" }, ""},
		{"or as they are", "info_log_address_format = internal\n", "",
			func(s *settings) bool { return s.logForm("a b@x") == "a b@x" }, ""},
		{"helpful warnings can be turned off", "helpful_warnings = no\n", "",
			func(s *settings) bool { return s.clogWarnTime == 0 }, ""},
		{"defer_transports is a list", "defer_transports = smtp, lmtp\n", "",
			func(s *settings) bool { return slices.Equal(s.deferTransports, []string{"smtp", "lmtp"}) }, ""},
	} {
		s, log := load(t, "compatibility_level = 3.6\n"+c.main, c.master)
		if !c.holds(s) {
			t.Errorf("%s: does not hold", c.rule)
		}
		text := ""
		// Reading a transport may warn again.
		if len(log.list) > 0 {
			text = log.list[0]
		}
		if text != c.log || strings.Count(strings.Join(log.list, "\n"), "\n") > 1 {
			t.Errorf("%s: log %q, want %q", c.rule, log.list, c.log)
		}
	}
}
