package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/message"
)

// A class says what a notice is about.
type class int

const (
	failure class = iota
	delay
	success
	verify // sendmail -v and -bv
)

var classNames = [...]string{"failure", "delay", "success", "verify"}

// A template is the header and the words of a notice (bounce(5)).
type template struct {
	class             class
	origin            string // file, for complaints
	charset           string
	eightBit          bool   // the text is not all ASCII
	from              string // From header
	subject           string
	postmasterSubject string // of copies; "" in classes that have none
	text              []string
}

// templates are one template a class, and what expands them.
type templates struct {
	of    [4]*template
	words *words
	file  string    // bounce_template_file
	time  time.Time // when it was changed last
}

// changed names the template file if it is not any more what was read.
func (t *templates) changed() string {
	if t.file == "" {
		return ""
	}
	if st, err := os.Stat(t.file); err != nil || st.ModTime().Equal(t.time) {
		return "" // not to be seen from here, as in a chroot, or the same
	}
	return t.file
}

// load reads templates from a file of the form
//
//	failure_template = <<EOF
//	Charset: us-ascii
//	From: MAILER-DAEMON (Mail Delivery System)
//	Subject: ...
//	Postmaster-Subject: ...
//
//	Text with $myhostname and other parameters.
//	EOF
//
// A template that is no good is left out, with a warning; a file that is not
// of this form is an error.
func (t *templates) load(r io.Reader, origin string) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if s := strings.TrimSpace(line); s == "" || s[0] == '#' {
			continue
		}
		name, value, err := nameValue(line)
		if err != nil {
			return fmt.Errorf("%s, line %d: %w: %q", origin, n, err, line)
		}
		start := n
		if end, found := strings.CutPrefix(value, "<<"); found {
			end = strings.TrimLeft(end, " \t")
			if end == "" || !isAlnum(end[0]) {
				return fmt.Errorf("%s, line %d: malformed end marker after <<", origin, n)
			}
			if value, found = until(lines, end, &n); !found {
				t.words.log.Warning("%s, line %d: missing \"%s\" end marker", origin, n, end)
			}
		}
		t.set(name, value, origin, start)
	}
	return lines.Err()
}

// until collects lines up to the end marker, and counts them.
func until(lines *bufio.Scanner, end string, n *int) (text string, found bool) {
	var list []string
	for lines.Scan() {
		*n++
		if lines.Text() == end {
			return strings.Join(list, "\n"), true
		}
		list = append(list, lines.Text())
	}
	return strings.Join(list, "\n"), false
}

