package gen

import (
	"fmt"
	"go/doc/comment"
	"slices"
	"strings"

	"postroad/libmail/conf"
)

// generic are the options that every daemon takes (libmail/server).
var generic = [][2]string{
	{"-n name", "the service's name in master.cf"},
	{"-t type", "its type: inet, unix, unix-dgram, fifo or pass"},
	{"-u", "give up root for mail_owner"},
	{"-c", "change the root directory to queue_directory"},
	{"-s n", "n listening sockets come from master"},
	{"-l, -z, -m n", "one session at a time, any number, n"},
	{"-S", "one session on standard input and output"},
	{"-o name=value", "a parameter in place of main.cf's"},
	{"-v", "log more"},
	{"--help", "say in short how it is called"},
}

// Roff is the page in the man macros.
func (p Page) Roff() string {
	var b strings.Builder
	header(&b, p.Name, p.Section)
	first := ""
	if len(p.doc.Content) > 0 {
		first = blockText(p.doc.Content[0])
	}
	summary, rest := firstSentence(first)
	_, summary, _ = strings.Cut(summary, " ")
	names := strings.Join(append([]string{p.Name}, aliases[p.Name]...), ", ")
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escape(names), escape(summary))
	for i, block := range p.doc.Content {
		if i == 0 {
			continue
		}
		h, heading := block.(*comment.Heading)
		if !heading {
			roffBlock(&b, block)
			continue
		}
		title := plain(h.Text)
		fmt.Fprintf(&b, ".SH %s\n", escape(strings.ToUpper(title)))
		if title == "Description" && rest != "" {
			fmt.Fprintf(&b, "%s\n.PP\n", escape(rest))
		}
	}
	if strings.Contains(p.Under("Synopsis"), "[generic") {
		b.WriteString(".SH GENERIC OPTIONS\nmaster(8) gives these; a person needs \\-v, \\-o and \\-S at most.\n")
		for _, o := range generic {
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s\n", escape(o[0]), escape(o[1]))
		}
	}
	b.WriteString(".SH SEE ALSO\npostconf(5), the parameters; master(8), postroad(1)\n")
	return b.String()
}

func header(b *strings.Builder, name string, section int) {
	fmt.Fprintf(b, ".TH %s %d \"\" postroad \"Mail system\"\n.nh\n.ad l\n", strings.ToUpper(name), section)
}

// firstSentence cuts text behind its first sentence.
func firstSentence(text string) (sentence, rest string) {
	if i := strings.Index(text, ". "); i >= 0 {
		return text[:i], text[i+2:]
	}
	return strings.TrimSuffix(text, "."), ""
}

func roffBlock(b *strings.Builder, block comment.Block) {
	switch block := block.(type) {
	case *comment.Paragraph:
		fmt.Fprintf(b, "%s\n.PP\n", escape(plain(block.Text)))
	case *comment.Code:
		fmt.Fprintf(b, ".nf\n.RS 2\n%s\n.RE\n.fi\n.PP\n", escape(strings.TrimRight(block.Text, "\n")))
	case *comment.List:
		for _, item := range block.Items {
			mark := "\\(bu"
			if item.Number != "" {
				mark = item.Number + "."
			}
			fmt.Fprintf(b, ".IP \"%s\" 4\n%s\n", mark, escape(itemText(item)))
		}
		b.WriteString(".PP\n")
	}
}

// blockText is a block in one line, or a code block as it is.
func blockText(block comment.Block) string {
	switch block := block.(type) {
	case *comment.Paragraph:
		return plain(block.Text)
	case *comment.Code:
		return block.Text
	case *comment.List:
		var items []string
		for _, item := range block.Items {
			items = append(items, itemText(item))
		}
		return strings.Join(items, "\n")
	}
	return ""
}

func itemText(item *comment.ListItem) string {
	var parts []string
	for _, block := range item.Content {
		parts = append(parts, blockText(block))
	}
	return strings.Join(parts, "\n")
}

// plain is text without markup, its lines joined.
func plain(text []comment.Text) string {
	var b strings.Builder
	for _, t := range text {
		switch t := t.(type) {
		case comment.Plain:
			b.WriteString(string(t))
		case comment.Italic:
			b.WriteString(string(t))
		case *comment.Link:
			b.WriteString(plain(t.Text))
		case *comment.DocLink:
			b.WriteString("[" + plain(t.Text) + "]")
		}
	}
	return strings.ReplaceAll(b.String(), "\n", " ")
}

// escape makes text harmless for roff: no escapes, no requests, and the minus
// sign and quotes that can be copied.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// Parameters is the page postconf(5): all parameters of the catalogue.
func Parameters() string {
	var b strings.Builder
	header(&b, "postconf", 5)
	b.WriteString(".SH NAME\npostconf \\- parameters of main.cf\n.SH DESCRIPTION\n" +
		"Each entry has the parameter's kind and limits, its default, and what it means. " +
		"A parameter marked as without effect is known, so that it is no spelling mistake, and read by no program; " +
		"start\\-up warns about it when main.cf sets it.\n.PP\n" +
		"A delivery transport of master.cf brings more parameters into being: its name in place of default in " +
		"those below default_ that limit deliveries.\n.SH PARAMETERS\n")
	for _, p := range conf.Params() {
		kind := p.Kind.String()
		if p.Limits != "" {
			kind += " " + p.Limits
		}
		value := p.Default
		if value == "" {
			value = "(empty, or found out at start)"
		}
		fmt.Fprintf(&b, ".TP\n\\fB%s\\fR (%s)\n%s\n.br\nDefault: %s\n", escape(p.Name), escape(kind), escape(p.Doc), escape(value))
		if !conf.Used(p.Name) && !slices.Contains([]conf.Kind{conf.Legacy}, p.Kind) {
			b.WriteString(".br\nWithout effect here.\n")
		}
	}
	b.WriteString(".SH SEE ALSO\npostconf(1), master(8)\n")
	return b.String()
}
