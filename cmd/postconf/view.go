package main

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"postroad/libmail/conf"
)

// classes say where a parameter name comes from.
type classes uint8

const (
	builtin  classes = 1 << iota // the catalogue
	service                      // a service of master.cf
	user                         // main.cf sets it and something refers to it
	legacy                       // obsolete; counts as user if main.cf sets it
	anyClass = builtin | service | user
)

func parseClasses(text string) (classes, bool) {
	names := map[string]classes{"builtin": builtin, "service": service, "user": user, "all": anyClass}
	var c classes
	for _, w := range conf.SplitWords(strings.ToLower(text)) {
		if names[w] == 0 {
			return 0, false
		}
		c |= names[w]
	}
	return c, c != 0
}

// A warner reports what is odd.
type warner func(format string, args ...any)

// A view is a configuration with the names that are valid in it.
type view struct {
	conf   *conf.Config
	dir    string
	table  map[string]classes
	scopes []scope
	warn   warner
	seen   map[string]bool // table files that were reported on
	quiet  bool            // no word about unused names
}

// A scope is one entry of master.cf with the names that its -o options set.
type scope struct {
	entry conf.Entry
	name  string // service/type
	set   map[string]string
	valid map[string]bool
	conf  *conf.Config // main.cf with the settings of this scope
}

// readView reads the configuration that the options name.
func readView(o options, warn warner) (*view, error) {
	v := &view{dir: o.dir, table: map[string]classes{}, warn: warn, seen: map[string]bool{}, quiet: o.quiet}
	var err error
	if o.mode&defaults != 0 {
		v.conf = conf.Defaults(o.dir)
	} else if v.conf, err = readMain(o); err != nil {
		return nil, err
	}
	list, err := conf.ReadMaster(o.dir)
	if errors.Is(err, os.ErrNotExist) && o.mode&mainCF != 0 {
		warn("%v", err)
	} else if err != nil {
		return nil, err
	}
	if err := v.addScopes(list); err != nil {
		return nil, err
	}
	v.addBuiltin()
	if o.mode&defaults == 0 {
		for _, w := range v.conf.Warnings() {
			warn("%s", filepath.Join(v.dir, w.String()))
		}
		v.addUser()
	}
	return v, nil
}

// readMain reads main.cf. A directory that the command line or the environment
// names counts as a setting, as in Postfix.
func readMain(o options) (*conf.Config, error) {
	c, err := conf.Read(o.dir, o.overrides...)
	if err != nil || o.dir == conf.DefaultDir || c.IsSet("config_directory") {
		return c, err
	}
	return c.Overlay("config_directory=" + o.dir)
}

func (v *view) addScopes(list []conf.Entry) error {
	for _, e := range list {
		s := scope{entry: e, name: e.Fields[conf.FieldName] + "/" + e.Fields[conf.FieldType],
			set: map[string]string{}, valid: map[string]bool{}}
		all := []string{"process_name=" + filepath.Base(e.Fields[conf.FieldCommand]), "service_name=" + e.Fields[conf.FieldName]}
		for _, setting := range e.Overrides() {
			name, value, err := conf.SplitNameValue(setting)
			if err != nil {
				v.warn("%s/master.cf:%d: -o %s: %v", v.dir, e.Line, setting, err)
				continue
			}
			s.set[name] = value
			all = append(all, setting)
		}
		var err error
		if s.conf, err = v.conf.Overlay(all...); err != nil {
			return err
		}
		v.scopes = append(v.scopes, s)
	}
	return nil
}

// addBuiltin enters the catalogue and the parameters of delivery services.
func (v *view) addBuiltin() {
	for _, p := range conf.Params() {
		switch p.Kind {
		case conf.Removed:
		case conf.Legacy:
			v.table[p.Name] = legacy
		default:
			v.table[p.Name] = builtin
		}
	}
	for _, s := range v.scopes {
		for _, suffix := range conf.Suffixes(s.entry.Fields[conf.FieldCommand]) {
			v.table[conf.Derived(s.entry.Fields[conf.FieldName], suffix).Name] = service
		}
	}
}

