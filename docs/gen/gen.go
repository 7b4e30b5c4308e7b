// Package gen makes documents from the sources: a manual page from the package
// comment of each program, postconf(5) from the catalogue of parameters, and
// docs/rfc.md from the citations in comments.
//
//	go run docs/gen/main.go man DIRECTORY    # man1/, man5/, man8/ below it
//	go run docs/gen/main.go rfc > docs/rfc.md
package gen

import (
	"fmt"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Page is the manual page of one program.
type Page struct {
	Name    string
	Section int // 1 for the commands below cmd, 8 for the rest
	Folder  string
	doc     *comment.Doc
}

// aliases are the programs with more than one name, and that name.
var aliases = map[string][]string{"sendmail": {"mailq", "newaliases"}, "postroad": {"postfix"}, "smtp": {"lmtp"}}

// Pages reads the package comments of all programs of the tree at top, sorted
// by name.
func Pages(top string) ([]Page, error) {
	var pages []Page
	for section, pattern := range map[int]string{1: "cmd/*/main.go", 8: "*/main.go"} {
		files, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				return nil, err
			}
			if source.Doc == nil {
				return nil, fmt.Errorf("%s: no package comment", file)
			}
			folder := filepath.Dir(file)
			pages = append(pages, Page{Name: filepath.Base(folder), Section: section, Folder: folder,
				doc: new(comment.Parser).Parse(source.Doc.Text())})
		}
	}
	slices.SortFunc(pages, func(a, b Page) int { return strings.Compare(a.Name, b.Name) })
	return pages, nil
}

// Headings lists the headings of a page in their order.
func (p Page) Headings() []string {
	var list []string
	for _, block := range p.doc.Content {
		if h, ok := block.(*comment.Heading); ok {
			list = append(list, plain(h.Text))
		}
	}
	return list
}

// Under is the text below one heading.
func (p Page) Under(heading string) string {
	var b strings.Builder
	in := false
	for _, block := range p.doc.Content {
		if h, ok := block.(*comment.Heading); ok {
			in = plain(h.Text) == heading
			continue
		}
		if in {
			b.WriteString(blockText(block) + "\n\n")
		}
	}
	return b.String()
}

// WriteManual writes all manual pages below directory.
func WriteManual(top, directory string) error {
	pages, err := Pages(top)
	if err != nil {
		return err
	}
	for _, p := range pages {
		if err := write(directory, p.Name, p.Section, p.Roff()); err != nil {
			return err
		}
		for _, name := range aliases[p.Name] {
			link := fmt.Sprintf(".so man%d/%s.%d\n", p.Section, p.Name, p.Section)
			if err := write(directory, name, p.Section, link); err != nil {
				return err
			}
		}
	}
	return write(directory, "postconf", 5, Parameters())
}

func write(directory, name string, section int, text string) error {
	folder := filepath.Join(directory, fmt.Sprintf("man%d", section))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, fmt.Sprintf("%s.%d", name, section)), []byte(text), 0o644)
}
