package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"postroad/libmail/conf"
)

// A request is service[/type[/name]] of the command line; "*" stands for all.
type request struct {
	text    string
	parts   []string
	matched bool
}

// parseRequests reads requests with between least and most parts.
func parseRequests(args []string, least, most int, complaint string) ([]request, error) {
	var list []request
	for _, arg := range args {
		r := request{text: arg}
		if !strings.HasPrefix(arg, "/") {
			r.parts = strings.FieldsFunc(arg, func(c rune) bool { return c == '/' })
		}
		bad := slices.ContainsFunc(r.parts, func(p string) bool { return p != "*" && strings.Contains(p, "*") })
		if bad || len(r.parts) < least || len(r.parts) > most {
			return nil, errors.New(complaint)
		}
		for len(r.parts) < most {
			r.parts = append(r.parts, "*")
		}
		list = append(list, r)
	}
	return list, nil
}

// matches reports whether the request means an entry.
func (r *request) matches(e conf.Entry) bool {
	return (r.parts[0] == "*" || r.parts[0] == e.Fields[conf.FieldName]) &&
		(r.parts[1] == "*" || r.parts[1] == e.Fields[conf.FieldType])
}

// showMaster prints entries, fields or -o settings of master.cf.
func showMaster(o options, out io.Writer, warn warner) error {
	v, err := readView(o, warn)
	if err != nil {
		return err
	}
	p := printer{out, o.mode}
	show, most, complaint := v.showEntry, 2, "-M option requires service_name[/type]"
	switch {
	case o.mode&fields != 0:
		show, most, complaint = v.showFields, 3, "-F option requires service_name[/type[/field]]"
	case o.mode&params != 0:
		show, most, complaint = v.showSettings, 3, "-P option requires service_name[/type[/parameter]]"
	}
	requests, err := parseRequests(o.args, 1, most, complaint)
	if err != nil {
		return err
	}
	for _, r := range requests {
		if o.mode&fields != 0 && r.parts[2] != "*" && !slices.Contains(conf.FieldNames, r.parts[2]) {
			return fmt.Errorf("invalid service attribute name: %q", r.parts[2])
		}
	}
	all := len(requests) == 0
	if all {
		requests = []request{{text: "*", parts: []string{"*", "*", "*"}}}
	}
	for i := range v.scopes {
		for j := range requests {
			if r := &requests[j]; r.matches(v.scopes[i].entry) {
				if err := show(p, &v.scopes[i], r, o.classes); err != nil {
					return err
				}
			}
		}
	}
	for _, r := range requests {
		if !r.matched && !all {
			warn("unmatched request: %q", r.text)
		}
	}
	if !o.quiet {
		for i := range v.scopes {
			v.warnUnused("master.cf", &v.scopes[i])
		}
	}
	return nil
}

// showEntry prints one entry, its fields at fixed columns.
func (v *view) showEntry(p printer, s *scope, r *request, _ classes) error {
	r.matched = true
	args, err := p.expandArgs(s)
	if err != nil {
		return err
	}
	if p.mode&asJSON != 0 {
		words := append(slices.Clone(s.entry.Fields[:conf.FieldArgs]), bracedAll(args)...)
		fmt.Fprintf(p.out, "{%s: %s}\n", quoteJSON(s.name), quoteJSON(strings.Join(words, " ")))
		return nil
	}
	io.WriteString(p.out, formatEntry(s.entry.Fields[:conf.FieldArgs], args, p.mode)) // main reports a failed flush
	return nil
}

// columns are where the fields of an entry begin.
var columns = [conf.FieldArgs]int{0, 11, 17, 25, 33, 41, 49, 57}

func formatEntry(fixed, args []string, m mode) string {
	var b strings.Builder
	for i, f := range fixed {
		if i > 0 {
			b.WriteString(strings.Repeat(" ", max(1, columns[i]-b.Len())))
		}
		b.WriteString(f)
	}
	writeArgs(&b, b.Len(), args, m)
	b.WriteByte('\n')
	return b.String()
}

