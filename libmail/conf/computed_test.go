package conf

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNetworkOf(t *testing.T) {
	cases := []struct{ rule, prefix, style, want string }{
		{"host", "192.0.2.77/24", "host", "192.0.2.77/32"},
		{"subnet", "192.0.2.77/26", "subnet", "192.0.2.64/26"},
		{"class A", "10.1.2.3/24", "class", "10.0.0.0/8"},
		{"class B", "172.16.2.3/24", "class", "172.16.0.0/16"},
		{"class C", "192.0.2.77/26", "class", "192.0.2.0/24"},
		{"class D", "224.0.0.5/32", "class", "224.0.0.0/4"},
		{"host, IPv6", "fd00::2/64", "host", "[fd00::2]/128"},
		{"subnet, IPv6", "fd00::2/64", "subnet", "[fd00::]/64"},
		{"IPv6 has no classes", "fd00::2/64", "class", "[fd00::]/64"},
	}
	for _, tc := range cases {
		if got := networkOf(netip.MustParsePrefix(tc.prefix), tc.style); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.rule, got, tc.want)
		}
	}
}

func TestMyNetworksOfTheLoopback(t *testing.T) {
	c := Defaults(t.TempDir())
	for settings, want := range map[string]string{
		"inet_interfaces=loopback-only inet_protocols=ipv4 mynetworks_style=subnet": "127.0.0.0/8",
		"inet_interfaces=127.0.0.1 inet_protocols=ipv4 mynetworks_style=host":       "127.0.0.1/32",
		"inet_interfaces=loopback-only inet_protocols= mynetworks_style=host":       "",
		"mynetworks=192.0.2.0/24": "192.0.2.0/24",
	} {
		o, err := c.Overlay(strings.Fields(settings)...)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.String("mynetworks"); got != want {
			t.Errorf("%s: %q, want %q", settings, got, want)
		}
	}
	if addrs := must(t, c, "inet_interfaces=127.0.0.1").OwnAddresses(); len(addrs) != 1 || addrs[0].String() != "127.0.0.1" {
		t.Errorf("own addresses %v", addrs)
	}
}

func must(t *testing.T, c *Config, overrides ...string) *Config {
	t.Helper()
	o, err := c.Overlay(overrides...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestHostAndDomain(t *testing.T) {
	c := Defaults(t.TempDir())
	kernel, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	short, _, full := strings.Cut(kernel, ".")
	if full {
		if got := c.String("myhostname"); got != kernel {
			t.Errorf("myhostname %q, the kernel says %q", got, kernel)
		}
	} else {
		if got := c.String("myhostname"); got != short+".localdomain" {
			t.Errorf("a name without domain becomes %q", got)
		}
		if got := must(t, c, "mydomain=example.org").String("myhostname"); got != short+".example.org" {
			t.Errorf("a name without domain and mydomain become %q", got)
		}
	}
	if got := must(t, c, "myhostname=a.example.com").String("mydomain"); got != "example.com" {
		t.Errorf("mydomain %q", got)
	}
	if got := must(t, c, "myhostname=a").String("mydomain"); got != "localdomain" {
		t.Errorf("mydomain of a name without a dot: %q", got)
	}
}

// The test's own program has the build information that ours have.
func TestProgramsAreFoundWhereOursAre(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := t.TempDir(), t.TempDir()
	if err := os.Link(self, filepath.Join(ours, "master")); err != nil {
		t.Skip("no links between the file systems: ", err)
	}
	if err := os.WriteFile(filepath.Join(theirs, "master"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := Defaults(t.TempDir())
	if got := must(t, c, "daemon_directory="+ours).DaemonDirectory(); got != ours {
		t.Errorf("our programs are in %s, not %s", ours, got)
	}
	if got := must(t, c, "daemon_directory="+theirs).DaemonDirectory(); got != theirs {
		t.Errorf("without our programs anywhere, daemon_directory counts: %s", got)
	}
	if isOurs(filepath.Join(theirs, "master")) || isOurs("/nowhere") {
		t.Error("a script is taken for our program")
	}
}
