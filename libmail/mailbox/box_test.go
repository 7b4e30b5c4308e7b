package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// newBox makes a Maildir with files, given as sub/name.
func newBox(t *testing.T, files ...string) (*Box, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "Maildir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		put(t, dir, f)
	}
	return b, dir
}

func put(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("Subject: "+name+"\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// show is the messages as "uid base flags keywords".
func show(t *testing.T, b *Box) string {
	t.Helper()
	if err := b.Sync(); err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, m := range b.Items() {
		s = append(s, strings.TrimSpace(fmt.Sprint(m.UID, " ", m.base, " ", fileName{flags: m.Flags}.info()[3:], strings.Join(m.Keywords, "+"))))
	}
	return strings.Join(s, "|")
}

func TestUIDs(t *testing.T) {
	b, dir := newBox(t, "new/20.b", "cur/10.a:2,S", "new/.hidden", "cur/20.M1P.x:2,FS", "cur/20.M9P.x:2,")
	if got, want := show(t, b), "1 10.a S|2 20.M1P.x FS|3 20.M9P.x|4 20.b"; got != want {
		t.Fatalf("first: %s", got)
	}
	validity := b.UIDValidity()
	if err := os.Rename(filepath.Join(dir, "new/20.b"), filepath.Join(dir, "cur/20.b:2,RS")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "cur/10.a:2,S")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "new/5.old")
	want := "2 20.M1P.x FS|3 20.M9P.x|4 20.b RS|5 5.old"
	if got := show(t, b); got != want {
		t.Errorf("after others: %s", got)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := show(t, again); got != want || again.UIDValidity() != validity || again.UIDNext() != 6 {
		t.Errorf("a new process: %s, %d, %d", got, again.UIDValidity(), again.UIDNext())
	}
	put(t, dir, "new/10.a")
	if got := show(t, b); !strings.Contains(got, "1 10.a") && !strings.Contains(got, "6 10.a") {
		t.Errorf("a base that comes back: %s", got)
	}
}

func TestStoreAndExpunge(t *testing.T) {
	b, dir := newBox(t, "new/1.a", "cur/2.b:2,PS,x=1")
	show(t, b)
	a, two := b.Items()[0], b.Items()[1]
	if err := errors.Join(b.Store(a, AddFlags, Seen|Flagged, []string{"Junk", "$Label1"}), b.Store(two, SetFlags, Draft, []string{"junk"}),
		b.Store(a, RemoveFlags, Flagged, []string{"$Label1", "never"})); err != nil {
		t.Fatal(err)
	}
	if got, want := show(t, b), "1 1.a SJunk|2 2.b DPJunk"; got != want {
		t.Errorf("got %s", got)
	}
	for _, name := range []string{"cur/1.a:2,Sa", "cur/2.b:2,DPa,x=1"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if err := os.Rename(filepath.Join(dir, "cur/1.a:2,Sa"), filepath.Join(dir, "cur/1.a:2,")); err != nil {
		t.Fatal(err)
	}
	if err := b.Store(a, AddFlags, Answered, nil); err != nil || a.Flags != Answered {
		t.Errorf("after another renamed it: %v, %v", err, a.Flags)
	}
	if err := b.Expunge(a); err != nil {
		t.Error(err)
	}
	if err := b.Expunge(a); err != nil {
		t.Errorf("twice: %v", err)
	}
	if _, err := b.OpenItem(a); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
	if got := show(t, b); got != "2 2.b DPJunk" {
		t.Errorf("got %s", got)
	}
}

func TestUidlistOfOthers(t *testing.T) {
	b, dir := newBox(t, "new/1.a", "cur/2.b:2,S", "new/9.z")
	text := "3 V1700000000 N8 Gaaaabbbbccccddddaaaabbbbccccdddd Xkeep\n3 P00000003deadbeef :1.a\n5 S100 W200 :2.b:2,S\nbad line\n6 :gone\n"
	if err := os.WriteFile(filepath.Join(dir, uidlistName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := show(t, b), "3 1.a|5 2.b S|8 9.z"; got != want {
		t.Fatalf("got %s", got)
	}
	if m := b.Items(); m[0].UIDL != "00000003deadbeef" || m[1].Size != 100 || m[1].Wire != 200 {
		t.Errorf("keys: %+v %+v", m[0], m[1])
	}
	got, err := os.ReadFile(filepath.Join(dir, uidlistName))
	want := "3 V1700000000 N8 Gaaaabbbbccccddddaaaabbbbccccdddd Xkeep\n3 P00000003deadbeef :1.a\n5 S100 W200 :2.b\n6 :gone\n8 :9.z\n"
	if string(got) != want || err != nil {
		t.Errorf("rewritten as %q, %v", got, err)
	}
}

func TestDamagedUidlistIsSetAside(t *testing.T) {
	b, dir := newBox(t, "new/1.a")
	if err := os.WriteFile(filepath.Join(dir, uidlistName), []byte("garbage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := show(t, b); got != "1 1.a" || b.UIDValidity() == 0 {
		t.Errorf("got %s", got)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, uidlistName+".damaged.*")); len(files) != 1 {
		t.Errorf("set aside: %v", files)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name, base, info string
		flags            Flags
		keywords         string
	}{
		{"1.a", "1.a", ":2,", 0, ""},
		{"1.a:1,exp:2,S", "1.a", ":2,S", Seen, ""},
		{"1.a:2,TSba", "1.a", ":2,STab", Seen | Trashed, "ba"},
		{"1.a:2,SX,y", "1.a", ":2,SX,y", Seen, ""},
		{"1.a:3,S", "1.a", ":2,", 0, ""},
	} {
		f, ok := parseName(c.name)
		if !ok || f.base != c.base || f.flags != c.flags || f.keywords != c.keywords || f.info() != c.info {
			t.Errorf("%s: %+v, info %s", c.name, f, f.info())
		}
	}
	for _, name := range []string{"", ".a", ":2,S", "a\nb"} {
		if _, ok := parseName(name); ok {
			t.Errorf("%q is a message", name)
		}
	}
	for base, want := range map[string]int64{"1.a,S=10,W=12": 10, "1.a,W=12,S=10": 10, "1.a,S=x": -1, "1.a": -1, "1.a,S=99999999999999999999": -1} {
		if got := sizeIn(base, ",S="); got != want {
			t.Errorf("%s: %d", base, got)
		}
	}
}

func TestKeywordsRunOut(t *testing.T) {
	b, _ := newBox(t, "new/1.a")
	show(t, b)
	for i := range 26 {
		if err := b.Store(b.Items()[0], AddFlags, 0, []string{fmt.Sprint("k", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Store(b.Items()[0], AddFlags, 0, []string{"k26"}); !errors.Is(err, ErrKeywords) {
		t.Errorf("the 27th: %v", err)
	}
	if got := b.Items()[0].Keywords; len(got) != 26 || !reflect.DeepEqual(len(b.Keywords()), 26) {
		t.Errorf("%d keywords", len(got))
	}
}

func FuzzUidlist(f *testing.F) {
	f.Add([]byte("3 V1700000000 N8 Gaaaa\n3 P0 :1.a\n5 S1 W2 :2.b\n"))
	f.Add([]byte("1 5 9\n1 a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		u := uidlist{byBase: map[string]listed{}}
		if u.read(strings.NewReader(string(data)), 1, 0) != nil {
			return
		}
		for _, l := range u.byBase {
			if l.uid == 0 || l.uid >= u.next || strings.ContainsAny(l.base, "/:\n") {
				t.Errorf("%+v, next %d", l, u.next)
			}
		}
	})
}
