package conf

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// String returns the value of a parameter with every $name expanded; a
// parameter of kind Raw (expanded by its user, such as forward_path) comes as
// it stands, a word of kind Enum in the catalogue's spelling. String panics if
// the catalogue does not have the name.
func (c *Config) String(name string) string {
	p := mustFind(name)
	raw := c.Raw(name)
	if p.Kind == Raw {
		return raw
	}
	v, err := c.Eval(raw)
	if err != nil {
		v = c.Expand(c.Default(p)) // a test proves that defaults expand
	}
	if p.Kind == Enum {
		return canonical(p, v)
	}
	return v
}

// canonical spells a word as the catalogue does: "May" reads as "may".
func canonical(p Param, word string) string {
	for _, w := range strings.Split(p.Limits, "|") {
		if strings.EqualFold(w, word) {
			return w
		}
	}
	return word
}

// List returns the value of a list parameter: the parts between commas and
// blanks; text in braces stays together, with its braces. In a match list, #
// hides the rest, as in Postfix; Warnings tells.
func (c *Config) List(name string) []string {
	words := SplitList(c.String(name))
	if mustFind(name).Kind == Match {
		if i := slices.IndexFunc(words, func(w string) bool { return w[0] == '#' }); i >= 0 {
			words = words[:i]
		}
	}
	return words
}

// Bool returns the value of a yes/no parameter.
func (c *Config) Bool(name string) bool {
	p := kind(name, Bool, Bool)
	b, err := ParseBool(c.String(name))
	if err != nil {
		b, _ = ParseBool(c.Expand(p.Default)) // a test proves that defaults parse
	}
	return b
}

// Int returns the value of a whole-number parameter.
func (c *Config) Int(name string) int { return int(c.number(kind(name, Int, Size))) }

// Size returns the value of a size parameter in bytes.
func (c *Config) Size(name string) int64 { return c.number(kind(name, Int, Size)) }

// Duration returns the value of a time parameter.
func (c *Config) Duration(name string) time.Duration {
	p := kind(name, Time, Time)
	d, err := c.duration(p, c.String(name))
	if err != nil {
		d, _ = c.duration(p, c.Expand(p.Default)) // a test proves that defaults parse
	}
	return d
}

// kind finds a parameter and panics if our code asks for the wrong kind.
func kind(name string, allowed ...Kind) Param {
	p := mustFind(name)
	if !slices.Contains(allowed, p.Kind) {
		panic(fmt.Sprintf("conf: parameter %s is %s, not %s", name, p.Kind, allowed[0]))
	}
	return p
}

func (c *Config) number(p Param) int64 {
	n, err := parseNumber(p, c.String(p.Name))
	if err != nil {
		n, _ = parseNumber(p, c.Expand(p.Default)) // a test proves that defaults parse
	}
	return n
}

// TransportInt returns <service>_<suffix>, or its default for all transports,
// for a whole-number suffix such as "destination_concurrency_limit".
func (c *Config) TransportInt(service, suffix string) int {
	return c.Int(Derived(service, suffix).Name)
}

// TransportString is TransportInt for a text suffix such as
// "destination_concurrency_negative_feedback".
func (c *Config) TransportString(service, suffix string) string {
	return c.String(Derived(service, suffix).Name)
}

// TransportDuration is TransportInt for a time suffix such as
// "destination_rate_delay" or "time_limit".
func (c *Config) TransportDuration(service, suffix string) time.Duration {
	return c.Duration(Derived(service, suffix).Name)
}

// ParseBool reads "yes" or "no" in any case.
func ParseBool(text string) (bool, error) {
	switch {
	case strings.EqualFold(text, "yes"):
		return true, nil
	case strings.EqualFold(text, "no"):
		return false, nil
	}
	return false, fmt.Errorf("bad value %q: write yes or no", text)
}

// ParseTime reads a number with a unit s, m, h, d or w; without a unit, unit
// counts (time.Second, ...). Text after the unit's first letter is ignored, so
// that "10 sec" without its blank is ten seconds, as in Postfix.
func ParseTime(text string, unit time.Duration) (time.Duration, error) {
	n := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '+' })
	if n < 0 {
		n = len(text)
	} else if u, ok := timeUnit(text[n]); ok {
		unit = u
	} else {
		return 0, fmt.Errorf("bad time value %q: write a number and a unit s, m, h, d or w", text)
	}
	count, err := strconv.ParseInt(text[:n], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("bad time value %q: write a number and a unit s, m, h, d or w", text)
	}
	if count > int64(math.MaxInt32*time.Second/unit) {
		return 0, fmt.Errorf("time value %q is too long: the limit is 68 years", text)
	}
	return time.Duration(count) * unit, nil
}

func timeUnit(letter byte) (time.Duration, bool) {
	switch letter {
	case 's':
		return time.Second, true
	case 'm':
		return time.Minute, true
	case 'h':
		return time.Hour, true
	case 'd':
		return 24 * time.Hour, true
	case 'w':
		return 7 * 24 * time.Hour, true
	}
	return 0, false
}

