package gen

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"postroad/libmail/conf"
)

const top = "../.."

func pages(t *testing.T) []Page {
	t.Helper()
	list, err := Pages(top)
	if err != nil || len(list) < 30 {
		t.Fatalf("%d pages: %v", len(list), err)
	}
	return list
}

func TestEveryProgramHasAManualPage(t *testing.T) {
	for _, p := range pages(t) {
		headings := p.Headings()
		if len(headings) < 2 || headings[0] != "Synopsis" || headings[1] != "Description" {
			t.Errorf("%s: the comment has %q, and not Synopsis and Description first", p.Folder, headings)
		}
		if !strings.HasPrefix(strings.TrimSpace(p.Under("Synopsis")), p.Name) {
			t.Errorf("%s: the synopsis does not begin with the name", p.Folder)
		}
	}
}

// name finds what looks like a parameter, or like many: smtp_*, *_maps.
var name = regexp.MustCompile(`[a-zA-Z0-9*]+(?:_[a-zA-Z0-9*]+)+`)

// listed are the names under Parameters; those with a star are patterns.
func listed(p Page) (names, patterns []string) {
	for _, n := range name.FindAllString(p.Under("Parameters"), -1) {
		if strings.Contains(n, "*") {
			patterns = append(patterns, n)
		} else {
			names = append(names, n)
		}
	}
	return names, patterns
}

func TestParametersOfAPageAreInTheCatalogue(t *testing.T) {
	for _, p := range pages(t) {
		names, patterns := listed(p)
		for _, n := range names {
			if _, known := conf.Find(n); !known {
				t.Errorf("%s: no parameter %s", p.Folder, n)
			}
		}
		for _, n := range patterns {
			if !slices.ContainsFunc(conf.Params(), func(q conf.Param) bool { return matches(n, q.Name) }) {
				t.Errorf("%s: no parameter is like %s", p.Folder, n)
			}
		}
	}
}

func matches(pattern, name string) bool {
	ok, err := filepath.Match(pattern, name)
	return ok && err == nil
}

// What a program's own folder names in a string, its page lists. postconf shows
// every parameter and uses none.
func TestParametersThatAProgramReadsAreOnItsPage(t *testing.T) {
	for _, p := range pages(t) {
		if p.Name == "postconf" {
			continue
		}
		names, patterns := listed(p)
		text := p.Under("Parameters")
		var missing []string
		for _, n := range read(t, p.Folder) {
			switch _, own := conf.Find(p.Name + "_" + n); {
			case own && slices.Contains(patterns, p.Name+"_*"): // smtp puts names together: smtp or lmtp, and this
			case slices.Contains(names, n), !strings.Contains(n, "_") && strings.Contains(text, n):
			case slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, n) }):
			default:
				missing = append(missing, n)
			}
		}
		if len(missing) > 0 {
			t.Errorf("%s: not under Parameters: %s", p.Folder, strings.Join(missing, ", "))
		}
	}
}

// getters are the methods of conf.Config that take a name.
var getters = []string{"String", "Bool", "Int", "Size", "Duration", "List", "Raw", "IsSet"}

// read lists the parameters that the sources of one folder name.
func read(t *testing.T, folder string) []string {
	found := map[string]bool{}
	inCatalogue := map[string]bool{}
	for _, p := range conf.Params() {
		inCatalogue[p.Name] = true
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			continue // its own build tells
		}
		ast.Inspect(source, func(n ast.Node) bool {
			text, asArgument := literal(n)
			if inCatalogue[text] && (asArgument || strings.Contains(text, "_")) {
				found[text] = true
			}
			return true
		})
	}
	return slices.Sorted(maps.Keys(found))
}

// literal is the text of a string, or of a getter's only argument.
func literal(n ast.Node) (text string, asArgument bool) {
	if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 1 {
		if f, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains(getters, f.Sel.Name) {
			n, asArgument = call.Args[0], true
		}
	}
	if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		text, err := strconv.Unquote(lit.Value)
		return text, asArgument && err == nil
	}
	return "", false
}

func TestManualIsRoff(t *testing.T) {
	dir := t.TempDir()
	if err := WriteManual(top, dir); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"man8/smtpd.8":     ".SH NAME\nsmtpd \\- receives mail over the network\n.SH SYNOPSIS\n",
		"man8/lmtp.8":      ".so man8/smtp.8\n",
		"man1/mailq.1":     ".so man1/sendmail.1\n",
		"man1/postqueue.1": ".SH DESCRIPTION\nIt is set\\-gid",
		"man5/postconf.5":  ".TP\n\\fBalias_maps\\fR (lookup tables)\n",
	} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %q: %v", file, want, err)
		}
	}
	if got, want := escape(".a-b\\c\n.d"), "\\&.a\\-b\\ec\n\\&.d"; got != want {
		t.Errorf("escape: %q, want %q", got, want)
	}
}

func TestCitationsAreSortedByNumberAndSection(t *testing.T) {
	found := map[int]map[string][]place{}
	collect(found, "a.go", "x() // RFC 5321 §4.10, RFC 5321 §4.2\n// RFC 822\n\"RFC 1 §2\"\n")
	want := "| 822 |  | a.go:2 |\n| 5321 | 4.2 | a.go:1 |\n| 5321 | 4.10 | a.go:1 |\n"
	if got := table(found); !strings.HasSuffix(got, "|---|---|---|\n"+want) {
		t.Errorf("got %s", got)
	}
}
