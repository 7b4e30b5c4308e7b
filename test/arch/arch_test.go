// Package arch proves the rules of the house with go list and the sources:
// imports point downward, programs import no program, files stay small.
package arch

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// level is the floor of each libmail package: it imports lower floors only.
// Packages of floor 0 touch no file, socket, clock or configuration.
var level = map[string]int{
	"addr": 0, "dsn": 0, "message": 0, "smtpwire": 0, "record": 0, "attr": 0, "getopt": 0,
	"account": 1, "ticket": 1, "maillog": 1, "conf": 1, "table": 1, "ipc": 1, "resolver": 1, "sasl": 1, "tlsconf": 1, "privs": 1,
	"queue": 2, "mailbox": 2,
	"proto":  3,
	"server": 4,
	"agent":  5, "login": 5, "makemap": 5,
	"mailtest": 6,
}

const module = "postroad/"

type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	GoFiles    []string
	Imports    []string
}

// packages lists all packages of the module.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,GoFiles,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list names only %d packages", len(all))
	}
	return all
}

// libmailName is the name of a libmail package, or "".
func libmailName(path string) string {
	name, ok := strings.CutPrefix(path, module+"libmail/")
	if !ok {
		return ""
	}
	name, _, _ = strings.Cut(name, "/")
	return name
}

func TestImportsPointDownward(t *testing.T) {
	for _, p := range packages(t) {
		name := libmailName(p.ImportPath)
		floor, known := level[name]
		if name != "" && !known {
			t.Errorf("%s has no floor in this test", p.ImportPath)
		}
		for _, imp := range p.Imports {
			other := libmailName(imp)
			switch {
			case name == "" || !strings.HasPrefix(imp, module):
			case other == "":
				t.Errorf("%s imports the program %s", p.ImportPath, imp)
			case other != name && level[other] >= floor:
				t.Errorf("%s (floor %d) imports %s (floor %d)", p.ImportPath, floor, imp, level[other])
			}
		}
	}
}

func TestWordsTouchNothing(t *testing.T) {
	forbidden := map[string]bool{"os": true, "net": true, "os/exec": true, "syscall": true, "io/ioutil": true, "path/filepath": true}
	for _, p := range packages(t) {
		name := libmailName(p.ImportPath)
		if floor, known := level[name]; !known || floor != 0 {
			continue
		}
		for _, imp := range p.Imports {
			if forbidden[imp] {
				t.Errorf("%s is floor 0 and imports %s", p.ImportPath, imp)
			}
		}
	}
}

func TestProgramsImportNoProgram(t *testing.T) {
	for _, p := range packages(t) {
		if p.Name != "main" {
			continue
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, module) && libmailName(imp) == "" {
				t.Errorf("%s imports %s: programs talk by IPC only", p.ImportPath, imp)
			}
			if libmailName(imp) == "mailtest" {
				t.Errorf("%s imports mailtest, which is for tests", p.ImportPath)
			}
		}
	}
}

func TestEveryRoomHasATest(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		tests, err := filepath.Glob(filepath.Join(p.Dir, "*_test.go"))
		if err != nil || len(tests) == 0 {
			t.Errorf("%s has no test", p.ImportPath)
		}
	}
}

// walkSources calls f with every Go source of the project.
func walkSources(t *testing.T, f func(path, text string)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "build" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		f(path, string(text))
		return nil
	})
	if err != nil || n < 20 {
		t.Fatalf("read %d sources, %v", n, err)
	}
}

// flatTables are the files that may be long: data, line by line.
var flatTables = regexp.MustCompile(`libmail/conf/catalogue.*\.go$`)

func TestFilesAndFunctionsStaySmall(t *testing.T) {
	const maxFile, maxFunc = 900, 120
	walkSources(t, func(path, text string) {
		if strings.HasSuffix(path, "_test.go") || flatTables.MatchString(path) {
			return
		}
		line, start, name := 0, 0, ""
		for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
			line++
			switch l := s.Text(); {
			case strings.HasPrefix(l, "func "):
				start, name = line, l
			case l == "}" && name != "":
				if line-start > maxFunc {
					t.Errorf("%s:%d: %d lines: %s", path, start, line-start, name)
				}
				name = ""
			}
		}
		if line > maxFile {
			t.Errorf("%s: %d lines", path, line)
		}
	})
}

// rfcLoose finds every mention of an RFC, rfcTag the one form that is allowed
// beside a bare number.
var (
	rfcLoose = regexp.MustCompile(`(?i)\brfc[ -]?\d{3,5}\b`)
	rfcTag   = regexp.MustCompile(`\bRFC \d{3,5}\b`)
)

func TestRFCTagsHaveOneForm(t *testing.T) {
	walkSources(t, func(path, text string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		for i, l := range strings.Split(text, "\n") {
			comment := strings.Index(l, "//")
			if comment < 0 {
				continue
			}
			for _, m := range rfcLoose.FindAllString(l[comment:], -1) {
				if !strings.EqualFold(m, "rfc822") && !rfcTag.MatchString(m) { // message/rfc822 is a type
					t.Errorf("%s:%d: write %q as RFC n §s", path, i+1, m)
				}
			}
		}
	})
}

// rfcRow is a row of docs/rfc.md: number, section or none, places.
var rfcRow = regexp.MustCompile(`^\| \d{3,5} \| [\d.]* \| [^|]+\.go:\d+.* \|$`)

// The table is made by make rfc; whether it is of today is not asked.
func TestRFCTableHasItsForm(t *testing.T) {
	text, err := os.ReadFile("../../docs/rfc.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rows, found := strings.Cut(string(text), "|---|---|---|\n")
	lines := strings.Split(strings.TrimSuffix(rows, "\n"), "\n")
	if !found || len(lines) < 50 {
		t.Fatalf("docs/rfc.md has %d rows", len(lines))
	}
	for _, l := range lines {
		if !rfcRow.MatchString(l) {
			t.Errorf("docs/rfc.md: %q", l)
		}
	}
}
