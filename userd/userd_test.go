package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/sasl"
	"postroad/libmail/server"
	"postroad/libmail/ticket"
)

// TestMain lets the test's own program be the worker: it greets each client
// with what it was told, and "die" ends it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-w" {
		c, err := privs.HelperConn()
		if err != nil {
			os.Exit(1)
		}
		err = proto.ServeHandover(ipc.NewConn(c, time.Minute), func(h *proto.Handover, f *os.File) error {
			defer f.Close()
			if h.Greeting == "die" {
				os.Exit(1)
			}
			_, err := io.WriteString(f, strings.Join([]string{h.User, h.Home, h.Mail, h.Service, h.Ticket, h.Greeting}, " "))
			return err
		})
		if err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

type fakeAuth map[string]sasl.Account

func (f fakeAuth) Account(_ context.Context, user, _ string) (sasl.Account, error) {
	if a, ok := f[user]; ok {
		return a, nil
	}
	return sasl.Account{}, sasl.ErrUnknownUser
}

func newUserd(t *testing.T) *userd {
	t.Helper()
	key, err := ticket.Open(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	u := &userd{params: params{minUID: 100}, env: &server.Env{Log: maillog.Discard()}, tickets: key, single: true,
		auth: fakeAuth{"alice": {User: "alice", UID: 5000, GID: 5000, Home: "/m/alice", Mail: "maildir:/m/alice/Maildir"}, "homeless": {User: "homeless", UID: 5000, GID: 5000}}}
	u.workers.start = func(program string, who *privs.User) *privs.Command {
		self, err := os.Executable()
		if err != nil {
			t.Error(err)
		}
		return &privs.Command{Path: self, Args: []string{program, "-w"}, Stderr: os.Stderr}
	}
	t.Cleanup(u.workers.close)
	return u
}

// try hands a client over and returns what it hears.
func try(t *testing.T, u *userd, h *proto.Handover) (string, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := u.take(context.Background(), h, w); err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	return string(text), err
}

func TestTake(t *testing.T) {
	u := newUserd(t)
	sign := func(user, service string) string {
		return u.tickets.Sign(ticket.Ticket{User: user, Service: service, Session: "s"})
	}
	for range 2 { // the second client finds the worker
		got, err := try(t, u, &proto.Handover{Ticket: sign("alice", "imap"), Session: "s", Service: "imap", Greeting: "a1"})
		if want := "alice /m/alice maildir:/m/alice/Maildir imap  a1"; got != want || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	for rule, h := range map[string]*proto.Handover{
		"without a ticket":             {Session: "s", Service: "imap"},
		"with a ticket of another":     {Ticket: sign("alice", "imap"), Session: "other", Service: "imap"},
		"for another service":          {Ticket: sign("alice", "pop3"), Session: "s", Service: "imap"},
		"for a service that is none":   {Ticket: sign("alice", "ssh"), Session: "s", Service: "ssh"},
		"for an unknown user":          {Ticket: sign("bob", "imap"), Session: "s", Service: "imap"},
		"for a user without home":      {Ticket: sign("homeless", "imap"), Session: "s", Service: "imap"},
		"to a worker that always dies": {Ticket: sign("alice", "imap"), Session: "s", Service: "imap", Greeting: "die"},
	} {
		if got, err := try(t, u, h); err == nil {
			t.Errorf("%s: taken: %q", rule, got)
		}
	}
	got, err := try(t, u, &proto.Handover{Ticket: sign("alice", "imap"), Session: "s", Service: "imap", Greeting: "a2"})
	if !strings.HasSuffix(got, " a2") || err != nil {
		t.Errorf("a dead worker is replaced: %q, %v", got, err)
	}
}

func TestOwner(t *testing.T) {
	u := &userd{params: params{minUID: 100, fallback: "no-such-account"}}
	for rule, a := range map[string]sasl.Account{
		"root is refused":            {UID: 0, GID: 0, Home: "/root"},
		"a low uid is refused":       {UID: 99, GID: 100, Home: "/x"},
		"group root is refused":      {UID: 5000, GID: 0, Home: "/x"},
		"a relative home is refused": {UID: 5000, GID: 5000, Home: "x"},
	} {
		if who, err := u.owner(a); err == nil {
			t.Errorf("%s: %+v", rule, who)
		}
	}
	if who, err := u.owner(sasl.Account{UID: 5000, GID: 5001, Home: "/x"}); err != nil || who.UID != 5000 || who.GID != 5001 {
		t.Errorf("%+v, %v", who, err)
	}
}
