package sasl

import (
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

func TestChoiceOfMechanism(t *testing.T) {
	for _, c := range []struct{ rule, offered, needs, want string }{
		{"the best is used", "LOGIN PLAIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256", "", "SCRAM-SHA-256"},
		{"names have no case", "plain", "noanonymous", "PLAIN"},
		{"noplaintext forbids PLAIN and LOGIN", "LOGIN PLAIN CRAM-MD5", "noplaintext noanonymous", "CRAM-MD5"},
		{"noactive needs SCRAM", "CRAM-MD5 SCRAM-SHA-1", "noactive", "SCRAM-SHA-1"},
		{"nothing is good enough", "PLAIN LOGIN GSSAPI", "noplaintext", "no mechanism available"},
		{"nothing is known", "GSSAPI", "", "no mechanism available"},
	} {
		needs, err := ParseSecurity(strings.Fields(c.needs))
		if err != nil {
			t.Fatal(err)
		}
		client, err := NewClient(strings.Fields(c.offered), "user", "pass", needs)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = client.Mechanism
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.rule, got, c.want)
		}
	}
	if _, err := ParseSecurity([]string{"nosuch"}); err == nil {
		t.Error("an unknown option is no error")
	}
}

func TestResponses(t *testing.T) {
	for _, c := range []struct {
		mechanism  string
		challenges []string
		want       string
	}{
		{"PLAIN", nil, "\x00tim\x00tanstaaftanstaaf"},
		{"LOGIN", []string{"Username:", "Password:"}, "|tim|tanstaaftanstaaf"},
		// RFC 2195 §2
		{"CRAM-MD5", []string{"<1896.697170952@postoffice.reston.mci.net>"}, "|tim b913a602c7eda7a495b4e6e7334d3890"},
	} {
		client, err := NewClient([]string{c.mechanism}, "tim", "tanstaaftanstaaf", 0)
		if err != nil {
			t.Fatal(err)
		}
		first, _, err := client.First()
		got := string(first)
		for _, ch := range c.challenges {
			r, e := client.Next([]byte(ch))
			if e != nil {
				err = e
			}
			got += "|" + string(r)
		}
		if err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.mechanism, got, err, c.want)
		}
		if r, err := client.Next(nil); err == nil {
			t.Errorf("%s: a challenge too many gets %q", c.mechanism, r)
		}
	}
}

func TestScramVerifiesTheServer(t *testing.T) {
	cred := func(password string) scram.StoredCredentials {
		c, err := scram.SHA256.NewClient("user", password, "")
		if err != nil {
			t.Fatal(err)
		}
		return c.GetStoredCredentials(scram.KeyFactors{Salt: "salt", Iters: 4096})
	}
	for rule, lie := range map[string]bool{"an honest server": false, "a server that does not know the password": true} {
		server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return cred("secret"), nil })
		if err != nil {
			t.Fatal(err)
		}
		conv := server.NewConversation()
		client, err := NewClient([]string{"SCRAM-SHA-256"}, "user", "secret", MutualAuth)
		if err != nil {
			t.Fatal(err)
		}
		first, ok, err := client.First()
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		challenge, _ := conv.Step(string(first))
		second, err := client.Next([]byte(challenge))
		if err != nil {
			t.Fatal(err)
		}
		final, _ := conv.Step(string(second))
		if lie {
			final = "v=" + strings.Repeat("A", 43) + "="
		}
		if _, err = client.Next([]byte(final)); (err != nil) != lie {
			t.Errorf("%s: %v", rule, err)
		}
	}
}

func FuzzChallenges(f *testing.F) {
	f.Add("SCRAM-SHA-1", "r=abc,s=c2FsdA==,i=4096")
	f.Add("SCRAM-SHA-256", "r=x,s=c2FsdA==,i=99999999999")
	f.Add("CRAM-MD5", "<1@x>")
	f.Fuzz(func(t *testing.T, mechanism, challenge string) {
		client, err := NewClient([]string{mechanism}, "user", "pass", 0)
		if err != nil {
			return
		}
		client.First()
		for range 3 {
			if _, err := client.Next([]byte(challenge)); err != nil {
				return
			}
		}
		t.Errorf("%s answers the same challenge again and again", mechanism)
	})
}
