package conf

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/libmail/mailtest"
)

// load writes main.cf into a directory of its own and loads it.
func load(t *testing.T, text string, overrides ...string) (*Config, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return Load(dir, overrides...)
}

func TestLogicalLines(t *testing.T) {
	text := "# c\n\na = 1\n  2\n# between\n\n\t3\nb=\n   # not text\nc\t =  x = y  \r\n"
	lines, warnings := Lines([]byte(text))
	want := []Line{{"a = 1  2\t3", 3}, {"b=", 8}, {"c\t =  x = y  \r", 10}}
	if !slices.Equal(lines, want) || len(warnings) != 0 {
		t.Errorf("got %+v, %v", lines, warnings)
	}
	if _, warnings = Lines([]byte("  lost\na = 1\n")); len(warnings) != 1 || warnings[0].Where != "1" {
		t.Errorf("text that continues nothing: %v", warnings)
	}
}

func TestLoadReadsValues(t *testing.T) {
	c, err := load(t, `
myhostname = mail.example.com
mydestination = $myhostname, localhost.$mydomain
  localhost
message_size_limit = 5000000000
queue_run_delay = 5
delay_warning_time = 4
smtpd_helo_required = YES
smtpd_tls_security_level = May
`, "smtpd_banner = hello")
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	check("mydomain", c.String("mydomain"), "example.com")
	check("myorigin", c.String("myorigin"), "mail.example.com")
	check("mydestination", strings.Join(c.List("mydestination"), "|"), "mail.example.com|localhost.example.com|localhost")
	check("message_size_limit", c.Size("message_size_limit"), int64(5000000000))
	check("a time without a unit has its default's, seconds", c.Duration("queue_run_delay"), 5*time.Second)
	check("a time without a unit has its default's, hours", c.Duration("delay_warning_time"), 4*time.Hour)
	check("yes in any case", c.Bool("smtpd_helo_required"), true)
	check("a word in the catalogue's spelling", c.String("smtpd_tls_security_level"), "may")
	check("an override wins", c.String("smtpd_banner"), "hello")
	check("where of an override", c.Where("smtpd_banner"), "-o")
	check("where", c.Where("message_size_limit"), "main.cf:5")
	check("where of a default", c.Where("relayhost"), "")
	check("raw", c.Raw("myorigin"), "$myhostname")
	check("raw kind", c.String("forward_path"), "$home/.forward${recipient_delimiter}${extension}, $home/.forward")
	check("default of another parameter", c.Int("postscreen_pre_queue_limit"), 100)
	check("transport default", c.TransportInt("uucp", "destination_concurrency_limit"), 20)
	check("transport's own default", c.TransportInt("local", "destination_concurrency_limit"), 2)
	check("transport time", c.TransportDuration("uucp", "time_limit"), 1000*time.Second)
	check("stress off", c.Int("smtpd_hard_error_limit"), 20)
	s, err := c.With("stress=yes", "uucp_time_limit=1h")
	if err != nil {
		t.Fatal(err)
	}
	check("stress on", s.Int("smtpd_hard_error_limit"), 1)
	check("transport set", s.TransportDuration("uucp", "time_limit"), time.Hour)
	check("the original is unchanged", c.Int("smtpd_hard_error_limit"), 20)
}

func TestNegativeNumbersCountAsZeroWhereZeroIsAllowed(t *testing.T) {
	c := parsed(t, "mailbox_size_limit = -1\nsmtpd_recipient_limit = -1\n")
	if n := c.Size("mailbox_size_limit"); n != 0 {
		t.Errorf("mailbox_size_limit = %d", n)
	}
	if n := c.Int("smtpd_recipient_limit"); n != 1000 {
		t.Errorf("a bad value that nobody checked gives %d, not the default", n)
	}
}

