package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
	"postroad/libmail/maillog"
	"postroad/libmail/server"
	"postroad/libmail/table"
)

func TestFind(t *testing.T) {
	boxes := filepath.Join(t.TempDir(), "vmailbox")
	text := "alice@example.com example.com/alice/\n@catch.example.com catch/\nout@example.com ../etc/x\nwhole@example.com /var/mail/vhosts/w/\nroot@example.com r/\n"
	if err := os.WriteFile(boxes, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	maps := func(names ...string) *table.Maps {
		m, err := table.OpenMaps("test", names, table.Options{Delimiters: addr.Delimiters{Set: "+"}})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	v := &virtual{params: params{base: "/var/mail/vhosts/", minUID: 100}, env: &server.Env{Log: maillog.Discard()},
		mailboxes: maps("texthash:" + boxes), uids: maps("inline:{root@example.com=5, @example.com=5000, @catch.example.com=5001}"), gids: maps("static:5000")}
	for _, c := range []struct {
		rule, address, path string
		uid                 int
		status              string
	}{
		{rule: "an address has its path", address: "alice@example.com", path: "/var/mail/vhosts/example.com/alice/", uid: 5000},
		{rule: "an extension is left out", address: "alice+x@example.com", path: "/var/mail/vhosts/example.com/alice/", uid: 5000},
		{rule: "a domain may catch all", address: "any@catch.example.com", path: "/var/mail/vhosts/catch/", uid: 5001},
		{rule: "a path that is below the base already stays", address: "whole@example.com", path: "/var/mail/vhosts/w/", uid: 5000},
		{rule: "an unknown address fails", address: "nobody@example.com", status: "5.1.1"},
		{rule: "a path out of the base waits", address: "out@example.com", status: "4.3.5"},
		{rule: "a uid below the minimum waits", address: "root@example.com", status: "4.3.5"},
	} {
		got, err := v.find(c.address)
		if c.status != "" {
			var e *dsn.Error
			if !errors.As(err, &e) || e.Status != c.status {
				t.Errorf("%s: %v", c.rule, err)
			}
			continue
		}
		if err != nil || got.path != c.path || got.owner.UID != c.uid {
			t.Errorf("%s: %+v, %v", c.rule, got, err)
		}
	}
	v.mailboxes = maps("fail:x")
	if _, err := v.find("alice@example.com"); !dsn.Temporary(err) || err == nil {
		t.Errorf("a table that can't be asked makes mail wait: %v", err)
	}
}
