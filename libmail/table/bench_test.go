package table

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkLookup is one lookup that finds and one that does not.
func BenchmarkLookup(b *testing.B) {
	dir := b.TempDir()
	path := filepath.Join(dir, "t")
	text, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100000 {
		fmt.Fprintf(text, "user%d@example.com value%d\n", i, i)
	}
	text.Close()
	for _, typ := range []string{"hash", "btree", "cdb"} {
		bu, err := NewBuilder(typ+":"+path, BuildOptions{})
		if err != nil {
			b.Fatal(err)
		}
		for i := range 100000 {
			bu.Add(fmt.Sprintf("user%d@example.com", i), fmt.Sprint("value", i))
		}
		if err := bu.Commit(); err != nil {
			b.Fatal(err)
		}
		if typ == "hash" {
			os.Rename(path+".db", path+"h.db")
		}
	}
	for _, spec := range []string{"texthash:" + path, "hash:" + path + "h", "btree:" + path, "cdb:" + path,
		`regexp:{{/^user([0-9]+)@example\.com$/ value$1}}`, `pcre:{{/^user(\d+)@example\.com$/ value$1}}`, `pcre:{{/^user(?=\d)(\d+)@/ value$1}}`, "cidr:{{10.0.0.0/8 x}}"} {
		b.Run(spec[:6], func(b *testing.B) {
			t, err := Open(spec, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer t.Close()
			b.ReportAllocs()
			for b.Loop() {
				t.Lookup("user4711@example.com")
				t.Lookup("nobody4711@example.com")
			}
		})
	}
}
