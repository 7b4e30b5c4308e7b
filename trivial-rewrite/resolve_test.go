package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postroad/libmail/conf"
	"postroad/libmail/mailtest"
	"postroad/libmail/proto"
)

// warnings collects what is logged.
type warnings struct{ lines []string }

func (w *warnings) Info(string, ...any) {}
func (w *warnings) Warning(format string, args ...any) {
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}
func (w *warnings) Error(format string, args ...any) { w.Warning(format, args...) }

// start makes a service of main.cf lines.
func start(t testing.TB, lines ...string) (*service, *warnings) {
	t.Helper()
	dir := t.TempDir()
	text := strings.Join(append([]string{"compatibility_level = 3.6", "myhostname = mail.example.com",
		"mydestination = $myhostname localhost.$mydomain", "inet_interfaces = 127.0.0.1", "smtputf8_enable = yes"}, lines...), "\n") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := &warnings{}
	s, err := newService(c, w, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, w
}

// show writes a result in one line.
func show(r proto.Resolved) string {
	names := []struct {
		flag proto.ResolveFlags
		name string
	}{
		{proto.ResolveFinal, "final"}, {proto.ResolveRouted, "routed"}, {proto.ResolveError, "error"}, {proto.ResolveFail, "fail"},
		{proto.ClassLocal, "local"}, {proto.ClassAlias, "alias"}, {proto.ClassVirtual, "virtual"},
		{proto.ClassRelay, "relay"}, {proto.ClassDefault, "default"},
	}
	var flags []string
	for _, n := range names {
		if r.Flags&n.flag != 0 {
			flags = append(flags, n.name)
		}
	}
	return fmt.Sprintf("%s:%s <%s> %s", r.Transport, r.Nexthop, r.Recipient, strings.Join(flags, " "))
}

func TestResolve(t *testing.T) {
	for _, c := range []struct{ rule, conf, sender, address, want string }{
		{"our domain is delivered locally", "", "", "user@mail.example.com", "local:mail.example.com <user@mail.example.com> local"},
		{"no domain is our domain", "", "", "user", "local:mail.example.com <user@mail.example.com> local"},
		{"the null address is the mail system", "", "", "", "local:mail.example.com <MAILER-DAEMON@mail.example.com> local"},
		{"an address literal of ours is ours", "", "", "user@[127.0.0.1]", "local:mail.example.com <user@[127.0.0.1]> local"},
		{"proxy_interfaces are ours", "proxy_interfaces = 192.0.2.9", "", "user@[192.0.2.9]", "local:mail.example.com <user@[192.0.2.9]> local"},
		{"an address literal of others is theirs", "", "", "user@[192.0.2.1]", "smtp:[192.0.2.1] <user@[192.0.2.1]> default"},
		{"a foreign domain goes by SMTP", "", "", "user@example.org", "smtp:example.org <user@example.org> default"},
		{"the dot at the end goes", "", "", "user@example.org.", "smtp:example.org <user@example.org> default"},
		{"relayhost takes foreign mail", "relayhost = [relay.example.net]:587", "", "user@example.org", "smtp:[relay.example.net]:587 <user@example.org> default"},
		{"relayhost takes relayed mail", "relayhost = hub\nrelay_domains = example.org", "", "user@example.org", "relay:hub <user@example.org> relay"},
		{"relay_domains has subdomains", "relay_domains = example.org", "", "user@a.example.org", "relay:a.example.org <user@a.example.org> relay"},
		{"relay_domains without parent matching", "relay_domains = example.org\nparent_domain_matches_subdomains =", "", "user@a.example.org", "smtp:a.example.org <user@a.example.org> default"},
		{"virtual alias domains have no users of their own", "virtual_alias_domains = example.org", "", "user@example.org", "error:5.1.1 User unknown in virtual alias table <user@example.org> alias"},
		{"the name of the table may be hidden", "virtual_alias_domains = example.org\nshow_user_unknown_table_name = no", "", "user@example.org", "error:5.1.1 User unknown <user@example.org> alias"},
		{"virtual mailbox domains go to virtual_transport", "virtual_mailbox_domains = example.org\nvirtual_transport = lmtp:unix:private/x", "", "user@example.org", "lmtp:unix:private/x <user@example.org> virtual"},
		{"transport:nexthop in main.cf wins over relayhost", "relayhost = hub\ndefault_transport = uucp:host", "", "user@example.org", "uucp:host <user@example.org> default"},
		{"class lists may be tables", "virtual_mailbox_domains = inline:{example.org=x}", "", "user@example.org", "virtual:example.org <user@example.org> virtual"},
		{"virtual_alias_maps may name the domains", "virtual_alias_maps = inline:{example.org=x}", "", "user@example.org", "error:5.1.1 User unknown in virtual alias table <user@example.org> alias"},

		{"a percent sign is not taken at a foreign domain", "", "", "user%a.test@b.test", "smtp:b.test <user%a.test@b.test> routed default"},
		{"a percent sign is taken at our domain", "", "", "user%a.test@mail.example.com", "smtp:a.test <user@a.test> default"},
		{"a bang path is taken at our domain", "", "", "a.test!user@mail.example.com", "smtp:a.test <user@a.test> default"},
		{"quotes hide no route", "", "", "user@a.test@mail.example.com", "smtp:a.test <user@a.test> default"},
		{"quotes may hide one if so configured", "resolve_dequoted_address = no", "", "user@a.test@mail.example.com", "local:mail.example.com <user@a.test@mail.example.com> routed local"},
		{"no percent hack", "allow_percent_hack = no", "", "user%a.test@mail.example.com", "local:mail.example.com <user%a.test@mail.example.com> routed local"},
		{"no bang paths", "swap_bangpath = no", "", "a.test!user@mail.example.com", "local:mail.example.com <a.test!user@mail.example.com> routed local"},

		{"a bad domain is an error", "", "", "user@a..b", ": <user@a..b> error default"},
		{"a bad literal is an error", "", "", "user@[321.1.2.3]", ": <user@[321.1.2.3]> error default"},
		{"a network address is no domain", "", "", "user@192.0.2.1", ": <user@192.0.2.1> error default"},
		{"a network address may be taken for a literal", "resolve_numeric_domain = yes", "", "user@192.0.2.1", "smtp:[192.0.2.1] <user@[192.0.2.1]> default"},
		{"our network address may be taken for ours", "resolve_numeric_domain = yes", "", "user@127.0.0.1", "local:mail.example.com <user@[127.0.0.1]> local"},
		{"an empty domain is an error", "", "", "user@", ": <user@> error default"},
		{"an empty domain may be ours", "resolve_null_domain = yes", "", "user@", "local:mail.example.com <user@mail.example.com> local"},
		{"a minus sign at the start is an error", "", "", "-oX@mail.example.com", "local:mail.example.com <-oX@mail.example.com> error local"},
		{"a minus sign may be allowed", "allow_min_user = yes", "", "-oX@mail.example.com", "local:mail.example.com <-oX@mail.example.com> local"},
		{"internationalised domains are domains", "", "", "user@bücher.example", "smtp:bücher.example <user@bücher.example> default"},
		{"internationalised domains may be refused", "smtputf8_enable = no", "", "user@bücher.example", ": <user@bücher.example> error default"},
		{"bytes that are not UTF-8 are an error", "", "", "us\xffer@example.org", ": <us\xffer@example.org> error default"},

		{"the sender may choose the relay", "sender_dependent_relayhost_maps = inline:{a@x.test=hub1, @x.test=hub2}\nrelayhost = hub0", "a@x.test", "user@example.org", "smtp:hub1 <user@example.org> default"},
		{"the sender's domain may choose the relay", "sender_dependent_relayhost_maps = inline:{a@x.test=hub1, @x.test=hub2}\nrelayhost = hub0", "b@x.test", "user@example.org", "smtp:hub2 <user@example.org> default"},
		{"DUNNO leaves the relay alone", "sender_dependent_relayhost_maps = inline:{a@x.test=dunno}\nrelayhost = hub0", "a@x.test", "user@example.org", "smtp:hub0 <user@example.org> default"},
		{"the null sender has a key", "sender_dependent_relayhost_maps = inline:{<>=hub1}", "", "user@example.org", "smtp:hub1 <user@example.org> default"},
		{"the sender does not choose for local mail", "sender_dependent_relayhost_maps = static:hub1", "a@x.test", "user@mail.example.com", "local:mail.example.com <user@mail.example.com> local"},
		{"the sender may choose the transport", "sender_dependent_default_transport_maps = inline:{a@x.test=smtp-x:host}", "a@x.test", "user@example.org", "smtp-x:host <user@example.org> default"},
		{"DUNNO leaves the transport alone", "sender_dependent_default_transport_maps = inline:{a@x.test=DUNNO}", "a@x.test", "user@example.org", "smtp:example.org <user@example.org> default"},

		{"transport_maps decide last", "transport_maps = inline:{mail.example.com=smtp:[10.0.0.1]}", "", "user@mail.example.com", "smtp:[10.0.0.1] <user@mail.example.com> local"},
		{"but not for alias domains", "transport_maps = static:x:y\nvirtual_alias_domains = example.org", "", "user@example.org", "error:5.1.1 User unknown in virtual alias table <user@example.org> alias"},
		{"relocated users", "relocated_maps = inline:{user@example.org=u@new.test}", "", "user@example.org", "error:5.1.6 User has moved to u@new.test <user@example.org> default"},
		{"relocated local users need no domain", "relocated_maps = inline:{user=u@new.test}", "", "user@mail.example.com", "error:5.1.6 User has moved to u@new.test <user@mail.example.com> local"},
		{"relocated with a status of its own", "relocated_prefix_enable = no\nrelocated_maps = inline:{{user@example.org=5.7.9 gone}}", "", "user@example.org", "error:5.7.9 gone <user@example.org> default"},
		{"relocated without the status it must have", "relocated_prefix_enable = no\nrelocated_maps = inline:{{user@example.org=gone}}", "", "user@example.org", "error:5.2.0 Mailbox is unavailable <user@example.org> default"},

		{"a class table that fails defers", "virtual_mailbox_domains = fail:x", "", "user@example.org", ": <user@example.org> fail"},
		{"mydestination that fails defers", "mydestination = fail:x", "", "user@example.org", ": <> fail"},
		{"a transport table that fails defers", "transport_maps = fail:x", "", "user@example.org", "smtp:example.org <user@example.org> fail default"},
		{"a relocated table that fails defers", "relocated_maps = fail:x", "", "user@example.org", "smtp:example.org <user@example.org> fail default"},
		{"a missing table defers", "transport_maps = hash:/nonexistent/transport", "", "user@example.org", "smtp:example.org <user@example.org> fail default"},
		{"an empty transport defers", "default_transport = :host", "", "user@example.org", ":example.org <user@example.org> fail default"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s, w := start(t, c.conf)
			if got := show(s.Resolve(c.sender, c.address)); got != c.want {
				t.Errorf("got  %s\nwant %s\nlog: %q", got, c.want, w.lines)
			}
		})
	}
}

