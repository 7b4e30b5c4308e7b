package makemap

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"postroad/libmail/table"
)

// run is one command in a folder with a main.cf.
func run(t *testing.T, dir, stdin string, args ...string) (out string, found bool, err error) {
	t.Helper()
	var buf bytes.Buffer
	j := &job{Tool: Tool{
		Usage: "[options]", Separator: "\t", Split: table.SplitEntry,
		Option: func(byte) error { return nil },
	}, in: strings.NewReader(stdin), out: bufio.NewWriter(&buf)}
	t.Chdir(dir)
	if err = j.parse("postmap", append([]string{"-c", dir}, args...)); err == nil {
		err = j.configure("postmap")
	}
	if err == nil {
		found, err = j.run()
	}
	j.out.Flush()
	return buf.String(), found, err
}

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["main.cf"] = "compatibility_level = 3.6\ndefault_database_type = hash\n"
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sorted(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "|")
}

// TestTableFiles goes through the life of a table file.
func TestTableFiles(t *testing.T) {
	dir := folder(t, map[string]string{"t": "Key value\nother  long value\n  continued\nkey again\n"})
	for _, step := range []struct {
		rule, stdin, args, want string
		found                   bool
	}{
		{"a file is made", "", "t", "", true},
		{"keys are folded, the first of two stays", "", "-s t", "key\tvalue|other\tlong value  continued", true},
		{"-q prints the value", "", "-q KEY hash:t", "value", true},
		{"-q of a missing key prints nothing", "", "-q nobody t", "", false},
		{"-q - prints keys and values", "key\nnobody\nOTHER\n", "-q - t", "OTHER\tlong value  continued|key\tvalue", true},
		{"-q - without a hit", "nobody\n", "-q - t", "", false},
		{"-j is JSON", "", "-jq key t", `{"key": "value"}`, true},
		{"-i adds", "new 1\n", "-i t", "", true},
		{"what was there stays", "", "-q key t", "value", true},
		{"what was added is there", "", "-q new t", "1", true},
		{"-r replaces", "new 2\n", "-ri t", "", true},
		{"the new value is there", "", "-q new t", "2", true},
		{"-d deletes", "", "-d NEW t", "", true},
		{"-d of a missing key", "", "-d NEW t", "", false},
		{"the deleted key is gone", "", "-q new t", "", false},
		{"-d - deletes what standard input names", "key\nnobody\n", "-d - t", "", true},
		{"-s shows the rest", "", "-s t", "other\tlong value  continued", true},
		{"-f keeps upper case", "", "-f btree:t", "", true},
		{"and -fq finds it", "", "-fq Key btree:t", "value", true},
		{"cdb is made too", "", "cdb:t", "", true},
		{"and found", "", "-q key cdb:t", "value", true},
		{"-s without a table finds nothing", "", "-s", "", false},
		{"the first table that has the key answers", "", "-q x static:one static:two", "one", true},
	} {
		t.Run(step.rule, func(t *testing.T) {
			out, found, err := run(t, dir, step.stdin, strings.Fields(step.args)...)
			if err != nil || sorted(out) != step.want || found != step.found {
				t.Errorf("got %q %v %v", sorted(out), found, err)
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	dir := folder(t, map[string]string{"t": "a 1\n"})
	for _, c := range []struct{ rule, args, want string }{
		{"two modes", "-q a -s t", "specify only one of -d -i -q or -s"},
		{"an unknown option", "-y t", "usage: postmap [options] (invalid option -- 'y')"},
		{"no table", "-q a", "usage: postmap [options]"},
		{"-j without output", "-j t", "option -j requires -q or -s"},
		{"a table that is not there", "-q a hash:none", "open database none.db: no such file or directory"},
		{"a deletion in a table that is not there", "-d a hash:none", "open database none.db: file does not exist"},
		{"a source that is not there", "hash:none", "open none: no such file or directory"},
		{"a type that is only read", "texthash:t", "dictionary type texthash does not support bulk-mode creation"},
		{"a type that there is not", "bogus:t", "unsupported dictionary type: bogus"},
		{"adding to cdb", "-i cdb:t", "unsupported non-bulk change request"},
		{"making a proxied table", "proxy:hash:t", "can't create maps via the proxy service"},
		{"a table that fails", "-q a fail:t", "table fail:t: query error: lookup error on request"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, _, err := run(t, dir, "", strings.Fields(c.args)...)
			if !strings.HasPrefix(fmt.Sprint(err), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFileValues(t *testing.T) {
	dir := folder(t, map[string]string{"one": "1\n", "two": "2", "t": "k one, two\n"})
	t.Chdir(dir)
	if v, err := table.FileValue("one, two"); err != nil || v != "MQoKMg==" {
		t.Errorf("got %q %v", v, err)
	}
	if _, err := table.FileValue("none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestPermissionsOfTheSourceAreKept(t *testing.T) {
	dir := folder(t, map[string]string{"t": "a 1\n"}) // mode 0640
	for _, c := range []struct {
		args string
		mode os.FileMode
	}{{"cdb:t", 0o640}, {"-p cdb:t", 0o644}, {"hash:t", 0o640}} {
		if _, _, err := run(t, dir, "", strings.Fields(c.args)...); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(filepath.Join(dir, map[bool]string{true: "t.cdb", false: "t.db"}[strings.Contains(c.args, "cdb")]))
		if err != nil || fi.Mode().Perm() != c.mode {
			t.Errorf("%s: %v %v", c.args, fi.Mode(), err)
		}
	}
}

func TestRootMakesTheTableAsTheOwnerOfTheSource(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := folder(t, map[string]string{"t": "a 1\n"})
	const nobody = 65534
	for _, path := range []string{dir, filepath.Dir(dir), filepath.Join(dir, "t")} {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := run(t, dir, "", "hash:t")
	if back := setEffective(0, 0); back != nil {
		t.Fatal(back)
	}
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(dir, "t.db"))
	if err != nil || fi.Sys().(*syscall.Stat_t).Uid != nobody {
		t.Errorf("owner %v %v", fi.Sys(), err)
	}
}

func TestJSONEscapes(t *testing.T) {
	if got := quoteJSON("a\"b\\c\b\f\n\r\t\x01\x7fü"); got != `a\"b\\c\b\f\n\r\t\u0001\u007Fü` {
		t.Errorf("got %s", got)
	}
}
