package main

import (
	"os"
	"strings"

	"postroad/libmail/conf"
	"postroad/libmail/table"
)

// maxNesting is how deep files and tables in a parameter may name others.
const maxNesting = 10

// An approval collects the tables that may be asked.
type approval struct {
	approved map[string]bool // type:name
	warn     func(format string, args ...any)
}

// list takes the tables out of a parameter's value: each proxy:type:name, also
// inside { } with attributes, inside pipemap: and unionmap:, and in a /file.
// Everything else, such as domains, is passed over.
func (a *approval) list(text, origin string, depth int) {
	if depth > maxNesting {
		a.warn("%s: tables are nested too deep", origin)
		return
	}
	for _, item := range conf.SplitList(text) {
		if strings.HasPrefix(item, "{") {
			inner, ok := a.unbrace(item, origin)
			if !ok {
				continue
			}
			words := conf.SplitList(inner) // the rest are attributes
			if len(words) == 0 {
				continue
			}
			item = words[0]
		}
		if strings.HasPrefix(item, "/") {
			a.file(item, depth)
			continue
		}
		typ, name, ok := strings.Cut(item, ":")
		switch {
		case !ok || !isAlnum(item[0]): // a domain, a network, [ipv6::address]
		case typ == "pipemap" || typ == "unionmap":
			if inner, ok := a.unbrace(name, origin); ok {
				a.list(inner, origin, depth+1)
			}
		case typ == "proxy":
			for strings.HasPrefix(name, "proxy:") {
				name = strings.TrimPrefix(name, "proxy:")
			}
			a.approved[name] = true
		}
	}
}

// file takes the tables out of a file in a match list.
func (a *approval) file(path string, depth int) {
	f, err := os.Open(path)
	if err != nil {
		a.warn("%v", err)
		return
	}
	defer f.Close() // it was only read
	src := table.NewSource(f, path, nil)
	for line, _, ok := src.Next(); ok; line, _, ok = src.Next() {
		a.list(line, path, depth+1)
	}
	if err := src.Err(); err != nil {
		a.warn("read %s: %v", path, err)
	}
}

// unbrace takes the text out of braces.
func (a *approval) unbrace(s, origin string) (string, bool) {
	if !strings.HasPrefix(s, "{") || !strings.HasSuffix(s, "}") {
		a.warn("bad syntax in %s content: missing braces in %q", origin, s)
		return "", false
	}
	return s[1 : len(s)-1], true
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
