package table

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// answerer runs a server that hands each connection to serve.
func answerer(t *testing.T, network, addr string, serve func(c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen(network, addr)
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
				serve(c, bufio.NewReader(c))
			}()
		}
	}()
	return l.Addr().String()
}

func TestTCP(t *testing.T) {
	addr := answerer(t, "tcp", "127.0.0.1:0", func(c net.Conn, r *bufio.Reader) {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			replies := map[string]string{
				"get key":         "200 value%20with%25\n",
				"get a%20b%25%FF": "200 escaped\n",
				"get nobody":      "500 not found\n",
				"get soon":        "400 try again\n",
				"get odd":         "hello\n",
				"get bad%25":      "200 %zz\n",
				"get other":       "300 what\n",
			}
			io.WriteString(c, replies[strings.TrimSuffix(line, "\n")])
		}
	})
	tab, err := Open("tcp:"+addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	for _, c := range []struct{ rule, key, want string }{
		{"a value", "key", "=value with%"},
		{"the same connection again", "key", "=value with%"},
		{"a key with odd bytes", "a b%\xff", "=escaped"},
		{"not found", "nobody", "not found"},
		{"a server that is not sure", "soon", "error"},
		{"no reply of the protocol", "odd", "error"},
		{"a reply with bad escapes", "bad%", "error"},
		{"an unknown status", "other", "error"},
		{"after an error all is well", "key", "=value with%"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if got := answer(tab, c.key); got != c.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestSocketmap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var conns atomic.Int32
	answerer(t, "unix", path, func(c net.Conn, r *bufio.Reader) {
		conns.Add(1)
		for {
			text, err := readNetstring(r)
			if err != nil {
				return
			}
			replies := map[string]string{
				"t key":    "OK value of key",
				"t empty":  "OK ",
				"t nobody": "NOTFOUND ",
				"t temp":   "TEMP later",
				"t slow":   "TIMEOUT",
				"t never":  "PERM no",
				"t odd":    "WHAT",
				"t long":   "OK " + strings.Repeat("x", 300),
			}
			reply := replies[text]
			if text == "t garbage" {
				io.WriteString(c, "x:y")
				return
			}
			fmt.Fprintf(c, "%d:%s,", len(reply), reply)
			if text == "t close" {
				return
			}
		}
	})
	var h heard
	tab, err := Open("socketmap:unix:"+path+":t", Options{Log: &h, MaxReply: 200, MaxQuery: 20})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	for _, c := range []struct{ rule, key, want, says string }{
		{"a value", "key", "=value of key", ""},
		{"an empty value", "empty", "=", ""},
		{"not found", "nobody", "not found", ""},
		{"a temporary error", "temp", "error", "socketmap server temporary error"},
		{"a time-out of the server", "slow", "error", "socketmap server timeout error"},
		{"a permanent error", "never", "error", "socketmap server permanent error"},
		{"an unknown answer", "odd", "error", "socketmap server unknown error"},
		{"an answer that is too long", "long", "error", "longer than 200 bytes"},
		{"a query that is too long", strings.Repeat("k", 21), "not found", "query too large"},
		{"no netstring", "garbage", "error", "netstring format error"},
		{"a server that closes", "close", "error", ""},
		{"and is there again", "key", "=value of key", ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			h.lines = nil
			if got := answer(tab, c.key); got != c.want {
				t.Errorf("got %s %q", got, h.lines)
			}
			if !strings.Contains(strings.Join(h.lines, "|"), c.says) {
				t.Errorf("said %q", h.lines)
			}
		})
	}
	if n := conns.Load(); n > 6 {
		t.Errorf("%d connections", n)
	}
}

func readNetstring(r *bufio.Reader) (string, error) {
	size, err := r.ReadString(':')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(size, ":"))
	if err != nil {
		return "", err
	}
	b := make([]byte, n+1)
	_, err = io.ReadFull(r, b)
	return string(b[:n]), err
}

func TestServerNames(t *testing.T) {
	for spec, good := range map[string]bool{
		"tcp:localhost:1": true, "tcp:[::1]:1": true, "tcp:25": true, "tcp:[::1": false,
		"socketmap:inet:localhost:1:t": true, "socketmap:unix:/x:t": true,
		"socketmap:x": false, "socketmap:host:1:t": false, "socketmap:inet:[::1:t": false,
	} {
		if _, err := Open(spec, Options{MustOpen: true}); (err == nil) != good {
			t.Errorf("%s: %v", spec, err)
		}
	}
}
