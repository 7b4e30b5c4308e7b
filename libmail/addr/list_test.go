package addr

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroad/libmail/mailtest"
)

// show writes a tree on one line: A(…) is an address.
func show(list []Token) string {
	var out []string
	for _, t := range list {
		switch t.Kind {
		case Address:
			out = append(out, "A("+show(t.List)+")")
		case Atom:
			out = append(out, t.Text)
		case QuotedString:
			out = append(out, fmt.Sprintf("%q", t.Text))
		case Comment:
			out = append(out, t.Text)
		case Literal:
			out = append(out, "["+t.Text+"]")
		case GroupStart:
			out = append(out, "group:")
		default:
			out = append(out, string(rune(t.Kind)))
		}
	}
	return strings.Join(out, " ")
}

func TestParseList(t *testing.T) {
	tests := []struct{ rule, in, tree, back string }{
		{"words around an @ are one address", "a@b", "A(a @ b)", "a@b"},
		{"a dot divides atoms", "a.b@c.d", "A(a . b @ c . d)", "a.b@c.d"},
		{"blanks inside an address go", "a @ b . c", "A(a @ b . c)", "a@b.c"},
		{"a phrase stays a phrase", "John Doe <a@b>", "John Doe < A(a @ b) >", "John Doe <a@b>"},
		{"a quoted phrase keeps its quotes", `"Doe, J." <a@b>`, `"Doe, J." < A(a @ b) >`, `"Doe, J." <a@b>`},
		{"a missing comma is added", "a@b c@d", "A(a @ b) , A(c @ d)", "a@b, c@d"},
		{"a missing comma after <> is added", "<a@b> c@d", "< A(a @ b) > , A(c @ d)", "<a@b>, c@d"},
		{"a comment goes to the right of its address", "a (x) @b", "A(a @ b) (x)", "a@b (x)"},
		{"a comment in <> goes to the right", "<a(x)@b>", "< A(a @ b) (x) >", "<a@b (x)>"},
		{"nested comments are one", `(a (b\) c)) d@e`, `A(d @ e) (a (b\) c))`, `d@e (a (b\) c))`},
		{"a group keeps its name", "g: a@b, <c@d>;", "g group: A(a @ b) , < A(c @ d) > ;", "g: a@b, <c@d>;"},
		{"an empty group is no address", "Undisclosed recipients:;", "Undisclosed recipients group: ;", "Undisclosed recipients: ;"},
		{"a colon outside a group is part of the address", "a:b@c", "A(a : b @ c)", `"a:b"@c`},
		{"a colon before a phrase stays outside", "a: <b@c>", "A(a) : < A(b @ c) >", "a: <b@c>"},
		{"a source route is part of the address", "<@a,@b:c@d>", "< A(@ a , @ b : c @ d) >", "<@a,@b:c@d>"},
		{"a domain literal is one token", "a@[1.2.3.4]", "A(a @ [1.2.3.4])", "a@[1.2.3.4]"},
		{"a quoted local part is quoted again", `"a b"@c`, `A("a b" @ c)`, `"a b"@c`},
		{"needless quotes go", `"a"@c`, `A("a" @ c)`, "a@c"},
		{"an escaped blank makes a quoted string", `a\ b@c`, `A("a b" @ c)`, `"a b"@c`},
		{"the null address stays", "<>", "< >", "<>"},
		{"a lone < is dropped into no address", "a <b", "A(a < b)", `"a<b"`},
		{"a lone > groups what is before it", "a@b>", "A(a @ b) >", "a@b>"},
		{"bangs and percents are operators", "a!b%c@d", "A(a ! b % c @ d)", "a!b%c@d"},
		{"an open quote ends with the text", `"a b`, `A("a b")`, `"a b"`},
		{"an open comment ends with the text", "a@b (c", "A(a @ b) (c", "a@b (c"},
		{"nothing is nothing", " \t\n", "", ""},
		{"UTF-8 words are atoms", "Jürgen <ü@ü.example>", "Jürgen < A(ü @ ü . example) >", "Jürgen <ü@ü.example>"},
	}
	for _, tt := range tests {
		list := ParseList(tt.in, 0)
		if got := show(list); got != tt.tree {
			t.Errorf("%s: ParseList(%q) = %s, want %s", tt.rule, tt.in, got, tt.tree)
		}
		if got := External(list); got != tt.back {
			t.Errorf("%s: External(%q) = %q, want %q", tt.rule, tt.in, got, tt.back)
		}
	}
}

