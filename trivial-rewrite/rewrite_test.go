package main

import (
	"testing"
	"time"

	"postroad/libmail/proto"
)

func TestRewrite(t *testing.T) {
	const all = "append_dot_mydomain = yes\nmydomain = my.test\nmyorigin = origin.test\nremote_header_rewrite_domain = invalid.test"
	for _, c := range []struct{ rule, conf, kind, address, want string }{
		{"a complete address stays", all, proto.RuleLocal, "user@example.org", "user@example.org"},
		{"an address without domain gets myorigin", all, proto.RuleLocal, "user", "user@origin.test"},
		{"unless append_at_myorigin forbids", all + "\nappend_at_myorigin = no", proto.RuleLocal, "user", "user"},
		{"a domain without dot gets mydomain", all, proto.RuleLocal, "user@host", "user@host.my.test"},
		{"unless append_dot_mydomain forbids", all + "\nappend_dot_mydomain = no", proto.RuleLocal, "user@host", "user@host"},
		{"an address literal is complete", all, proto.RuleLocal, "user@[host]", "user@[host]"},
		{"the null address stays", all, proto.RuleLocal, `""`, `""`},
		{"a lone @ is the null address", all, proto.RuleLocal, "@", `""`},
		{"a source route goes", all, proto.RuleLocal, "@a,@b:user@c.test", "user@c.test"},
		{"a source route without an address is left alone", all, proto.RuleLocal, "@a.test:", `@a.test:""`},
		{"site!user is user@site", all, proto.RuleLocal, "a.test!b.test!user", "b.test!user@a.test"},
		{"unless swap_bangpath forbids", all + "\nswap_bangpath = no", proto.RuleLocal, "a!user", "a!user@origin.test"},
		{"user%site is user@site", all, proto.RuleLocal, "user%a.test%b.test", "user%a.test@b.test"},
		{"unless allow_percent_hack forbids", all + "\nallow_percent_hack = no", proto.RuleLocal, "user%a", "user%a@origin.test"},
		{"user%site@domain stays", all, proto.RuleLocal, "user%a@b.test", "user%a@b.test"},
		{"the dot at the end goes", all, proto.RuleLocal, "user@example.org.", "user@example.org"},
		{"two dots at the end stay", all, proto.RuleLocal, "user@example.org..", "user@example.org.."},
		{"@. stays", all, proto.RuleLocal, "user@.", "user@."},
		{"an @ at the end stays", all, proto.RuleLocal, "user@", "user@"},
		{"quotes stay where they are needed", all, proto.RuleLocal, `"a b"@example.org`, `"a b"@example.org`},
		{"quotes go where they are not", all, proto.RuleLocal, `"ab"@example.org`, "ab@example.org"},
		{"foreign mail gets another domain", all, proto.RuleRemote, "user", "user@invalid.test"},
		{"foreign domains too", all, proto.RuleRemote, "user@host", "user@host.invalid.test"},
		{"foreign mail may be left alone", "remote_header_rewrite_domain =", proto.RuleRemote, "user", "user"},
		{"an invalid origin shows", all, proto.RuleInval, "user", "user@invalid"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s, _ := start(t, c.conf)
			if got, err := s.Rewrite(c.kind, c.address); got != c.want || err != nil {
				t.Errorf("%s: got %s %v, want %s", c.address, got, err, c.want)
			}
		})
	}
}

func TestUnknownRuleIsAnError(t *testing.T) {
	s, w := start(t)
	if _, err := s.Rewrite("other", "user"); err == nil || len(w.lines) != 1 {
		t.Errorf("got %v %q", err, w.lines)
	}
}

func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"", "@", "a@b", "a!b%c@d", `"a@b"@mail.example.com`, "@a,@b:c@d", "a@[1.2.3.4]", `"\"@`, "((", "a b@c", "user@mail.example.com@mail.example.com", "%%!!@@"} {
		f.Add(seed)
	}
	s, _ := start(f, "resolve_numeric_domain = yes", "append_dot_mydomain = yes")
	f.Fuzz(func(t *testing.T, address string) {
		if _, err := s.Rewrite(proto.RuleLocal, address); err != nil {
			t.Error(err)
		}
		r := s.Resolve("", address)
		if r.Flags&proto.ClassMask == 0 && r.Flags&proto.ResolveFail == 0 {
			t.Errorf("%q has no class: %+v", address, r)
		}
	})
}

// FuzzStandardStays: what the client's half takes for its own answer, without
// asking, is what we would have answered, whatever main.cf says.
func FuzzStandardStays(f *testing.F) {
	for _, address := range []string{"user@example.org", "a.b+c_d@Host-1.example.org", "user@host", "u@a.b.", "a!b@c.d", "u%x@a.b", "-@1.2"} {
		f.Add(address)
	}
	s, _ := start(f, "append_dot_mydomain = yes\nmydomain = my.test\nmyorigin = origin.test\nremote_header_rewrite_domain = invalid.test")
	nobody := proto.NewRewriteClient(f.TempDir()+"/none", time.Second)
	f.Fuzz(func(t *testing.T, address string) {
		taken, err := nobody.Rewrite(proto.RuleRemote, address)
		if err != nil {
			return // it would have been asked about
		}
		for _, rule := range []string{proto.RuleLocal, proto.RuleRemote, proto.RuleInval} {
			if got, err := s.Rewrite(rule, address); got != taken || err != nil {
				t.Errorf("%s %q becomes %q, %v", rule, address, got, err)
			}
		}
	})
}