// writeArgs appends arguments; with -f an option with a value has its own line,
// and other arguments share lines. column is how far the line has got.
func writeArgs(b *strings.Builder, column int, args []string, m mode) {
	words := bracedAll(args)
	for i := 0; i < len(words); i++ {
		text, own := words[i], false
		if args[i] == "-o" && i+1 < len(words) && optionsUpTo(args, i) {
			text, own = text+" "+words[i+1], true
			i++
		}
		switch {
		case column <= len(indent):
		case m&fold == 0 || !own && column+1+len(text) < lineLimit:
			b.WriteByte(' ')
			column++
		default:
			b.WriteString("\n" + indent)
			column = len(indent)
		}
		b.WriteString(text)
		column += len(text)
		if own {
			column = lineLimit
		}
	}
}

// optionsUpTo reports whether args[i] still belongs to the options.
func optionsUpTo(args []string, i int) bool {
	for j := 0; j < i; j++ {
		if args[j] == "-o" {
			j++
		} else if !strings.HasPrefix(args[j], "-") || args[j] == "--" {
			return false
		}
	}
	return true
}

// bracedAll puts arguments that need it into braces.
func bracedAll(args []string) []string {
	words := make([]string, len(args))
	for i, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\r\n") {
			a = "{" + a + "}"
		}
		words[i] = a
	}
	return words
}

// expandArgs is the arguments of an entry, with -x the -o values expanded.
func (p printer) expandArgs(s *scope) ([]string, error) {
	args := slices.Clone(s.entry.Fields[conf.FieldArgs:])
	if p.mode&expand == 0 {
		return args, nil
	}
	for i := range args {
		if i == 0 || args[i-1] != "-o" || !optionsUpTo(args, i-1) {
			continue
		}
		value, err := s.conf.Eval(args[i])
		if err != nil {
			return nil, fmt.Errorf("master.cf:%d: %s: %w", s.entry.Line, args[i], err)
		}
		args[i] = value
	}
	return args, nil
}

// showFields prints the requested fields as service/type/field = value.
func (v *view) showFields(p printer, s *scope, r *request, _ classes) error {
	r.matched = true
	args, err := p.expandArgs(s)
	if err != nil {
		return err
	}
	for i, name := range conf.FieldNames {
		if r.parts[2] == "*" || r.parts[2] == name {
			if i != conf.FieldCommand {
				p.field(s.name+"/"+name, s.entry.Fields[i], nil)
				continue
			}
			p.field(s.name+"/"+name, s.entry.Fields[i], args)
		}
	}
	return nil
}

func (p printer) field(name, value string, args []string) {
	if p.mode&asJSON != 0 {
		text := strings.Join(append([]string{value}, bracedAll(args)...), " ")
		fmt.Fprintf(p.out, "{%s: %s}\n", quoteJSON(name), quoteJSON(text))
		return
	}
	var b strings.Builder
	if p.mode&hideName == 0 {
		b.WriteString(name)
	}
	if p.mode&(hideName|hideValue) == 0 {
		b.WriteString(" = ")
	}
	if p.mode&hideValue == 0 {
		column := b.Len()
		if column > 0 && column+len(value) > lineLimit {
			b.WriteString("\n" + indent)
			column = len(indent)
		}
		b.WriteString(value)
		writeArgs(&b, column+len(value), args, p.mode)
	}
	b.WriteByte('\n')
	io.WriteString(p.out, b.String()) // main reports a failed flush
}

// showSettings prints -o settings as service/type/name = value; with -PP what
// main.cf and the defaults say as well.
func (v *view) showSettings(p printer, s *scope, r *request, wanted classes) error {
	names := map[string]bool{}
	for name := range s.set {
		names[name] = true
	}
	if p.mode&allParams != 0 {
		for name, c := range v.table {
			if c&wanted != 0 {
				names[name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if r.parts[2] != "*" && r.parts[2] != name {
			continue
		}
		r.matched = true
		value, err := v.value(s.conf, name, p.mode)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if p.mode&hideValue != 0 {
			p.line(s.name + "/" + name)
			continue
		}
		p.setting(s.name+"/"+name, value)
	}
	return nil
}
