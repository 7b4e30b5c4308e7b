package main

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"postroad/libmail/ipc"
	"postroad/libmail/mailtest"
	"postroad/libmail/proto"
	"postroad/libmail/resolver"
	"postroad/libmail/sasl"
)

// The head of a dialog sets the scene:
//
//	conf: name = value          as in main.cf, after testHost
//	file: name line             of a file in $dir
//	alone:                      the session is one of sendmail -bs
//	tls:                        the server has a certificate
//	early: text                 the client sends this before it is served
//	dns: record                 of the zone that answers DNS queries
//	cleanup: status reason      for the next message; "dies": it does
//	free: bytes                 in the queue's file system
//	anvil: verb count rate      what anvil says to an event
//	verify: address n reason    what verify says of an address
//	policy: recipient action    what the policy server says ($dir/policy)
//	auth: user password         who may log in
//	stress:                     the service is under stress
//
// Later, log: asks for a line of the log, queue: for a record of the last
// message, messages: for the number of messages that were accepted.
func TestDialogs(t *testing.T) {
	for _, d := range mailtest.ReadDialogs(t, "testdata/*.txt") {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			playDialog(t, d)
		})
	}
}

// A scene is the head of a dialog.
type scene struct {
	settings string
	files    map[string]string
	early    []string
	zone     string
	anvil    fakeAnvil
	verify   fakeVerify
	policy   map[string]string
	users    map[string]string
	set      []func(*testbed)
}

func readScene(t *testing.T, d *mailtest.Dialog) *scene {
	c := &scene{files: map[string]string{}, anvil: fakeAnvil{}, verify: fakeVerify{}, policy: map[string]string{}, users: map[string]string{}}
	for _, s := range d.Head {
		first, rest, _ := strings.Cut(s.Text, " ")
		n, _ := strconv.Atoi(first)
		switch s.Word {
		case "conf:":
			c.settings += s.Text + "\n"
		case "file:":
			c.files[first] += rest + "\n"
		case "alone:":
			c.set = append(c.set, func(b *testbed) { b.alone = true })
		case "tls:":
			c.settings += "smtpd_tls_chain_files = $dir/mx.pem\n"
			c.files["mx.pem"] = selfMade(t, "mx.example.com")
			c.set = append(c.set, (*testbed).encrypts)
		case "stress:":
			c.set = append(c.set, func(b *testbed) { b.stress = func() bool { return true } })
		case "early:":
			text, err := strconv.Unquote(s.Text)
			if err != nil {
				t.Fatal(err)
			}
			c.early = append(c.early, text)
		case "dns:":
			c.zone += s.Text + "\n"
		case "cleanup:":
			c.set = append(c.set, func(b *testbed) {
				b.verdicts = append(b.verdicts, verdictOf{status: n, reason: rest, dies: first == "dies"})
			})
		case "free:":
			c.set = append(c.set, func(b *testbed) { b.freeSpace = func() (int64, error) { return int64(n), nil } })
		case "anvil:":
			var counts proto.AnvilCounts
			fmt.Sscan(rest, &counts.Count, &counts.Rate)
			c.anvil[first] = counts
		case "verify:":
			c.verify[first] = rest
		case "policy:":
			c.policy[first] = rest
		case "auth:":
			c.users[first] = rest
		default:
			t.Fatalf("%s.txt:%d: %s belongs behind the first C:", d.Name, s.Line, s.Word)
		}
	}
	return c
}

// playDialog plays one file against a service of its own.
func playDialog(t *testing.T, d *mailtest.Dialog) {
	c := readScene(t, d)
	b := newTestbed(t, c.settings, c.files)
	for _, set := range c.set {
		set(b)
	}
	if len(c.anvil) > 0 {
		b.anvil = &anvilOf{b, c.anvil}
	}
	if len(c.users) > 0 {
		b.authenticates(c.users)
	}
	if len(c.policy) > 0 {
		b.decides(c.policy)
	}
	if len(c.verify) > 0 {
		b.verify = proto.NewVerifyClient(b.listen("verify", func(conn *ipc.Conn) error {
			return proto.ServeVerify(conn, c.verify)
		}), time.Minute)
	}
	if c.zone != "" {
		b.resolves(c.zone)
	}
	p := mailtest.Player{Other: func(s mailtest.Step) error {
		switch s.Word {
		case "log:":
			return b.logged(s.Text)
		case "queue:":
			return b.queued(s.Text)
		case "messages:":
			return b.count(s.Text)
		}
		return errors.New("unknown word")
	}}
	p.Play(t, d, b.connect(c.early...))
}

