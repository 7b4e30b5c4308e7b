package table

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// answer is what a table says, in one word.
func answer(t Table, key string) string {
	value, found, err := t.Lookup(key)
	switch {
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	case err != nil:
		return "error"
	case !found:
		return "not found"
	}
	return "=" + value
}

func TestTypes(t *testing.T) {
	t.Setenv("table_test", "environment")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("key value\nUPPER Value\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ rule, spec, key, want string }{
		{"texthash", "texthash:" + text, "key", "=value"},
		{"texthash folds its keys", "texthash:" + text, "Upper", "=Value"},
		{"texthash without its file", "texthash:/nonexistent", "key", "unavailable"},
		{"texthash of a folder", "texthash:/", "key", "unavailable"},
		{"hash without its file", "hash:/nonexistent", "key", "unavailable"},
		{"cdb without its file", "cdb:/nonexistent", "key", "unavailable"},
		{"hash of another file", "hash:" + text, "key", "unavailable"},

		{"inline", "inline:{a=1, b=2}", "b", "=2"},
		{"inline folds its keys", "inline:{A=1}", "a", "=1"},
		{"inline with blanks", "inline:{{a = x y }, b=2}", "a", "=x y"},
		{"inline with quotes", `inline:{{"a b"@c = 1}}`, `"a b"@c`, "=1"},
		{"inline without the key", "inline:{a=1}", "c", "not found"},
		{"inline without a value has an empty one", "inline:{a=}", "a", "="},
		{"inline without =", "inline:{a}", "a", "unavailable"},
		{"inline without braces", "inline:a=1", "a", "unavailable"},
		{"inline of nothing", "inline:{}", "a", "unavailable"},
		{"inline of blanks", "inline:{ }", "a", "unavailable"},
		{"inline with text behind", "inline:{a=1}x", "a", "unavailable"},

		{"static", "static:text", "any", "=text"},
		{"static with blanks", "static:{ two words }", "any", "=two words"},
		{"static without an end", "static:{x", "any", "unavailable"},
		{"internal is empty", "internal:x", "any", "not found"},
		{"environ", "environ:x", "table_test", "=environment"},
		{"environ without the name", "environ:x", "table_test_2", "not found"},
		{"fail", "fail:x", "any", "error"},
		{"randmap of one", "randmap:{x}", "any", "=x"},
		{"randmap of none", "randmap:{}", "any", "unavailable"},
		{"unix", "unix:group.byname", "root", "=root:x:0:"},
		{"unix without the user", "unix:passwd.byname", "no such user", "not found"},
		{"unix of another table", "unix:hosts.byname", "root", "unavailable"},

		{"pipemap", "pipemap:{inline:{a=b}, inline:{b=c}}", "a", "=c"},
		{"pipemap that ends", "pipemap:{inline:{a=b}, inline:{c=d}}", "a", "not found"},
		{"pipemap with an error", "pipemap:{inline:{a=b}, fail:x}", "a", "error"},
		{"pipemap that ends before the error", "pipemap:{inline:{a=b}, fail:x}", "b", "not found"},
		{"pipemap of nothing", "pipemap:{}", "a", "unavailable"},
		{"pipemap of words", "pipemap:{a}", "a", "unavailable"},
		{"unionmap", "unionmap:{static:1, inline:{a=2}, inline:{b=3}}", "a", "=1,2"},
		{"unionmap with nothing", "unionmap:{inline:{a=2}}", "b", "not found"},
		{"unionmap with an error", "unionmap:{static:1, fail:x}", "a", "error"},
		{"tables in tables in tables", "pipemap:{unionmap:{inline:{a=b}}, pipemap:{inline:{b=c}}}", "a", "=c"},
		{"debug", "debug:inline:{a=1}", "a", "=1"},

		{"cidr", "cidr:{{10.0.0.0/8 ten}, {0.0.0.0/0 any}}", "10.1.2.3", "=ten"},
		{"cidr of the other family", "cidr:{{::/0 six}}", "10.1.2.3", "not found"},
		{"cidr of no address", "cidr:{{0.0.0.0/0 any}}", "x", "not found"},
		{"cidr not", "cidr:{{!10.0.0.0/8 other}}", "11.0.0.1", "=other"},
		{"cidr not, of the other family", "cidr:{{!10.0.0.0/8 other}}", "::1", "not found"},
		{"cidr if", "cidr:{{if 10.0.0.0/8}, {10.1.0.0/16 a}, {endif}, {0.0.0.0/0 b}}", "10.2.0.0", "=b"},
		{"cidr if, inside", "cidr:{{if 10.0.0.0/8}, {10.1.0.0/16 a}, {endif}, {0.0.0.0/0 b}}", "10.1.0.0", "=a"},
		{"cidr in brackets", "cidr:{{[2001:db8::]/32 doc}}", "2001:db8::1", "=doc"},
		{"cidr with host bits", "cidr:{{10.0.0.1/8 ten}}", "10.0.0.1", "not found"},

		{"regexp", "regexp:{{/^a(.*)c$/ <$1>}}", "abc", "=<b>"},
		{"regexp ignores case", "regexp:{{/ABC/ x}}", "abc", "=x"},
		{"regexp regards case", "regexp:{{/ABC/i x}}", "abc", "not found"},
		{"regexp not", "regexp:{{!/a/ x}}", "b", "=x"},
		{"regexp but not", "regexp:{{/a/!/b/ x}}", "ab", "not found"},
		{"regexp if", "regexp:{{if /a/}, {/b/ x}, {endif}, {/./ y}}", "b", "=y"},
		{"regexp nested if", "regexp:{{if /a/}, {if !/b/}, {/c/ x}, {endif}, {/c/ y}, {endif}}", "abc", "=y"},
		{"regexp dollar", "regexp:{{/a/ $$1}}", "a", "=$1"},
		{"regexp longest", "regexp:{{/(a|ab)(c|bcd)?/ $1}}", "abcd", "=a"},
		{"regexp whole match is longest", "regexp:{{/(x|xyz)/ $1}}", "xyz1", "=xyz"},
		{"regexp back reference", `regexp:{{/(.)\1/ $1}}`, "abba", "=b"},
		{"pcre look ahead", "pcre:{{/a(?=b)/ x}}", "ab", "=x"},
		{"pcre dollar before a newline at the end", "pcre:{{/b$/ x}}", "ab\n", "=x"},
		{"pcre dollar at the very end", "pcre:{{/b$/E x}}", "ab\n", "not found"},
		{"pcre and bytes", "pcre:{{/^.(.)$/ <$1>}}", "\xc3\xa4", "=<\xa4>"},

		{"an unknown type", "bogus:x", "any", "unavailable"},
		{"no type", "x", "any", "unavailable"},
		{"no name", "hash:", "any", "unavailable"},
		{"proxy without a service", "proxy:static:x", "any", "unavailable"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			tab, err := Open(c.spec, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer tab.Close()
			got := answer(tab, c.key)
			if c.spec == "environ:x" {
				tab2, _ := Open(c.spec, Options{Fold: FoldNone})
				got = answer(tab2, c.key)
			}
			if got != c.want {
				t.Errorf("got %s", got)
			}
			_, err = Open(c.spec, Options{MustOpen: true})
			if (err != nil) != (c.want == "unavailable") {
				t.Errorf("MustOpen: %v", err)
			}
		})
	}
}

