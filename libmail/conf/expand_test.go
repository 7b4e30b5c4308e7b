package conf

import (
	"strings"
	"testing"
)

// parsed reads text as main.cf, without checks of values.
func parsed(t testing.TB, text string) *Config {
	t.Helper()
	c := &Config{dir: "/nowhere", set: map[string]setting{}, networks: func() string { return "127.0.0.0/8" }}
	if err := c.parse([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestExpand(t *testing.T) {
	c := parsed(t, `
one = 1
two = $one$one
empty =
blank = $empty
dollar = a$$b
low = 9
high = 10
mailbox_command = /bin/x $EXTENSION
postscreen_dnsbl_ttl = 3
`)
	cases := []struct{ rule, text, want string }{
		{"plain text stands for itself", "a b", "a b"},
		{"$name", "<$one>", "<1>"},
		{"${name}", "<${one}>", "<1>"},
		{"$(name)", "<$(one)>", "<1>"},
		{"blanks around a name in braces", "${ one }", "1"},
		{"values are expanded too", "$two", "11"},
		{"an undefined name is empty", "<$nobody>", "<>"},
		{"$$ is a dollar sign", "$$one", "$one"},
		{"$$ inside a value", "$dollar", "a$b"},
		{"a name ends before other characters", "$one.$one-x", "1.1-x"},
		{"? if not empty", "${one?yes}${empty?no}${nobody?no}", "yes"},
		{": if empty", "${one:no}${empty:yes}${nobody:yes}", "yesyes"},
		{"a set value counts as written, not as expanded", "${blank?set}", "set"},
		{"a default counts as expanded", "${smtp_fallback_relay?set}", ""},
		{"?: with braces", "${one?{a b}:{c}} ${empty?{a}:{b c}}", "a b b c"},
		{"blanks between the parts of ?:", "${one ? {a} : {b}}", "a"},
		{"text after ? without braces goes to the end", "${one??foo:{b}ar}", "?foo:{b}ar"},
		{"mixed operands", "${empty?{a}:b}", "b"},
		{"branches are expanded", "${one?{$two}:{}}", "11"},
		{"== on text", "${{a} == {a} ? {yes} : {no}}", "yes"},
		{"!= on text", "${{a} != {a} ? {yes} : {no}}", "no"},
		{"digits compare as numbers", "${{$low} < {$high} ? {yes} : {no}}", "yes"},
		{"mixed operands compare as text", "${{9x} < {10} ? {yes} : {no}}", "no"},
		{">= and <=", "${{2}>={2}?{a}}${{2}<={1}?{b}}", "a"},
		{"> on text", "${{b}>{a}?{yes}}", "yes"},
		{"leading zeros do not count", "${{007} == {7} ? {yes}}", "yes"},
		{"a comparison alone is true or empty", "<${{1} == {1}}><${{1} == {2}}>", "<true><>"},
		{"levels compare by their parts", "${{3.10} >level {3.9} ? {yes} : {no}}", "yes"},
		{"text would compare differently", "${{3.10} > {3.9} ? {yes} : {no}}", "no"},
		{"the compatibility level", "${{$compatibility_level} <level {1} ? {old} : {new}}", "old"},
		{"expressions nest", "${one?{${empty?{a}:{${{1}=={1}?{b}}}}}}", "b"},
		{"a raw parameter is not expanded", "$mailbox_command", "/bin/x $EXTENSION"},
		{"an obsolete name feeds the new default", "$postscreen_dnsbl_max_ttl", "3h"},
		{"a domain becomes ASCII", "${domain_to_ascii{bücher.example}}", "xn--bcher-kva.example"},
		{"an ASCII domain stays as it is", "${domain_to_ascii{_x.example}}", "_x.example"},
		{"a domain becomes UTF-8", "${domain_to_utf8{xn--bcher-kva.example}}", "bücher.example"},
	}
	for _, tc := range cases {
		got, err := c.Eval(tc.text)
		if err != nil || got != tc.want {
			t.Errorf("%s: %s = %q, %v; want %q", tc.rule, tc.text, got, err, tc.want)
		}
	}
}

func TestExpandRefuses(t *testing.T) {
	c := parsed(t, "loop = $pool\npool = x $loop\nbomb0 = x\n"+doublings(40))
	cases := []struct{ rule, text, want string }{
		{"a name that refers to itself", "$loop", "unreasonable nesting"},
		{"a few lines that mean gigabytes", "$bomb40", "unreasonable nesting"},
		{"an open brace", "${one", "truncated reference"},
		{"nothing after the dollar sign", "a $ b", "empty name"},
		{"nothing in the braces", "${}", "empty name"},
		{"only blanks in the braces", "${ }", "bad name"},
		{"other characters in a name", "${a-b}", "bad name"},
		{"an unknown function", "${rot13{x}}", "unknown function"},
		{"text after a function", "${domain_to_ascii{x} y}", "unexpected text"},
		{"text after both branches", "${one?{a}:{b}c}", "unexpected text"},
		{"text in place of the colon", "${one?{a}b}", "expected at"},
		{"an unknown operator", "${{a} =! {b}}", "bad comparison"},
		{"an unknown family of comparisons", "${{1} <date {2}}", "bad comparison suffix"},
		{"a missing operand", "${{a} ==}", "comparison"},
		{"a malformed level", "${{x} <level {2}}", "malformed compatibility level"},
	}
	for _, tc := range cases {
		got, err := c.Eval(tc.text)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %s = %q, error %v; want error with %q", tc.rule, tc.text, clip(got), err, tc.want)
		}
		if c.Expand(tc.text) != tc.text {
			t.Errorf("%s: Expand changes %q", tc.rule, tc.text)
		}
	}
}

// doublings defines bomb1 as twice bomb0, and so on.
func doublings(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		prev := "$bomb" + itoa(i-1)
		b.WriteString("bomb" + itoa(i) + " = " + prev + prev + "\n")
	}
	return b.String()
}

func itoa(n int) string { return string(rune('0' + n/10))[:1] + string(rune('0'+n%10)) }

func TestSubstituteTakesValuesAsTheyAre(t *testing.T) {
	got, err := Substitute("${user}+$extension ${domain?@$domain} $nobody$$", func(name string) (string, bool) {
		v, ok := map[string]string{"user": "$extension", "extension": "x", "domain": "d"}[name]
		return v, ok
	})
	if want := "$extension+x @d $"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestParseLevel(t *testing.T) {
	order := []string{"0", "1", "2", "3", "3.0.1", "3.6", "3.9", "3.10", "4"}
	for i := 1; i < len(order); i++ {
		a, errA := ParseLevel(order[i-1])
		b, errB := ParseLevel(order[i])
		if errA != nil || errB != nil || a >= b {
			t.Errorf("level %s is not below %s (%v, %v)", order[i-1], order[i], errA, errB)
		}
	}
	for _, bad := range []string{"", "x", "1.", ".1", "1.2.3.4", "-1", "1.1024", "99999999999999"} {
		if _, err := ParseLevel(bad); err == nil {
			t.Errorf("level %q is accepted", bad)
		}
	}
}
