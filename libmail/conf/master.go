package conf

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A Service is one entry of master.cf (master(5)).
type Service struct {
	Name         string        // first column as written: "smtp", "127.0.0.1:25", "cleanup"
	Type         string        // inet, unix, unix-dgram, fifo, pass
	Private      bool          // socket in private/, else in public/
	Unprivileged bool          // runs as $mail_owner
	Chroot       bool          // runs locked in $queue_directory
	Wakeup       time.Duration // 0: never
	WakeupIfUsed bool          // not before the service was used once
	MaxProc      int           // 0: no limit
	MaxProcUnset bool          // the column is "-": MaxProc is default_process_limit
	Command      string        // program, relative to $daemon_directory
	Args         []string      // arguments after the program name; {text} without its braces
	Line         int           // line in master.cf
}

// Where tells where the service is defined: "master.cf:12".
func (s Service) Where() string { return fmt.Sprintf("master.cf:%d", s.Line) }

// Socket is the path of the service's socket below $queue_directory,
// "private/bounce"; an inet service has none.
func (s Service) Socket() string {
	switch {
	case s.Type == "inet":
		return ""
	case s.Private:
		return "private/" + s.Name
	}
	return "public/" + s.Name
}

// Overrides lists the "name=value" of each -o argument.
func (s Service) Overrides() []string { return overrides(s.Args) }

// Overrides lists the "name=value" of each -o argument.
func (e Entry) Overrides() []string { return overrides(e.Fields[FieldArgs:]) }

func overrides(args []string) []string {
	var list []string
	for i := 0; i < len(args) && strings.HasPrefix(args[i], "-") && args[i] != "--"; i++ {
		if args[i] == "-o" && i+1 < len(args) {
			i++
			list = append(list, args[i])
		}
	}
	return list
}

// The fields of an Entry.
const (
	FieldName = iota
	FieldType
	FieldPrivate
	FieldUnprivileged
	FieldChroot
	FieldWakeup
	FieldMaxProc
	FieldCommand
	FieldArgs // first argument
)

// FieldNames are the names that postconf -F has for the fields.
var FieldNames = []string{"service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command"}

// An Entry is one entry of master.cf as it is written, with "-" for defaults.
// The options are in the form -o name=value, one field each, and text in
// braces has lost its braces.
type Entry struct {
	Fields []string
	Line   int
}

// maxServices bounds the entries of one master.cf.
const maxServices = 10000

// ReadMaster reads the entries of master.cf in dir, disabled ones and
// duplicates included.
func ReadMaster(dir string) ([]Entry, error) {
	text, err := readFile(filepath.Join(FindDir(dir), "master.cf"))
	if err != nil {
		return nil, err
	}
	return parseMaster(text)
}

func parseMaster(text []byte) ([]Entry, error) {
	var entries []Entry
	lines, warnings := Lines(text)
	if len(warnings) > 0 {
		return nil, fmt.Errorf("master.cf:%s: %s", warnings[0].Where, warnings[0].Text)
	}
	if len(lines) > maxServices {
		return nil, fmt.Errorf("master.cf: more than %d services", maxServices)
	}
	for _, l := range lines {
		e, err := ParseEntry(l.Text)
		if err != nil {
			return nil, fmt.Errorf("master.cf:%d: %w", l.No, err)
		}
		e.Line = l.No
		entries = append(entries, e)
	}
	return entries, nil
}

// ParseEntry reads one logical line of master.cf and checks its fields.
func ParseEntry(text string) (Entry, error) {
	fields := splitQuoted(text, blanks)
	if len(fields) < FieldArgs {
		return Entry{}, fmt.Errorf("%d fields in %q: service, type, private, unprivileged, chroot, wakeup, process limit and command are needed",
			len(fields), clip(text))
	}
	args, err := normalizeArgs(fields[FieldArgs:])
	if err != nil {
		return Entry{}, fmt.Errorf("service %s/%s: %w", fields[FieldName], fields[FieldType], err)
	}
	e := Entry{Fields: append(fields[:FieldArgs:FieldArgs], args...)}
	if err := e.Check(); err != nil {
		return Entry{}, fmt.Errorf("service %s/%s: %w", fields[FieldName], fields[FieldType], err)
	}
	return e, nil
}

