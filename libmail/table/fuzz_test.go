package table

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// seedFiles adds files that a Builder made, whole and in parts.
func seedFiles(f *testing.F, typ string) {
	for _, n := range []int{0, 3, 40} {
		path := filepath.Join(f.TempDir(), "t")
		b, err := NewBuilder(typ+":"+path, BuildOptions{})
		if err != nil {
			f.Fatal(err)
		}
		for k, v := range entriesOf(n) {
			if err := b.Add(k, v); err != nil {
				f.Fatal(err)
			}
		}
		if err := b.Commit(); err != nil {
			f.Fatal(err)
		}
		data, err := os.ReadFile(b.Path())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
}

// survive reads a file that may hold anything: whatever it says, reading it
// ends.
func survive(t *testing.T, find func(string) (string, bool, error), each func(func(k, v string) error) error) {
	for _, key := range []string{"", "user1@example.com\x00", "long value\x00", strings.Repeat("k", 3000)} {
		if _, found, err := find(key); found && err != nil {
			t.Errorf("%.40q: found and %v", key, err)
		}
	}
	n := 0
	_ = each(func(key, value string) error { // a damaged file may be an error, or look empty
		if n++; n > 10000 {
			return errors.New("enough")
		}
		return nil
	})
}

func FuzzBDB(f *testing.F) {
	seedFiles(f, "hash")
	seedFiles(f, "btree")
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, magic := range []uint32{hashMagic, btreeMagic} {
			b := &bdb{name: "fuzz", magic: magic, r: bytes.NewReader(data)}
			if err := b.readHead(int64(len(data))); err == nil {
				survive(t, b.find, b.each)
			}
		}
	})
}

func FuzzCDB(f *testing.F) {
	seedFiles(f, "cdb")
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &cdb{name: "fuzz", r: bytes.NewReader(data)}
		if err := c.readHead(int64(len(data))); err == nil {
			survive(t, c.find, c.walk)
		}
	})
}

func FuzzLMDB(f *testing.F) {
	// A page size of 512, two meta pages and a leaf with one entry.
	file := make([]byte, 3*512)
	for i := range 2 {
		m := file[512*i+lmdbHeader:]
		le.PutUint32(m, lmdbMagic)
		le.PutUint32(m[4:], lmdbVersion)
		le.PutUint32(m[24:], 512)
		le.PutUint64(m[72+40:], 2)
		le.PutUint64(m[128:], uint64(i))
	}
	leaf := file[1024:]
	for at, v := range map[int]uint16{0: 2, 10: lmdbLeaf, 12: lmdbHeader + 2, lmdbHeader: 400, 400: 1, 406: 1} {
		le.PutUint16(leaf[at:], v)
	}
	copy(leaf[408:], "kv")
	f.Add(file)
	f.Fuzz(func(t *testing.T, data []byte) {
		l := &lmdb{name: "fuzz", r: bytes.NewReader(data), size: int64(len(data))}
		if err := l.begin(); err == nil {
			survive(t, l.find, l.each)
		}
	})
}

func FuzzCIDR(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/8 x", "!10.0.0.1 x", "[::1]/128 x", "if 10.0.0.0/8\n10.1.0.0/16 y\nendif", "10.0.0.0/33 x", "[1 x", "endif"} {
		f.Add(seed, "10.1.2.3")
	}
	f.Fuzz(func(t *testing.T, text, key string) {
		rs, err := readRules(&front{}, strings.NewReader(text), "cidr", "fuzz", parseCIDRRule)
		if err != nil {
			return
		}
		_, found, err := rs.get(key)
		if err != nil {
			t.Error(err)
		}
		if _, bad := netip.ParseAddr(key); found && bad != nil {
			t.Errorf("%q is no address and matches %q", key, text)
		}
	})
}

func FuzzRegexp(f *testing.F) {
	for _, seed := range []string{`/^(a|b)*c$/ $1`, `/[[:alpha:]]+/i x`, `/a{2,3}\1/ $1`, `!/x/ y`, "if /a/\n/b/ c\nendif", `/(?<n>a)\k<n>/ $1`,
		`/a*+b(?>c)/ x`, `/\x41\Qa\E[^]\w]/sx y`, `/(/ x`, `/a/!/b/ x`, `/\(a\)\{2\}/x $1`, "/\xff/ y"} {
		f.Add(seed, "abc")
	}
	f.Fuzz(func(t *testing.T, text, key string) {
		if len(text) > 200 || len(key) > 50 {
			return
		}
		for typ, d := range map[string]*dialect{"regexp": &posix, "pcre": &perl} {
			rs, err := readRules(&front{}, strings.NewReader(text), typ, "fuzz", d.parseRule)
			if err != nil {
				continue
			}
			if _, _, err := rs.get(key); err != nil {
				t.Errorf("%s %q %q: %v", typ, text, key, err)
			}
		}
	})
}

func FuzzReply(f *testing.F) {
	for _, seed := range []string{"", "200 a%20b", "%", "%4", "%zz", "%41"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, ok := unquoteTCP(quoteTCP(text)); !ok || got != text {
			t.Errorf("%q becomes %q %v", text, got, ok)
		}
		unquoteTCP(text)
		if r, err := parseResult(text); err == nil {
			r.expand("key", []int{0, 3, 0, 1})
		}
	})
}
