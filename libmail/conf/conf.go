// Package conf reads main.cf and master.cf: the parameter catalogue, typed
// values, `$name` expansion.
package conf

import (
	"time"
)

// A Config is one reading of main.cf over the catalogue's defaults. It does not
// change after Load, so that any number of goroutines may ask it.
type Config struct {
	dir string
}

// Load reads main.cf in the directory dir ("" means $MAIL_CONFIG, else
// /etc/postfix). Each override is "name=value", as after -o on a command line,
// and wins over main.cf. Every value that is set is checked; the error names
// file, line and parameter.
func Load(dir string, overrides ...string) (*Config, error) { return &Config{dir: dir}, nil }

// With returns a copy of c in which each override ("name=value") wins.
func (c *Config) With(overrides ...string) (*Config, error) { return c, nil }

// Dir is the configuration directory.
func (c *Config) Dir() string { return c.dir }

// String returns the value of a parameter with every $name expanded; a
// parameter of kind raw (expanded by its user, such as forward_path) comes as
// it stands. String panics if the catalogue does not have the name.
func (c *Config) String(name string) string { return "" }

// Bool returns the value of a yes/no parameter.
func (c *Config) Bool(name string) bool { return false }

// Int returns the value of a whole-number parameter.
func (c *Config) Int(name string) int { return 0 }

// Size returns the value of a size parameter in bytes.
func (c *Config) Size(name string) int64 { return 0 }

// Duration returns the value of a time parameter.
func (c *Config) Duration(name string) time.Duration { return 0 }

// List returns the value of a list parameter: the parts between commas and
// blanks; text in braces stays together.
func (c *Config) List(name string) []string { return nil }

// Raw returns the value of a parameter without expanding any $name.
func (c *Config) Raw(name string) string { return "" }

// IsSet reports whether main.cf or an override sets the parameter.
func (c *Config) IsSet(name string) bool { return false }

// Where tells where a parameter is set ("main.cf:12"), or "" for a default.
func (c *Config) Where(name string) string { return "" }

// User returns the expanded value of any name that main.cf sets, also of one
// that the catalogue does not have: a restriction class, a legacy table
// parameter, a name of the administrator's own.
func (c *Config) User(name string) (string, bool) { return "", false }

// Expand replaces every $name in text by parameter values.
func (c *Config) Expand(text string) string { return text }

// TransportInt returns <service>_<suffix>, or its default for all transports,
// for a whole-number suffix such as "destination_concurrency_limit".
func (c *Config) TransportInt(service, suffix string) int { return 0 }

// TransportString is TransportInt for a text suffix such as
// "destination_concurrency_negative_feedback".
func (c *Config) TransportString(service, suffix string) string { return "" }

// TransportDuration is TransportInt for a time suffix such as
// "destination_rate_delay" or "time_limit".
func (c *Config) TransportDuration(service, suffix string) time.Duration { return 0 }

// A Warning is something that the configuration says in vain.
type Warning struct {
	Where string // "main.cf:12"
	Name  string // parameter name
	Text  string // one line, for the log
}

// Unsupported lists what main.cf sets without effect.
func (c *Config) Unsupported() []Warning { return nil }

// SplitList splits text at commas and blanks; text in braces stays together.
func SplitList(text string) []string { return nil }

// ParseBool reads "yes" or "no" in any case.
func ParseBool(text string) (bool, error) { return false, nil }

// ParseTime reads a number with a unit s, m, h, d or w; without a unit, unit
// counts (time.Second, ...).
func ParseTime(text string, unit time.Duration) (time.Duration, error) { return 0, nil }

// Lookup finds the value of a $name during Substitute.
type Lookup func(name string) (value string, found bool)

// Substitute replaces every $name, ${name}, ${name?text}, ${name:text} in text
// by what lookup says; a name that it does not find becomes empty. The result
// of lookup is taken as it is.
func Substitute(text string, lookup Lookup) (string, error) { return text, nil }
