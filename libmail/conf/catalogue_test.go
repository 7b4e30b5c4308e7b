package conf

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Params() {
		if seen[p.Name] {
			t.Errorf("%s: twice in the catalogue", p.Name)
		}
		seen[p.Name] = true
		if !strings.HasSuffix(p.Doc, ".") || strings.Contains(p.Doc, "\n") {
			t.Errorf("%s: not one sentence: %q", p.Name, p.Doc)
		}
		if l, h, found := strings.Cut(strings.TrimPrefix(p.Limits, "len "), ".."); found {
			if _, err := strconv.Atoi(l); err != nil {
				t.Errorf("%s: limits %q", p.Name, p.Limits)
			}
			if _, err := strconv.Atoi(h); err != nil && h != "" {
				t.Errorf("%s: limits %q", p.Name, p.Limits)
			}
		} else if p.Limits != "" && p.Kind != Enum && p.Kind != Flags {
			t.Errorf("%s: limits %q of kind %s", p.Name, p.Limits, p.Kind)
		}
		if p.Name != strings.Trim(p.Name, blanks) || nameLength(p.Name) != len(p.Name) {
			t.Errorf("%q is no name", p.Name)
		}
	}
	for _, table := range tables() {
		if !slices.IsSortedFunc(table, func(a, b Param) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("the table that begins with %s is not sorted", table[0].Name)
		}
	}
}

// Getters fall back to the default, so every default must be a valid value.
func TestDefaultsAreValid(t *testing.T) {
	for _, level := range []string{"0", "1", "2", "3.6", "3.11"} {
		for _, stress := range []string{"", "yes"} {
			c := parsed(t, "compatibility_level = "+level+"\nstress = "+stress+"\n")
			for _, p := range Params() {
				value := c.Default(p)
				if p.Kind != Raw {
					v, err := c.Eval(value)
					if err != nil {
						t.Errorf("%s: %v", p.Name, err)
					}
					value = v
				}
				if err := c.checkValue(p, value); err != nil && value != "" {
					t.Errorf("%s at level %s: %v", p.Name, level, err)
				}
				c.String(p.Name)
			}
		}
	}
}

func TestDerivedParameters(t *testing.T) {
	p, ok := Find("relay_destination_recipient_limit")
	if !ok || p.Default != "$default_destination_recipient_limit" || p.Kind != Int {
		t.Errorf("derived: %+v, %v", p, ok)
	}
	if p, _ = Find("local_destination_recipient_limit"); p.Default != "1" {
		t.Errorf("the catalogue's own entry does not win: %+v", p)
	}
	p, ok = Find("x_destination_concurrency_failed_cohort_limit")
	if !ok || p.Default != "$default_destination_concurrency_failed_cohort_limit" {
		t.Errorf("longest suffix: %+v", p)
	}
	if _, ok := Find("_time_limit"); ok {
		t.Error("a derived name without a service exists")
	}
	if n := len(Suffixes("smtp")); n != len(suffixes)-1 {
		t.Errorf("smtp has %d suffixes", n)
	}
	if n := len(Suffixes("pipe")); n != len(suffixes) {
		t.Errorf("pipe has %d suffixes", n)
	}
	if s := Suffixes("spawn"); len(s) != 1 || s[0] != "time_limit" {
		t.Errorf("spawn has %v", s)
	}
	if s := Suffixes("smtpd"); s != nil {
		t.Errorf("smtpd has %v", s)
	}
}

func TestUnknownNamesAreOurBug(t *testing.T) {
	c := parsed(t, "")
	for rule, f := range map[string]func(){
		"String of an unknown name": func() { c.String("no_such_parameter") },
		"Int of a text":             func() { c.Int("myhostname") },
		"Bool of a number":          func() { c.Bool("line_length_limit") },
		"unknown suffix":            func() { c.TransportInt("smtp", "colour") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", rule)
				}
			}()
			f()
		}()
	}
}