// Check reads the fields that have few possible values.
func (e Entry) Check() error {
	switch e.Fields[FieldType] {
	case "inet", "unix", "unix-dgram", "fifo", "pass":
	default:
		return fmt.Errorf("bad type %q: inet, unix, unix-dgram, fifo or pass is expected", e.Fields[FieldType])
	}
	for field := FieldPrivate; field <= FieldChroot; field++ {
		if v := e.Fields[field]; v != "y" && v != "n" && v != "-" {
			return fmt.Errorf("bad %s field %q: y, n or - is expected", FieldNames[field], v)
		}
	}
	for field := FieldWakeup; field <= FieldMaxProc; field++ {
		v := e.Fields[field]
		if field == FieldWakeup {
			v = strings.TrimSuffix(v, "?")
		}
		if v != "-" && !digits(v) {
			return fmt.Errorf("bad %s field %q: a number or - is expected", FieldNames[field], e.Fields[field])
		}
	}
	return nil
}

// normalizeArgs brings the options into the form -o name=value and takes the
// braces off arguments that are in braces.
func normalizeArgs(args []string) ([]string, error) {
	var out []string
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "--" {
		option := args[0]
		args = args[1:]
		flags, value, found := strings.Cut(option[1:], "o")
		if flags != "" {
			out = append(out, "-"+flags)
		}
		if !found {
			if flags == "" {
				out = append(out, option)
			}
			continue
		}
		out = append(out, "-o")
		if value == "" && len(args) == 0 {
			break
		}
		if value == "" {
			value, args = args[0], args[1:]
		}
		if strings.HasPrefix(value, "{") {
			inner, err := unbrace(value)
			if err != nil {
				return nil, err
			}
			name, v, err := SplitNameValue(inner)
			if err != nil {
				return nil, fmt.Errorf("-o %s: %w", value, err)
			}
			value = name + "=" + v
		}
		out = append(out, value)
	}
	for _, a := range args {
		if strings.HasPrefix(a, "{") {
			inner, err := unbrace(a)
			if err != nil {
				return nil, err
			}
			a = inner
		}
		out = append(out, a)
	}
	return out, nil
}

// unbrace takes the braces off "{ text }", and the blanks inside them.
func unbrace(s string) (string, error) {
	n := balanced(s)
	switch {
	case n < 0:
		return "", fmt.Errorf("missing '}' in %q", clip(s))
	case n < len(s):
		return "", fmt.Errorf("text after '}' in %q", clip(s))
	}
	return strings.Trim(s[1:n-1], blanks), nil
}

// LoadMaster reads master.cf in dir. c gives the defaults that depend on
// main.cf, and master_service_disable, whose services are left out. Of two
// entries with the same name and type the later wins; DuplicateServices tells.
func LoadMaster(dir string, c *Config) ([]Service, error) {
	entries, err := ReadMaster(dir)
	if err != nil {
		return nil, err
	}
	return services(entries, c)
}

func services(entries []Entry, c *Config) ([]Service, error) {
	level, err := ParseLevel(c.String("compatibility_level"))
	if err != nil {
		return nil, fmt.Errorf("parameter compatibility_level: %w", err)
	}
	var list []Service
	place := map[string]int{}
	disabled := c.List("master_service_disable")
	for _, e := range entries {
		s, err := e.service(c, level)
		if err != nil {
			return nil, fmt.Errorf("master.cf:%d: service %s/%s: %w", e.Line, e.Fields[FieldName], e.Fields[FieldType], err)
		}
		key := s.Name + "/" + s.Type
		if matchService(disabled, s) {
			continue
		}
		if i, dup := place[key]; dup {
			list[i] = s
			continue
		}
		place[key] = len(list)
		list = append(list, s)
	}
	return list, nil
}