func TestTrust(t *testing.T) {
	for _, c := range []struct {
		rule, spec, key string
		trust           Trust
		want            string
	}{
		{"a $1 is not allowed", "regexp:{{/(a)/ $1}, {/./ x}}", "a", NoSubstitution, "=x"},
		{"plain results are", "pcre:{{/(a)/ b}}", "a", NoSubstitution, "=b"},
		{"no tcp", "tcp:localhost:1", "a", NoServer, "unavailable"},
		{"no socketmap", "socketmap:unix:/x:y", "a", NoServer, "unavailable"},
		{"no proxy: the table itself", "proxy:static:x", "a", NoProxy, "=x"},
		{"tables inside tables too", "pipemap:{proxy:static:x, static:y}", "a", Paranoid, "=y"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			tab, err := Open(c.spec, Options{Trust: c.trust})
			if err != nil {
				t.Fatal(err)
			}
			if got := answer(tab, c.key); got != c.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestFolding(t *testing.T) {
	for _, c := range []struct {
		rule, spec, key string
		o               Options
		want            string
	}{
		{"fixed keys are folded", "inline:{key=1}", "KEY", Options{}, "=1"},
		{"unless the caller forbids", "inline:{key=1}", "KEY", Options{Fold: FoldNone}, "not found"},
		{"patterns see the key as it is", "pcre:{{/KEY/i 1}}", "KEY", Options{}, "=1"},
		{"unless the caller folds all", "pcre:{{/KEY/i 1}}", "KEY", Options{Fold: FoldAll}, "not found"},
		{"ASCII only", "inline:{ü=1}", "Ü", Options{}, "not found"},
		{"Unicode with SMTPUTF8", "inline:{ü=1}", "Ü", Options{UTF8: true}, "=1"},
		{"full case folding", "inline:{strasse=1}", "Straße", Options{UTF8: true}, "=1"},
		{"keys must be UTF-8", "static:x", "\xff", Options{UTF8: true}, "not found"},
		{"values must be UTF-8", "static:\xff", "x", Options{UTF8: true}, "error"},
		{"bytes are bytes without", "static:\xff", "\xff", Options{}, "=\xff"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			tab, err := Open(c.spec, c.o)
			if err != nil {
				t.Fatal(err)
			}
			if got := answer(tab, c.key); got != c.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestDuplicates(t *testing.T) {
	name := filepath.Join(t.TempDir(), "t")
	if err := os.WriteFile(name, []byte("a 1\nA 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		d    Duplicates
		want string
	}{{DupError, "unavailable"}, {DupWarn, "=1"}, {DupIgnore, "=1"}, {DupReplace, "=2"}} {
		var h heard
		tab, err := Open("texthash:"+name, Options{Duplicates: c.d, Log: &h})
		if err != nil {
			t.Fatal(err)
		}
		if got := answer(tab, "a"); got != c.want {
			t.Errorf("%d: got %s", c.d, got)
		}
		if said := len(h.lines) > 0; said != (c.d == DupError || c.d == DupWarn) {
			t.Errorf("%d: %q", c.d, h.lines)
		}
	}
}

func TestOwner(t *testing.T) {
	for spec, want := range map[string]Owner{
		"static:x":                        {Known: true},
		"inline:{a=1}":                    {Known: true},
		"tcp:localhost:1":                 {},
		"socketmap:unix:/x:y":             {},
		"pipemap:{static:x, static:y}":    {Known: true},
		"unionmap:{static:x, tcp:host:1}": {},
		"debug:static:x":                  {Known: true},
		"regexp:{{/x/ y}}":                {Known: true, UID: uint32(os.Getuid())},
	} {
		tab, err := Open(spec, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := OwnerOf(tab); got != want {
			t.Errorf("%s: got %+v", spec, got)
		}
	}
}

func TestMaps(t *testing.T) {
	for _, c := range []struct{ rule, list, key, want, log string }{
		{"the first table that has the key answers", "inline:{a=1} static:2", "a", "1", ""},
		{"an error ends the search", "inline:{a=1} fail:x static:2", "b", "error", `fail:x lookup error for "b"`},
		{"an error is not reached behind a hit", "inline:{a=1} fail:x", "a", "1", ""},
		{"the empty key is nowhere", "static:1", "", "not found", ""},
		{"an empty value is an error", "inline:{a=}", "a", "error", "test lookup of a returns an empty string result|test should return NO RESULT in case of NOT FOUND"},
		{"no tables", "", "a", "not found", ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var h heard
			m, err := OpenMaps("test", strings.Fields(c.list), Options{Log: &h})
			if err != nil {
				t.Fatal(err)
			}
			value, found, err := m.Find(c.key)
			got := value
			if err != nil {
				got = "error"
			} else if !found {
				got = "not found"
			}
			if got != c.want || strings.Join(h.lines, "|") != c.log {
				t.Errorf("got %s, log %q", got, h.lines)
			}
		})
	}
	var none *Maps
	if _, found, err := none.Find("a"); found || err != nil || !none.Empty() || none.Close() != nil {
		t.Error("a nil Maps is not empty")
	}
}

func TestParentSearches(t *testing.T) {
	for _, c := range []struct {
		rule, list, key string
		p               Parents
		want            string
	}{
		{"the name itself", "inline:{a.b.c=1, b.c=2}", "a.b.c", PlainParents, "1"},
		{"a parent", "inline:{b.c=2}", "x.a.b.c", PlainParents, "2"},
		{"a parent with its dot", "inline:{b.c=2, .b.c=3}", "x.a.b.c", DotParents, "3"},
		{"the name has no dot", "inline:{.b.c=3}", "b.c", DotParents, ""},
		{"patterns see the name only", "regexp:{{/^b.c$/ 1}}", "a.b.c", PlainParents, ""},
		{"an address has no parent domains", "inline:{2.3=x}", "192.0.2.3", PlainParents, ""},
	} {
		m, err := OpenMaps("test", []string{c.list}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := m.FindDomain(c.key, c.p); got != c.want || err != nil {
			t.Errorf("%s: got %q %v", c.rule, got, err)
		}
	}
	for _, c := range []struct{ rule, list, key, want string }{
		{"the address itself", "inline:{192.0.2.1=1}", "192.0.2.1", "1"},
		{"a network of it", "inline:{192.0=2}", "192.0.2.1", "2"},
		{"a class A network", "inline:{192=3}", "192.0.2.1", "3"},
		{"no other network", "inline:{19=3}", "192.0.2.1", ""},
		{"IPv6", "inline:{{2001:db8=4}}", "2001:db8::1", "4"},
		{"patterns see the address only", "cidr:{{192.0.2.0/24 5}}", "192.0.2.1", "5"},
	} {
		m, err := OpenMaps("test", []string{c.list}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := m.FindIP(c.key); got != c.want || err != nil {
			t.Errorf("%s: got %q %v", c.rule, got, err)
		}
	}
}

func TestMapAddress(t *testing.T) {
	canon := func(s string) (string, error) {
		if s == "bad" {
			return "", errors.New("rewrite service is down")
		}
		if !strings.Contains(s, "@") && s != `""` {
			s += "@origin"
		}
		return s, nil
	}
	for _, c := range []struct {
		rule, table, address string
		x                    Extension
		want                 string
	}{
		{"an address", "inline:{a@b=c@d}", "a@b", Drop, "[c@d]"},
		{"a list", "inline:{{a@b=c@d, e@f}}", "a@b", Drop, "[c@d e@f]"},
		{"what is not complete is completed", "inline:{a@b=c}", "a@b", Drop, "[c@origin]"},
		{"the extension goes with it", "inline:{a@b=c@d}", "a+x@b", Propagate, "[c+x@d]"},
		{"or not", "inline:{a@b=c@d}", "a+x@b", Drop, "[c@d]"},
		{"an extension that matched is not added", "inline:{a+x@b=c@d}", "a+x@b", Propagate, "[c@d]"},
		{"@domain keeps the user", "inline:{@b=@d}", "a@b", Drop, "[a@d]"},
		{"@domain keeps the extension too", "inline:{@b=@d}", "a+x@b", Propagate, "[a+x@d]"},
		{"the null address", "inline:{a@b=<>}", "a@b", Drop, "[]"},
		{"quotes", `inline:{{"a b"@c="d e"@f}}`, "a b@c", Drop, "[d e@f]"},
		{"not found", "inline:{a@b=c@d}", "x@y", Drop, "not found"},
		{"no address in the value", "static:,", "a@b", Drop, "error"},
		{"a table that fails", "fail:x", "a@b", Drop, "error"},
		{"a rewrite service that fails", "static:bad", "a@b", Drop, "error"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			o := Options{}
			o.Delimiters.Set = "+"
			m, err := OpenMaps("test", []string{c.table}, o)
			if err != nil {
				t.Fatal(err)
			}
			list, found, err := m.MapAddress(c.address, c.x, canon)
			got := fmt.Sprint(list)
			if err != nil {
				got = "error"
			} else if !found {
				got = "not found"
			}
			if got != c.want {
				t.Errorf("got %s %v", got, err)
			}
		})
	}
}

func TestDestinations(t *testing.T) {
	list, err := OpenMatchList("mydestination", StringList, "a.test, inline:{b.test=x}", DotParents, Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := &Destinations{Domains: list, Origin: "o.test"}
	for domain, want := range map[string]bool{"a.test": true, "A.Test.": true, "b.test": true, "x.a.test": false, "": false, ".": false, "a.test..": false, "o.test": false, "[127.0.0.1]": false} {
		if got, err := d.Match(domain); got != want || err != nil {
			t.Errorf("%q: %v %v", domain, got, err)
		}
	}
	if ok, err := d.MatchOrigin("O.test"); !ok || err != nil {
		t.Errorf("origin: %v %v", ok, err)
	}
}
