package mailbox

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func openTree(t *testing.T) *Tree {
	t.Helper()
	tree, fresh, err := OpenTree(filepath.Join(t.TempDir(), "Maildir"))
	if err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	return tree
}

func names(t *testing.T, tree *Tree) string {
	t.Helper()
	list, err := tree.Names()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, " ")
}

// validity is the UIDVALIDITY of a mailbox.
func validity(t *testing.T, tree *Tree, name string) uint32 {
	t.Helper()
	b, err := Open(tree.Dir(name))
	if err == nil {
		err = b.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.UIDValidity()
}

func TestTree(t *testing.T) {
	tree := openTree(t)
	for _, n := range []string{"b", "a.c", "a.c.d"} {
		if err := tree.Create(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.Create("b"); !errors.Is(err, ErrBoxHere) {
		t.Errorf("a second b: %v", err)
	}
	if got := names(t, tree); got != "INBOX a.c a.c.d b" {
		t.Errorf("names %s", got)
	}
	old := validity(t, tree, "b")
	if v := validity(t, tree, "a.c"); v == old {
		t.Error("two mailboxes have one UIDVALIDITY")
	}
	if err := tree.Delete("b"); err != nil {
		t.Fatal(err)
	}
	if err := tree.Create("b"); err != nil {
		t.Fatal(err)
	}
	if v := validity(t, tree, "b"); v <= old {
		t.Errorf("a mailbox made anew has UIDVALIDITY %d after %d", v, old)
	}
	if err := tree.Rename("a", "x"); err != nil {
		t.Fatal(err)
	}
	if got := names(t, tree); got != "INBOX b x.c x.c.d" {
		t.Errorf("names %s", got)
	}
	for _, c := range []struct {
		err, want error
	}{
		{tree.Rename("x", "x.y"), ErrName}, {tree.Rename("nothere", "z"), ErrNoBox}, {tree.Rename("x.c", "b"), ErrBoxHere},
		{tree.Delete(Inbox), ErrInbox}, {tree.Delete("nothere"), ErrNoBox},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%v, want %v", c.err, c.want)
		}
	}
	if err := os.Rename(tree.Dir("b"), filepath.Join(tree.Root(), ".für")); err != nil {
		t.Fatal(err)
	}
	if got := names(t, tree); got != "INBOX f&APw-r x.c x.c.d" || !tree.Exists("f&APw-r") {
		t.Errorf("a name in UTF-8: %s", got)
	}
}

func TestCheckName(t *testing.T) {
	for name, want := range map[string]string{"inbox": "INBOX", "Inbox.a": "INBOX.a", "a.": "a", "a..b": "", "": "", ".": "", "a/b": "", "&": "", "&-": "&-",
		"p&AOQA5A-": "p&AOQA5A-", "&AGE-": "", "a\tb": "", "..": "", strings.Repeat("a", 241): "", "~a": "~a"} {
		if got, err := CheckName(name); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestSubscriptions(t *testing.T) {
	tree := openTree(t)
	path := filepath.Join(tree.Root(), "subscriptions")
	if err := os.WriteFile(path, []byte("b\na.c\n"), 0o600); err != nil { // version 1
		t.Fatal(err)
	}
	if err := tree.Subscribe("d", "b"); err != nil {
		t.Fatal(err)
	}
	if err := tree.Unsubscribe("nothere"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); string(got) != "V\t2\n\na\tc\nb\nd\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := tree.Subscriptions(); strings.Join(got, " ") != "a.c b d" || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// Messages are added all or none, with the date and the flags they came with.
func TestAdd(t *testing.T) {
	tree := openTree(t)
	b, err := Open(tree.Root())
	if err == nil {
		err = b.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
	date := time.Unix(1_500_000_000, 0)
	add := func(text string, flags Flags, words ...string) *Addition {
		a, err := b.NewAddition(date)
		if err != nil {
			t.Fatal(err)
		}
		a.Flags, a.Keywords = flags, words
		if _, err := a.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := a.Finish(); err != nil {
			t.Fatal(err)
		}
		return a
	}
	items, err := b.Add([]*Addition{add("a: b\r\n\r\nx\r", 0), add("a: b\r\n\r\n", Seen, "$Junk")})
	if err != nil || len(items) != 2 || items[0].UID != 1 || items[1].UID != 2 || !items[0].IsNew() || items[1].IsNew() {
		t.Fatalf("%+v, %v", items, err)
	}
	if data, err := os.ReadFile(b.path(items[0])); string(data) != "a: b\n\nx\r" || err != nil || items[0].Wire != 10 {
		t.Errorf("%q, wire %d, %v", data, items[0].Wire, err)
	}
	if d, err := b.Date(items[1]); !d.Equal(date) || err != nil {
		t.Errorf("date %v, %v", d, err)
	}
	if !strings.HasSuffix(items[1].name, ":2,Sa") || strings.Join(items[1].Keywords, " ") != "$Junk" {
		t.Errorf("%s %v", items[1].name, items[1].Keywords)
	}

	good, lost := add("1\n", 0), add("2\n", 0)
	if err := os.Remove(lost.path); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Add([]*Addition{good, lost}); err == nil {
		t.Error("a message that is not there was added")
	}
	if err := b.Sync(); err != nil || len(b.Items()) != 2 {
		t.Errorf("%d messages are left, %v", len(b.Items()), err)
	}
	if size, count, err := Usage(tree.Root()); size != 14 || count != 2 || err != nil {
		t.Errorf("usage %d %d, %v", size, count, err)
	}
}

func FuzzMUTF7(f *testing.F) {
	for _, s := range []string{"a&AOQA5A-b", "&-", "&2D3eAA-", "&AGE-", "&AOQ-&AOQ-", "ü☃𝄞&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if text, err := DecodeMUTF7(s); err == nil && EncodeMUTF7(text) != s {
			t.Errorf("%q is %q, which is %q", s, text, EncodeMUTF7(text))
		}
		if utf8.ValidString(s) {
			if text, err := DecodeMUTF7(EncodeMUTF7(s)); err != nil || text != s {
				t.Errorf("%q comes back as %q, %v", s, text, err)
			}
		}
	})
}
