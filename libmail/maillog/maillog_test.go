package maillog

import (
	"bytes"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

type lines struct{ got []string }

func (l *lines) Write(_ Level, _, text string) { l.got = append(l.got, text) }

func TestDeliveryLine(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(1_700_000_000_000 + int64(ms)) }
	var out lines
	l := New("postfix/local", &out)
	l.Delivery(Delivery{ID: "4A1B2", To: "u@example.com", OrigTo: "alias@example.com", Relay: "local",
		Times: Times{Arrival: at(0), Active: at(34), Handover: at(40), Done: at(320), Decimals: 2},
		DSN:   "2.0.0", Status: "sent", Text: "delivered to mailbox"})
	want := "4A1B2: to=<u@example.com>, orig_to=<alias@example.com>, relay=local, delay=0.32, delays=0.03/0.01/0/0.28, dsn=2.0.0, status=sent (delivered to mailbox)"
	if out.got[0] != want {
		t.Errorf("got  %s\nwant %s", out.got[0], want)
	}
}

func TestSeconds(t *testing.T) {
	for _, c := range []struct {
		rule string
		d    time.Duration
		want string
	}{
		{"nothing is 0", 0, "0"},
		{"below the resolution is 0", 4 * time.Millisecond, "0"},
		{"two digits below one", 320 * time.Millisecond, "0.32"},
		{"one decimal above one", 1260 * time.Millisecond, "1.3"},
		{"no decimals above ten", 34400 * time.Millisecond, "34"},
		{"a clock that went back is 0", -time.Second, "0"},
	} {
		if got := string(Times{Decimals: 2}.seconds(nil, c.d)); got != c.want {
			t.Errorf("%s: %s, want %s", c.rule, got, c.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for _, c := range []struct{ rule, in, want string }{
		{"text stays", "a <b@c> ü", "a <b@c> ü"},
		{"line ends and controls become ?", "a\r\nb\x00c\x7f", "a??b?c?"},
		{"C1 controls become ?", "a\u0085b", "a?b"},
		{"bytes that are not UTF-8 become ?", "a\xffb", "a?b"},
	} {
		if got := Printable(c.in); got != c.want {
			t.Errorf("%s: %q", c.rule, got)
		}
	}
}

func TestFatalEndsTheProgram(t *testing.T) {
	var b bytes.Buffer
	status := -1
	l := New("postfix/qmgr", Stream(&b, "mx"))
	l.exit = func(code int) { status = code }
	l.Fatal("open %s", "x")
	if status != 1 || !regexp.MustCompile(`^\w{3} [ \d]\d [\d:]{8} mx postfix/qmgr\[\d+\]: fatal: open x\n$`).MatchString(b.String()) {
		t.Errorf("status %d, line %q", status, b.String())
	}
}

func TestDatagramCountsWhatItLoses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postlog")
	d := Postlog(path, "mx", nil)
	d.Write(Info, "postfix/smtpd", "first")
	d.Write(Info, "postfix/smtpd", "second")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d.next = time.Time{}
	d.Write(Info, "postfix/smtpd", "third")
	buf := make([]byte, 1000)
	for _, want := range []string{"warning: 2 log lines lost", "third"} {
		n, err := conn.Read(buf)
		if err != nil || !strings.HasSuffix(string(buf[:n]), want) {
			t.Errorf("got %q, %v, want %q", buf[:n], err, want)
		}
	}
}
