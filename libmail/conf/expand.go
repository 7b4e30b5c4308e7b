package conf

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// Bounds of one expansion. The nesting is Postfix's; the others keep a file of
// a few lines from asking for gigabytes.
const (
	maxNesting   = 100
	maxSteps     = 20000
	maxExpansion = 1 << 20 // bytes
)

const blanks = " \t\r\n\v\f"

// Lookup finds the value of a $name during Substitute.
type Lookup func(name string) (value string, found bool)

// Substitute replaces every $name, ${name}, ${name?text}, ${name:text} in text
// by what lookup says; a name that it does not find becomes empty. The result
// of lookup is taken as it is, so that it may come from a peer.
func Substitute(text string, lookup Lookup) (string, error) {
	e := expander{find: func(name string, _ purpose) (string, finding) {
		if v, ok := lookup(name); ok {
			return v, literal
		}
		return "", undefined
	}}
	err := e.text(text, 0)
	return e.out.String(), err
}

// A finding is what is known about a name's value.
type finding uint8

const (
	undefined finding = iota
	literal           // stands for itself
	pattern           // may contain $names
)

// A purpose tells find whether a value is wanted, or only whether it is empty.
type purpose uint8

const (
	forValue purpose = iota
	forTest
)

// An expander replaces $names in text by what find says.
type expander struct {
	find  func(name string, p purpose) (string, finding)
	out   strings.Builder
	steps int
}

// text appends the expansion of text to e.out.
func (e *expander) text(text string, depth int) error {
	if e.steps++; depth > maxNesting || e.steps > maxSteps {
		return fmt.Errorf("unreasonable nesting at %q: does a name refer to itself?", clip(text))
	}
	for text != "" {
		i := strings.IndexByte(text, '$')
		if i < 0 {
			i = len(text)
		}
		e.out.WriteString(text[:i])
		if e.out.Len() > maxExpansion {
			return fmt.Errorf("expansion exceeds %d bytes", maxExpansion)
		}
		if text = text[i:]; text == "" {
			return nil
		}
		if strings.HasPrefix(text, "$$") {
			e.out.WriteByte('$')
			text = text[2:]
			continue
		}
		body, rest, err := reference(text)
		if err != nil {
			return err
		}
		if err := e.expression(body, depth); err != nil {
			return err
		}
		text = rest
	}
	return nil
}

// reference splits "$name rest", "${body}rest" or "$(body)rest".
func reference(text string) (body, rest string, err error) {
	after := text[1:]
	if after != "" && (after[0] == '{' || after[0] == '(') {
		n := balanced(after)
		if n < 0 {
			return "", "", fmt.Errorf("truncated reference %q: a closing brace is missing", clip(text))
		}
		body, rest = after[1:n-1], after[n:]
	} else {
		n := nameLength(after)
		body, rest = after[:n], after[n:]
	}
	if body == "" {
		return "", "", fmt.Errorf("empty name after $ at %q: write $$ for a dollar sign", clip(text))
	}
	return body, rest, nil
}

// balanced returns the length of the parenthesized text that s starts with, or -1.
func balanced(s string) int {
	opening, closing := s[0], byte('}')
	if opening == '(' {
		closing = ')'
	}
	level := 0
	for i := range len(s) {
		switch s[i] {
		case opening:
			level++
		case closing:
			if level--; level == 0 {
				return i + 1
			}
		}
	}
	return -1
}

func nameLength(s string) int {
	for i := range len(s) {
		if !nameByte(s[i]) {
			return i
		}
	}
	return len(s)
}

func nameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// expression appends the value of what stands in ${...}: a name, a function
// call or a comparison, with or without the operators ? and :.
func (e *expander) expression(body string, depth int) error {
	if s := strings.TrimLeft(body, blanks); strings.HasPrefix(s, "{") {
		holds, rest, err := e.comparison(s, depth)
		if err != nil {
			return err
		}
		if rest == "" {
			if holds {
				e.out.WriteString("true")
			}
			return nil
		}
		return e.choice(holds, rest, depth)
	}
	s := strings.TrimLeft(body, blanks)
	n := nameLength(s)
	name, rest := s[:n], strings.TrimLeft(s[n:], blanks)
	switch {
	case name == "" || rest != "" && !strings.ContainsRune("?:{", rune(rest[0])):
		return fmt.Errorf("bad name at \"${%s}\": a name has letters, digits and underscores", clip(body))
	case rest == "":
		return e.name(name, depth)
	case rest[0] == '{':
		return e.function(name, rest, depth)
	}
	value, f := e.find(name, forTest)
	if f == pattern {
		var err error
		if value, err = e.apart(value, depth); err != nil {
			return err
		}
	}
	return e.choice(value != "", rest, depth)
}

// name appends the value of a name; an undefined name is empty.
func (e *expander) name(name string, depth int) error {
	switch value, f := e.find(name, forValue); f {
	case literal:
		e.out.WriteString(value)
	case pattern:
		return e.text(value, depth+1)
	}
	return nil
}

