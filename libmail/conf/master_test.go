package conf

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func loadMaster(t *testing.T, main, master string) ([]Service, error) {
	t.Helper()
	entries, err := parseMaster([]byte(master))
	if err != nil {
		return nil, err
	}
	return services(entries, parsed(t, main))
}

func TestLoadMaster(t *testing.T) {
	got, err := loadMaster(t, "compatibility_level = 3.6\ndefault_process_limit = 7\n", `
# service type  private unpriv  chroot  wakeup  maxproc command + args
smtp      inet  n       -       y       -       -       smtpd
[::1]:465 inet  n       -       n       -       5       smtpd
  -o syslog_name=postfix/$service_name
# comment
  -o { smtpd_client_restrictions = permit_mynetworks, reject }
  -v -osmtpd_use_tls=yes
qmgr      unix  n       n       -       300?    1       qmgr -D
pickup    fifo  n       -       -       60      0       pickup
pipe      unix  -       n       n       -       -       pipe
  flags=R user=x argv=/bin/x ${sender} {a b} $recipient
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []Service{
		{Name: "smtp", Type: "inet", Unprivileged: true, Chroot: true, MaxProc: 7, MaxProcUnset: true, Command: "smtpd", Line: 3},
		{Name: "[::1]:465", Type: "inet", Unprivileged: true, MaxProc: 5, Command: "smtpd", Line: 4,
			Args: []string{"-o", "syslog_name=postfix/$service_name", "-o",
				"smtpd_client_restrictions=permit_mynetworks, reject", "-v", "-o", "smtpd_use_tls=yes"}},
		{Name: "qmgr", Type: "unix", Wakeup: 300 * time.Second, WakeupIfUsed: true, MaxProc: 1, Command: "qmgr", Args: []string{"-D"}, Line: 9},
		{Name: "pickup", Type: "fifo", Unprivileged: true, Wakeup: time.Minute, Command: "pickup", Line: 10},
		{Name: "pipe", Type: "unix", Private: true, MaxProc: 7, MaxProcUnset: true, Command: "pipe", Line: 11,
			Args: []string{"flags=R", "user=x", "argv=/bin/x", "${sender}", "a b", "$recipient"}},
	}
	for i := range want {
		if len(got[i].Args) == 0 {
			got[i].Args = nil
		}
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("got  %+v\nwant %+v", got[i], want[i])
		}
	}
	overrides := []string{"syslog_name=postfix/$service_name", "smtpd_client_restrictions=permit_mynetworks, reject", "smtpd_use_tls=yes"}
	if o := got[1].Overrides(); !slices.Equal(o, overrides) {
		t.Errorf("overrides %q", o)
	}
	for i, socket := range []string{"", "", "public/qmgr", "public/pickup", "private/pipe"} {
		if got[i].Socket() != socket {
			t.Errorf("socket %q, want %q", got[i].Socket(), socket)
		}
	}
}

func TestChrootDefaultsToYesBelowLevelOne(t *testing.T) {
	for level, want := range map[string]bool{"0": true, "1": false, "3.6": false} {
		s, err := loadMaster(t, "compatibility_level = "+level, "a unix - - - - - a\n")
		if err != nil || s[0].Chroot != want {
			t.Errorf("level %s: chroot %v, %v", level, s, err)
		}
	}
}

func TestOfTwoEqualServicesTheLaterWins(t *testing.T) {
	text := "a unix - - n - - first\nb unix - - n - - b\na inet n - n - - other\na unix - - n - - second\n"
	s, err := loadMaster(t, "", text)
	if err != nil || len(s) != 3 || s[0].Command != "second" || s[1].Command != "b" || s[2].Command != "other" {
		t.Errorf("%+v, %v", s, err)
	}
	entries, err := parseMaster([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	w := DuplicateServices(entries)
	if len(w) != 1 || w[0].String() != "master.cf:4: duplicate entry for a/unix replaces the one in line 1" {
		t.Errorf("warnings %v", w)
	}
}

func TestMasterServiceDisable(t *testing.T) {
	text := "a unix - - n - - a\nb inet n - n - - b\nc inet n - n - - c\n"
	for disable, want := range map[string]string{
		"":                "a b c",
		"inet":            "a",
		"!c/inet, inet":   "a c",
		"B/inet":          "a c",
		"b.inet, unix":    "c",
		"nothing/unix, x": "a b c",
	} {
		s, err := loadMaster(t, "master_service_disable = "+disable, text)
		var names []string
		for _, x := range s {
			names = append(names, x.Name)
		}
		if got := strings.Join(names, " "); err != nil || got != want {
			t.Errorf("%q leaves %q, %v; want %q", disable, got, err, want)
		}
	}
}

func TestMasterRefuses(t *testing.T) {
	cases := []struct{ rule, text, want string }{
		{"too few fields", "\nsmtp inet n - n\n", "master.cf:2: 5 fields"},
		{"unknown type", "a tcp n - n - - a", `master.cf:1: service a/tcp: bad type "tcp"`},
		{"bad private", "a unix x - n - - a", `bad private field "x"`},
		{"bad unprivileged", "a unix n 1 n - - a", `bad unprivileged field "1"`},
		{"bad chroot", "a unix n - yes - - a", `bad chroot field "yes"`},
		{"bad wakeup", "a unix n - n 1m - a", `bad wakeup field "1m"`},
		{"bad process limit", "a unix n - n - many a", `bad process_limit field "many"`},
		{"huge process limit", "a unix n - n - 99999999999 a", "too large"},
		{"huge wakeup", "a unix n - n 99999999999 - a", "too large"},
		{"private inet", "25 inet - - n - - a", "an inet service cannot be private"},
		{"bad inet name", "::1:25 inet n - n - - a", "bad service name"},
		{"inet name without port", "[::1]: inet n - n - - a", "bad service name"},
		{"directory in a name", "../x unix - - n - - a", "without a directory"},
		{"open brace", "a unix - - n - - a {b", "missing '}'"},
		{"text after brace", "a unix - - n - - a {b}c", "text after '}'"},
		{"option without equals sign", "a unix - - n - - a -o {b}", "missing '='"},
		{"continuation of nothing", "  -o a=b\n", "continues no line"},
	}
	for _, tc := range cases {
		_, err := loadMaster(t, "", tc.text)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "master.cf:") {
			t.Errorf("%s: %v, want %q", tc.rule, err, tc.want)
		}
	}
}

func TestSplitInet(t *testing.T) {
	for name, want := range map[string][2]string{
		"smtp":           {"", "smtp"},
		"127.0.0.1:25":   {"127.0.0.1", "25"},
		"[::1]:25":       {"::1", "25"},
		"[IPv6:::1]:25":  {"::1", "25"},
		"localhost:smtp": {"localhost", "smtp"},
		":25":            {"", "25"},
	} {
		if host, port, err := SplitInet(name); err != nil || host != want[0] || port != want[1] {
			t.Errorf("%s: %q %q %v", name, host, port, err)
		}
	}
}

func FuzzMasterCF(f *testing.F) {
	f.Add([]byte("smtp inet n - y - - smtpd\n  -o {a = b} -vo c=d {x y}\n"))
	f.Add([]byte("a fifo n n - 300? 0 pipe argv=x ${y}\n#c\n b"))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := parseMaster(text)
		if err != nil {
			return
		}
		DuplicateServices(entries)
		list, err := services(entries, parsed(t, ""))
		for _, s := range list {
			if s.Name == "" || s.Command == "" || s.MaxProc < 0 || s.Wakeup < 0 || err == nil && s.Line < 1 {
				t.Errorf("%+v", s)
			}
			s.Overrides()
		}
	})
}