func TestProbesHaveTheirOwnRoutes(t *testing.T) {
	s, _ := start(t, "relayhost = hub", "address_verify_relayhost =", "address_verify_transport_maps = inline:{b.test=probe:x}", "transport_maps = static:mail:y")
	for address, want := range map[string]string{
		"user@a.test": "smtp:a.test <user@a.test> default",
		"user@b.test": "probe:x <user@b.test> default",
	} {
		if got := show(s.ResolveProbe("", address)); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
}

func TestDomainInTwoClassesIsWarnedOf(t *testing.T) {
	s, w := start(t, "virtual_mailbox_domains = x.test", "relay_domains = x.test", "virtual_alias_domains = x.test")
	s.Resolve("", "user@x.test")
	want := []string{"do not list domain x.test in BOTH virtual_alias_domains and virtual_mailbox_domains",
		"do not list domain x.test in BOTH virtual_alias_domains and relay_domains"}
	if fmt.Sprint(w.lines) != fmt.Sprint(want) {
		t.Errorf("got %q", w.lines)
	}
}

// TestResolvesAsPostfix runs Postfix's cases for its own site.
func TestResolvesAsPostfix(t *testing.T) {
	dir := mailtest.Corpora(t, "postfix-refs/global")
	ref, err := os.ReadFile(filepath.Join(dir, "resolve_clnt.ref"))
	if err != nil {
		t.Fatal(err)
	}
	s, _ := start(t, "myhostname = host.site.test", "mydomain = site.test", "append_dot_mydomain = yes", "relayhost = $mydomain",
		"mydestination = $myhostname localhost.$mydomain localhost")
	cases := regexp.MustCompile(`class +(\S+)\naddress +(.*)\ntransport +(.*)\nnexthop +(.*)\nrecipient +(.*)\nflags +(.*)\n`).FindAllStringSubmatch(string(ref), -1)
	if len(cases) < 40 {
		t.Fatalf("%d cases", len(cases))
	}
	site := strings.NewReplacer("MYHOSTNAME", "host.site.test", "MYDOMAIN", "site.test", "CHANNEL NOT UPDATED", "", "NEXTHOP NOT UPDATED", "")
	for _, c := range cases {
		for i := range c {
			c[i] = site.Replace(c[i])
		}
		flags := strings.NewReplacer("FLAG_", "", "CLASS_", "").Replace(strings.TrimSpace(c[6]))
		want := fmt.Sprintf("%s:%s <%s> %s", c[3], c[4], c[5], strings.ToLower(flags))
		if got := show(s.Resolve("", c[2])); got != want {
			t.Errorf("%s: got %s, want %s", c[2], got, want)
		}
	}
}
