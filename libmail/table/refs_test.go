package table_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postroad/libmail/addr"
	"postroad/libmail/mailtest"
	"postroad/libmail/table"
)

// transcript collects what a test program of Postfix would print: warnings
// and results.
type transcript struct{ strings.Builder }

func (t *transcript) Info(format string, args ...any) {
	fmt.Fprintf(t, "./dict_open: "+format+"\n", args...)
}
func (t *transcript) Warning(format string, args ...any) {
	fmt.Fprintf(t, "./dict_open: warning: "+format+"\n", args...)
}
func (t *transcript) Error(format string, args ...any) {
	fmt.Fprintf(t, "./dict_open: error: "+format+"\n", args...)
}

// answer asks a table and notes the answer as dict_open prints it.
func (t *transcript) answer(tab table.Table, key string) {
	value, found, err := tab.Lookup(key)
	switch {
	case err != nil:
		fmt.Fprintf(t, "%s: error\n", key)
	case !found:
		fmt.Fprintf(t, "%s: not found\n", key)
	default:
		fmt.Fprintf(t, "%s=%s\n", key, value)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var ownerLine = regexp.MustCompile(`(?m)^owner=.*\n`)

// equalLines compares without regard to the case of letters, because error
// texts of the system differ in it.
func equalLines(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if !strings.EqualFold(a, b) {
			t.Fatalf("line %d:\n got %s\nwant %s", i+1, a, b)
		}
	}
}

// TestPatternTablesAnswerAsPostfix runs Postfix's own cases for pattern
// tables: the warnings about bad rules, and lookups.
func TestPatternTablesAnswerAsPostfix(t *testing.T) {
	dir := mailtest.Corpora(t, "postfix-refs/util")
	t.Chdir(dir)
	for _, c := range []struct{ spec, in, ref string }{
		{"regexp:dict_regexp.map", "dict_regexp.in", "dict_regexp.ref"},
		{"pcre:dict_pcre.map", "dict_pcre.in", "dict_pcre.ref"},
		{"cidr:dict_cidr.map", "dict_cidr.in", "dict_cidr.ref"},
		{"cidr:miss_endif_cidr.map", "", "miss_endif_cidr.ref"},
		{"pcre:miss_endif_re.map", "", "miss_endif_pcre.ref"},
		{"regexp:miss_endif_re.map", "", "miss_endif_regexp.ref"},
	} {
		t.Run(c.spec, func(t *testing.T) {
			input := "get 1.2.3.5\n"
			if c.in != "" {
				input = read(t, c.in)
			}
			var out transcript
			tab, err := table.Open(c.spec, table.Options{Log: &out})
			if err != nil {
				t.Fatal(err)
			}
			defer tab.Close()
			for _, line := range strings.Split(strings.TrimSpace(input), "\n") {
				fmt.Fprintf(&out, "> %s\n", line)
				out.answer(tab, strings.TrimPrefix(line, "get "))
			}
			want := ownerLine.ReplaceAllString(read(t, c.ref), "")
			equalLines(t, anyReason(out.String()), anyReason(want))
		})
	}
}

// anyReason replaces the texts of the regular expression compilers.
func anyReason(s string) string {
	return regexp.MustCompile(`(line \d+): (error in regex .*|Unmatched .*)`).ReplaceAllString(s, "$1: bad")
}

func TestUnusableTablesSaySo(t *testing.T) {
	// Only what concerns reading: the reference has each table opened for
	// writing too.
	dir := mailtest.Corpora(t, "postfix-refs/util")
	var want []string
	for _, line := range strings.Split(read(t, filepath.Join(dir, "surrogate.ref")), "\n") {
		if !strings.HasPrefix(line, "owner=") && !strings.HasPrefix(line, ">") {
			want = append(want, line)
		}
	}
	var kept []string
	for i := 0; i+2 < len(want); i += 3 {
		if !strings.Contains(want[i], "O_RDONLY") {
			kept = append(kept, want[i:i+3]...)
		}
	}
	var out transcript
	for _, spec := range []string{"cidr:/xx", "pcre:/xx", "regexp:/xx", "unix:xx", "texthash:/xx", "hash:/xx"} {
		tab, err := table.Open(spec, table.Options{Log: &out})
		if err != nil {
			t.Fatal(err)
		}
		out.answer(tab, "foo")
	}
	equalLines(t, strings.TrimSpace(out.String()), strings.Join(kept, "\n"))
}

var strategies = map[string]table.Strategy{
	"full": table.FindFull, "noext": table.FindNoExtension, "localpart_if_local": table.FindLocalIfLocal,
	"localpart_at_if_local": table.FindLocalAtIfLocal, "at_domain": table.FindAtDomain, "domain": table.FindDomain,
	"pdms": table.FindParents, "pddms": table.FindDotParents, "localpart_at": table.FindLocalAt, "default": table.FindDefault,
}

// TestAddressesAreFoundAsPostfixDoes runs Postfix's cases for address
// searches, but for those that ask for keys in internal form only.
func TestAddressesAreFoundAsPostfixDoes(t *testing.T) {
	dir := mailtest.Corpora(t, "postfix-refs/global")
	dests, err := table.OpenMatchList("mydestination", table.StringList, "localhost.localdomain", 0, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	local := &table.Destinations{Domains: dests, Origin: "localdomain"}
	o := table.Options{Delimiters: addr.Delimiters{Set: "+"}, Local: local.MatchOrigin}
	var maps *table.Maps
	lines := bufio.NewScanner(strings.NewReader(read(t, filepath.Join(dir, "mail_addr_find.in"))))
	ran := 0
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		if word == "maps" {
			if maps, err = table.OpenMaps("test", []string{rest}, o); err != nil {
				t.Fatal(err)
			}
		}
		f := strings.Split(rest, ":")
		if word != "test" || f[1] == "internal" {
			continue
		}
		address := f[4]
		if f[0] == "external" {
			address = addr.Unquote(address)
		}
		var s table.Strategy
		for _, name := range strings.Split(f[3], "|") {
			s |= strategies[name]
		}
		value, ext, found, err := maps.FindAddress(address, s)
		if f[2] == "internal" {
			value = addr.Unquote(value)
		}
		f = append(f, "", "")
		if err != nil || value != f[5] || found != (f[5] != "") || ext != f[6] {
			t.Errorf("%s: got %q %q %v", lines.Text(), value, ext, err)
		}
		ran++
	}
	if ran < 30 {
		t.Errorf("only %d cases", ran)
	}
}

// TestMatchListsMatchAsPostfix runs Postfix's cases for lists of names and
// addresses, with their warnings.
func TestMatchListsMatchAsPostfix(t *testing.T) {
	dir := mailtest.Corpora(t, "postfix-refs/global")
	tmp := t.TempDir()
	t.Setenv("foo", "x")
	inTmp := strings.NewReplacer("/tmp/", tmp+"/")
	var out transcript
	text := read(t, filepath.Join(dir, "namadr_list.in"))
	text = regexp.MustCompile(`echo '[^']*'`).ReplaceAllStringFunc(text, func(s string) string {
		return strings.ReplaceAll(s, "\n", "\r") // a quoted text of several lines
	})
	for _, line := range strings.Split(text, "\n") {
		line = inTmp.Replace(line)
		if text, ok := strings.CutPrefix(line, "echo "); ok {
			text, _, _ = strings.Cut(text, ">junk")
			text = strings.NewReplacer("'", "", "\r", "\n").Replace(text)
			if err := os.WriteFile(tmp+"/junk", []byte(strings.TrimSpace(text)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		words := shellWords(line)
		if len(words) < 4 || !strings.HasSuffix(words[len(words)-4], "namadr_list") {
			continue
		}
		words = words[len(words)-3:]
		l, err := table.OpenMatchList("command line", table.NameAddrList, words[0], table.PlainParents, table.Options{Log: &out})
		if err != nil {
			t.Fatal(err)
		}
		ok, err := l.Match(words[1], words[2])
		verdict := map[bool]string{true: "YES", false: "NO"}[ok]
		if err != nil {
			verdict = "ERROR"
		}
		fmt.Fprintf(&out, "%s/%s: %s\n", words[1], words[2], verdict)
	}
	want := strings.ReplaceAll(inTmp.Replace(read(t, filepath.Join(dir, "namadr_list.ref"))), "./namadr_list:", "./dict_open:")
	equalLines(t, out.String(), want)
}

// shellWords splits at blanks and takes quotes off.
func shellWords(line string) (words []string) {
	for _, m := range regexp.MustCompile(`'([^']*)'|(\S+)`).FindAllStringSubmatch(line, -1) {
		words = append(words, m[1]+m[2])
	}
	return words
}

func TestTexthashReadsAsPostfix(t *testing.T) {
	t.Chdir(mailtest.Corpora(t, "postfix-refs/util"))
	for _, c := range []struct{ file, ref string }{{"dict_thash.map", "dict_thash.map"}, {"dict_thash.in", "dict_thash.ref"}} {
		var out transcript
		tab, err := table.Open("texthash:"+c.file, table.Options{Log: &out, Fold: table.FoldNone, Duplicates: table.DupWarn})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, line := range strings.Split(strings.TrimSpace(read(t, c.ref)), "\n") {
			want[strings.Replace(line, "postmap:", "./dict_open:", 1)] = true
		}
		err = table.Walk(tab, func(k, v string) error { fmt.Fprintf(&out, "%s\t%s\n", k, v); return nil })
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
			if !want[line] {
				t.Errorf("%s: unexpected %q", c.file, line)
			}
			delete(want, line)
		}
		for line := range want {
			t.Errorf("%s: missing %q", c.file, line)
		}
	}
}
