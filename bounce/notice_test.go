package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"postroad/libmail/dsn"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// message is what qmgr says about the golden message.
func message1(id, sender string) proto.BounceMessage {
	return proto.BounceMessage{QueueName: "active", QueueID: id, Encoding: "8bit", Sender: sender, EnvelopeID: "QQ+314159"}
}

// putLog gives a message the log of the tests: a failure whose sender wants to
// know of failures, one who wants to know nothing, one who did not say.
func putLog(t *testing.T, kind, id string) {
	t.Helper()
	data, err := os.ReadFile("golden-log")
	if err == nil {
		err = os.WriteFile(kind+"/"+id, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// addressed lists from, to and subject of each notice.
func addressed(c *fakeCleanup) string {
	var list []string
	for _, p := range c.got {
		_, rest, _ := strings.Cut(p.text, "\nSubject: ")
		subject, _, _ := strings.Cut(rest, "\n")
		list = append(list, fmt.Sprintf("<%s> to <%s>: %s", p.from, p.rcpt, subject))
	}
	return strings.Join(list, "\n")
}

// compare checks a notice against testdata; UPDATE_GOLDEN=1 writes it anew.
func compare(t *testing.T, name, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile("golden-notices/"+name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("golden-notices/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s changed; got\n%s", name, got)
	}
}

const copies = "notify_classes = bounce, 2bounce, delay\n"

// The notices of the golden files are, but for the words of the template,
// those that Postfix 3.7.11 sends about the same message and log.
func TestNotices(t *testing.T) {
	for _, c := range []struct {
		rule, kind, mainCF string
		call               func(s *service) error
		want               string   // addressed
		golden             []string // names in testdata
		left               string   // logs afterwards
	}{
		{"a failed message returns to its sender", "bounce", "compatibility_level = 3.6\n",
			func(s *service) error { return s.Flush(0, message1("AAAAA2", "sender@example.org")) },
			"<> to <sender@example.org>: Undelivered Mail Returned to Sender", []string{"failure.txt"}, ""},
		{"notify_classes=bounce sends a postmaster the header", "bounce", copies,
			func(s *service) error { return s.Flush(0, message1("AAAAA2", "sender@example.org")) },
			"<> to <sender@example.org>: Undelivered Mail Returned to Sender\n" +
				"<double-bounce@mx.example.com> to <postmaster>: Postmaster Copy: Undelivered Mail", []string{"", "copy.txt"}, ""},
		{"a delay warning keeps the log", "defer", "delay_warning_time = 4h\nenable_threaded_bounces = yes\n",
			func(s *service) error { return s.Warn(0, message1("AAAAA2", "sender@example.org")) },
			"<> to <sender@example.org>: Delayed Mail (still being retried)", []string{"delay.txt"}, "defer/AAAAA2"},
		{"notify_classes=delay sends a copy of the warning", "defer", copies,
			func(s *service) error { return s.Warn(0, message1("AAAAA2", "sender@example.org")) },
			"<> to <sender@example.org>: Delayed Mail (still being retried)\n" +
				"<double-bounce@mx.example.com> to <postmaster>: Postmaster Warning: Delayed Mail", nil, "defer/AAAAA2"},
		{"NOTIFY=SUCCESS gets a report", "trace", "",
			func(s *service) error { return s.Trace(0, message1("AAAAA2", "sender@example.org")) },
			"<> to <sender@example.org>: Successful Mail Delivery Report", []string{"success.txt"}, ""},
		{"sendmail -bv gets a report", "trace", "",
			func(s *service) error { return s.Trace(traceVerify, message1("AAAAA2", "sender@example.org")) },
			"<> to <sender@example.org>: Mail Delivery Status Report", nil, ""},
		{"a failed notice goes nowhere by default", "bounce", "",
			func(s *service) error { return s.Flush(0, message1("AAAAA2", "")) }, "", nil, ""},
		{"notify_classes=2bounce sends it to a postmaster", "bounce", "notify_classes = 2bounce\n2bounce_notice_recipient = boss@example.com\n",
			func(s *service) error { return s.Flush(0, message1("AAAAA2", "")) },
			"<double-bounce@mx.example.com> to <boss@example.com>: Postmaster Copy: Undelivered Mail", nil, ""},
		{"about such a notice nobody hears", "bounce", copies,
			func(s *service) error { return s.Flush(0, message1("AAAAA2", "Double-Bounce@mx.example.com")) }, "", nil, ""},
		{"a waiting notice is worth a warning to postmasters only", "defer", copies,
			func(s *service) error { return s.Warn(0, message1("AAAAA2", "")) },
			"<double-bounce@mx.example.com> to <postmaster>: Postmaster Warning: Delayed Mail", nil, "defer/AAAAA2"},
		{"no report about a notice", "trace", "",
			func(s *service) error { return s.Trace(0, message1("AAAAA2", "")) }, "", nil, ""},
		{"unless notify_classes=2bounce", "trace", copies,
			func(s *service) error { return s.Trace(0, message1("AAAAA2", "")) },
			"<double-bounce@mx.example.com> to <postmaster>: Successful Mail Delivery Report", nil, ""},
		{"no report without a log", "trace", "",
			func(s *service) error { return s.Trace(0, message1("BBBBB2", "sender@example.org")) }, "", nil, "trace/AAAAA2"},
		{"a sender hears of failures whose log is gone", "bounce", "",
			func(s *service) error { return s.Flush(0, message1("BBBBB2", "sender@example.org")) },
			"<> to <sender@example.org>: Undelivered Mail Returned to Sender", []string{"gone.txt"}, "bounce/AAAAA2"},
		{"no warning without a log", "defer", "",
			func(s *service) error { return s.Warn(0, message1("BBBBB2", "sender@example.org")) }, "", nil, "defer/AAAAA2"},
		{"VERP sends one notice for each recipient", "bounce", "",
			func(s *service) error { return s.VERP(0, message1("AAAAA2", "list@example.com"), "+=") },
			"<> to <list+one=example.com@example.com>: Undelivered Mail Returned to Sender\n" +
				"<> to <list+alias=example.com@example.com>: Undelivered Mail Returned to Sender", nil, ""},
		{"VERP about a notice is no VERP", "bounce", copies,
			func(s *service) error { return s.VERP(0, message1("AAAAA2", ""), "+=") },
			"<double-bounce@mx.example.com> to <postmaster>: Postmaster Copy: Undelivered Mail", nil, ""},
		{"VERP without a log still tells the sender", "bounce", "",
			func(s *service) error { return s.VERP(0, message1("BBBBB2", "list@example.com"), "+=") },
			"<> to <list@example.com>: Undelivered Mail Returned to Sender", nil, "bounce/AAAAA2"},
		{"a single recipient needs no log", "bounce", copies,
			func(s *service) error {
				return s.One(0, message1("AAAAA2", "sender@example.org"), proto.Rcpt{Address: "x\n@example.com"}, dsn.Outcome{Status: "5.1.1", Reason: "no\nsuch user"})
			},
			"<> to <sender@example.org>: Undelivered Mail Returned to Sender\n" +
				"<double-bounce@mx.example.com> to <postmaster>: Postmaster Copy: Undelivered Mail", []string{"one.txt"}, "bounce/AAAAA2"},
		{"NOTIFY=NEVER silences the sender's notice", "bounce", "",
			func(s *service) error {
				return s.One(0, message1("AAAAA2", "sender@example.org"), proto.Rcpt{Address: "x@example.com", Notify: 1}, dsn.Outcome{Status: "5.1.1"})
			}, "", nil, "bounce/AAAAA2"},
		{"RET=HDRS returns the header only", "bounce", "",
			func(s *service) error {
				m := message1("AAAAA2", "sender@example.org")
				m.RetFlags = proto.RetHeaders
				return s.Flush(0, m)
			}, "<> to <sender@example.org>: Undelivered Mail Returned to Sender", []string{"headers.txt"}, ""},
		{"SMTPUTF8 mail is reported in its own types", "bounce", "smtputf8_enable = yes\nbounce_size_limit = 10\n",
			func(s *service) error {
				m := message1("AAAAA2", "sender@example.org")
				m.SendOpts = proto.SendOptUTF8
				return s.Flush(0, m)
			}, "<> to <sender@example.org>: Undelivered Mail Returned to Sender", []string{"utf8.txt"}, ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s, cleanup, log := newService(t, c.kind, c.mainCF)
			put(t, "plain", "AAAAA2")
			putLog(t, c.kind, "AAAAA2")
			if err := c.call(s); err != nil {
				t.Error(err)
			}
			if got := addressed(cleanup); got != c.want {
				t.Errorf("sent\n%s\nwant\n%s", got, c.want)
			}
			for i, name := range c.golden {
				if name != "" && i < len(cleanup.got) {
					compare(t, name, cleanup.got[i].text)
				}
			}
			for _, p := range cleanup.got {
				if strings.Contains(c.left, "AAAAA2") || p.after == c.kind+"/AAAAA2" {
					continue
				}
				t.Errorf("the log was removed before the notice was queued: %q", p.after)
			}
			if got := strings.Join(logFiles(t), " "); got != c.left {
				t.Errorf("logs left: %q, want %q", got, c.left)
			}
			if n := strings.Count(strings.Join(log.got, "\n"), " notification: NEW"); n != len(cleanup.got) {
				t.Errorf("%d notices, logged %q", len(cleanup.got), log.got)
			}
		})
	}
}

// When cleanup does not take a notice, the request fails and everything stays
// as it was, to be tried again.
func TestRefusedNoticesLoseNothing(t *testing.T) {
	for _, c := range []struct {
		rule string
		fail int // notice that is refused
		call func(s *service) error
		ok   bool // the request succeeds
		done int  // recipients marked done
	}{
		{"a refused notice", 1, func(s *service) error { return s.Flush(proto.BounceDelRcpt, message1("AAAAA2", "sender@example.org")) }, false, 0},
		{"a refused copy only", 2, func(s *service) error { return s.Flush(proto.BounceDelRcpt, message1("AAAAA2", "sender@example.org")) }, true, 3},
		{"a refused VERP notice", 1, func(s *service) error {
			return s.VERP(proto.BounceDelRcpt, message1("AAAAA2", "sender@example.org"), "+=")
		}, false, 0},
		{"a refused later VERP notice", 4, func(s *service) error {
			return s.VERP(proto.BounceDelRcpt, message1("AAAAA2", "sender@example.org"), "+=")
		}, false, 2},
		{"a single recipient", 1, func(s *service) error {
			return s.One(proto.BounceDelRcpt, message1("AAAAA2", "sender@example.org"), proto.Rcpt{Address: "x", Offset: 728}, dsn.Outcome{Status: "5.0.0"})
		}, false, 0},
		{"a single recipient that is taken", 9, func(s *service) error {
			return s.One(proto.BounceDelRcpt, message1("AAAAA2", "sender@example.org"), proto.Rcpt{Address: "x", Offset: 728}, dsn.Outcome{Status: "5.0.0"})
		}, true, 1},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s, cleanup, _ := newService(t, "bounce", copies)
			put(t, "plain", "AAAAA2")
			putLog(t, "bounce", "AAAAA2")
			cleanup.status, cleanup.fail = proto.StatWrite, c.fail
			if err := c.call(s); (err == nil) != c.ok {
				t.Error(err)
			}
			if got := strings.Join(logFiles(t), " "); !c.ok && got != "bounce/AAAAA2" {
				t.Error("the log is gone")
			}
			m, err := s.spool.Open("active", "AAAAA2", queue.Shared)
			if err != nil {
				t.Fatal(err)
			}
			e, err := m.Envelope(0)
			if err != nil {
				t.Fatal(err)
			}
			if done := 3 - len(e.Rcpts); done != c.done {
				t.Errorf("%d recipients are marked done, want %d", done, c.done)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWithoutCleanup(t *testing.T) {
	s, _, _ := newService(t, "bounce", "")
	putLog(t, "bounce", "AAAAA2")
	s.post.IPC.Path = "public/nobody"
	if err := s.Flush(0, message1("AAAAA2", "sender@example.org")); err == nil {
		t.Error("a notice is sent without a cleanup service")
	}
	if err := s.Flush(proto.BounceClean, message1("AAAAA2", "sender@example.org")); err == nil || len(logFiles(t)) != 0 {
		t.Errorf("a log that is to go with its message stays: %v", err)
	}
}

func TestRequests(t *testing.T) {
	s, cleanup, _ := newService(t, "defer", "")
	for _, c := range []struct {
		rule string
		call func() error
	}{
		{"a path is no queue id", func() error { return s.Append(0, "../x", proto.Rcpt{Address: "x"}, dsn.Outcome{}) }},
		{"a path is no queue", func() error { return s.Flush(0, proto.BounceMessage{QueueName: "..", QueueID: "A1"}) }},
		{"one delimiter is not enough", func() error { return s.VERP(0, message1("A1", "a@example.com"), "+") }},
		{"single recipients are for bounce", func() error {
			return s.One(0, message1("A1", "a@example.com"), proto.Rcpt{Address: "x"}, dsn.Outcome{})
		}},
	} {
		if err := c.call(); err == nil {
			t.Errorf("%s: accepted", c.rule)
		}
	}
	if len(cleanup.got) != 0 {
		t.Errorf("sent %s", addressed(cleanup))
	}
	if err := s.Append(0, "A1", proto.Rcpt{Address: "x@example.com", Offset: 5}, dsn.Outcome{Status: "4.0.0", Reason: "later"}); err != nil {
		t.Error(err)
	}
	l, err := s.spool.OpenLog("defer", "A1")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if e, err := l.Next(); err != nil || e.Address != "x@example.com" || e.Outcome.Reason != "later" {
		t.Errorf("%+v, %v", e, err)
	}
}

// RFC 8689 §5: a report about mail that wants TLS everywhere shows its header
// only, and may then go without TLS.
func TestRequireTLS(t *testing.T) {
	for _, c := range []struct {
		rule, mainCF string
		opts         int
		flags        int
		full         bool
		header       bool // TLS-Required: no
	}{
		{"by default the content is left out", "", proto.SendOptRequireTLS, 0, false, false},
		{"TLS-Required: no does not spread against REQUIRETLS", "", proto.SendOptRequireTLS | proto.SendOptNoRequireTLS, 0, false, false},
		{"without redaction the report wants TLS too", "requiretls_redact_dsn = no\n", proto.SendOptRequireTLS, proto.CleanupReqTLS, true, false},
		{"TLS-Required: no spreads alone", "", proto.SendOptNoRequireTLS, 0, true, true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s, cleanup, _ := newService(t, "bounce", c.mainCF)
			put(t, "plain", "AAAAA2")
			putLog(t, "bounce", "AAAAA2")
			m := message1("AAAAA2", "sender@example.org")
			m.SendOpts = c.opts
			if err := s.Flush(0, m); err != nil || len(cleanup.got) != 1 {
				t.Fatalf("%d notices, %v", len(cleanup.got), err)
			}
			p := cleanup.got[0]
			if p.flags&proto.CleanupReqTLS != c.flags || strings.Contains(p.text, "\nlast line\n") != c.full || strings.Contains(p.text, "\nTLS-Required: no\n") != c.header {
				t.Errorf("flags %d\n%s", p.flags, p.text)
			}
		})
	}
}

// enable_threaded_bounces refers to the original's Message-ID, which cleanup
// keeps in the extracted segment.
func TestThreads(t *testing.T) {
	for _, c := range []struct {
		mainCF string
		want   bool
	}{{"", false}, {"enable_threaded_bounces = yes\n", true}} {
		t.Run(c.mainCF, func(t *testing.T) {
			s, cleanup, _ := newService(t, "bounce", c.mainCF)
			f, err := s.spool.Create("active", 0)
			if err != nil {
				t.Fatal(err)
			}
			f.RecordString(record.Size, queue.Sizes{}.Data())
			f.RecordString(record.Time, queue.FormatTime(begin))
			f.RecordString(record.Sender, "")
			f.Record(record.Content, nil)
			start := f.Offset()
			f.RecordString(record.Text, "Subject: x")
			f.RecordString(record.Continued, "cut")
			end := f.Offset()
			f.Record(record.Extracted, nil)
			f.RecordString(record.Attr, "message_id=<1@example.org>")
			f.Record(record.End, nil)
			f.SetSizes(queue.Sizes{DataOffset: start, DataSize: end - start, ContentLength: end - start})
			if err := f.Commit(0); err != nil {
				t.Fatal(err)
			}
			if err := s.Flush(0, message1(f.ID, "sender@example.org")); err != nil || len(cleanup.got) != 1 {
				t.Fatalf("%d notices, %v", len(cleanup.got), err)
			}
			text := cleanup.got[0].text
			if got := strings.Contains(text, "\nReferences: <1@example.org>\nIn-Reply-To: <1@example.org>\n"); got != c.want {
				t.Errorf("notice\n%s", text)
			}
			if !strings.Contains(text, "\nX-Postfix-Sender: rfc822; MAILER-DAEMON@mx.example.com\n") ||
				!strings.Contains(text, "\nReturn-Path: <MAILER-DAEMON@mx.example.com>\nSubject: x\ncut\n\n--") {
				t.Errorf("notice\n%s", text)
			}
		})
	}
}

func TestWrap(t *testing.T) {
	long := strings.Repeat("x", 100)
	for _, c := range []struct{ rule, text, want string }{
		{"a short line stays", "short line ", "short line"},
		{"a line of 79 stays", strings.Repeat("a", 79), strings.Repeat("a", 79)},
		{"a longer one breaks at the last blank that fits", strings.Repeat("a", 70) + " 12345678 next", strings.Repeat("a", 70) + " 12345678|next"},
		{"a word that is too long has a line of its own", "one " + long + " two", "one|" + long + "|two"},
		{"one word alone is not broken", long, long},
		{"nothing is nothing", "", ""},
	} {
		if got := strings.Join(wrap(c.text), "|"); got != c.want {
			t.Errorf("%s: %q", c.rule, got)
		}
	}
}

func FuzzWrap(f *testing.F) {
	f.Add("one two  three\tfour")
	f.Add(strings.Repeat("x ", 100) + strings.Repeat("y", 200))
	f.Fuzz(func(t *testing.T, text string) {
		words := strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == '\t' })
		again := strings.FieldsFunc(strings.Join(wrap(text), " "), func(c rune) bool { return c == ' ' || c == '\t' })
		if strings.Join(words, " ") != strings.Join(again, " ") {
			t.Errorf("%q became %q", words, again)
		}
	})
}
