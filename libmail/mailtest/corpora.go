// Package mailtest runs one program or the whole suite in a temporary
// directory and plays dialogs with it; only tests import it.
package mailtest

import (
	"os"
	"path/filepath"
	"testing"
)

// Corpora returns the folder with the named set of test data. It skips the
// test when there is none. The sets lie where POSTROAD_CORPORA says, or in
// ../shared/corpora beside the top folder of the repository.
func Corpora(tb testing.TB, name string) string {
	tb.Helper()
	base := os.Getenv("POSTROAD_CORPORA")
	if base == "" {
		base = filepath.Join(top(tb), "..", "shared", "corpora")
	}
	dir := filepath.Join(base, filepath.FromSlash(name))
	if _, err := os.Stat(dir); err != nil {
		tb.Skipf("no test data: %v (set POSTROAD_CORPORA)", err)
	}
	return dir
}

// top is the folder of go.mod.
func top(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			tb.Fatal("no go.mod above the test's folder")
		}
	}
}