// duration reads a value of p. A value without a unit has the unit that the
// parameter's default is written with.
func (c *Config) duration(p Param, text string) (time.Duration, error) {
	unit := time.Second
	def := c.Expand(p.Default)
	if i := strings.IndexAny(def, "smhdw"); i >= 0 {
		unit, _ = timeUnit(def[i]) // IndexAny found a unit
	}
	d, err := ParseTime(text, unit)
	if err != nil {
		return 0, err
	}
	low, high := bounds(p)
	switch {
	case int64(d/time.Second) < low:
		return 0, fmt.Errorf("time value %q is too short: the least is %ds", text, low)
	case int64(d/time.Second) > high:
		return 0, fmt.Errorf("time value %q is too long: the most is %ds", text, high)
	}
	return d, nil
}

// parseNumber reads a value of the Int or Size parameter p. Where the least is
// 0, a negative number counts as 0, which is "no limit" or "off" in every such
// parameter; Postfix accepts it too.
func parseNumber(p Param, text string) (int64, error) {
	bits := 32
	if p.Kind == Size {
		bits = 64
	}
	n, err := strconv.ParseInt(text, 10, bits)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("number %q is too large", text)
	}
	if err != nil {
		return 0, fmt.Errorf("bad numerical value %q: write a whole number", text)
	}
	low, high := bounds(p)
	if low == 0 {
		n = max(n, 0)
	}
	switch {
	case n < low:
		return 0, fmt.Errorf("value %d is too small: the least is %d", n, low)
	case n > high:
		return 0, fmt.Errorf("value %d is too large: the most is %d", n, high)
	}
	return n, nil
}

// bounds reads "low..high" in p.Limits; either may be missing.
func bounds(p Param) (low, high int64) {
	low, high = 0, math.MaxInt64
	l, h, found := strings.Cut(strings.TrimPrefix(p.Limits, "len "), "..")
	if !found {
		return low, high
	}
	if n, err := strconv.ParseInt(l, 10, 64); err == nil { // the catalogue is ours; a test reads all limits
		low = n
	}
	if n, err := strconv.ParseInt(h, 10, 64); err == nil {
		high = n
	}
	return low, high
}

// checkValue reads value, already expanded, as a value of p.
func (c *Config) checkValue(p Param, value string) error {
	switch p.Kind {
	case Bool:
		_, err := ParseBool(value)
		return err
	case Int, Size:
		_, err := parseNumber(p, value)
		return err
	case Time:
		_, err := c.duration(p, value)
		return err
	case Enum:
		return checkWords(p, []string{value})
	case Flags:
		return checkWords(p, SplitWords(value))
	}
	return checkLength(p, value)
}

func checkLength(p Param, value string) error {
	if !strings.HasPrefix(p.Limits, "len ") {
		return nil
	}
	low, high := bounds(p)
	switch n := int64(len(value)); {
	case n == 0 && low > 0:
		return errors.New("the value must not be empty: remove the line to have the default")
	case n < low || n > high:
		return fmt.Errorf("value %q has %d characters: between %d and %d are allowed", clip(value), n, low, high)
	}
	return nil
}

func checkWords(p Param, words []string) error {
	allowed := strings.Split(p.Limits, "|")
	for _, w := range words {
		if !slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, w) }) {
			return fmt.Errorf("bad value %q: the choice is %s", w, strings.TrimPrefix(strings.Join(allowed, ", "), ", "))
		}
	}
	return nil
}

// Check reports every value that a program of ours reads and that is not what
// its parameter allows, in the order of main.cf.
func (c *Config) Check() []error {
	var faults []error
	if _, err := ParseLevel(c.String("compatibility_level")); err != nil {
		return []error{fmt.Errorf("%s: parameter compatibility_level: %w", c.Where("compatibility_level"), err)}
	}
	for _, name := range c.order {
		if err := c.checkSet(name); err != nil {
			faults = append(faults, fmt.Errorf("%s: parameter %s: %w", c.set[name].where, name, err))
		}
	}
	for _, t := range tables() {
		for i := range t {
			if err := c.checkDefault(&t[i]); err != nil {
				faults = append(faults, fmt.Errorf("main.cf: parameter %s, by its default %s: %w", t[i].Name, t[i].Default, err))
			}
		}
	}
	return faults
}

func (c *Config) checkSet(name string) error {
	p, known := Find(name)
	if known && (p.Kind == Raw || !Used(name)) {
		if p.Kind == Raw {
			return checkLength(p, c.set[name].value)
		}
		return nil
	}
	value, err := c.Eval(c.set[name].value)
	if err != nil || !known {
		return err
	}
	return c.checkValue(p, value)
}

// checkDefault checks a default that depends on what main.cf sets.
func (c *Config) checkDefault(p *Param) error {
	if p.Kind == Raw || !strings.Contains(p.Default, "$") || c.IsSet(p.Name) || !Used(p.Name) {
		return nil
	}
	value, err := c.Eval(p.Default)
	if err != nil {
		return err
	}
	return c.checkValue(*p, value)
}