// resolves answers DNS queries from a zone.
func (b *testbed) resolves(text string) {
	zone, err := resolver.ServeZone(text)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(zone.Close)
	path, err := zone.WriteResolvConf(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	b.lookUp(path)
}

// fakeAnvil says how often each event has happened.
type fakeAnvil map[string]proto.AnvilCounts

type anvilOf struct {
	b      *testbed
	counts fakeAnvil
}

func (a *anvilOf) Do(verb, ident string) (proto.AnvilCounts, error) {
	a.b.Write(0, "", "anvil "+verb+" "+ident)
	n := a.counts[verb]
	if n.Rate < 0 {
		return n, errors.New("no answer")
	}
	return n, nil
}

// fakeVerify knows "status reason" of addresses.
type fakeVerify map[string]string

func (v fakeVerify) Query(address string) (proto.AddressStatus, string, error) {
	number, reason, found := strings.Cut(v[address], " ")
	if !found {
		return 0, "", errors.New("unknown address")
	}
	n, err := strconv.Atoi(number)
	return proto.AddressStatus(n), reason, err
}

func (v fakeVerify) Update(string, proto.AddressStatus, string) error {
	return errors.New("smtpd has no results")
}

// decides is a policy server. It logs what it is told as "policy name=value".
func (b *testbed) decides(actions map[string]string) {
	b.listenLines("policy", "", func() func(string) string {
		recipient := ""
		return func(line string) string {
			if line == "" {
				if actions[recipient] == "die" {
					return "close"
				}
				return "action=" + actions[recipient] + "\n\n"
			}
			b.Write(0, "", "policy "+line)
			if name, value, _ := strings.Cut(line, "="); name == "recipient" {
				recipient = value
			}
			return ""
		}
	})
}

// authenticates is an authentication server that knows PLAIN.
func (b *testbed) authenticates(users map[string]string) {
	const hello = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tANONYMOUS\tanonymous\nSPID\t1\nCUID\t2\nCOOKIE\tff\nDONE\n"
	path := b.listenLines("auth", hello, func() func(string) string {
		return func(line string) string {
			words := strings.Split(line, "\t")
			id, resp := "", ""
			switch words[0] {
			case "AUTH":
				b.Write(0, "", "auth "+strings.Join(words[2:], " "))
				id = words[1]
				_, resp, _ = strings.Cut(line, "\tresp=")
			case "CONT":
				id, resp = words[1], words[2]
			default:
				return ""
			}
			if resp == "" {
				return "CONT\t" + id + "\t\n"
			}
			plain, err := base64.StdEncoding.DecodeString(resp)
			parts := strings.Split(string(plain), "\x00")
			switch {
			case err != nil || len(parts) != 3:
				return "FAIL\t" + id + "\treason=invalid base64\n"
			case users[parts[1]] == "temp":
				return "FAIL\t" + id + "\tuser=" + parts[1] + "\ttemp\n"
			case users[parts[1]] != parts[2]:
				return "FAIL\t" + id + "\tuser=" + parts[1] + "\n"
			}
			return "OK\t" + id + "\tuser=" + parts[1] + "\n"
		}
	})
	if err := b.saslClient(); err != nil {
		b.t.Fatal(err)
	}
	d := &sasl.Dovecot{Network: "unix", Address: path}
	b.t.Cleanup(d.Close)
	b.saslServer = d
}

// listenLines serves connections on $dir/name that talk in lines. Each has an
// answer function of its own; "close" ends the connection.
func (b *testbed) listenLines(name, hello string, script func() func(line string) string) (path string) {
	return b.listenRaw(name, func(c net.Conn) {
		fmt.Fprint(c, hello)
		answer := script()
		lines := bufio.NewScanner(c)
		for lines.Scan() {
			text := answer(lines.Text())
			if text == "close" {
				return
			}
			fmt.Fprint(c, text)
		}
	})
}