func TestSetExternal(t *testing.T) {
	list := ParseList(`a@b, "c d" <e>`, 0)
	for i := range list {
		if list[i].Kind == Address {
			list[i].SetExternal(list[i].External() + ".example")
		}
	}
	if got, want := External(list), `a@b.example, "c d" <e.example>`; got != want {
		t.Errorf("rewritten list = %q, want %q", got, want)
	}
	list[0].SetExternal("")
	if got, want := External(list[:1]), `""`; got != want {
		t.Errorf("an empty address in a header = %q, want %q", got, want)
	}
	a := NewAddress("two words")
	if got, want := a.Internal(), "two words"; got != want {
		t.Errorf("words of a new address stay apart: %q, want %q", got, want)
	}
}

func TestHeaderFormat(t *testing.T) {
	long := strings.Repeat("x", 251)
	tests := []struct {
		rule, in, want string
		f              Format
		dropped        int
	}{
		{"one address a line", "a@b, c@d", "a@b,\nc@d", Lines, 0},
		{"a long phrase is dropped", long + " <a@b>, c@d", "<a@b>, c@d", Trim, 1},
		{"a phrase of 246 bytes stays", long[:246] + " <a@b>", long[:246] + " <a@b>", Trim, 0},
		{"a long phrase of the null address is dropped", long + " <>", "<>", Trim, 1},
		{"text without an address stays", long + ":;", long + ": ;", Trim, 0},
		{"each address is counted by itself", long[:200] + " <a@b>, " + long[:200] + " <c@d>",
			long[:200] + " <a@b>, " + long[:200] + " <c@d>", Trim, 0},
	}
	for _, tt := range tests {
		got, dropped := Header(ParseList(tt.in, 0), tt.f)
		if got != tt.want || len(dropped) != tt.dropped {
			t.Errorf("%s: %q, %d dropped; want %q, %d", tt.rule, got, len(dropped), tt.want, tt.dropped)
		}
	}
}

// TestTokenLimitReference compares with the answers of Postfix's own test.
func TestTokenLimitReference(t *testing.T) {
	dir := mailtest.Corpora(t, "postfix-refs/global")
	want, err := os.ReadFile(filepath.Join(dir, "tok822_limit.ref"))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, line := range readLines(t, filepath.Join(dir, "tok822_limit.in")) {
		list := ParseList(line, 20)
		fmt.Fprintf(&got, ">>>%s<<<\n\nParse tree:\n", line)
		printTree(&got, list, 0)
		plain, _ := Header(list, Trim)
		lines, _ := Header(list, Trim|Lines)
		fmt.Fprintf(&got, "\nInternalized:\n%s\n\n", Internal(list))
		fmt.Fprintf(&got, "Externalized, no newlines inserted:\n%s\n\n", plain)
		fmt.Fprintf(&got, "Externalized, newlines inserted:\n%s\n\n", lines)
	}
	if got.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
}

// printTree prints a tree as the reference does.
func printTree(w *strings.Builder, list []Token, indent int) {
	names := map[Kind]string{Atom: "atom", QuotedString: "quoted string", Comment: "comment", Literal: "domain literal"}
	for _, t := range list {
		switch t.Kind {
		case Address:
			fmt.Fprintf(w, "%*s address\n", indent, "")
			printTree(w, t.List, indent+2)
		case GroupStart:
			fmt.Fprintf(w, "%*s group \":\"\n", indent, "")
		case Atom, QuotedString, Comment, Literal:
			fmt.Fprintf(w, "%*s %s %q\n", indent, "", names[t.Kind], t.Text)
		default:
			fmt.Fprintf(w, "%*s OP \"%c\"\n", indent, "", rune(t.Kind))
		}
	}
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{"a@b", "g: a, <b@c>;", `"x" (y) <@a,@b:c@[1.2.3.4]> z`, "<<>>;:,", "\\", "((", "a\x00b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list := ParseList(s, 10240)
		once := External(list)
		if n, m := count(Scan(s, 10240)), count(list); m < n {
			t.Errorf("%q: %d tokens became %d", s, n, m)
		}
		Header(list, Lines|Trim)
		ParseList(once, 10240)
	})
}

// count is the number of tokens that are no addresses or commas.
func count(list []Token) (n int) {
	for _, t := range list {
		switch t.Kind {
		case Address:
			n += count(t.List)
		case ',':
		default:
			n++
		}
	}
	return n
}
