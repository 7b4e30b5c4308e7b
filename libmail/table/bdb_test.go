package table

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// entriesOf makes n entries, some of them too big for a page.
func entriesOf(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprintf("user%d@example.com", i)] = fmt.Sprintf("value of %d", i)
	}
	if n > 10 {
		m["long value"] = strings.Repeat("0123456789", 2000)
		m["long key "+strings.Repeat("k", 5000)] = "v"
		m["both "+strings.Repeat("long", 300)] = strings.Repeat("x", 1500)
	}
	return m
}

func build(t *testing.T, spec string, entries map[string]string, o BuildOptions) {
	t.Helper()
	b, err := NewBuilder(spec, o)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range entries {
		if err := b.Add(k, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestBuiltTablesAnswer(t *testing.T) {
	for _, typ := range []string{"hash", "btree", "cdb"} {
		for _, n := range []int{0, 1, 2, 100, 5000} {
			t.Run(fmt.Sprintf("%s of %d", typ, n), func(t *testing.T) {
				name := filepath.Join(t.TempDir(), "t")
				entries := entriesOf(n)
				build(t, typ+":"+name, entries, BuildOptions{})
				tab, err := Open(typ+":"+name, Options{MustOpen: true})
				if err != nil {
					t.Fatal(err)
				}
				defer tab.Close()
				for k, v := range entries {
					if got, found, err := tab.Lookup(k); got != v || !found || err != nil {
						t.Fatalf("%.40q: got %.40q %v %v", k, got, found, err)
					}
				}
				if _, found, err := tab.Lookup("nobody"); found || err != nil {
					t.Error("nobody:", found, err)
				}
				seen := map[string]string{}
				if err := Walk(tab, func(k, v string) error { seen[k] = v; return nil }); err != nil {
					t.Fatal(err)
				}
				if len(seen) != len(entries) {
					t.Errorf("walk: %d entries of %d", len(seen), len(entries))
				}
				if v, err := exec.LookPath("db5.3_verify"); err == nil && typ != "cdb" {
					if out, err := exec.Command(v, name+".db").CombinedOutput(); err != nil {
						t.Fatalf("db5.3_verify: %s", out)
					}
				}
				_ = os.Remove
			})
		}
	}
}
