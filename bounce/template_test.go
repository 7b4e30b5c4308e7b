package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/mailtest"
)

func newWords(t testing.TB, mainCF string) (*words, *lines) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte("myhostname = mx.example.com\n"+mainCF), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	return &words{conf: c, log: maillog.New("bounce", log)}, log
}

// What postconf -t prints can be read again and prints the same.
func TestTemplateFileRoundTrip(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(mailtest.Corpora(t, "postfix-refs/bounce"), "obs_template_test.ref"))
	if err != nil {
		t.Fatal(err)
	}
	w, log := newWords(t, "")
	templates := builtin(w)
	if err := templates.load(strings.NewReader(string(text)), "file"); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	templates.dump(&out)
	if out.String() != string(text) {
		t.Errorf("dumped\n%s\nwant\n%s", out.String(), text)
	}
	out.Reset()
	templates.expand(&out)
	if got := out.String(); !strings.HasPrefix(got, "expanded_failure_text = <<EOF\nThis is the mail system at host mx.example.com.\n") ||
		!strings.Contains(got, "more than 0 hour(s).\nIt will be retried until it is 5 day(s) old.\n") || len(log.got) != 0 {
		t.Errorf("expanded\n%s\nlogged %q", got, log.got)
	}
}

func TestBuiltinTemplates(t *testing.T) {
	for _, format := range []string{"standard", "obsolete"} {
		w, _ := newWords(t, "header_from_format = "+format+"\ndelay_warning_time = 4h\n")
		templates := builtin(w)
		var out strings.Builder
		templates.dump(&out)
		other := builtin(w)
		for _, m := range other.of {
			m.text, m.from = nil, ""
		}
		if err := other.load(strings.NewReader(out.String()), "file"); err != nil {
			t.Fatal(err)
		}
		var again strings.Builder
		other.dump(&again)
		if out.String() != again.String() {
			t.Errorf("%s: a dump is not read back:\n%s", format, again.String())
		}
		from := map[string]string{"standard": "Mail Delivery System <MAILER-DAEMON>", "obsolete": "MAILER-DAEMON (Mail Delivery System)"}[format]
		if strings.Count(out.String(), "\nFrom: "+from+"\n") != 4 {
			t.Errorf("%s: From header in\n%s", format, out.String())
		}
	}
	w, _ := newWords(t, "delay_warning_time = 4h\n")
	lines, err := w.lines(builtin(w).of[delay])
	if err != nil || !strings.Contains(strings.Join(lines, "\n"), "more than 4 hour(s)") {
		t.Errorf("%q, %v", lines, err)
	}
}

func TestTemplateFiles(t *testing.T) {
	for _, c := range []struct{ rule, text, subject, said, err string }{
		{"a template replaces the built-in one", "failure_template = <<X\nSubject: new\n\ntext\nX\n", "new", "", ""},
		{"comments and empty lines are skipped", "# comment\n\nfailure_template=<< X\nSubject: new\n\ntext\nX\n", "new", "", ""},
		{"the end marker may be missing", "failure_template = <<X\nSubject: new\n\ntext\n", "new", `file, line 4: missing "X" end marker`, ""},
		{"an unknown template is left out", "other_template = <<X\nSubject: new\n\ntext\nX\n", "", "file, line 1: unknown template name: other_template -- ignoring this template", ""},
		{"an unknown header spoils the template", "failure_template = <<X\nReply-To: new\n\ntext\nX\n", "", `file: unknown "Reply-To" header label in failure template -- ignoring this template`, ""},
		{"an empty header does too", "failure_template = <<X\nSubject:\n\ntext\nX\n", "", `file: empty "Subject" header value in failure template -- ignoring this template`, ""},
		{"and one that is not ASCII", "failure_template = <<X\nSubject: caf\u00e9\n\ntext\nX\n", "", `file: non-ASCII "Subject" header value in failure template -- ignoring this template`, ""},
		{"a report has no postmaster copy", "success_template = <<X\nPostmaster-Subject: x\n\ntext\nX\n", "", `file: inapplicable "Postmaster-Subject" header label in success template -- ignoring this template`, ""},
		{"text is needed", "failure_template = <<X\nSubject: new\n\nX\n", "", "file: missing message text in failure template -- ignoring this template", ""},
		{"8-bit text needs a charset", "failure_template = <<X\nSubject: new\n\ncaf\u00e9\nX\n", "", "file: 8-bit message text, but charset us-ascii in failure template -- ignoring this template", ""},
		{"which it may have", "failure_template = <<X\nCharset: utf-8\nSubject: new\n\ncaf\u00e9\nX\n", "new", "", ""},
		{"an undefined name spoils the template", "failure_template = <<X\nSubject: new\n\n$no_such_name\nX\n", "", "file: undefined $no_such_name in failure template -- ignoring this template", ""},
		{"and an unknown unit", "failure_template = <<X\nSubject: new\n\n$delay_warning_time_years\nX\n", "",
			`file: unrecognized suffix "years" in parameter "delay_warning_time_years" in failure template -- ignoring this template`, ""},
		{"main.cf may define names of its own", "failure_template = <<X\nSubject: new\n\n$my_name $mail_name\nX\n", "new", "", ""},
		{"too small a unit is complained of", "failure_template = <<X\nSubject: new\n\n$maximal_queue_lifetime_seconds\nX\n", "new",
			`file: excessive result "432000" in failure template conversion of parameter "maximal_queue_lifetime_seconds"`, ""},
		{"a line without = is an error", "failure_template\n", "", "", `file, line 1: missing '=' after attribute name: "failure_template"`},
		{"so is an end marker that is none", "failure_template = <<*\n", "", "", "file, line 1: malformed end marker after <<"},
	} {
		w, log := newWords(t, "my_name = me\n")
		templates := builtin(w)
		old := templates.of[failure].subject
		err := templates.load(strings.NewReader(c.text), "file")
		if c.err == "" && err != nil || c.err != "" && (err == nil || err.Error() != c.err) {
			t.Errorf("%s: %v", c.rule, err)
		}
		want := c.subject
		if want == "" {
			want = old
		}
		if got := templates.of[failure].subject; got != want {
			t.Errorf("%s: subject %q", c.rule, got)
		}
		if got := strings.TrimPrefix(strings.Join(log.got, "\n"), "warning: "); got != c.said {
			t.Errorf("%s: logged %s", c.rule, got)
		}
	}
}

func FuzzTemplates(f *testing.F) {
	f.Add("failure_template = <<X\nSubject: new\n\n$myhostname ${mydomain}\nX\n")
	f.Add("a=<<b\n$")
	w, _ := newWords(f, "")
	f.Fuzz(func(t *testing.T, text string) {
		templates := builtin(w)
		if err := templates.load(strings.NewReader(text), "file"); err != nil {
			return
		}
		for _, m := range templates.of {
			if _, err := w.lines(m); err != nil {
				t.Errorf("a template that cannot be used was taken: %v", err)
			}
		}
	})
}
