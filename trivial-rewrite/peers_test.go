package main

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/mailtest"
	"postroad/libmail/proto"
)

// postfix starts Postfix's own trivial-rewrite below a private master.
func postfix(t *testing.T, lines ...string) *proto.RewriteClient {
	t.Helper()
	mailtest.Peers(t)
	const daemons = "/usr/lib/postfix/sbin"
	owner, err := user.Lookup("postfix")
	if _, err2 := os.Stat(daemons + "/trivial-rewrite"); err != nil || err2 != nil || os.Getuid() != 0 {
		t.Skip("needs Postfix and root")
	}
	dir, err := os.MkdirTemp("", "rewrite") // short: a socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // Postfix's own user looks into it
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	for _, d := range []string{"", "etc", "q", "q/pid", "q/private", "q/public", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"q/private", "q/public", "data"} {
		if err := os.Chown(filepath.Join(dir, d), uid, -1); err != nil {
			t.Fatal(err)
		}
	}
	main := append([]string{"compatibility_level = 3.6", "myhostname = mail.example.com",
		"mydestination = $myhostname localhost.$mydomain", "inet_interfaces = 127.0.0.1", "inet_protocols = ipv4",
		"queue_directory = " + dir + "/q", "data_directory = " + dir + "/data", "daemon_directory = " + daemons,
		"maillog_file =", "syslog_facility = local7"}, lines...)
	master := "rewrite unix - - n - - trivial-rewrite\n"
	for name, text := range map[string]string{"main.cf": strings.Join(main, "\n") + "\n", "master.cf": master} {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(daemons+"/master", "-c", dir+"/etc", "-d")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 100 {
		if _, err := os.Stat(dir + "/q/private/rewrite"); err == nil {
			return proto.NewRewriteClient(dir+"/q/private/rewrite", 10*time.Second)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("Postfix did not start")
	return nil
}

// strange makes addresses of the pieces that the rules look at.
func strange() (list []string) {
	pieces := []string{"a", "@", "!", "%", ".", "mail.example.com", "x.test", "[127.0.0.1]", `"`, ":", " ", "b c", "\\", "(", "-", "+e", "ü"}
	seed := uint32(1)
	for range 3000 {
		var b strings.Builder
		for n := 1 + seed>>28; n > 0; n-- {
			seed = seed*1664525 + 1013904223
			b.WriteString(pieces[int(seed>>16)%len(pieces)])
		}
		list = append(list, b.String())
	}
	return list
}

func TestSameAnswersAsPostfix(t *testing.T) {
	settings := []string{"recipient_delimiter = +", "append_dot_mydomain = yes", "virtual_alias_domains = va.test", "virtual_mailbox_domains = vm.test, a.example.com",
		"relay_domains = x.test", "remote_header_rewrite_domain = rem.test", "resolve_numeric_domain = yes",
		"transport_maps = inline:{b.example.com=t:, .x.test=:nh, a+e@x.test=full:, a@x.test=part:z}", "relocated_maps = inline:{b=moved, {\"b c\"=spaced}}"}
	theirs := postfix(t, settings...)
	ours, _ := start(t, append(settings, "inet_protocols = ipv4")...)
	compared := 0
	for _, address := range strange() {
		if strings.HasPrefix(strings.TrimLeft(address, " "), "!") {
			continue // no host before the !: Postfix drops blanks further on
		}
		if len(addr.Scan(address, 0)) == 0 {
			continue // no token: Postfix ends with a panic
		}
		for _, rule := range []string{proto.RuleLocal, proto.RuleRemote} {
			want, err := theirs.Rewrite(rule, address)
			if err != nil {
				t.Fatalf("%q: %v", address, err)
			}
			compared++
			if got, err := ours.Rewrite(rule, address); got != want || err != nil {
				t.Errorf("rewrite %s %q: got %q %v, want %q", rule, address, got, err, want)
			}
		}
		r, err := theirs.Resolve("", address)
		if err != nil && r.Flags&proto.ResolveFail == 0 {
			t.Fatalf("%q: %v", address, err)
		}
		if strings.HasSuffix(r.Transport, "NOT UPDATED") {
			r.Transport, r.Nexthop = "", ""
		}
		want, got := show(r), show(ours.Resolve("", address))
		if r.Flags&proto.ResolveError != 0 { // Postfix drops blanks from some of these
			want, got = strings.ReplaceAll(want, " ", ""), strings.ReplaceAll(got, " ", "")
		}
		if got != want {
			t.Errorf("resolve %q:\n got %s\nwant %s", address, got, want)
		}
	}
	if compared < 5000 {
		t.Errorf("only %d addresses compared", compared)
	}
}
