// Package conf reads main.cf and master.cf: the parameter catalogue, typed
// values, `$name` expansion.
//
//	main.cf    # comment
//	           name = value text
//	               continued, because the line begins with a blank
//	           other = $name ${name} ${name?text} ${name:text} ${name?{yes}:{no}}
//	                   ${{$compatibility_level} <level {3.6} ? {old} : {new}} $$
//	master.cf  service type private unprivileged chroot wakeup maxproc command args...
//
// The last setting of a name wins. A $name is replaced when the value is asked
// for, so that the order of lines does not matter.
package conf

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// DefaultDir is where main.cf and master.cf are if nothing else is said.
const DefaultDir = "/etc/postfix"

// A Config is one reading of main.cf over the catalogue's defaults. It does not
// change after Load, so that any number of goroutines may ask it.
type Config struct {
	dir      string
	set      map[string]setting
	order    []string // names in set, in the order of their first appearance
	warnings []Warning
	networks func() string // computed default of mynetworks
}

type setting struct {
	value string // unexpanded
	where string // "main.cf:12" or "-o"
}

// A Warning is something that the configuration says in vain.
type Warning struct {
	Where string // "main.cf:12"
	Name  string // parameter name, or ""
	Text  string // one line, for the log
}

// String is the warning as the log shows it.
func (w Warning) String() string {
	if w.Name == "" {
		return w.Where + ": " + w.Text
	}
	return w.Where + ": parameter " + w.Name + ": " + w.Text
}

// FindDir is the configuration directory: dir if it is not empty, else
// $MAIL_CONFIG, else DefaultDir.
func FindDir(dir string) string {
	if dir == "" {
		dir = os.Getenv("MAIL_CONFIG")
	}
	if dir == "" {
		dir = DefaultDir
	}
	return dir
}

// Load reads main.cf in the directory dir ("" means $MAIL_CONFIG, else
// /etc/postfix). Each override is "name=value", as after -o on a command line,
// and wins over main.cf. Every value that is set, and that some program of
// ours reads, is checked; the error names file, line and parameter.
func Load(dir string, overrides ...string) (*Config, error) {
	c, err := Read(dir, overrides...)
	if err != nil {
		return nil, err
	}
	if faults := c.Check(); len(faults) > 0 {
		return nil, faults[0]
	}
	return c, nil
}

// Read is Load without the checks of values, for programs that show or repair a
// configuration. Getters then answer the default in place of a bad value.
func Read(dir string, overrides ...string) (*Config, error) {
	c := Defaults(dir)
	text, err := readFile(filepath.Join(c.dir, "main.cf"))
	if err != nil {
		return nil, err
	}
	if err := c.parse(text); err != nil {
		return nil, err
	}
	if err := c.override(overrides); err != nil {
		return nil, err
	}
	return c, nil
}

// parse adds the settings in the text of a main.cf.
func (c *Config) parse(text []byte) error {
	lines, warnings := Lines(text)
	for _, w := range warnings {
		w.Where = "main.cf:" + w.Where
		c.warnings = append(c.warnings, w)
	}
	for _, l := range lines {
		where := fmt.Sprintf("main.cf:%d", l.No)
		name, value, err := SplitNameValue(l.Text)
		if err != nil {
			return fmt.Errorf("%s: %w: %q", where, err, clip(l.Text))
		}
		if old, ok := c.set[name]; ok && old.value != value {
			c.warnings = append(c.warnings, Warning{Where: where, Name: name,
				Text: fmt.Sprintf("overriding earlier entry in %s: %s=%s", old.where, name, old.value)})
		}
		if readOnly(name) {
			c.warnings = append(c.warnings, Warning{Where: where, Name: name, Text: "cannot be set, the entry is ignored"})
			continue
		}
		c.put(name, setting{value, where})
	}
	return nil
}

// readOnly reports the names that describe the running process.
func readOnly(name string) bool {
	return name == "process_id" || name == "process_name" || name == "service_name"
}

func (c *Config) put(name string, s setting) {
	if _, ok := c.set[name]; !ok {
		c.order = append(c.order, name)
	}
	c.set[name] = s
}

