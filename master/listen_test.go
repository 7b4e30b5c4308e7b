package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postroad/libmail/conf"
)

func TestEndpoints(t *testing.T) {
	hasV6 := false
	if l, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		hasV6 = true
		l.Close()
	}
	for _, c := range []struct {
		rule, name, main string
		want             string
	}{
		{"a port is on all addresses", "25", "", "0.0.0.0:25 [::]:25"},
		{"a service name is its port", "smtp", "", "0.0.0.0:25 [::]:25"},
		{"mail ports are known whatever services(5) has", "submission", "", "0.0.0.0:587 [::]:587"},
		{"a protocol that is off is left out", "25", "inet_protocols = ipv4", "0.0.0.0:25"},
		{"so is the other", "25", "inet_protocols = ipv6", "[::]:25"},
		{"loopback-only", "25", "inet_interfaces = loopback-only\ninet_protocols = ipv4", "127.0.0.1:25"},
		{"addresses of inet_interfaces", "25", "inet_interfaces = 127.0.0.1, 192.0.2.77\ninet_protocols = ipv4", "127.0.0.1:25"},
		{"a host of its own does not care", "127.0.0.2:2525", "inet_interfaces = 127.0.0.1", "127.0.0.2:2525"},
		{"nor does IPv6 in brackets", "[::1]:25", "", "[::1]:25"},
		{"an empty host means inet_interfaces", ":25", "inet_protocols = ipv4", "0.0.0.0:25"},
		{"a host of a protocol that is off", "[::1]:25", "inet_protocols = ipv4", `host "::1": no address in inet_interfaces and inet_protocols`},
		{"an unknown port name", "no-such-port", "", "service no-such-port: unknown port name"},
		{"a port that is none", "127.0.0.1:99999", "", "service 99999: unknown port name"},
	} {
		if strings.Contains(c.want, "[::1]") && !hasV6 {
			continue
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte("compatibility_level = 3.6\n"+c.main+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cf, err := conf.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		list, err := endpoints(conf.Service{Name: c.name, Type: "inet"}, cf)
		var got []string
		for _, ap := range list {
			got = append(got, ap.String())
		}
		text := strings.Join(got, " ")
		if err != nil {
			text = err.Error()
		}
		if text != c.want {
			t.Errorf("%s: got %q, want %q", c.rule, text, c.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("TZ", "Europe/Berlin")
	t.Setenv("SECRET", "x")
	t.Setenv("MAIL_CONFIG", "/elsewhere")
	got := environment([]string{"MAIL_CONFIG", "TZ", "LANG=C", "NOT_SET_ANYWHERE"}, "/etc/postfix")
	if want := []string{"MAIL_CONFIG=/etc/postfix", "TZ=Europe/Berlin", "LANG=C"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseArgs(t *testing.T) {
	for _, c := range []struct {
		argv, want, err string
	}{
		{"master -c /conf -w -v", "/conf true 1 0s", ""},
		{"master -wvvc/conf", "/conf true 2 0s", ""},
		{"master -d -s -D -e 5 -c /conf", "/conf false 0 5s", ""},
		{"master -c /conf -e x", "", "-e x: not a number of seconds"},
		{"master -c /conf start", "", "usage: master [-c config_dir] [-w] [-t] [-v] [-e seconds] [-disD]"},
		{"master -x", "", "-x: no such option"},
		{"master -tw", "", "-t and -w do not go together"},
		{"master -i", "", "-i is for process 1"},
	} {
		o, err := parseArgs(strings.Fields(c.argv))
		switch {
		case c.err != "":
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: %v, want %s", c.argv, err, c.err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.argv, err)
		default:
			if got := fmt.Sprint(o.configDir, " ", o.background, " ", o.verbose, " ", o.exitAfter); got != c.want {
				t.Errorf("%s: got %s, want %s", c.argv, got, c.want)
			}
		}
	}
}

func TestWithoutW(t *testing.T) {
	for argv, want := range map[string]string{
		"master -c /w -w":       "master -c /w",
		"master -wvc /with -vw": "master -vc /with -v",
		"master -c/w -e 3 -w":   "master -c/w -e 3",
	} {
		if got := strings.Join(withoutW(strings.Fields(argv)), " "); got != want {
			t.Errorf("%s: got %s, want %s", argv, got, want)
		}
	}
}