func TestCheckNamesLineParameterAndRemedy(t *testing.T) {
	cases := []struct{ rule, text, want string }{
		{"number", "message_size_limit = 10x", `main.cf:1: parameter message_size_limit: bad numerical value "10x": write a whole number`},
		{"too small", "\nline_length_limit = 5", `main.cf:2: parameter line_length_limit: value 5 is too small: the least is 512`},
		{"too large a number", "default_process_limit = 99999999999", `main.cf:1: parameter default_process_limit: number "99999999999" is too large`},
		{"yes or no", "soft_bounce = maybe", `main.cf:1: parameter soft_bounce: bad value "maybe": write yes or no`},
		{"time", "max_idle = 5y", `main.cf:1: parameter max_idle: bad time value "5y": write a number and a unit s, m, h, d or w`},
		{"time too short", "max_idle = 0", `main.cf:1: parameter max_idle: time value "0" is too short: the least is 1s`},
		{"time too long", "maximal_queue_lifetime = 4000w", `main.cf:1: parameter maximal_queue_lifetime: time value "4000w" is too long: the limit is 68 years`},
		{"empty", "queue_directory =", `main.cf:1: parameter queue_directory: the value must not be empty: remove the line to have the default`},
		{"expanded value", "x = 7z\ndefault_process_limit = $x", `main.cf:2: parameter default_process_limit: bad numerical value "7z": write a whole number`},
		{"endless reference", "myorigin = $myorigin", `main.cf:1: parameter myorigin: unreasonable nesting`},
		{"level", "compatibility_level = new", `main.cf:1: parameter compatibility_level: malformed compatibility level "new"`},
		{"words", "inet_protocols = ipv4, ipx", `main.cf:1: parameter inet_protocols: bad value "ipx": the choice is all, ipv4, ipv6`},
	}
	for _, tc := range cases {
		faults := parsed(t, tc.text).Check()
		if len(faults) == 0 || !strings.HasPrefix(faults[0].Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.rule, faults, tc.want)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	if _, err := load(t, "a = 1\nnonsense\n"); err == nil || !strings.Contains(err.Error(), "main.cf:2: missing '='") {
		t.Errorf("no equals sign: %v", err)
	}
	if _, err := load(t, "= 1\n"); err == nil || !strings.Contains(err.Error(), "main.cf:1: missing parameter name") {
		t.Errorf("no name: %v", err)
	}
	if _, err := load(t, "", "nonsense"); err == nil || !strings.Contains(err.Error(), "-o nonsense: missing '='") {
		t.Errorf("bad override: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil || !os.IsNotExist(err) {
		t.Errorf("no main.cf: %v", err)
	}
}

func TestBadValueOfAnUnusedParameterDoesNotStopTheSystem(t *testing.T) {
	var unused string
	for _, p := range Params() {
		if p.Kind == Int && !Used(p.Name) {
			unused = p.Name
		}
	}
	if unused == "" {
		t.Skip("every whole-number parameter is used")
	}
	c, err := load(t, unused+" = many\n")
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Unsupported(); len(w) != 1 || w[0].Name != unused {
		t.Errorf("warnings %v", w)
	}
}

func TestWarnings(t *testing.T) {
	c := parsed(t, "a = 1\na = 2\nmyorigin = $nobody$a\nprocess_id = 3\nmydestination = a, b # me, you\n")
	if got := c.List("mydestination"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the text after # counts: %q", got)
	}
	var got []string
	for _, w := range c.Warnings() {
		got = append(got, w.String())
	}
	want := []string{
		"main.cf:2: parameter a: overriding earlier entry in main.cf:1: a=1",
		"main.cf:4: parameter process_id: cannot be set, the entry is ignored",
		"main.cf:3: parameter myorigin: undefined parameter $nobody counts as empty",
		"main.cf:5: parameter mydestination: a # after other text begins no comment: put the comment on a line of its own",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestUnsupportedNamesWhatIsSetInVain(t *testing.T) {
	c, err := load(t, `
mydestinaton = x
mine = y
myorigin = $mine
smtpd_restriction_classes = greylist
greylist = permit
virtual_alias_maps = proxy:ldap:people
people_server_host = ldap.example
people_sever_host = typing
local_destination_rate_delay = 1s
uucp_destination_rate_delay = 1s
readme_directory = no
mail_owner = postfix
`)
	if err != nil {
		t.Fatal(err)
	}
	master := "local unix - n n - - local\n  -o nothing=1 -o mail_owner=x\n"
	if err := os.WriteFile(filepath.Join(c.Dir(), "master.cf"), []byte(master), 0o644); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, w := range c.Unsupported() {
		got[w.Name] = w.Where + " " + w.Text
	}
	want := map[string]string{
		"mydestinaton":                "main.cf:2 has no effect: there is no such parameter and nothing refers to it; is it misspelled?",
		"people_sever_host":           "main.cf:9 has no effect: there is no such parameter and nothing refers to it; is it misspelled?",
		"uucp_destination_rate_delay": `main.cf:11 has no effect: master.cf has no service "uucp"`,
		"nothing":                     "master.cf:1 has no effect: there is no such parameter and nothing refers to it; is it misspelled?",
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s: %q, want %q", name, got[name], text)
		}
	}
	for _, fine := range []string{"mine", "greylist", "people_server_host", "readme_directory", "mail_owner"} {
		if got[fine] != "" {
			t.Errorf("%s: %q", fine, got[fine])
		}
	}
}

func TestSplitList(t *testing.T) {
	cases := []struct{ rule, text, want string }{
		{"commas and blanks", " a, b\tc,,d ", "a|b|c|d"},
		{"braces keep blanks", "a {b, c} d", "a|{b, c}|d"},
		{"braces inside a word", "inline:{ {a = b}, {c=d} }, x", "inline:{ {a = b}, {c=d} }|x"},
		{"an open brace takes the rest", "a {b c", "a|{b c"},
		{"a closing brace alone is text", "a} b", "a}|b"},
		{"nothing", " , ", ""},
	}
	for _, tc := range cases {
		if got := strings.Join(SplitList(tc.text), "|"); got != tc.want {
			t.Errorf("%s: %q gives %q, want %q", tc.rule, tc.text, got, tc.want)
		}
	}
}

func TestParseTime(t *testing.T) {
	cases := []struct {
		rule, text string
		want       time.Duration
	}{
		{"unit of the parameter", "3", 3 * time.Minute},
		{"seconds", "3s", 3 * time.Second},
		{"hours", "2h", 2 * time.Hour},
		{"days", "1d", 24 * time.Hour},
		{"weeks", "1w", 7 * 24 * time.Hour},
		{"only the first letter counts", "10sec", 10 * time.Second},
	}
	for _, tc := range cases {
		if got, err := ParseTime(tc.text, time.Minute); err != nil || got != tc.want {
			t.Errorf("%s: %q gives %v, %v", tc.rule, tc.text, got, err)
		}
	}
	for _, bad := range []string{"", "s", "-1s", "1y", "1.5h", "99999999999", "40000w"} {
		if got, err := ParseTime(bad, time.Second); err == nil {
			t.Errorf("%q is accepted as %v", bad, got)
		}
	}
}

// The corpora hold configurations of real systems. They must be read, and a
// value that Postfix accepts must pass.
func TestRealConfigurations(t *testing.T) {
	mains, err := filepath.Glob(filepath.Join(mailtest.Corpora(t, "configs"), "*", "main.cf"))
	if err != nil || len(mains) == 0 {
		t.Fatal("no configurations", err)
	}
	for _, main := range mains {
		dir := filepath.Dir(main)
		c, err := Read(dir)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		for _, fault := range c.Check() {
			// Templates have "x" or nothing where an installation has its own
			// value; Postfix refuses these too.
			if text := fault.Error(); !strings.Contains(text, `"x"`) && !strings.Contains(text, `""`) && !strings.Contains(text, "must not be empty") {
				t.Errorf("%s: %v", dir, fault)
			}
		}
		if _, err := LoadMaster(dir, c); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func FuzzMainCF(f *testing.F) {
	f.Add([]byte("a = $b\n  c\nb = ${a?{x}:{y}}\n"))
	f.Add([]byte("mynetworks = ${{$compatibility_level} <level {2} ? {a} : {b}} $$\nmax_idle=5\n"))
	f.Add([]byte("a=$(b)\nb=$a\n#c\n\n  d"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := &Config{set: map[string]setting{}, networks: func() string { return "" }}
		if err := c.parse(text); err != nil {
			return
		}
		c.Check()
		c.Warnings()
		for _, name := range c.order {
			if v, ok := c.User(name); !ok || len(v) > 2*maxExpansion {
				t.Errorf("%q: %d bytes, %v", name, len(v), ok)
			}
			SplitList(c.set[name].value)
		}
	})
}
