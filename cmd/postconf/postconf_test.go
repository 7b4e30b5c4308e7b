package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postroad/libmail/mailtest"
)

const mainText = `# first
myhostname = mail.example.com
mydestination = $myhostname,
    localhost
# between
	last
colour = blue
smtpd_banner = $colour
maybe = unused
`

const masterText = `# services
smtp      inet  n       -       y       -       -       smtpd
relay     unix  -       -       n       -       -       smtp
# about relay
  -o syslog_name=$colour/$service_name -o { smtp_helo_name = a b }
pipe-line unix  -       n       n       -       10      pipe
  flags=R user=x argv=/bin/x ${sender} {a b}
`

// execute runs the command on a copy of the files above and returns what it
// prints and, line by line, what it complains about.
func execute(t *testing.T, dir string, args ...string) (output string, complaints []string, err error) {
	t.Helper()
	var out strings.Builder
	err = run(append([]string{"-c", dir}, args...), &out, func(s string) {
		complaints = append(complaints, strings.ReplaceAll(s, dir, "DIR"))
	})
	return strings.ReplaceAll(out.String(), dir, "DIR"), complaints, err
}

func configuration(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.cf": mainText, "master.cf": masterText} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestShow(t *testing.T) {
	dir := configuration(t)
	unused := `warning: DIR/main.cf: unused parameter: maybe=unused`
	cases := []struct {
		rule, args, want string
		complaints       []string
	}{
		{"-n shows what is set, sorted, and names that something refers to", "-n",
			"colour = blue\nconfig_directory = DIR\nmydestination = $myhostname, localhost last\nmyhostname = mail.example.com\nsmtpd_banner = $colour\n", []string{unused}},
		{"names come in the order of the arguments", "-q smtpd_banner relayhost maybe colour",
			"smtpd_banner = $colour\nrelayhost =\ncolour = blue\n", []string{"warning: maybe: unknown parameter"}},
		{"-x expands", "-qx smtpd_banner mydomain", "smtpd_banner = blue\nmydomain = example.com\n", nil},
		{"-x leaves raw parameters", "-qx forward_path", "forward_path = $home/.forward${recipient_delimiter}${extension}, $home/.forward\n", nil},
		{"-o wins over main.cf", "-qx -o colour=red smtpd_banner", "smtpd_banner = red\n", nil},
		{"-d shows defaults only", "-d smtpd_banner relay_destination_rate_delay",
			"smtpd_banner = $myhostname ESMTP $mail_name\nrelay_destination_rate_delay = $default_destination_rate_delay\n", nil},
		{"-h shows values", "-qh colour relayhost", "blue\n\n", nil},
		{"-H shows names", "-qnH", "colour\nconfig_directory\nmydestination\nmyhostname\nsmtpd_banner\n", nil},
		{"-j shows JSON", "-qj colour", "{\"colour\": \"blue\"}\n", nil},
		{"-C user shows the administrator's names", "-q -C user", "colour = blue\n", nil},
		{"-f folds", "-qf tls_medium_cipherlist proxy_write_maps",
			"tls_medium_cipherlist =\n    aNULL:-aNULL:HIGH:MEDIUM:!SEED:!IDEA:!3DES:!RC2:!RC4:!RC5:!kDH:!kECDH:!aDSS:!MD5:+RC4:@STRENGTH\n" +
				"proxy_write_maps = $smtp_sasl_auth_cache_name $lmtp_sasl_auth_cache_name\n    $address_verify_map $postscreen_cache_map\n", nil},
		{"-M shows entries in columns", "-qM smtp relay",
			"smtp       inet  n       -       y       -       -       smtpd\n" +
				"relay      unix  -       -       n       -       -       smtp -o syslog_name=$colour/$service_name -o {smtp_helo_name=a b}\n", nil},
		{"-Mf folds at options with a value", "-qMf */unix",
			"relay      unix  -       -       n       -       -       smtp\n    -o syslog_name=$colour/$service_name\n    -o {smtp_helo_name=a b}\n" +
				"pipe-line  unix  -       n       n       -       10      pipe flags=R user=x\n    argv=/bin/x ${sender} {a b}\n", nil},
		{"-Mx expands for the service", "-qMx relay",
			"relay      unix  -       -       n       -       -       smtp -o syslog_name=blue/relay -o {smtp_helo_name=a b}\n", nil},
		{"-Mj shows JSON", "-qMj smtp/inet", "{\"smtp/inet\": \"smtp inet n - y - - smtpd\"}\n", nil},
		{"-F shows fields", "-qF smtp/inet/chroot */*/process_limit",
			"smtp/inet/chroot = y\nsmtp/inet/process_limit = -\nrelay/unix/process_limit = -\npipe-line/unix/process_limit = 10\n", nil},
		{"-F command has the arguments", "-qF pipe-line/unix/command", "pipe-line/unix/command = pipe flags=R user=x argv=/bin/x ${sender} {a b}\n", nil},
		{"-Fj keys have three parts", "-qFj smtp/inet/wakeup", "{\"smtp/inet/wakeup\": \"-\"}\n", nil},
		{"-P shows -o settings", "-qP", "relay/unix/smtp_helo_name = a b\nrelay/unix/syslog_name = $colour/$service_name\n", nil},
		{"-Px expands for the service", "-qPx */*/syslog_name", "relay/unix/syslog_name = blue/relay\n", nil},
		{"-PP shows also what main.cf says", "-qPP relay/unix/colour relay/unix/syslog_name", "relay/unix/colour = blue\nrelay/unix/syslog_name = $colour/$service_name\n", nil},
		{"unmatched requests are reported", "-qM none", "", []string{`warning: unmatched request: "none"`}},
		{"-l lists locks", "-l", "flock\nfcntl\ndotlock\n", nil},
	}
	for _, tc := range cases {
		out, complaints, err := execute(t, dir, strings.Fields(tc.args)...)
		if err != nil || out != tc.want || !slices.Equal(complaints, tc.complaints) {
			t.Errorf("%s: postconf %s\ngot  %q\nwant %q\ncomplaints %q, error %v", tc.rule, tc.args, out, tc.want, complaints, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	dir := configuration(t)
	cases := []struct{ rule, args, want string }{
		{"two subjects", "-M -F", "specify one of -F -M"},
		{"-d with -n", "-d -n", "specify one of -d -n"},
		{"-j with -h", "-j -h", "do not specify -h"},
		{"-e without argument", "-e", "-e requires name=value argument"},
		{"-X without argument", "-X", "missing service or parameter argument"},
		{"unknown option", "-z", "usage: postconf"},
		{"missing value", "-o", "usage: postconf"},
		{"unknown class", "-C some", "bad class"},
		{"bad override", "-o x", "missing '='"},
		{"-M with three parts", "-M a/b/c", "-M option requires service_name[/type]"},
		{"a star inside a name", "-M a*", "-M option requires service_name[/type]"},
		{"unknown field", "-F a/b/c", `invalid service attribute name: "c"`},
		{"-X with a value", "-X a=b", "specify one of -e -X"},
		{"bad entry", "-M x/y=foo", "1 fields"},
		{"bad field", "-F smtp/inet/chroot=maybe", `bad chroot field "maybe"`},
		{"unknown TLS question", "-T x", "unknown 'postconf -T' mode: x"},
	}
	for _, tc := range cases {
		_, _, err := execute(t, dir, strings.Fields(tc.args)...)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: postconf %s: %v, want %q", tc.rule, tc.args, err, tc.want)
		}
	}
	if _, _, err := execute(t, t.TempDir()); err == nil || !strings.Contains(err.Error(), "main.cf: no such file") {
		t.Errorf("no main.cf: %v", err)
	}
	for name, text := range map[string]string{"main.cf": mainText, "master.cf": masterText} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != text {
			t.Errorf("%s has changed, %v", name, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestEdit(t *testing.T) {
	const main, master = "main.cf", "master.cf"
	cases := []struct {
		rule     string
		args     []string
		file     string
		old, new string // replaced text; an empty old text is the end
	}{
		{"a value changes in its place, continuations go", []string{"mydestination=x"}, main,
			"mydestination = $myhostname,\n    localhost\n# between\n\tlast\n", "mydestination = x\n# between\n"},
		{"new names come at the end, sorted", []string{"-e", "relayhost = [a]", "inet_protocols=ipv4"}, main,
			"", "inet_protocols = ipv4\nrelayhost = [a]\n"},
		{"-# comments out, with continuations", []string{"-#", "mydestination"}, main,
			"mydestination = $myhostname,\n    localhost\n# between\n\tlast\n", "#mydestination = $myhostname,\n#    localhost\n# between\n#\tlast\n"},
		{"-X deletes", []string{"-X", "colour", "nosuch"}, main, "colour = blue\n", ""},
		{"-M replaces an entry", []string{"-M", "smtp/inet=smtp inet n - n - 5 smtpd -o a=b"}, master,
			"smtp      inet  n       -       y       -       -       smtpd\n",
			"smtp       inet  n       -       n       -       5       smtpd\n    -o a=b\n"},
		{"-M appends an entry that is new", []string{"-M", "x/unix=x unix - - n - - x"}, master,
			"", "x          unix  -       -       n       -       -       x\n"},
		{"-M keeps comments inside the entry", []string{"-M", "relay/unix=relay unix - - n - - smtp"}, master,
			"relay     unix  -       -       n       -       -       smtp\n# about relay\n  -o syslog_name=$colour/$service_name -o { smtp_helo_name = a b }\n",
			"relay      unix  -       -       n       -       -       smtp\n# about relay\n"},
		{"-M# comments out", []string{"-M#", "pipe-line/unix"}, master,
			"pipe-line unix  -       n       n       -       10      pipe\n  flags", "#pipe-line unix  -       n       n       -       10      pipe\n#  flags"},
		{"-MX deletes", []string{"-MX", "*/inet"}, master, "smtp      inet  n       -       y       -       -       smtpd\n", ""},
		{"-F changes a field", []string{"-F", "smtp/inet/chroot=n"}, master,
			"smtp      inet  n       -       y       -       -       smtpd\n", "smtp       inet  n       -       n       -       -       smtpd\n"},
		{"-F command takes its arguments along", []string{"-F", "smtp/inet/command=smtpd -v"}, master,
			"smtp      inet  n       -       y       -       -       smtpd\n", "smtp       inet  n       -       y       -       -       smtpd -v\n"},
		{"-P adds a setting", []string{"-P", "smtp/inet/a=b"}, master,
			"smtp      inet  n       -       y       -       -       smtpd\n", "smtp       inet  n       -       y       -       -       smtpd\n    -o a=b\n"},
		{"-P adds before other arguments", []string{"-P", "pipe-line/unix/a=b"}, master,
			"pipe-line unix  -       n       n       -       10      pipe\n  flags=R user=x argv=/bin/x ${sender} {a b}\n",
			"pipe-line  unix  -       n       n       -       10      pipe\n    -o a=b\n    flags=R user=x argv=/bin/x ${sender} {a b}\n"},
		{"-PX takes a setting away", []string{"-PX", "relay/unix/syslog_name"}, master,
			"relay     unix  -       -       n       -       -       smtp\n# about relay\n  -o syslog_name=$colour/$service_name -o { smtp_helo_name = a b }\n",
			"relay      unix  -       -       n       -       -       smtp\n    -o {smtp_helo_name=a b}\n# about relay\n"},
	}
	for _, tc := range cases {
		dir := configuration(t)
		_, complaints, err := execute(t, dir, tc.args...)
		if err != nil || len(complaints) > 0 {
			t.Errorf("%s: %v %q", tc.rule, err, complaints)
		}
		texts := map[string]string{main: mainText, master: masterText}
		if tc.old == "" {
			texts[tc.file] += tc.new
		} else {
			texts[tc.file] = strings.Replace(texts[tc.file], tc.old, tc.new, 1)
		}
		for name, want := range texts {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || string(got) != want {
				t.Errorf("%s: %s is\n%s\nwant\n%s", tc.rule, name, got, want)
			}
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("%s: mode of %s: %v, %v", tc.rule, name, info.Mode(), err)
			}
		}
	}
}

func TestEveryOccurrenceIsEdited(t *testing.T) {
	dir := configuration(t)
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte("a = 1\na = 2"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, complaints, err := execute(t, dir, "-e", "a=3")
	got, _ := os.ReadFile(filepath.Join(dir, "main.cf"))
	want := []string{`warning: DIR/main.cf: multiple entries for "a"`}
	if err != nil || string(got) != "a = 3\na = 3\n" || !slices.Equal(complaints, want) {
		t.Errorf("%q %q %v", got, complaints, err)
	}
}

// Several editors at once must not lose each other's work.
func TestEditorsTakeTurns(t *testing.T) {
	dir := configuration(t)
	done := make(chan error)
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, name := range names {
		go func() {
			done <- run([]string{"-c", dir, name + "=1"}, &strings.Builder{}, func(string) {})
		}()
	}
	for range names {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, "main.cf"))
	for _, name := range names {
		if err != nil || !strings.Contains(string(got), "\n"+name+" = 1\n") {
			t.Errorf("%s is lost, %v", name, err)
		}
	}
}

// The corpora say what Debian's postconf 3.7.11 printed for real
// configurations. It does not know parameters that came later.
func TestRealConfigurations(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(mailtest.Corpora(t, "configs"), "*", "expected"))
	if err != nil || len(dirs) == 0 {
		t.Fatal("no configurations", err)
	}
	for _, expected := range dirs {
		dir := filepath.Dir(expected)
		newer := newerNames(t, filepath.Join(expected, "stderr.txt"))
		for _, m := range []string{"-n", "-M", "-P", "-nx"} {
			want, err := os.ReadFile(filepath.Join(expected, "postconf"+m+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			out, _, err := execute(t, dir, m)
			if got, want := normal(out, newer), normal(string(want), newer); err != nil || got != want {
				t.Errorf("%s %s: %v\ngot\n%s\nwant\n%s", dir, m, err, got, want)
			}
		}
	}
}

var (
	unusedName = regexp.MustCompile(`unused parameter: (\w+)=`)
	processID  = regexp.MustCompile(`postconf(\.test)? \d+ &`)
)

func newerNames(t *testing.T, path string) map[string]bool {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range unusedName.FindAllStringSubmatch(string(text), -1) {
		names[m[1]] = true
	}
	return names
}

// normal leaves out what depends on the run or on the version.
func normal(text string, newer map[string]bool) string {
	var lines []string
	for line := range strings.Lines(processID.ReplaceAllString(text, "PID &")) {
		name, _, _ := strings.Cut(line, " ")
		if !newer[name] && name != "config_directory" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