// choice appends the branch of ?{yes}:{no}, ?yes, :{no} or :no that holds.
func (e *expander) choice(holds bool, s string, depth int) error {
	if s[0] == '?' {
		yes, rest, err := operand(s[1:])
		if err != nil {
			return err
		}
		if holds {
			if err := e.text(yes, depth+1); err != nil {
				return err
			}
		}
		if s = rest; s == "" {
			return nil
		}
	}
	if s[0] != ':' {
		return fmt.Errorf("\":\" or \"?\" expected at %q", clip(s))
	}
	no, rest, err := operand(s[1:])
	if err != nil {
		return err
	}
	if rest != "" {
		return fmt.Errorf("unexpected text at %q", clip(rest))
	}
	if holds {
		return nil
	}
	return e.text(no, depth+1)
}

// operand takes {text} from the start of s, else all of s. Text in braces may
// be followed by blanks.
func operand(s string) (text, rest string, err error) {
	t := strings.TrimLeft(s, blanks)
	if !strings.HasPrefix(t, "{") {
		return s, "", nil
	}
	n := balanced(t)
	if n < 0 {
		return "", "", fmt.Errorf("unbalanced braces at %q", clip(s))
	}
	return t[1 : n-1], strings.TrimLeft(t[n:], blanks), nil
}

// function appends the result of name{argument}.
func (e *expander) function(name, s string, depth int) error {
	argument, rest, err := operand(s)
	if err != nil {
		return err
	}
	if rest != "" {
		return fmt.Errorf("unexpected text at %q", clip(rest))
	}
	convert := idna.Lookup.ToASCII
	switch name {
	case "domain_to_ascii":
	case "domain_to_utf8":
		convert = idna.Lookup.ToUnicode
	default:
		return fmt.Errorf("unknown function %q: domain_to_ascii and domain_to_utf8 exist", name)
	}
	value, err := e.apart(strings.Trim(argument, blanks), depth)
	if err != nil {
		return err
	}
	if ascii(value) && name == "domain_to_ascii" {
		e.out.WriteString(value)
		return nil
	}
	result, err := convert(value)
	if err != nil {
		return fmt.Errorf("%s{%s}: %w", name, value, err)
	}
	e.out.WriteString(result)
	return nil
}

// apart expands text into a string of its own, within the same bounds.
func (e *expander) apart(text string, depth int) (string, error) {
	sub := expander{find: e.find, steps: e.steps}
	err := sub.text(text, depth+1)
	e.steps = sub.steps
	return sub.out.String(), err
}

// comparison evaluates {x} OP {y}; rest is what follows.
func (e *expander) comparison(s string, depth int) (holds bool, rest string, err error) {
	left, s, err := operand(s)
	if err != nil {
		return false, "", err
	}
	n := strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune("<>!=", r) })
	if n < 0 {
		n = len(s)
	}
	operator, s := s[:n], s[n:]
	n = nameLength(s)
	family, s := s[:n], strings.TrimLeft(s[n:], blanks)
	if !strings.HasPrefix(s, "{") {
		return false, "", fmt.Errorf("comparison {x} OP {y} expected at \"{%s} %s%s\"", clip(left), operator, family)
	}
	right, rest, err := operand(s)
	if err != nil {
		return false, "", err
	}
	if left, err = e.apart(left, depth); err != nil {
		return false, "", err
	}
	if right, err = e.apart(right, depth); err != nil {
		return false, "", err
	}
	order, err := compare(left, right, family)
	if err != nil {
		return false, "", err
	}
	switch operator {
	case "==":
		holds = order == 0
	case "!=":
		holds = order != 0
	case "<":
		holds = order < 0
	case "<=":
		holds = order <= 0
	case ">":
		holds = order > 0
	case ">=":
		holds = order >= 0
	default:
		return false, "", fmt.Errorf("bad comparison %q: one of == != < <= > >= expected", operator)
	}
	return holds, rest, nil
}

// compare orders two operands: as compatibility levels in the family "level",
// else as numbers if both are all digits, else as text.
func compare(left, right, family string) (int, error) {
	switch {
	case family == "level":
		l, err := ParseLevel(left)
		if err != nil {
			return 0, err
		}
		r, err := ParseLevel(right)
		if err != nil {
			return 0, err
		}
		return int(max(-1, min(1, l-r))), nil
	case family != "":
		return 0, fmt.Errorf("bad comparison suffix %q: only \"level\" exists", family)
	case digits(left) && digits(right):
		left, right = strings.TrimLeft(left, "0"), strings.TrimLeft(right, "0")
		if len(left) != len(right) {
			return len(left) - len(right), nil
		}
	}
	return strings.Compare(left, right), nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 127 }) < 0
}

// clip shortens text for an error message.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
