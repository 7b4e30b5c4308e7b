package e2e

import (
	"crypto/tls"
	"net"
	"net/textproto"
	"strings"
	"testing"

	"postroad/libmail/mailtest"
)

// imap is a client of imapd.
type imap struct {
	*textproto.Conn
	t *testing.T
}

func imapClient(t *testing.T, c net.Conn) imap {
	t.Helper()
	x := imap{textproto.NewConn(c), t}
	x.until("* OK [CAPABILITY IMAP4rev1 ")
	return x
}

// until reads lines up to one that begins with want.
func (x imap) until(want string) (lines []string) {
	x.t.Helper()
	for {
		line, err := x.ReadLine()
		if err != nil {
			x.t.Fatalf("before %q: %v: %q", want, err, lines)
		}
		if strings.HasPrefix(line, want) {
			return append(lines, line)
		}
		if tag, _, _ := strings.Cut(want, " "); strings.HasPrefix(line, tag+" ") && tag != "*" {
			x.t.Fatalf("%q, want %q", line, want)
		}
		lines = append(lines, line)
	}
}

// say sends lines and reads up to one that begins with want.
func (x imap) say(line, want string) []string {
	x.t.Helper()
	if err := x.PrintfLine("%s", line); err != nil {
		x.t.Fatal(err)
	}
	return x.until(want)
}

// A user logs in by IMAP over TLS and over STARTTLS, finds the standard
// folders, and hears of new mail while idling.
func TestIMAP(t *testing.T) {
	t.Parallel()
	s := mailtest.NewSuite(t)
	s.Start()
	postroad(t, s, "", "domain", "add", "mail.example")
	postroad(t, s, "secret one", "user", "add", "dora@mail.example", "quota=10M")

	x := imapClient(t, tls.Client(dial(t, s, "993"), believing))
	x.say("a NOOP", "a OK")
	x.say("b LOGIN dora@mail.example wrong", "b NO [AUTHENTICATIONFAILED] ")
	x.say("c LOGIN dora@mail.example {10+}\r\nsecret one\r\nd SELECT INBOX", "c OK [CAPABILITY IMAP4rev1 ") // the next command is in the same packet
	if got := strings.Join(x.until("d OK [READ-WRITE]"), "\n"); !strings.Contains(got, "* 0 EXISTS") {
		t.Errorf("SELECT: %s", got)
	}
	if got := strings.Join(x.say(`e LIST "" *`, "e OK"), "\n"); !strings.Contains(got, `* LIST (\HasNoChildren \Sent) "." Sent`) {
		t.Errorf("LIST: %s", got)
	}
	if got := strings.Join(x.say("f GETQUOTAROOT INBOX", "f OK"), "\n"); !strings.Contains(got, `* QUOTA "User quota" (STORAGE 0 10240)`) {
		t.Errorf("GETQUOTAROOT: %s", got)
	}
	x.say("g IDLE", "+ idling")
	out, status := s.Run("Subject: hello\n\ntext\n", "sendmail", "-i", "dora@mail.example")
	if status != 0 {
		t.Fatalf("sendmail: %d: %s", status, out)
	}
	x.until("* 1 EXISTS")
	x.say("DONE", "g OK")
	if got := strings.Join(x.say("h FETCH 1 ENVELOPE", "h OK"), "\n"); !strings.Contains(got, `"hello"`) {
		t.Errorf("FETCH: %s", got)
	}
	x.say("i LOGOUT", "i OK")

	conn := dial(t, s, "143")
	x = imapClient(t, conn)
	x.say("a STARTTLS\r\nb NOOP", "a OK") // b is thrown away
	x = imap{textproto.NewConn(tls.Client(conn, believing)), t}
	x.say("c AUTHENTICATE PLAIN AGRvcmFAbWFpbC5leGFtcGxlAHNlY3JldCBvbmU=", "c OK [CAPABILITY IMAP4rev1 ")
	x.say("d STATUS INBOX (MESSAGES)", "* STATUS INBOX (MESSAGES 1)")
}
