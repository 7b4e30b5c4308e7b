package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/table"
)

func TestApproval(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(path, []byte("# comment\nproxy:hash:in_file\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ rule, text, want string }{
		{"tables with proxy: are approved", "proxy:hash:/a, proxy:inline:{x=1}", "hash:/a inline:{x=1}"},
		{"tables without are not", "hash:/a example.com [::1]/128 !x", ""},
		{"proxy: may be repeated", "proxy:proxy:hash:/a", "hash:/a"},
		{"tables inside tables", "pipemap:{hash:/a, proxy:hash:/b} unionmap:{proxy:hash:/c}", "hash:/b hash:/c"},
		{"tables with attributes", "check_policy_service { proxy:hash:/a, timeout=5s }", "hash:/a"},
		{"tables in files", path, "hash:in_file"},
		{"a file that is not there approves nothing", path + "x", ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			a := &approval{approved: map[string]bool{}, warn: t.Logf}
			a.list(c.text, "test", 0)
			var got []string
			for name := range a.approved {
				got = append(got, name)
			}
			slices.Sort(got)
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

// serve runs the service below a queue directory and returns a client.
func serve(t *testing.T, approved ...string) func(spec string, o table.Options) (table.Table, error) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("private", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("main.cf", []byte("ipc_timeout = 10s\nqueue_directory = "+dir+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{approved: map[string]bool{}, parameter: "proxy_read_maps", log: maillog.Discard(), open: map[key]table.Table{}, utf8: true}
	for _, name := range approved {
		s.approved[name] = true
	}
	l, err := net.Listen("unix", "private/proxymap")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if err := proto.ServeProxymap(ipc.NewConn(conn, 0), s); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			}()
		}
	}()
	return proto.TableProxy(c)
}

func TestLookups(t *testing.T) {
	open := serve(t, "inline:{k=v, empty=}", "regexp:{{/^(.*)@x/ <$1>}}", "fail:x", "static:s")
	for _, c := range []struct{ rule, spec, key, want string }{
		{"a value is found", "inline:{k=v, empty=}", "k", "v"},
		{"keys are folded there", "inline:{k=v, empty=}", "K", "v"},
		{"a key is not found", "inline:{k=v, empty=}", "x", "not found"},
		{"patterns match", "regexp:{{/^(.*)@x/ <$1>}}", "u@x", "<u>"},
		{"a table that fails has no answer", "fail:x", "k", "error"},
		{"a table that is not approved has no answer", "inline:{secret=v}", "secret", "error"},
		{"proxy: may be repeated", "proxy:static:s", "k", "s"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			tab, err := table.Open("proxy:"+c.spec, table.Options{Proxy: open})
			if err != nil {
				t.Fatal(err)
			}
			defer tab.Close()
			value, found, err := tab.Lookup(c.key)
			got := value
			switch {
			case err != nil:
				got = "error"
			case !found:
				got = "not found"
			}
			if got != c.want {
				t.Errorf("got %s %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestThePatternsOfAProxySeeNoPartsOfAddresses(t *testing.T) {
	open := serve(t, "regexp:{{/^@x$/ matched}}", "inline:{@x=matched}")
	for spec, want := range map[string]bool{"regexp:{{/^@x$/ matched}}": false, "inline:{@x=matched}": true} {
		m, err := table.OpenMaps("test", []string{"proxy:" + spec}, table.Options{Proxy: open})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, found, err := m.FindAddress("u@x", table.FindDefault); found != want || err != nil {
			t.Errorf("%s: %v %v", spec, found, err)
		}
	}
}

func TestChangesAreDenied(t *testing.T) {
	serve(t, "static:s")
	conn, err := ipc.Dial("private/proxymap", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in, out := conn.In(), conn.Out()
	in.Str("protocol")
	in.End()
	for _, request := range []string{"update", "delete", "sequence"} {
		out.Str("request", request)
		out.Str("table", "static:s")
		out.Int("instance_flags", 0)
		out.Int("flags", 0)
		out.Str("key", "k")
		out.End()
		if err := out.Flush(); err != nil {
			t.Fatal(err)
		}
		status := in.Int("status")
		for _, _, more := in.Next(); more; _, _, more = in.Next() {
		}
		if in.Err() != nil || proto.ProxyStatus(status) != proto.ProxyDeny {
			t.Errorf("%s: %d %v", request, status, in.Err())
		}
	}
}

func TestFlagsSayHowATableIsOpened(t *testing.T) {
	for _, o := range []table.Options{
		{}, {Fold: table.FoldNone}, {Fold: table.FoldAll}, {Trust: table.NoSubstitution, UTF8: true}, {Trust: table.NoServer},
	} {
		got := proto.FlagsOf(o).Options()
		if fmt.Sprint(got) != fmt.Sprint(o) {
			t.Errorf("got %+v, want %+v", got, o)
		}
	}
}
