package proto

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"postroad/libmail/attr"
	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/table"
)

// The proxymap conversation: programs without access to a table, or too many
// to open a database each, have proxymap look keys up.
//
//	C: request=open table=hash:/etc/aliases instance_flags=524352
//	S: status=0 flags=524368
//
//	C: request=lookup table=hash:/etc/aliases instance_flags=524352 flags=524368 key=root
//	S: status=0 flags=524368 value=admin
//
// The flags are Postfix's; those that the client sets say how the table is to
// be opened, those that the server adds which kind of table it is.

// ProxyStatus is the first word of a reply.
type ProxyStatus int

const (
	ProxyOK     ProxyStatus = 0
	ProxyNoKey  ProxyStatus = 1 // not found
	ProxyRetry  ProxyStatus = 2 // no answer now
	ProxyBad    ProxyStatus = 3 // the request makes no sense
	ProxyDeny   ProxyStatus = 4 // the table is not listed in proxy_read_maps
	ProxyConfig ProxyStatus = 5 // the table holds what it must not
)

// TableFlags say how a table is opened, and which kind it is.
type TableFlags int

const (
	TableFixed          TableFlags = 1 << 4 // keys are fixed strings
	TablePattern        TableFlags = 1 << 5 // keys are patterns
	TableLock           TableFlags = 1 << 6
	TableNoSubstitution TableFlags = 1 << 11
	TableNoProxy        TableFlags = 1 << 12
	TableNoServer       TableFlags = 1 << 13
	TableFoldFixed      TableFlags = 1 << 14
	TableFoldPattern    TableFlags = 1 << 15
	TableUTF8           TableFlags = 1 << 19
)

// FlagsOf is what options say in the conversation.
func FlagsOf(o table.Options) TableFlags {
	f := TableLock
	for _, c := range []struct {
		set  bool
		flag TableFlags
	}{
		{o.Trust&table.NoSubstitution != 0, TableNoSubstitution},
		{o.Trust&table.NoServer != 0, TableNoServer},
		{o.Fold != table.FoldNone, TableFoldFixed},
		{o.Fold == table.FoldAll, TableFoldPattern},
		{o.UTF8, TableUTF8},
	} {
		if c.set {
			f |= c.flag
		}
	}
	return f
}

// Options is what flags say of the opening of a table.
func (f TableFlags) Options() (o table.Options) {
	switch {
	case f&TableFoldPattern != 0:
		o.Fold = table.FoldAll
	case f&TableFoldFixed == 0:
		o.Fold = table.FoldNone
	}
	if f&TableNoSubstitution != 0 {
		o.Trust |= table.NoSubstitution
	}
	if f&TableNoServer != 0 {
		o.Trust |= table.NoServer
	}
	o.UTF8 = f&TableUTF8 != 0
	return o
}

// A ProxyService answers the conversation. The flags that it returns are
// those of the table, with TableFixed or TablePattern.
type ProxyService interface {
	Open(table string, instance TableFlags) (ProxyStatus, TableFlags)
	Lookup(table string, instance TableFlags, key string) (status ProxyStatus, flags TableFlags, value string)
}

// ServeProxymap runs the server's half until the client closes. Requests to
// change a table, or to list it, are denied.
func ServeProxymap(conn *ipc.Conn, s ProxyService) error {
	return serve(conn, ProtocolProxymap, func(in *attr.Reader, out *attr.Writer) error {
		request := in.Str("request")
		name := in.Str("table")
		instance := TableFlags(in.Int("instance_flags"))
		status, flags, extra := ProxyBad, TableFlags(0), []string(nil)
		value := ""
		switch request {
		case "open":
			in.End()
			if in.Err() == nil {
				status, flags = s.Open(name, instance)
			}
		case "lookup":
			in.Int("flags")
			key := in.Str("key")
			in.End()
			if in.Err() == nil {
				status, flags, value = s.Lookup(name, instance, key)
			}
			extra = []string{"value", value}
		case "update", "delete", "sequence":
			for _, _, more := in.Next(); more; _, _, more = in.Next() {
			}
			status = ProxyDeny
			if request == "sequence" {
				extra = []string{"key", "", "value", ""}
			}
		default:
			if in.Err() == nil {
				return fmt.Errorf("unknown request %.100q", request)
			}
		}
		if in.Err() != nil {
			return in.Err()
		}
		out.Int("status", int64(status))
		out.Int("flags", int64(flags))
		for i := 0; i < len(extra); i += 2 {
			out.Str(extra[i], extra[i+1])
		}
		out.End()
		return nil
	})
}

