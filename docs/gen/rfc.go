package gen

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// citation is the one form in which comments cite: number, and section or not.
var citation = regexp.MustCompile(`\bRFC (\d{3,5})(?: §(\d+(?:\.\d+)*))?`)

// A place is a line of a source.
type place struct {
	file string
	line int
}

// Citations is docs/rfc.md: what the comments of the tree at top cite, by RFC
// and section, with the first places of each.
func Citations(top string) (string, error) {
	found := map[int]map[string][]place{}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "build" || d.Name() == "testdata" || len(d.Name()) > 1 && d.Name()[0] == '.') {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		collect(found, filepath.ToSlash(rel), string(text))
		return err
	})
	return table(found), err
}

// collect notes the citations in the comments of one file.
func collect(found map[int]map[string][]place, file, text string) {
	for i, line := range strings.Split(text, "\n") {
		_, remark, ok := strings.Cut(line, "//")
		if !ok {
			continue
		}
		for _, m := range citation.FindAllStringSubmatch(remark, -1) {
			number, _ := strconv.Atoi(m[1]) // three to five digits
			if found[number] == nil {
				found[number] = map[string][]place{}
			}
			found[number][m[2]] = append(found[number][m[2]], place{file, i + 1})
		}
	}
}

// shown is how many places of one section the table has.
const shown = 6

func table(found map[int]map[string][]place) string {
	var b strings.Builder
	b.WriteString("# RFCs: what is cited where\n\n" +
		"Made by `make rfc` from the comments of the sources. A row without a section is about the RFC as a\n" +
		"whole. Line numbers are those of the day when it was made.\n\n" +
		"| RFC | § | places |\n|---|---|---|\n")
	for _, number := range slices.Sorted(maps.Keys(found)) {
		for _, section := range slices.SortedFunc(maps.Keys(found[number]), compareSections) {
			var places []string
			for i, p := range found[number][section] {
				if i == shown {
					places = append(places, fmt.Sprintf("and %d more", len(found[number][section])-shown))
					break
				}
				places = append(places, fmt.Sprintf("%s:%d", p.file, p.line))
			}
			fmt.Fprintf(&b, "| %d | %s | %s |\n", number, section, strings.Join(places, ", "))
		}
	}
	return b.String()
}

// compareSections orders 4.2 before 4.10.
func compareSections(a, b string) int {
	number := func(s string) []int {
		var list []int
		for _, part := range strings.Split(s, ".") {
			n, _ := strconv.Atoi(part) // digits, or nothing at all
			list = append(list, n)
		}
		return list
	}
	return slices.Compare(number(a), number(b))
}
