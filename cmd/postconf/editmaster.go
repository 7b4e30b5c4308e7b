package main

import (
	"bufio"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"postroad/libmail/conf"
)

// An edition is one change of master.cf.
type edition struct {
	request
	value    string
	field    int         // with -F
	entry    *conf.Entry // with -M: the entry that replaces or follows
	replaced bool        // entry has found its place
}

// editMaster sets, comments out or deletes entries, fields or -o settings of
// master.cf.
func editMaster(o options, warn warner) error {
	editions, err := masterEditions(o)
	if err != nil {
		return err
	}
	path := filepath.Join(o.dir, "master.cf")
	err = replaceFile(path, func(text []byte, out *bufio.Writer) error {
		lines := physicalLines(text)
		for i := 0; i < len(lines); {
			content := strings.TrimLeft(lines[i], blanks)
			if content == "" || content[0] == '#' || content != lines[i] {
				out.WriteString(lines[i])
				i++
				continue
			}
			next := entryEnd(lines, i)
			if err := editEntry(o.mode, editions, lines[i:next], i+1, out); err != nil {
				return fmt.Errorf("%s:%d: %w", path, i+1, err)
			}
			i = next
		}
		for i := range editions {
			if e := &editions[i]; e.entry != nil && !e.replaced {
				out.WriteString(entryText(*e.entry))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range editions {
		if !e.matched && o.mode&entries == 0 {
			warn("unmatched service_name/type: %q", e.text)
		}
	}
	return nil
}

// entryEnd is the index after the last line that belongs to the entry that
// begins in line i. Comments and empty lines after it are not part of it.
func entryEnd(lines []string, i int) int {
	end := i + 1
	for j := end; j < len(lines); j++ {
		content := strings.TrimLeft(lines[j], blanks)
		if content == "" || content[0] == '#' {
			continue
		}
		if content == lines[j] {
			break
		}
		end = j + 1
	}
	return end
}

// masterEditions reads "service/type[/name]=value" or "service/type[/name]".
func masterEditions(o options) ([]edition, error) {
	parts, complaint := 3, "-Pe or -PX requires service_name/type/parameter"
	switch {
	case o.mode&entries != 0:
		parts, complaint = 2, "-Me, -MX or -M# requires service_name/type"
	case o.mode&fields != 0:
		complaint = "-Fe requires service_name/type/field_name"
	}
	var list []edition
	for _, arg := range o.args {
		e := edition{}
		pattern := strings.Trim(arg, blanks)
		switch {
		case strings.Contains(arg, "\n"):
			return nil, errors.New("-Me, -Fe, -Pe, -X, or -# accept no multi-line input")
		case strings.HasPrefix(pattern, "#"):
			return nil, errors.New("-Me, -Fe, -Pe, -X, or -# accept no comment input")
		case o.mode&edit != 0:
			var err error
			if pattern, e.value, err = conf.SplitNameValue(arg); err != nil {
				return nil, fmt.Errorf("%w: %q", err, arg)
			}
		case strings.Contains(arg, "="):
			return nil, errors.New("-X or -# requires names without value")
		}
		requests, err := parseRequests([]string{pattern}, parts, parts, complaint)
		if err != nil {
			return nil, err
		}
		e.request = requests[0]
		e.text = arg
		if err := e.prepare(o.mode); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// prepare checks the value of an edition.
func (e *edition) prepare(m mode) error {
	switch {
	case m&entries != 0 && m&edit != 0:
		entry, err := conf.ParseEntry(e.value)
		if err != nil {
			return fmt.Errorf("%w: %q", err, e.text)
		}
		e.entry = &entry
	case m&fields != 0:
		e.field = slices.Index(conf.FieldNames, e.parts[2])
		switch {
		case e.parts[2] == "*":
			return errors.New("-Fe does not accept wild-card field name")
		case e.field < 0:
			return fmt.Errorf("invalid service attribute name: %q", e.parts[2])
		case e.field < conf.FieldCommand && (e.value == "" || strings.ContainsAny(e.value, blanks)):
			return errors.New("-Fe does not accept whitespace in non-command field")
		}
	case m&params != 0:
		switch {
		case e.parts[2] == "*":
			return errors.New("-Pe or -PX does not accept wild-card parameter name")
		case strings.ContainsAny(e.value, blanks):
			return errors.New("-Pe does not accept whitespace in parameter value")
		}
	}
	return nil
}

// editEntry writes one entry of master.cf as the editions leave it. Lines that
// no edition is about come out as they are, comments between them too.
func editEntry(m mode, editions []edition, lines []string, no int, out *bufio.Writer) error {
	current, err := conf.ParseEntry(logical(lines))
	if err != nil && m&(fields|params) != 0 {
		return err
	}
	if err != nil { // only name and type are needed
		if current.Fields = strings.Fields(lines[0]); len(current.Fields) < 2 {
			return errors.New("specify service name and type on the same line")
		}
	}
	touched, replacement := false, (*conf.Entry)(nil)
	for i := range editions {
		e := &editions[i]
		same := e.entry != nil && e.entry.Fields[0] == current.Fields[0] && e.entry.Fields[1] == current.Fields[1]
		if !e.matches(current) && !same {
			continue
		}
		touched, e.matched = true, true
		switch {
		case e.entry != nil && !e.replaced:
			replacement, e.replaced = e.entry, true
		case m&fields != 0:
			if current, err = withField(current, e.field, e.value); err != nil {
				return err
			}
			replacement = &current
		case m&params != 0:
			current = withSetting(current, m, e.parts[2], e.value)
			replacement = &current
		}
	}
	writeEntry(m, lines, touched, replacement, out)
	return nil
}

// writeEntry writes the comments among the lines of an entry, and the lines
// themselves: as they are, commented out, replaced, or not at all.
func writeEntry(m mode, lines []string, touched bool, replacement *conf.Entry, out *bufio.Writer) {
	for i, line := range lines {
		content := strings.TrimLeft(line, blanks)
		switch {
		case !touched || content == "" || content[0] == '#':
			out.WriteString(line)
		case m&comment != 0:
			out.WriteString("#" + line)
		}
		if i == 0 && replacement != nil {
			out.WriteString(entryText(*replacement))
		}
	}
}

func logical(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		if content := strings.TrimLeft(line, blanks); content != "" && content[0] != '#' {
			b.WriteString(strings.TrimSuffix(line, "\n"))
		}
	}
	return b.String()
}

func entryText(e conf.Entry) string {
	return formatEntry(e.Fields[:conf.FieldArgs], e.Fields[conf.FieldArgs:], fold)
}

// withField is e with another value in one field; the command takes its
// arguments with it.
func withField(e conf.Entry, field int, value string) (conf.Entry, error) {
	changed := conf.Entry{Fields: slices.Clone(e.Fields), Line: e.Line}
	if field != conf.FieldCommand {
		changed.Fields[field] = value
		return changed, changed.Check()
	}
	command, err := conf.ParseEntry("x unix - - - - - " + value)
	if err != nil {
		return e, err
	}
	changed.Fields = append(changed.Fields[:conf.FieldCommand], command.Fields[conf.FieldCommand:]...)
	return changed, nil
}

// withSetting is e with -o name=value changed, added after the last option, or
// with -X taken away.
func withSetting(e conf.Entry, m mode, name, value string) conf.Entry {
	fields := slices.Clone(e.Fields)
	found := false
	i := conf.FieldArgs
	for i < len(fields) && strings.HasPrefix(fields[i], "-") && fields[i] != "--" {
		if fields[i] != "-o" || i+1 == len(fields) {
			i++
			continue
		}
		switch {
		case !strings.HasPrefix(fields[i+1], name+"="):
			i += 2
		case m&remove != 0:
			fields = slices.Delete(fields, i, i+2)
		default:
			fields[i+1], found = name+"="+value, true
			i += 2
		}
	}
	if m&edit != 0 && !found {
		fields = slices.Insert(fields, i, "-o", name+"="+value)
	}
	return conf.Entry{Fields: fields, Line: e.Line}
}