func (c *Config) override(overrides []string) error {
	for _, o := range overrides {
		name, value, err := SplitNameValue(o)
		if err != nil {
			return fmt.Errorf("-o %s: %w", o, err)
		}
		c.put(name, setting{value, "-o"})
	}
	return nil
}

// Defaults is the configuration of an empty main.cf, whether dir has one or not.
func Defaults(dir string) *Config {
	c := &Config{dir: FindDir(dir), set: map[string]setting{}}
	c.networks = sync.OnceValue(c.computeNetworks)
	return c
}

// Overlay returns a copy of c in which each override ("name=value") wins,
// without a check of values.
func (c *Config) Overlay(overrides ...string) (*Config, error) {
	n := &Config{dir: c.dir, set: maps.Clone(c.set), order: slices.Clone(c.order), warnings: c.warnings}
	n.networks = sync.OnceValue(n.computeNetworks)
	return n, n.override(overrides)
}

// With is Overlay with the checks of Load.
func (c *Config) With(overrides ...string) (*Config, error) {
	n, err := c.Overlay(overrides...)
	if err != nil {
		return nil, err
	}
	if faults := n.Check(); len(faults) > 0 {
		return nil, faults[0]
	}
	return n, nil
}

// Dir is the configuration directory.
func (c *Config) Dir() string { return c.dir }

// IsSet reports whether main.cf or an override sets the parameter.
func (c *Config) IsSet(name string) bool { _, ok := c.set[name]; return ok }

// Where tells where a parameter is set ("main.cf:12", "-o"), or "" for a default.
func (c *Config) Where(name string) string { return c.set[name].where }

// Names lists what main.cf and the overrides set, in order.
func (c *Config) Names() []string { return slices.Clone(c.order) }

// Setting returns the unexpanded text that main.cf or an override gives a name,
// also one that the catalogue does not have.
func (c *Config) Setting(name string) (value string, set bool) {
	s, set := c.set[name]
	return s.value, set
}

// Raw returns the value of a parameter without expanding any $name. It panics
// if the catalogue does not have the name.
func (c *Config) Raw(name string) string {
	if s, ok := c.set[name]; ok {
		return s.value
	}
	return c.Default(mustFind(name))
}

// Default is the unexpanded default of a parameter, computed ones included.
func (c *Config) Default(p Param) string {
	if v, ok := c.computed(p.Name); ok {
		return v
	}
	return p.Default
}

// User returns the expanded value of any name that main.cf sets, also of one
// that the catalogue does not have: a restriction class, a legacy table
// parameter, a name of the administrator's own.
func (c *Config) User(name string) (string, bool) {
	s, ok := c.set[name]
	if !ok {
		return "", false
	}
	v, err := c.Eval(s.value)
	if err != nil {
		return s.value, true // Load has refused such a value
	}
	return v, true
}

// Expand replaces every $name in text by parameter values. Text that cannot be
// expanded comes back as it is; Eval tells why.
func (c *Config) Expand(text string) string {
	v, err := c.Eval(text)
	if err != nil {
		return text
	}
	return v
}

// Eval is Expand with the reason when text cannot be expanded.
func (c *Config) Eval(text string) (string, error) {
	if !strings.Contains(text, "$") {
		return text, nil
	}
	e := expander{find: c.find}
	err := e.text(text, 0)
	return e.out.String(), err
}

// find is the expander's view of c: settings first, then computed defaults,
// then the catalogue. Asked only for emptiness, a setting counts as it is
// written, while a default counts by what comes out of it.
func (c *Config) find(name string, why purpose) (string, finding) {
	p, known := Find(name)
	s, set := c.set[name]
	switch {
	case set && (why == forTest || known && p.Kind == Raw):
		return s.value, literal
	case set:
		return s.value, pattern
	}
	if v, ok := c.computed(name); ok {
		return v, literal
	}
	switch {
	case !known:
		return "", undefined
	case p.Kind == Raw:
		return p.Default, literal
	}
	return p.Default, pattern
}

// mustFind is Find for names that our own code wrote.
func mustFind(name string) Param {
	p, ok := Find(name)
	if !ok {
		panic("conf: parameter " + name + " is not in the catalogue")
	}
	return p
}
