package sasl

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// authServer answers each line that a client sends with what script says, if
// anything; it closes the connection at "close".
func authServer(t *testing.T, greeting string, script func(line string) string) *Dovecot {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprint(c, greeting)
				lines := bufio.NewScanner(c)
				for lines.Scan() {
					switch answer := script(lines.Text()); answer {
					case "":
					case "close":
						return
					default:
						fmt.Fprint(c, answer)
					}
				}
			}()
		}
	}()
	d := &Dovecot{Network: "unix", Address: path, Timeout: 5 * time.Second, ReplyTimeout: 5 * time.Second}
	t.Cleanup(d.Close)
	return d
}

const hello = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tSCRAM-SHA-256\tmutual-auth\nMECH\tANONYMOUS\tanonymous\nSPID\t1\nCUID\t2\nCOOKIE\tff\nDONE\n"

func TestDovecotMechanisms(t *testing.T) {
	d := authServer(t, hello, func(string) string { return "" })
	list, err := d.Mechanisms(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for options, want := range map[Security]string{
		0: "PLAIN SCRAM-SHA-256 ANONYMOUS", NoAnonymous: "PLAIN SCRAM-SHA-256", NoAnonymous | NoPlaintext: "SCRAM-SHA-256",
		MutualAuth: "SCRAM-SHA-256", ForwardSecrecy: "",
	} {
		var names []string
		for _, m := range list {
			if m.Meets(options) {
				names = append(names, m.Name)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("options %b: %q, want %q", options, got, want)
		}
	}
}

func TestDovecotBadGreetings(t *testing.T) {
	for rule, greeting := range map[string]string{
		"another major version":   "VERSION\t2\t0\nMECH\tPLAIN\nDONE\n",
		"a user database socket":  "VERSION\t1\t1\nSPID\t12\n",
		"a line without an end":   strings.Repeat("x", 2*maxDovecotLine),
		"more mechanisms than is": strings.Repeat("MECH\tX\n", 200),
	} {
		d := authServer(t, greeting, func(string) string { return "" })
		if m, err := d.Mechanisms(context.Background()); err == nil {
			t.Errorf("%s: accepted with %v", rule, m)
		}
	}
	d := &Dovecot{Network: "unix", Address: filepath.Join(t.TempDir(), "none")}
	if _, v := d.Begin(context.Background(), Login{Mechanism: "PLAIN"}); !v.Done || v.Success || !v.Temporary {
		t.Errorf("no server: %+v", v)
	}
}

func TestDovecotLogins(t *testing.T) {
	var mu sync.Mutex // the server is another goroutine
	var got string
	answers := map[string]string{}
	d := authServer(t, hello, func(line string) string {
		verb, rest, _ := strings.Cut(line, "\t")
		id, rest, _ := strings.Cut(rest, "\t")
		mu.Lock()
		defer mu.Unlock()
		if verb == "AUTH" || verb == "CONT" {
			got = verb + " " + strings.ReplaceAll(rest, "\t", " ")
			return strings.ReplaceAll(answers[verb], "ID", id)
		}
		return ""
	})
	sent := func() string {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
	full := Login{Mechanism: "PLAIN", Service: "smtp", LocalIP: "192.0.2.1", RemoteIP: "192.0.2.2", Encrypted: true, Response: "AHUAcA==", HasResp: true}
	tests := []struct {
		rule   string
		answer string
		want   Verdict
	}{
		{"success names the user", "OK\tID\tuser=u@x\tx=y\n", Verdict{Done: true, Success: true, User: "u@x"}},
		{"success without a user is a failure", "OK\tID\n", Verdict{Done: true, Reason: reasonBackend}},
		{"failure with reason", "FAIL\tID\tuser=u\treason=no such\n", Verdict{Done: true, User: "u", Reason: "no such"}},
		{"temporary failure", "FAIL\tID\ttemp\n", Verdict{Done: true, Temporary: true}},
		{"temporary failure by code", "FAIL\tID\tcode=temp_fail\n", Verdict{Done: true, Temporary: true}},
		{"challenge", "CONT\tID\tVXNlcg==\n", Verdict{Challenge: "VXNlcg=="}},
		{"challenge without text", "CONT\tID\n", Verdict{Done: true, Reason: reasonBackend}},
		{"answers to others are not ours", "OK\t77\tuser=x\nNOISE\nFAIL\tID\n", Verdict{Done: true}},
		{"escaped values", "OK\tID\tuser=a\x01tb\n", Verdict{Done: true, Success: true, User: "a\tb"}},
		{"lost connection", "close", Verdict{Done: true, Temporary: true, Reason: reasonLost}},
		{"and a new one", "OK\tID\tuser=u\n", Verdict{Done: true, Success: true, User: "u"}},
	}
	for _, test := range tests {
		mu.Lock()
		answers["AUTH"], answers["CONT"] = test.answer, "OK\tID\tuser=z\n"
		mu.Unlock()
		x, v := d.Begin(context.Background(), full)
		if !reflect.DeepEqual(v, test.want) {
			t.Errorf("%s: %+v, want %+v", test.rule, v, test.want)
		}
		if want := "AUTH PLAIN service=smtp nologin lip=192.0.2.1 rip=192.0.2.2 secured resp=AHUAcA=="; sent() != want {
			t.Errorf("%s: sent %q", test.rule, sent())
		}
		if !v.Done {
			if v := x.Continue(context.Background(), "cA=="); !v.Success || v.User != "z" || sent() != "CONT cA==" {
				t.Errorf("%s: continued %+v, sent %q", test.rule, v, sent())
			}
		}
	}
}

func TestDovecotParallelLogins(t *testing.T) {
	d := authServer(t, hello, func(line string) string {
		fields := strings.Split(line, "\t")
		if fields[0] != "AUTH" {
			return ""
		}
		return "OK\t" + fields[1] + "\tuser=" + strings.TrimPrefix(fields[len(fields)-1], "resp=") + "\n"
	})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			name := fmt.Sprintf("u%d", i)
			if _, v := d.Begin(context.Background(), Login{Mechanism: "PLAIN", HasResp: true, Response: name}); v.User != name {
				t.Errorf("%s got the verdict for %q", name, v.User)
			}
		})
	}
	wg.Wait()
}

func TestDovecotCancelled(t *testing.T) {
	cancelled := make(chan string, 1)
	d := authServer(t, hello, func(line string) string {
		if strings.HasPrefix(line, "CANCEL\t") {
			cancelled <- line
		}
		return ""
	})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := d.Mechanisms(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, v := d.Begin(ctx, Login{Mechanism: "PLAIN"}); v.Success || !v.Temporary {
		t.Errorf("%+v", v)
	}
	if line := <-cancelled; line != "CANCEL\t1" {
		t.Error(line)
	}
}

func FuzzDovecotReply(f *testing.F) {
	f.Add("OK\t1\tuser=x")
	f.Add("FAIL\t1\ttemp\treason=x")
	f.Fuzz(func(t *testing.T, line string) {
		fields := strings.Split(line, "\t")
		if v, ok := verdictOf(fields); ok && v.Success && v.User == "" {
			t.Fatalf("%q gives %+v", line, v)
		}
		if got := unescapeTab(escapeTab(line)); got != line {
			t.Fatalf("%q becomes %q", line, got)
		}
	})
}