// TableProxy is table.Options.Proxy of every program but proxymap: it asks
// private/$proxymap_service_name. The service is contacted at the first lookup.
func TableProxy(c *conf.Config) func(spec string, o table.Options) (table.Table, error) {
	path := "private/" + c.String("proxymap_service_name")
	timeout := c.Duration("ipc_timeout")
	queue := c.String("queue_directory")
	client := sync.OnceValue(func() *ipc.Client {
		if _, err := os.Stat(path); err != nil { // a command, not a daemon
			path = queue + "/" + path
		}
		return &ipc.Client{Path: path, Protocol: ProtocolProxymap, Timeout: timeout}
	})
	return func(spec string, o table.Options) (table.Table, error) {
		for strings.HasPrefix(spec, "proxy:") {
			spec = strings.TrimPrefix(spec, "proxy:")
		}
		if !strings.Contains(spec, ":") {
			return nil, fmt.Errorf("bad proxy table name %q: need type:name", spec)
		}
		return &proxiedTable{client: client, spec: spec, flags: FlagsOf(o)}, nil
	}
}

// A proxiedTable is a table as proxymap sees it.
type proxiedTable struct {
	client func() *ipc.Client
	spec   string
	flags  TableFlags

	mu     sync.Mutex
	opened TableFlags // as the server said; 0: not asked yet
}

// How often a service that cannot be reached is tried.
const (
	proxyTries = 11
	proxyPause = time.Second
)

// ask makes one exchange and returns the status and what follows the flags.
func (t *proxiedTable) ask(request string, key ...string) (status ProxyStatus, flags TableFlags, value string, err error) {
	for try := 1; ; try++ {
		err = t.client().Do(func(conn *ipc.Conn) error {
			out, in := conn.Out(), conn.In()
			out.Str("request", request)
			out.Str("table", t.spec)
			out.Int("instance_flags", int64(t.flags))
			for _, k := range key {
				out.Int("flags", int64(t.flags))
				out.Str("key", k)
			}
			out.End()
			if err := out.Flush(); err != nil {
				return err
			}
			status = ProxyStatus(in.Int("status"))
			flags = TableFlags(in.Int("flags"))
			if len(key) > 0 {
				value = in.Str("value")
			}
			in.End()
			return in.Err()
		})
		if err == nil || try == proxyTries {
			return status, flags, value, err
		}
		time.Sleep(proxyPause)
	}
}

// Lookup implements table.Table.
func (t *proxiedTable) Lookup(key string) (string, bool, error) {
	status, flags, value, err := t.ask("lookup", key)
	if err != nil {
		return "", false, err
	}
	switch status {
	case ProxyOK, ProxyNoKey:
		t.mu.Lock()
		t.opened = flags
		t.mu.Unlock()
		return value, status == ProxyOK, nil
	case ProxyDeny:
		return "", false, fmt.Errorf("proxymap service is not configured for table %q", t.spec)
	case ProxyBad:
		return "", false, errors.New("proxymap service: invalid request")
	case ProxyRetry, ProxyConfig:
	}
	return "", false, errors.New("proxymap service: lookup error")
}

// Pattern implements table.Patterned. A table of which nothing is known yet is
// asked about; if that fails, parts of keys are not looked up, but the lookup
// of the whole fails all the same.
func (t *proxiedTable) Pattern() bool {
	t.mu.Lock()
	known := t.opened
	t.mu.Unlock()
	if known == 0 {
		status, flags, _, err := t.ask("open")
		if err != nil || status != ProxyOK {
			return true
		}
		t.mu.Lock()
		t.opened, known = flags, flags
		t.mu.Unlock()
	}
	return known&TableFixed == 0
}

// Name implements table.Table.
func (t *proxiedTable) Name() string { return "proxy:" + t.spec }

// Close implements table.Table. The connection serves other tables.
func (t *proxiedTable) Close() error { return nil }
