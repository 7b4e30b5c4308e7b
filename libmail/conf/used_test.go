package conf

import (
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

//go:generate go test -run TestUsedNamesAreThoseInTheTree -update-used .

var updateUsed = flag.Bool("update-used", false, "rewrite used.go from the source tree")

// A parameter counts as used if a program names it in a string of its own code,
// or if the default of a used one refers to it. The names in used.go decide
// which settings start-up reports as without effect.
func TestUsedNamesAreThoseInTheTree(t *testing.T) {
	found := usedInTree(t, treeRoot(t))
	closeOverDefaults(found)
	if *updateUsed {
		writeUsed(t, found)
		return
	}
	missing := maps.Clone(found)
	maps.DeleteFunc(missing, func(name string, _ bool) bool { return usedNames[name] })
	stale := maps.Clone(usedNames)
	maps.DeleteFunc(stale, func(name string, _ bool) bool { return found[name] })
	if len(missing)+len(stale) > 0 {
		t.Errorf("run go generate ./libmail/conf: programs read %q without a mark; marked but read by none: %q",
			slices.Sorted(maps.Keys(missing)), slices.Sorted(maps.Keys(stale)))
	}
}

func treeRoot(t *testing.T) string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Skip("not in the source tree: ", err)
	}
	return dir
}

// usedInTree collects the parameters that the tree's code names. postconf shows
// every parameter and uses none; in this package only getters count.
func usedInTree(t *testing.T, root string) map[string]bool {
	found := map[string]bool{}
	eachFile(t, root, func(rel string, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool { mark(found, n, filepath.ToSlash(filepath.Dir(rel))); return true })
	})
	return found
}

// eachFile parses the programs' sources.
func eachFile(t *testing.T, root string, visit func(rel string, file *ast.File)) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path) // path is below root
		switch {
		case d.IsDir() && (rel == "cmd/postconf" || rel == "test" || rel == "build" ||
			d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && rel != "."):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err == nil { // half-written code of another hand: its own build tells
			visit(rel, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// getters are the methods of Config that take a parameter's name.
var getters = []string{"String", "Bool", "Int", "Size", "Duration", "List", "Raw", "IsSet"}

// mark looks at one node. Names with an underscore are unmistakable in any
// string; the few others count only as the argument of a getter. The smtp
// folder is two clients in one and puts its names together from smtp or lmtp.
func mark(found map[string]bool, n ast.Node, dir string) {
	switch n := n.(type) {
	case *ast.BasicLit:
		if dir == "libmail/conf" {
			return
		}
		name, ok := literalText(n)
		if !ok {
			return
		}
		if _, known := index()[name]; known && strings.Contains(name, "_") {
			found[name] = true
		}
		if dir == "smtp" {
			for _, prefix := range []string{"smtp_", "lmtp_"} {
				full := prefix + strings.TrimPrefix(name, "_")
				if _, known := index()[full]; known {
					found[full] = true
				}
			}
		}
		markSuffix(found, name)
	case *ast.CallExpr:
		f, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains(getters, f.Sel.Name) || len(n.Args) != 1 {
			return
		}
		if name, ok := literalText(n.Args[0]); ok {
			if _, known := index()[name]; known {
				found[name] = true
			}
		}
	}
}

// A name that is not in the catalogue makes the getter panic, perhaps only in
// the field.
func TestGettersNameKnownParameters(t *testing.T) {
	root := treeRoot(t)
	eachFile(t, root, func(rel string, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains(getters, f.Sel.Name) || !isConfig(f.X) {
				return true
			}
			if name, ok := literalText(call.Args[0]); ok {
				if _, known := Find(name); !known {
					t.Errorf("%s: %s(%q): no such parameter", rel, f.Sel.Name, name)
				}
			}
			return true
		})
	})
}

// isConfig guesses whether x is a *Config, by the names that everybody uses.
func isConfig(x ast.Expr) bool {
	name := ""
	switch x := x.(type) {
	case *ast.Ident:
		name = x.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	}
	return name == "c" || strings.EqualFold(name, "conf") || strings.EqualFold(name, "config")
}

// markSuffix marks what TransportInt(service, suffix) and its kin read.
func markSuffix(found map[string]bool, name string) {
	for _, s := range suffixes {
		if s.name == name {
			found[s.def] = true
			found["transport_"+name] = true
			for known := range index() {
				if strings.HasSuffix(known, "_"+name) && strings.HasPrefix(known, "local_") {
					found[known] = true
				}
			}
		}
	}
}

func literalText(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// closeOverDefaults adds what the defaults of used parameters refer to. The
// defaults of the proxymap lists name every table parameter and prove nothing.
func closeOverDefaults(found map[string]bool) {
	queue := slices.Collect(maps.Keys(found))
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		p, ok := index()[name]
		if !ok || strings.HasPrefix(name, "proxy_") {
			continue
		}
		for _, ref := range ReferencedNames(p.Default) {
			if _, known := index()[ref]; known && !found[ref] {
				found[ref] = true
				queue = append(queue, ref)
			}
		}
	}
}

func writeUsed(t *testing.T, found map[string]bool) {
	old, err := os.ReadFile("used.go")
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(old), "var usedNames")
	_, tail, _ := strings.Cut(string(old), "\n// Used reports")
	var b strings.Builder
	b.WriteString(head + "var usedNames = map[string]bool{\n")
	for _, name := range slices.Sorted(maps.Keys(found)) {
		fmt.Fprintf(&b, "\t%q: true,\n", name)
	}
	b.WriteString("}\n\n// Used reports" + tail)
	text, err := format.Source([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("used.go", text, 0o644); err != nil {
		t.Fatal(err)
	}
}