// addUser finds the valid names that the administrator made up: those that a
// value refers to, restriction classes, and parameters of tables without a file.
func (v *view) addUser() {
	classNames := conf.SplitWords(v.conf.String("smtpd_restriction_classes"))
	for i := range v.scopes {
		s := &v.scopes[i]
		for _, name := range append(conf.SplitWords(s.conf.String("smtpd_restriction_classes")), classNames...) {
			v.refer(name, s)
		}
		for name, value := range s.set {
			v.scan(name, value, s)
		}
	}
	for _, p := range conf.Params() {
		if p.Kind != conf.Raw && !v.conf.IsSet(p.Name) {
			for _, ref := range conf.ReferencedNames(p.Default) {
				v.refer(ref, nil)
			}
		}
	}
	for _, name := range classNames {
		v.refer(name, nil)
	}
	for _, name := range v.conf.Names() {
		value, _ := v.conf.Setting(name)
		if v.table[name] == legacy {
			v.table[name] = user
		}
		v.scan(name, value, nil)
	}
}

// scan enters the names that a value refers to.
func (v *view) scan(name, value string, s *scope) {
	p, known := conf.Find(name)
	if known && p.Kind == conf.Raw {
		return
	}
	for _, ref := range conf.ReferencedNames(value) {
		v.refer(ref, s)
		if s != nil && !v.defined(ref, s) {
			v.warn("%s/master.cf:%d: undefined parameter $%s counts as empty", v.dir, s.entry.Line, ref)
		}
	}
	if v.table[name]&(builtin|service) == 0 {
		return
	}
	c := v.conf
	if s != nil {
		c = s.conf
	}
	for _, table := range conf.TableRefs(c.Expand(value)) {
		for _, parameter := range table.Parameters() {
			v.refer(parameter, s)
		}
		v.checkClient(table)
	}
}

func (v *view) defined(name string, s *scope) bool {
	_, local := s.set[name]
	return local || v.conf.IsSet(name) || v.table[name] != 0
}

// refer makes a name valid where a value is given to it: in the scope, in
// main.cf, or, if main.cf refers to it, in any service.
func (v *view) refer(name string, s *scope) {
	if s != nil {
		if _, local := s.set[name]; local {
			s.valid[name] = true
			return
		}
	}
	if v.conf.IsSet(name) && v.table[name] == 0 {
		v.table[name] = user
	}
	if s == nil {
		for i := range v.scopes {
			if _, local := v.scopes[i].set[name]; local {
				v.scopes[i].valid[name] = true
			}
		}
	}
}

// checkClient reports what the file of a database client sets in vain, once.
func (v *view) checkClient(t conf.TableRef) {
	known, isClient := conf.TableSuffixes[t.Type]
	if !isClient || !strings.HasPrefix(t.Name, "/") || v.seen[t.Name] {
		return
	}
	v.seen[t.Name] = true
	text, err := os.ReadFile(t.Name)
	if err != nil {
		if !errors.Is(err, os.ErrPermission) { // it may hold passwords
			v.warn("%s configuration: %v", t.Type, err)
		}
		return
	}
	lines, _ := conf.Lines(bytes.TrimSpace(text))
	for _, l := range lines {
		name, value, err := conf.SplitNameValue(l.Text)
		if err != nil {
			v.warn("%s:%d: %v", t.Name, l.No, err)
			continue
		}
		if !slices.Contains(known, name) && !v.quiet {
			v.warn("%s:%s: unused parameter: %s=%s", t.Type, t.Name, name, value)
		}
	}
}

// warnUnused reports the names that are set and that nothing uses, of main.cf or
// of one service.
func (v *view) warnUnused(file string, s *scope) {
	var names []string
	if s == nil {
		names = slices.Sorted(slices.Values(v.conf.Names()))
	} else {
		names = slices.Sorted(maps.Keys(s.set))
	}
	for _, name := range names {
		if v.table[name] != 0 || s != nil && s.valid[name] {
			continue
		}
		value, _ := v.conf.Setting(name)
		if s != nil {
			value = s.set[name]
		}
		v.warn("%s: unused parameter: %s=%s", filepath.Join(v.dir, file), name, value)
	}
}
