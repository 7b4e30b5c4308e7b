package table

import "sync/atomic"

// Maps is a list of tables that is searched in order: the value of a parameter
// such as virtual_alias_maps. A nil Maps has no tables.
type Maps struct {
	title  string
	tables []Table
	o      Options
	seen   atomic.Uint64 // generation at the last Changed
}

// OpenMaps opens each "type:name" of list (conf.Config.List of a parameter).
// title is the parameter's name, for the log.
func OpenMaps(title string, list []string, o Options) (*Maps, error) {
	m := &Maps{title: title, o: o}
	for _, spec := range list {
		t, err := Open(spec, o)
		if err != nil {
			return nil, err
		}
		m.tables = append(m.tables, t)
	}
	return m, nil
}

// Title is the name that OpenMaps was given.
func (m *Maps) Title() string { return m.title }

// Tables lists the tables in order.
func (m *Maps) Tables() []Table {
	if m == nil {
		return nil
	}
	return m.tables
}

// Empty reports whether there is no table at all.
func (m *Maps) Empty() bool { return m == nil || len(m.tables) == 0 }

// Find returns the first value that a table has for key. The first table that
// cannot answer ends the search with an error. An empty key is not found; an
// empty value is an error of configuration.
func (m *Maps) Find(key string) (value string, found bool, err error) {
	return m.find(key, false)
}

// FindPartial is Find in tables of fixed strings only: for keys that are a
// part of an address or name, which patterns must not see.
func (m *Maps) FindPartial(key string) (value string, found bool, err error) {
	return m.find(key, true)
}

func (m *Maps) find(key string, partial bool) (string, bool, error) {
	if m == nil || key == "" {
		return "", false, nil
	}
	for _, t := range m.tables {
		if partial && !fixed(t) {
			continue
		}
		value, found, err := t.Lookup(key)
		switch {
		case err != nil:
			m.warn().Warning("%s lookup error for \"%s\"", t.Name(), key)
			return "", false, err
		case found && value == "":
			m.warn().Warning("%s lookup of %s returns an empty string result", m.title, key)
			m.warn().Warning("%s should return NO RESULT in case of NOT FOUND", m.title)
			return "", false, &Error{t.Name(), key, ErrValue}
		case found:
			return value, true, nil
		}
	}
	return "", false, nil
}

// warn is where to complain.
func (m *Maps) warn() Logger {
	if m.o.Log == nil {
		return quiet{}
	}
	return m.o.Log
}

// Changed reports whether a table was read again since the last call. It looks
// at each file at most once a second.
func (m *Maps) Changed() bool {
	if m == nil {
		return false
	}
	n := group(m.tables).generation()
	return m.seen.Swap(n) != n
}

// Close closes the tables.
func (m *Maps) Close() error {
	if m == nil {
		return nil
	}
	return group(m.tables).close()
}
