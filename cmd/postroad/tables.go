package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"postroad/libmail/conf"
	"postroad/libmail/table"
)

// tableWarnings lists the tables and files named in main.cf that cannot be read.
func (s *system) tableWarnings() []string {
	var w []string
	tried := map[string]bool{}
	for _, name := range s.conf.Names() {
		p, known := conf.Find(name)
		if !known || !conf.Used(name) {
			continue
		}
		report := func(err error) {
			w = append(w, fmt.Sprintf("%s/%s: parameter %s: %v", s.conf.Dir(), s.conf.Where(name), name, err))
		}
		switch p.Kind {
		case conf.Tables, conf.Match, conf.Restrictions:
			for _, spec := range tableSpecs(s.conf.List(name)) {
				if tried[spec] {
					continue
				}
				tried[spec] = true
				if err := s.tryTable(spec); err != nil {
					report(err)
				}
			}
		case conf.Path:
			if err := tryFile(name, s.conf.String(name)); err != nil {
				report(err)
			}
		}
	}
	return w
}

// tableSpecs picks the words that name a table. The address of a policy server
// looks like one.
func tableSpecs(words []string) []string {
	var specs []string
	for i, word := range words {
		word = strings.TrimLeft(word, "!")
		kind, _, found := strings.Cut(word, ":")
		isPolicy := i > 0 && words[i-1] == "check_policy_service"
		if found && !isPolicy && slices.Contains(table.Types(), kind) {
			specs = append(specs, word)
		}
	}
	return specs
}

// tryTable opens a table. proxymap opens those behind proxy:, and servers are
// asked only when there is mail.
func (s *system) tryTable(spec string) error {
	for strings.HasPrefix(spec, "proxy:") {
		spec = strings.TrimPrefix(spec, "proxy:")
	}
	t, err := table.Open(spec, table.Options{MustOpen: true, UTF8: s.conf.Bool("smtputf8_enable"), Log: s.log})
	if err != nil {
		return fmt.Errorf("table %s: %w", spec, err)
	}
	return t.Close()
}

// tryFile makes sure that a key, certificate or other file exists. Directories
// of the installation are of no concern.
func tryFile(name, path string) error {
	if !strings.HasPrefix(name, "smtp") && !strings.HasPrefix(name, "lmtp") && !strings.HasPrefix(name, "tls") ||
		!filepath.IsAbs(path) || strings.HasSuffix(name, "_sasl_path") {
		return nil
	}
	_, err := os.Stat(path)
	return err
}
