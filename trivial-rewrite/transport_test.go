package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postroad/libmail/mailtest"
	"postroad/libmail/proto"
)

func TestTransportMaps(t *testing.T) {
	for _, c := range []struct{ rule, conf, address, want string }{
		{"the full address comes first", "transport_maps = inline:{u+x@a.test=t1:, u@a.test=t2:, a.test=t3:}", "u+x@a.test", "t1:a.test"},
		{"then the address without extension", "transport_maps = inline:{u@a.test=t2:, a.test=t3:}", "u+x@a.test", "t2:a.test"},
		{"then the domain", "transport_maps = inline:{a.test=t3:, *=t4:}", "u+x@a.test", "t3:a.test"},
		{"then .parent", "transport_maps = inline:{.a.test=t3:, *=t4:}", "u@x.y.a.test", "t3:x.y.a.test"},
		{"parent does not match subdomains", "transport_maps = inline:{a.test=t3:}", "u@x.a.test", "DEFAULT:x.a.test"},
		{"unless the feature is listed", "parent_domain_matches_subdomains = transport_maps\ntransport_maps = inline:{a.test=t3:}", "u@x.a.test", "t3:x.a.test"},
		{"then *", "transport_maps = inline:{*=t4:h}", "u@x.test", "t4:h"},
		{"patterns see the full address only", "transport_maps = regexp:{{/^a\\.test$$/ t5:}}", "u@a.test", "DEFAULT:a.test"},
		{"$1 is not trusted", "transport_maps = regexp:{{/(.*)@a.test/ t5:$$1}}", "u@a.test", "DEFAULT:a.test"},
		{"a colon changes nothing", "transport_maps = inline:{a.test=:, *=t4:}", "u@a.test", "DEFAULT:a.test"},
		{":nexthop keeps the transport", "transport_maps = inline:{a.test=:h}", "u@a.test", "DEFAULT:h"},
		{"a transport alone resets the next hop", "relayhost = hub\ntransport_maps = inline:{a.test=t1}", "u@a.test", "t1:a.test"},
		{"the next hop may hold colons", "transport_maps = inline:{{a.test=smtp:[::1]:25}}", "u@a.test", "smtp:[::1]:25"},
		{"error without text gets one", "transport_maps = inline:{a.test=error:}", "u@a.test", "error:Address is undeliverable"},
		{"retry without text gets one", "transport_maps = inline:{a.test=retry:}", "u@a.test", "retry:Address is undeliverable"},
		{"the first table that has it decides", "transport_maps = inline:{*=t1:}, inline:{a.test=t2:}", "u@a.test", "t2:a.test"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s, w := start(t, "recipient_delimiter = +", "default_transport = DEFAULT", c.conf)
			r := s.Resolve("", c.address)
			if got := r.Transport + ":" + r.Nexthop; got != c.want {
				t.Errorf("got %s, want %s; log %q", got, c.want, w.lines)
			}
		})
	}
}

// TestTransportMapsAsPostfix runs Postfix's own cases: inline tables with
// address:transport:nexthop lines.
func TestTransportMapsAsPostfix(t *testing.T) {
	dir := mailtest.Corpora(t, "postfix-refs/trivial-rewrite")
	text, err := os.ReadFile(filepath.Join(dir, "transport.in"))
	if err != nil {
		t.Fatal(err)
	}
	scripts := regexp.MustCompile(`(?s)transport '(.*?)' +<<'EOF'\n(.*?)EOF`).FindAllStringSubmatch(string(text), -1)
	if len(scripts) < 5 {
		t.Fatalf("%d scripts", len(scripts))
	}
	for _, script := range scripts {
		s, _ := start(t, "recipient_delimiter = +", "transport_maps = "+script[1])
		for _, line := range strings.Split(strings.TrimSpace(script[2]), "\n") {
			f := strings.SplitN(line, ":", 3)
			_, domain, _ := strings.Cut(f[0], "@")
			r := proto.Resolved{Transport: "DEFAULT", Nexthop: domain, Recipient: f[0]}
			if err := s.mapTransport(s.regular, domain, &r); err != nil {
				t.Fatal(err)
			}
			want := "DEFAULT:" + domain
			if len(f) == 3 {
				want = f[1] + ":" + f[2]
			}
			if got := r.Transport + ":" + r.Nexthop; got != want {
				t.Errorf("%s %s: got %s, want %s", script[1], line, got, want)
			}
		}
	}
}
