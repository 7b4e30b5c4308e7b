package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	users "postroad/libmail/account"
)

// mailSystem is a postroad command over a configuration of its own; run runs
// it with a password on standard input.
func mailSystem(t *testing.T, main string) (run func(password string, args ...string) (string, error), dir string) {
	t.Helper()
	dir = t.TempDir()
	text := "queue_directory=" + dir + "/queue\ndata_directory=" + dir + "/data\nvirtual_mailbox_base=" + dir + "/mail\n" +
		"myhostname=mx.example.com\nmaillog_file=" + dir + "/log\nmaillog_file_prefixes=" + dir + "\n" + main
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return func(password string, args ...string) (string, error) {
		in := filepath.Join(dir, "stdin")
		if err := os.WriteFile(in, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(in)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() // it was only read
		old := os.Stdin
		os.Stdin = f
		defer func() { os.Stdin = old }()
		s := &system{program: "postroad"}
		var out bytes.Buffer
		s.out, s.sink = &out, nowhere{}
		err = s.execute(append([]string{"-c", dir}, args...))
		return out.String(), err
	}, dir
}

func TestUsers(t *testing.T) {
	run, dir := mailSystem(t, "")
	for _, c := range []struct {
		rule     string
		password string
		args     string
		out      string // a part of the output
		err      string // a part of the error
	}{
		{"a user is made in the default domain", "one", "add alice quota=1m", "", ""},
		{"twice is an error", "two", "add Alice@Example.com", "", "user exists"},
		{"a name is no path", "x", "add ../x@example.com", "", "not a user name"},
		{"an empty password is none", "", "add bob@example.com", "", "empty password"},
		{"a quota is a size", "x", "add bob@example.com quota=much", "", "no size"},
		{"a uid needs a gid", "x", "add bob@example.com uid=5", "", "come together"},
		{"users are listed with what they have", "", "list", "alice@example.com home=" + dir + "/mail/example.com/alice quota=1M\n", ""},
		{"of one domain only", "", "list example.net", "", ""},
		{"a quota is shown", "", "quota alice", "1M\n", ""},
		{"and changed", "", "quota alice 2G", "", ""},
		{"and removed", "", "quota alice none", "", ""},
		{"none is shown as such", "", "quota alice", "none\n", ""},
		{"who is not there has none", "", "quota bob", "", "unknown user"},
		{"an app password is shown once", "", "app-password alice phone", "\n", ""},
		{"and is there", "", "app-password alice", "phone\n", ""},
		{"a label is a word", "", "app-password alice a=b", "", "label"},
		{"a label is there once", "", "app-password alice phone", "", "already"},
		{"an app password is deleted", "", "app-password alice phone delete", "", ""},
		{"a password is changed", "new", "passwd alice", "", ""},
		{"a user is deleted, the mail stays", "", "del alice", "stays in " + dir, ""},
		{"once", "", "del alice", "", "unknown user"},
		{"a wrong action says how", "", "frob", "", "usage"},
	} {
		out, err := run(c.password, append([]string{"user"}, strings.Fields(c.args)...)...)
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) || !strings.Contains(out, c.out) {
			t.Errorf("%s: %q, %v", c.rule, out, err)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, "mail/example.com/alice")); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("home: %v, %v", st, err)
	}
}

// What is stored checks the password, and nothing else does.
func TestStoredPassword(t *testing.T) {
	run, dir := mailSystem(t, "auth_mechanisms = plain scram-sha-256\n")
	if _, err := run("it is I", "user", "add", "alice@example.com"); err != nil {
		t.Fatal(err)
	}
	u, err := users.Open(filepath.Join(dir, "accounts")).Find("alice@example.com")
	if err != nil {
		t.Fatal(err)
	}
	keys, _ := u.Get("scram_sha_256")
	for stored, scheme := range map[string]string{u.Password: "{ARGON2ID}", "{SCRAM-SHA-256}" + keys: "{SCRAM-SHA-256}"} {
		for password, want := range map[string]bool{"it is I": true, "it is i": false} {
			if ok, err := users.Verify(password, stored); ok != want || err != nil || !strings.HasPrefix(stored, scheme) {
				t.Errorf("%s with %q: %v, %v", scheme, password, ok, err)
			}
		}
	}
	if _, ok := u.Get("scram_sha_1"); ok {
		t.Error("keys for a mechanism that is not offered")
	}
	if text, err := os.ReadFile(filepath.Join(dir, "accounts")); err != nil || bytes.Contains(text, []byte("it is I")) {
		t.Errorf("the password itself is stored: %v", err)
	}
}

func TestDomains(t *testing.T) {
	run, dir := mailSystem(t, "mydestination = local.example\nvirtual_mailbox_domains = texthash:$config_directory/domains\n")
	path := filepath.Join(dir, "domains")
	if err := os.WriteFile(path, []byte("# comment\nold.example x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ rule, args, out, err string }{
		{"domains are listed", "list", "old.example\n", ""},
		{"a domain is added", "add New.Example", "", ""},
		{"once", "add new.example", "", "already"},
		{"only a name is one", "add a/b", "", "not a domain name"},
		{"a local domain has no mailboxes of this kind", "add local.example", "", "mydestination"},
		{"a domain is deleted", "del old.example", "", ""},
		{"once", "del old.example", "", "no domain"},
		{"what is left is listed", "list", "new.example\n", ""},
	} {
		out, err := run("", append([]string{"domain"}, strings.Fields(c.args)...)...)
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) || out != c.out {
			t.Errorf("%s: %q, %v", c.rule, out, err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "# comment\nnew.example mailboxes\n" {
		t.Errorf("file %q, %v", text, err)
	}
	if _, err := run("x", "user", "add", "u@new.example"); err != nil {
		t.Fatal(err)
	}
	if _, err := run("", "domain", "del", "new.example"); err == nil || !strings.Contains(err.Error(), "has users (1)") {
		t.Errorf("a domain with users stays: %v", err)
	}
}

func TestPasswordLine(t *testing.T) {
	for text, want := range map[string]string{"one\ntwo\n": "one", "no end": "no end", "crlf\r\n": "crlf", " blanks \n": " blanks "} {
		if got, err := passwordLine(bufio.NewReader(strings.NewReader(text))); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "\n", "a\tb\n", strings.Repeat("x", 2*maxPassword) + "\n"} {
		if got, err := passwordLine(bufio.NewReaderSize(strings.NewReader(text), maxPassword+2)); err == nil {
			t.Errorf("%.10q is taken: %.10q", text, got)
		}
	}
}
