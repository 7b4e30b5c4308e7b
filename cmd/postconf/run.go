package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"postroad/libmail/conf"
)

// run does what the command line asks for. What is worth a word without being
// an error goes to complain.
func run(args []string, out io.Writer, complain func(string)) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	o.dir = conf.FindDir(o.dir)
	warn := func(format string, a ...any) { complain("warning: " + fmt.Sprintf(format, a...)) }
	switch {
	case o.mode&(bounceExpanded|bounceTemplate) != 0:
		return bounceTexts(o, out)
	case o.mode&(mapTypes|locks|saslServer|saslClient) != 0:
		return facts(o.mode, out)
	case o.mode&tlsInfo != 0:
		return tlsFacts(o.tls, out)
	case o.mode&(edit|comment|remove) != 0 && o.mode&mainCF != 0:
		return editMain(o, warn)
	case o.mode&(edit|comment|remove) != 0:
		return editMaster(o, warn)
	case o.mode&mainCF != 0:
		return showMain(o, out, warn)
	}
	return showMaster(o, out, warn)
}

// showMain prints parameters of main.cf.
func showMain(o options, out io.Writer, warn warner) error {
	v, err := readView(o, warn)
	if err != nil {
		return err
	}
	p := printer{out, o.mode}
	names := o.args
	if len(names) == 0 {
		names = v.names(o.classes)
	}
	for _, name := range names {
		if _, known := v.table[name]; !known {
			warn("%s: unknown parameter", name)
			continue
		}
		if err := v.showParameter(p, name); err != nil {
			return err
		}
	}
	if o.mode&defaults == 0 && !o.quiet {
		v.warnUnused("main.cf", nil)
		for i := range v.scopes {
			v.warnUnused("master.cf", &v.scopes[i])
		}
	}
	return nil
}

// showParameter prints a parameter of main.cf; with -n only if it is set.
func (v *view) showParameter(p printer, name string) error {
	if p.mode&explicit != 0 && !v.conf.IsSet(name) {
		return nil
	}
	value, err := v.value(v.conf, name, p.mode)
	if err != nil {
		return err
	}
	p.setting(name, value)
	return nil
}

// value is the value of a name as c has it, expanded if the mode asks for it.
func (v *view) value(c *conf.Config, name string, m mode) (string, error) {
	param, known := conf.Find(name)
	raw, set := c.Setting(name)
	if known && !set {
		raw = c.Raw(name)
	}
	if m&expand == 0 || known && param.Kind == conf.Raw {
		return raw, nil
	}
	value, err := c.Eval(raw)
	if err != nil {
		return "", fmt.Errorf("parameter %s: %w", name, err)
	}
	return value, nil
}

// names lists the parameters of the given classes in order.
func (v *view) names(wanted classes) []string {
	var names []string
	for name, c := range v.table {
		if c&wanted != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// A printer writes settings in the form that the options ask for.
type printer struct {
	out  io.Writer
	mode mode
}

const (
	lineLimit = 80
	indent    = "    "
)

// setting prints "name = value", or what -h, -H and -j make of it.
func (p printer) setting(name, value string) {
	switch {
	case p.mode&hideValue != 0:
		p.line(name)
	case p.mode&asJSON != 0:
		fmt.Fprintf(p.out, "{%s: %s}\n", quoteJSON(name), quoteJSON(value))
	case p.mode&hideName != 0:
		p.line(value)
	default:
		p.line(name + " = " + value)
	}
}

// line prints the words of text with single blanks between them, folded before
// the line limit if the mode says so.
func (p printer) line(text string) {
	var b strings.Builder
	column := 0
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) }) {
		switch {
		case column == 0:
		case p.mode&fold == 0 || column+len(word) < lineLimit:
			b.WriteByte(' ')
			column++
		default:
			b.WriteString("\n" + indent)
			column = len(indent)
		}
		b.WriteString(word)
		column += len(word)
	}
	b.WriteByte('\n')
	io.WriteString(p.out, b.String()) // main reports a failed flush
}

// quoteJSON writes s as a JSON string: \u only for controls.
func quoteJSON(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range strings.ToValidUTF8(s, "?") {
		switch c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		default:
			if c < ' ' {
				fmt.Fprintf(&b, `\u%04X`, c)
				continue
			}
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