func nameValue(line string) (name, value string, err error) {
	name, value, found := strings.Cut(line, "=")
	name = strings.TrimSpace(name)
	switch {
	case name == "":
		return "", "", fmt.Errorf("missing attribute name")
	case !found || strings.ContainsAny(name, " \t"):
		return "", "", fmt.Errorf("missing '=' after attribute name")
	}
	return name, strings.TrimSpace(value), nil
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// set replaces one template, unless the new one is no good.
func (t *templates) set(name, text, origin string, line int) {
	for c := range t.of {
		if name != classNames[c]+"_template" {
			continue
		}
		n := *t.of[c]
		n.origin = origin
		err := n.parse(text)
		if err == nil {
			_, err = t.words.lines(&n)
		}
		if err != nil {
			t.words.log.Warning("%s: %v in %s template -- ignoring this template", origin, err, classNames[c])
			return
		}
		t.of[c] = &n
		return
	}
	t.words.log.Warning("%s, line %d: unknown template name: %s -- ignoring this template", origin, line, name)
}

// parse reads the header and the text of a template over the defaults.
func (t *template) parse(text string) error {
	lines := strings.Split(text, "\n")
	for len(lines) > 0 {
		n := message.HeaderName([]byte(lines[0]))
		if n <= 0 {
			break
		}
		name, value := lines[0][:n], strings.TrimLeft(lines[0][n:], ": \t")
		if err := t.header(name, value); err != nil {
			return err
		}
		lines = lines[1:]
	}
	for len(lines) > 0 && strings.TrimSpace(lines[0]) == "" {
		lines = lines[1:]
	}
	if len(lines) == 0 {
		return fmt.Errorf("missing message text")
	}
	t.text = lines
	t.eightBit = !message.IsASCII([]byte(text))
	if t.eightBit && strings.EqualFold(t.charset, "us-ascii") {
		return fmt.Errorf("8-bit message text, but charset us-ascii")
	}
	return nil
}

func (t *template) header(name, value string) error {
	switch {
	case value == "":
		return fmt.Errorf("empty %q header value", name)
	case !message.IsASCII([]byte(value)):
		return fmt.Errorf("non-ASCII %q header value", name)
	}
	switch strings.ToLower(name) {
	case "charset":
		t.charset = value
	case "from":
		t.from = value
	case "subject":
		t.subject = value
	case "postmaster-subject":
		if t.postmasterSubject == "" {
			return fmt.Errorf("inapplicable %q header label", name)
		}
		t.postmasterSubject = value
	default:
		return fmt.Errorf("unknown %q header label", name)
	}
	return nil
}

// words knows what $names in templates stand for.
type words struct {
	conf *conf.Config
	log  *maillog.Logger
}

// lines is the text of a template with all $names expanded.
func (w *words) lines(t *template) ([]string, error) {
	list := make([]string, len(t.text))
	for i, line := range t.text {
		var bad error
		text, err := conf.Substitute(line, func(name string) (string, bool) {
			value, err := w.lookup(t, name)
			if err != nil && bad == nil {
				bad = err
			}
			return maillog.Printable(value), err == nil
		})
		if err == nil {
			err = bad
		}
		if err != nil {
			return nil, err
		}
		list[i] = text
	}
	return list, nil
}

// units are the endings with which time parameters may be named.
var units = []struct {
	ending string
	unit   time.Duration
}{
	{"_seconds", time.Second},
	{"_minutes", time.Minute},
	{"_hours", time.Hour},
	{"_days", 24 * time.Hour},
	{"_weeks", 7 * 24 * time.Hour},
}

// lookup is the value of a parameter; delay_warning_time and
// maximal_queue_lifetime with a unit are numbers of it.
func (w *words) lookup(t *template, name string) (string, error) {
	for _, p := range []string{"delay_warning_time", "maximal_queue_lifetime"} {
		if ending, found := strings.CutPrefix(name, p); found && ending != "" {
			return w.inUnit(t, name, w.conf.Duration(p), ending)
		}
	}
	if name == "myhostname" || name == "mydomain" {
		value := w.conf.String(name)
		if w.conf.Bool("smtputf8_enable") {
			if u, err := addr.DomainToUTF8(value); err == nil {
				value = u
			}
		}
		return value, nil
	}
	if value, found := w.conf.User(name); found {
		return value, nil
	}
	if _, found := conf.Find(name); !found {
		return "", fmt.Errorf("undefined $%s", name)
	}
	return w.conf.Eval("${" + name + "}")
}

func (w *words) inUnit(t *template, name string, value time.Duration, ending string) (string, error) {
	for _, u := range units {
		if ending != u.ending {
			continue
		}
		n := int64(value / u.unit)
		switch {
		case n > 999 && u.unit < 24*time.Hour:
			w.log.Warning("%s: excessive result \"%d\" in %s template conversion of parameter \"%s\"", t.origin, n, classNames[t.class], name)
		case n == 0 && value != 0 && u.unit > time.Second:
			w.log.Warning("%s: zero result in %s template conversion of parameter \"%s\"", t.origin, classNames[t.class], name)
		}
		return strconv.FormatInt(n, 10), nil
	}
	return "", fmt.Errorf("unrecognized suffix %q in parameter %q", ending[1:], name)
}

// dump prints the templates in the form that load reads.
func (t templates) dump(w io.Writer) {
	for i, m := range t.of {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s_template = <<EOF\nCharset: %s\nFrom: %s\nSubject: %s\n", classNames[m.class], m.charset, m.from, m.subject)
		if m.postmasterSubject != "" {
			fmt.Fprintf(w, "Postmaster-Subject: %s\n", m.postmasterSubject)
		}
		fmt.Fprintf(w, "\n%s\nEOF\n", strings.Join(m.text, "\n"))
	}
}

// expand prints the texts as they will be sent.
func (t templates) expand(w io.Writer) {
	for i, m := range t.of {
		if i > 0 {
			fmt.Fprintln(w)
		}
		lines, err := t.words.lines(m)
		if err != nil {
			t.words.log.Warning("%s: %v in %s template", m.origin, err, classNames[m.class])
		}
		fmt.Fprintf(w, "expanded_%s_text = <<EOF\n%s\nEOF\n", classNames[m.class], strings.Join(lines, "\n"))
	}
}