// DuplicateServices warns about entries that a later one with the same name and
// type replaces.
func DuplicateServices(entries []Entry) []Warning {
	var warnings []Warning
	first := map[string]int{}
	for _, e := range entries {
		key := e.Fields[FieldName] + "/" + e.Fields[FieldType]
		if line, dup := first[key]; dup {
			warnings = append(warnings, Warning{Where: fmt.Sprintf("master.cf:%d", e.Line),
				Text: fmt.Sprintf("duplicate entry for %s replaces the one in line %d", key, line)})
		}
		first[key] = e.Line
	}
	return warnings
}

// service gives the entry's dashes their meaning. Chroot defaults to yes below
// compatibility level 1, as in old Postfix.
func (e Entry) service(c *Config, level Level) (Service, error) {
	f := e.Fields
	yes := func(field int, byDefault string) bool {
		if f[field] == "-" {
			return byDefault == "y"
		}
		return f[field] == "y"
	}
	oldChroot := "n"
	if one, _ := ParseLevel("1"); level < one { // "1" parses
		oldChroot = "y"
	}
	s := Service{Name: f[FieldName], Type: f[FieldType], Line: e.Line,
		Private: yes(FieldPrivate, "y"), Unprivileged: yes(FieldUnprivileged, "y"), Chroot: yes(FieldChroot, oldChroot),
		MaxProc: c.Int("default_process_limit"), MaxProcUnset: f[FieldMaxProc] == "-", Command: f[FieldCommand], Args: f[FieldArgs:]}
	if w, ifUsed := strings.CutSuffix(f[FieldWakeup], "?"); w != "-" {
		seconds, err := strconv.ParseInt(w, 10, 32)
		if err != nil {
			return s, fmt.Errorf("wakeup field %q is too large", f[FieldWakeup])
		}
		s.Wakeup, s.WakeupIfUsed = time.Duration(seconds)*time.Second, ifUsed && seconds > 0
	}
	if f[FieldMaxProc] != "-" {
		n, err := strconv.ParseInt(f[FieldMaxProc], 10, 32)
		if err != nil {
			return s, fmt.Errorf("process_limit field %q is too large", f[FieldMaxProc])
		}
		s.MaxProc = int(n)
	}
	return s, s.check()
}

func (s Service) check() error {
	switch {
	case s.Type == "inet" && s.Private:
		return errors.New("an inet service cannot be private: write n in the third field")
	case s.Type == "inet":
		_, _, err := SplitInet(s.Name)
		return err
	case strings.Contains(s.Name, "/") || s.Name == "." || s.Name == "..":
		return errors.New("a service name is a file name without a directory")
	}
	return nil
}

// SplitInet splits the name of an inet service, "port", "host:port", ":port" or
// "[v6]:port"; an empty host means the addresses in inet_interfaces.
func SplitInet(name string) (host, port string, err error) {
	if !strings.Contains(name, ":") {
		return "", name, nil
	}
	host, port, err = net.SplitHostPort(name)
	if err == nil && port == "" {
		err = errors.New("missing port")
	}
	if err != nil {
		return "", "", fmt.Errorf("bad service name %q: port, host:port or [address]:port is expected", name)
	}
	return strings.TrimPrefix(host, "IPv6:"), port, nil
}

// matchService reports whether the first matching pattern, "name/type", "type"
// or the old "name.type", names the service; "!" reverses a pattern.
func matchService(patterns []string, s Service) bool {
	for _, p := range patterns {
		match := true
		for strings.HasPrefix(p, "!") {
			p, match = p[1:], !match
		}
		if i := strings.LastIndexByte(p, '.'); i >= 0 && !strings.Contains(p, "/") {
			p = p[:i] + "/" + p[i+1:]
		}
		key := s.Type
		if strings.Contains(p, "/") {
			key = s.Name + "/" + s.Type
		}
		if strings.EqualFold(p, key) {
			return match
		}
	}
	return false
}
