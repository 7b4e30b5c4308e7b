package table

import (
	"errors"
	"fmt"
	"strings"
)

// group is tables inside a table.
type group []Table

// openGroup opens the tables of pipemap:{type:name, ...} or unionmap. The
// first decides whether parts of addresses are looked up.
func openGroup(t *front, typ, name string) (group, error) {
	list, err := unbrace(name)
	specs := fields(list)
	if err != nil || len(specs) == 0 {
		return nil, badGroup(typ, name)
	}
	for _, spec := range specs {
		if !strings.Contains(spec, ":") {
			return nil, badGroup(typ, name)
		}
	}
	var g group
	for _, spec := range specs {
		inner, err := Open(spec, t.o)
		if err != nil {
			g.close() // they were only opened
			return nil, err
		}
		g = append(g, inner)
	}
	t.pattern = !fixed(g[0])
	return g, nil
}

func badGroup(typ, name string) error {
	return fmt.Errorf("bad syntax: \"%s:%s\"; need \"%s:{type:name...}\"", typ, name, typ)
}

func (g group) close() (err error) {
	for _, t := range g {
		err = errors.Join(err, t.Close())
	}
	return err
}

func (g group) generation() (n uint64) {
	for _, t := range g {
		n += generation(t)
	}
	return n
}

// owner is the least trusted owner: unknown if a table's is, or if two tables
// belong to different users.
func (g group) owner() Owner {
	o := Owner{Known: true}
	for _, t := range g {
		switch inner := OwnerOf(t); {
		case !inner.Known || o.Known && o.UID == 0:
			o = inner
		case o.UID != inner.UID && inner.UID != 0:
			return Owner{}
		}
	}
	return o
}

// pipe looks the result of one table up in the next.
type pipe struct{ group }

func openPipe(t *front, name string) (contents, error) {
	g, err := openGroup(t, "pipemap", name)
	return pipe{g}, err
}

func (p pipe) get(key string) (string, bool, error) {
	for _, t := range p.group {
		value, found, err := t.Lookup(key)
		if err != nil || !found {
			return "", false, err
		}
		key = value
	}
	return key, true, nil
}

// union joins what all tables have for a key.
type union struct{ group }

func openUnion(t *front, name string) (contents, error) {
	g, err := openGroup(t, "unionmap", name)
	return union{g}, err
}

func (u union) get(key string) (string, bool, error) {
	var all string
	for _, t := range u.group {
		value, found, err := t.Lookup(key)
		if err != nil {
			return "", false, err
		}
		if found && all != "" {
			all += ","
		}
		all += value
	}
	return all, all != "", nil
}

// debugged logs every lookup.
type debugged struct {
	group
	t *front
}

// openDebug opens debug:type:name.
func openDebug(t *front, name string) (contents, error) {
	inner, err := Open(name, t.o)
	if err != nil {
		return nil, err
	}
	t.pattern = !fixed(inner)
	return debugged{group{inner}, t}, nil
}

func (d debugged) get(key string) (string, bool, error) {
	value, found, err := d.group[0].Lookup(key)
	answer := value
	switch {
	case err != nil:
		answer = "error"
	case !found:
		answer = "not_found"
	}
	d.t.warn().Info("%s lookup: \"%s\" = \"%s\"", d.group[0].Name(), key, answer)
	return value, found, err
}

func (d debugged) walk(fn func(key, value string) error) error { return Walk(d.group[0], fn) }

// openProxy opens proxy:type:name through Options.Proxy, or directly where the
// caller does not trust a server.
func openProxy(t *front, name string) (contents, error) {
	var inner Table
	var err error
	switch {
	case t.o.Trust&NoProxy != 0:
		inner, err = Open(name, t.o)
	case t.o.Proxy == nil:
		err = errors.New("proxymap service is not available")
	default:
		inner, err = t.o.Proxy(name, t.o)
	}
	if err != nil {
		return nil, err
	}
	return proxied{group{inner}}, nil
}

// proxied passes lookups on. Whether its keys are patterns only the server
// knows.
type proxied struct{ group }

func (p proxied) get(key string) (string, bool, error) { return p.group[0].Lookup(key) }
