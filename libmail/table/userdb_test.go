package table

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// userServer is an authd that knows a few users; it hangs up after each
// answer to "once".
func userServer(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) // nobody asks any more
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the end of the test
			}
			go serveUsers(c)
		}
	}()
	return path
}

func serveUsers(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\tx\nDONE\n")
	for in := bufio.NewScanner(c); in.Scan(); {
		f := strings.Split(in.Text(), "\t")
		if f[0] != "USER" {
			continue
		}
		switch f[2] {
		case "alice@example.com":
			fmt.Fprint(c, "USER\t1\talice@example.com\tuid=5000\tgid=5001\thome=/m/a\tmail=maildir:/m/a/Maildir\n")
		case "mbox@example.com":
			fmt.Fprint(c, "USER\t1\tmbox@example.com\tmail=mbox:/m/b\n")
		case "once@example.com":
			fmt.Fprint(c, "USER\t1\tonce@example.com\tmail=maildir:/m/c/\n")
			return
		case "sick@example.com":
			fmt.Fprint(c, "FAIL\t1\treason=temporary failure\n")
		default:
			fmt.Fprint(c, "NOTFOUND\t1\n")
		}
	}
}

func TestUserdb(t *testing.T) {
	path := userServer(t)
	for _, c := range []struct {
		rule, kind, key, want string
		found, fails          bool
	}{
		{rule: "a Maildir ends in a slash", kind: "userdb", key: "alice@example.com", want: "/m/a/Maildir/", found: true},
		{rule: "an mbox does not", kind: "userdb", key: "mbox@example.com", want: "/m/b", found: true},
		{rule: "keys are folded", kind: "userdb", key: "Alice@Example.COM", want: "/m/a/Maildir/", found: true},
		{rule: "the uid", kind: "userdb-uid", key: "alice@example.com", want: "5000", found: true},
		{rule: "the gid", kind: "userdb-gid", key: "alice@example.com", want: "5001", found: true},
		{rule: "a user without uid is no user without mail", kind: "userdb-uid", key: "mbox@example.com", fails: true},
		{rule: "an unknown user is not found", kind: "userdb", key: "nobody@example.com"},
		{rule: "a domain is no user", kind: "userdb", key: "@example.com"},
		{rule: "a key that would end the line is no user", kind: "userdb", key: "x\tservice=y"},
		{rule: "a failure is no answer", kind: "userdb", key: "sick@example.com", fails: true},
	} {
		tab, err := Open(c.kind+":"+path, Options{Trust: Paranoid})
		if err != nil {
			t.Fatal(err)
		}
		value, found, err := tab.Lookup(c.key)
		if value != c.want || found != c.found || (err != nil) != c.fails {
			t.Errorf("%s: %q %v %v", c.rule, value, found, err)
		}
		if err := tab.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestUserdbServerIsReplaced(t *testing.T) {
	tab, err := Open("userdb:"+userServer(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close() // nothing is written
	for range 3 {
		if v, found, err := tab.Lookup("once@example.com"); v != "/m/c/" || !found || err != nil {
			t.Errorf("a kept connection that is dead is made anew: %q %v %v", v, found, err)
		}
	}
	gone, err := Open("userdb:"+filepath.Join(t.TempDir(), "none"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, found, err := gone.Lookup("alice@example.com"); err == nil || found {
		t.Error("without a server nobody knows")
	}
}

func FuzzUserdbReply(f *testing.F) {
	f.Add("VERSION\t1\t2\nDONE\nUSER\t1\ta@b\tmail=maildir:/x\n")
	f.Add("NOTFOUND\t1\nUSER\t1\n")
	f.Fuzz(func(t *testing.T, text string) {
		reply, err := userdbReply(bufio.NewReader(strings.NewReader(text)))
		if err == nil && (len(reply) < 2 || reply[0] == "USER" && len(reply) < 3) {
			t.Errorf("accepted %q", reply)
		}
	})
}
