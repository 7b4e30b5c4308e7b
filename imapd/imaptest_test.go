package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postroad/libmail/mailtest"
)

// TestScripts plays the scripts of imaptest whose capabilities we announce.
func TestScripts(t *testing.T) {
	dir := mailtest.Corpora(t, "imaptest-scripts")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); !strings.Contains(name, ".") && name != "LICENSE" {
			t.Run(name, func(t *testing.T) { playScript(t, dir, name) })
		}
	}
}

// A script is a test of imaptest (its FORMAT.md).
type script struct {
	t        *testing.T
	stage    *stage
	conns    []*tester
	expunged [][]int // by connection: the numbers at the beginning of a command of what is there now
	mails    []mboxMail
	next     int
	vars     map[string]string
}

type mboxMail struct{ text, date string }

var fromLine = regexp.MustCompile(`(?m)^From \S+  (.*)\n`)

func readMbox(t *testing.T, path string) (list []mboxMail) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	at := fromLine.FindAllStringSubmatchIndex(text, -1)
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		mail := mboxMail{text: strings.ReplaceAll(strings.ReplaceAll(text[m[1]:end], "\r\n", "\n"), "\n", "\r\n")}
		for _, form := range []string{"Mon Jan 2 15:04:05 2006 -0700", "Mon Jan 2 15:04:05 2006"} {
			if d, err := time.ParseInLocation(form, strings.TrimSpace(text[m[2]:m[3]]), time.Local); err == nil {
				mail.date = d.Format("_2-Jan-2006 15:04:05 -0700")
			}
		}
		list = append(list, mail)
	}
	return list
}

var (
	openLiteral = regexp.MustCompile(`(~?)\{\{\{\n`)
	number      = regexp.MustCompile(`^(\d+) (.*)$`)
)

// logicalLines joins literals to one line; in it they stand as {n}CRLF data.
func logicalLines(text string) (lines []string) {
	for text != "" {
		nl := strings.IndexByte(text, '\n')
		if nl < 0 {
			nl = len(text) - 1
		}
		m := openLiteral.FindStringSubmatchIndex(text)
		line := ""
		for m != nil && m[0] < nl {
			end := strings.Index(text[m[1]:], "}}}")
			data := strings.TrimSuffix(text[m[1]:m[1]+end], "\n")
			if m[2] == m[3] {
				data = strings.ReplaceAll(strings.ReplaceAll(data, "\r\n", "\n"), "\n", "\r\n")
			}
			line += text[:m[3]] + fmt.Sprintf("{%d+}\r\n%s", len(data), data)
			text = text[m[1]+end+3:]
			nl = strings.IndexByte(text, '\n')
			if nl < 0 {
				nl = len(text) - 1
			}
			m = openLiteral.FindStringSubmatchIndex(text)
		}
		line += strings.TrimRight(text[:nl+1], "\r\n")
		text = text[nl+1:]
		if line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

func playScript(t *testing.T, dir, name string) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	head := map[string]string{"connections": "1", "state": "selected"}
	for len(lines) > 0 {
		line := lines[0]
		lines = lines[1:]
		if line == "" {
			break
		}
		if k, v, ok := strings.Cut(line, ": "); ok && line[0] != '#' {
			head[k] = v
		}
	}
	caps := " " + strings.ToUpper(capabilities(0, quotaRule{})) + " "
	for _, c := range strings.Fields(strings.ToUpper(head["capabilities"])) {
		if !strings.Contains(caps, " "+c+" ") {
			t.Skipf("%s is not announced", c)
		}
	}
	s := &script{t: t, stage: newStage(t), vars: map[string]string{"mailbox": "imaptest", "mailbox_url": "imaptest",
		"user": "alice", "username": "alice", "domain": "", "password": "x"}}
	mbox := filepath.Join(dir, name+".mbox")
	if _, err := os.Stat(mbox); err != nil {
		mbox = filepath.Join(dir, "default.mbox")
	}
	s.mails = readMbox(t, mbox)
	n, err := strconv.Atoi(head["connections"])
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		s.conns = append(s.conns, s.stage.dial())
		s.expunged = append(s.expunged, nil)
	}
	s.prepare(head)
	s.play(logicalLines(strings.Join(lines, "\n")))
}

// prepare brings the connections into the state that a script begins in.
func (s *script) prepare(head map[string]string) {
	order := []string{"nonauth", "auth", "created", "appended", "selected"}
	state := slices.Index(order, head["state"])
	if state >= 2 {
		s.conns[0].has("CREATE imaptest", "OK")
	}
	if state >= 3 {
		count := len(s.mails)
		if m, err := strconv.Atoi(head["messages"]); err == nil {
			count = m
		}
		for range count {
			s.conns[0].has(s.appendCommand(""), "OK")
		}
	}
	if state >= 4 {
		for _, c := range s.conns {
			c.has("SELECT imaptest", "OK")
		}
	}
}

// appendCommand is APPEND of the next message of the mbox.
func (s *script) appendCommand(args string) string {
	m := s.mails[s.next%len(s.mails)]
	s.next++
	if args == "" {
		args = "imaptest"
	}
	date := ""
	if m.date != "" {
		date = ` "` + m.date + `"`
	}
	return fmt.Sprintf("APPEND %s%s {%d+}\r\n%s", args, date, len(m.text), m.text)
}

// A step is a command with what is expected of it.
type step struct {
	conn    int
	command string
	tag     string
	status  string
	prefix  string
	expect  []string
}

func isStatus(w string) bool {
	switch strings.ToLower(w) {
	case "ok", "no", "bad", `""`:
		return true
	}
	return false
}

var scriptTag = regexp.MustCompile(`^tag\d+$`)

func (s *script) play(lines []string) {
	var group []*step
	open := 0
	for _, line := range lines {
		if strings.ContainsRune("*!?", rune(line[0])) {
			last := group[len(group)-1]
			last.expect = append(last.expect, line)
			continue
		}
		conn := 0
		if m := number.FindStringSubmatch(line); m != nil {
			conn, _ = strconv.Atoi(m[1])
			conn, line = conn-1, m[2]
		}
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case isStatus(word) && open > 0: // the end of a command of method 2
			st := group[len(group)-1]
			st.status, st.prefix = strings.ToLower(word), rest
			open--
			continue
		case isStatus(word):
			s.run(group)
			group = []*step{{conn: conn, command: rest, status: strings.ToLower(word)}}
			continue
		case scriptTag.MatchString(word):
			if second, tail, _ := strings.Cut(rest, " "); isStatus(second) {
				for _, st := range group {
					if st.tag == word && st.status == "" {
						st.status, st.prefix = strings.ToLower(second), tail
					}
				}
				continue
			}
			if len(group) > 0 && (group[0].tag == "" || group[len(group)-1].status != "") {
				s.run(group)
				group = nil
			}
			group = append(group, &step{conn: conn, command: rest, tag: word})
			continue
		}
		s.run(group)
		group = []*step{{conn: conn, command: line}}
		open = 1
	}
	s.run(group)
}

// A response is one untagged response, with the number that its message had
// when the command began.
type response struct {
	text  string
	args  []value
	first int
}

// run plays the commands of a group, and then looks at what came.
func (s *script) run(group []*step) {
	if len(group) == 0 || s.t.Failed() {
		return
	}
	x := s.conns[group[0].conn]
	var tags []string
	for _, st := range group {
		word, rest, _ := strings.Cut(st.command, " ")
		command := s.expand(st.command)
		if strings.EqualFold(word, "append") && !strings.Contains(rest, "{") {
			command = s.appendCommand(s.expand(rest))
		}
		tags = append(tags, x.send(command))
	}
	var got []response
	there := make([]int, 500)
	for i := range there {
		there[i] = i + 1
	}
	for k, st := range group {
		lines, end := x.until(tags[k])
		for _, l := range lines {
			r := response{text: l, args: parseValues(strings.TrimPrefix(l, "* "))}
			if len(r.args) > 1 {
				if n, err := strconv.Atoi(r.args[0].text); err == nil && n > 0 && n <= len(there) {
					r.first = there[n-1]
					if strings.EqualFold(r.args[1].text, "EXPUNGE") {
						there = slices.Delete(there, n-1, n)
					}
				}
			}
			got = append(got, r)
		}
		s.vars["tag"] = tags[k]
		if st.status != `""` && !strings.HasPrefix(strings.ToLower(end), st.status+" ") {
			s.t.Errorf("%s: %s, want %s\n%q", st.command, end, st.status, lines)
		}
		if _, text, _ := strings.Cut(end, " "); !strings.HasPrefix(strings.ToLower(text), strings.ToLower(st.prefix)) {
			s.t.Errorf("%s: %s, want %s %s", st.command, end, st.status, st.prefix)
		}
	}
	for _, st := range group {
		for _, e := range st.expect {
			found := s.find(e[2:], got)
			if found == (e[0] == '!') && e[0] != '?' {
				s.t.Errorf("%s\nexpected %q\nvars %v\ngot %s", st.command, e, s.vars, texts(got))
			}
		}
	}
}

func texts(list []response) string {
	var b strings.Builder
	for _, r := range list {
		fmt.Fprintf(&b, "  %q\n", r.text)
	}
	return b.String()
}

// find looks for a response that is as expected.
func (s *script) find(expect string, got []response) bool {
	want := parseValues(expect)
	for _, r := range got {
		saved := map[string]string{}
		for k, v := range s.vars {
			saved[k] = v
		}
		if s.matchResponse(want, r) {
			return true
		}
		s.vars = saved
	}
	return false
}

func (s *script) matchResponse(want []value, r response) bool {
	word := ""
	for i := range want {
		if i < 2 && word == "" {
			if w := strings.ToUpper(want[i].text); w != "" && w[0] >= 'A' {
				word = w
			}
		}
	}
	if len(r.args) < len(want) || len(r.args) > len(want) && word != "OK" && word != "BYE" && word != "NO" {
		return false
	}
	for i, w := range want {
		if i == 0 && len(w.text) > 1 && w.text[0] == '$' {
			if n, err := strconv.Atoi(w.text[1:]); err == nil {
				if n != r.first {
					return false
				}
				continue
			}
		}
		rule := rules{}
		switch {
		case word == "FETCH":
			rule = rules{chain: 2, fetch: true}
		case word == "STATUS":
			rule = rules{chain: 2}
		case (word == "LIST" || word == "LSUB") && i == 1:
			rule = rules{chain: 1}
		}
		if !s.match(w, r.args[i], rule) {
			return false
		}
	}
	return true
}

// rules say how a list is compared: chain 0 is in order, n is chains of n
// elements in any order.
type rules struct {
	chain   int
	noExtra bool
	fetch   bool
	ignore  []string
	ban     []string
}

// directives takes the $! words from the beginning of a list.
func directives(list []value, r rules) ([]value, rules) {
	for i := 0; len(list) > 0 && strings.HasPrefix(list[0].text, "$!"); i++ {
		if i == 0 {
			r.chain, r.noExtra, r.ignore = 0, false, nil
		}
		name, arg, _ := strings.Cut(list[0].text[2:], "=")
		switch name {
		case "unordered":
			r.chain = 1
			if n, err := strconv.Atoi(arg); err == nil {
				r.chain = n
			}
		case "noextra":
			r.noExtra = true
		case "ban":
			r.chain = max(r.chain, 1)
			r.ban = append(r.ban, arg)
		case "ignore":
			r.ignore = append(r.ignore, arg)
		}
		list = list[1:]
	}
	return list, r
}

func (s *script) match(want, got value, r rules) bool {
	if !want.isList {
		if want.text == "$" {
			return true
		}
		return !got.isList && s.matchText(want.text, got.text)
	}
	if !got.isList {
		return false
	}
	list, r := directives(want.list, r)
	if r.chain == 0 {
		if len(list) != len(got.list) {
			return false
		}
		for i := range list {
			if !s.match(list[i], got.list[i], rules{}) {
				return false
			}
		}
		return true
	}
	for _, b := range r.ban {
		if slices.ContainsFunc(got.list, func(v value) bool { return strings.EqualFold(v.text, b) }) {
			return false
		}
	}
	used := make([]bool, len(got.list))
next:
	for i := 0; i+r.chain <= len(list); i += r.chain {
		for j := 0; j+r.chain <= len(got.list); j += r.chain {
			all := !used[j]
			for k := 0; all && k < r.chain; k++ {
				inner := rules{}
				if r.fetch && k == 1 && strings.EqualFold(list[i].text, "FLAGS") {
					inner = rules{chain: 1, noExtra: true, ignore: []string{`\recent`}}
				}
				all = s.match(list[i+k], got.list[j+k], inner)
			}
			if all {
				used[j] = true
				continue next
			}
		}
		return false
	}
	if r.noExtra {
		for j, v := range got.list {
			if !used[j] && !slices.ContainsFunc(r.ignore, func(x string) bool { return strings.EqualFold(x, v.text) }) {
				return false
			}
		}
	}
	return true
}

var variable = regexp.MustCompile(`\$\$|\$\{(\w+)\}|\$(\w+)`)

// expand replaces variables that have a value.
func (s *script) expand(text string) string {
	return variable.ReplaceAllStringFunc(text, func(v string) string {
		if v == "$$" {
			return "$"
		}
		if value, known := s.vars[strings.Trim(v, "${}")]; known {
			return value
		}
		return v
	})
}

// matchText compares; variables without a value get theirs.
func (s *script) matchText(want, got string) bool {
	want, got = latin1(want), latin1(got)
	pattern := "(?is)^"
	var names []string
	at := 0
	for _, m := range variable.FindAllStringIndex(want, -1) {
		pattern += regexp.QuoteMeta(want[at:m[0]])
		v := want[m[0]:m[1]]
		name := strings.Trim(v, "${}")
		value, known := s.vars[name]
		switch {
		case v == "$$":
			pattern += `\$`
		case known:
			pattern += regexp.QuoteMeta(value)
		default:
			names = append(names, name)
			pattern += "(.*)"
		}
		at = m[1]
	}
	pattern += regexp.QuoteMeta(want[at:]) + `\r?\n?$`
	m := regexp.MustCompile(pattern).FindStringSubmatch(got)
	if m == nil {
		return false
	}
	for i, n := range names {
		s.vars[n] = m[i+1]
	}
	return true
}

// latin1 makes any bytes text that regexp takes.
func latin1(s string) string {
	if strings.ToValidUTF8(s, "") == s {
		return s
	}
	r := make([]rune, len(s))
	for i := range len(s) {
		r[i] = rune(s[i])
	}
	return string(r)
}

// A value is an element of a response.
type value struct {
	text   string
	list   []value
	isList bool
}

// parseValues takes a response apart. A section in brackets belongs to its
// atom; brackets at the beginning are a list.
func parseValues(text string) []value {
	p := &valueParser{text: text}
	return p.list(0)
}

type valueParser struct {
	text string
	at   int
}

func (p *valueParser) list(end byte) (out []value) {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; c {
		case ' ':
			p.at++
		case end:
			p.at++
			return out
		case ')', ']': // one too many
			p.at++
			out = append(out, value{text: string(c)})
		case '(', '[':
			p.at++
			close := byte(')')
			if c == '[' {
				close = ']'
			}
			out = append(out, value{isList: true, list: p.list(close)})
		case '"':
			var b strings.Builder
			for p.at++; p.at < len(p.text) && p.text[p.at] != '"'; p.at++ {
				if p.text[p.at] == '\\' {
					p.at++
				}
				b.WriteByte(p.text[p.at])
			}
			p.at++
			out = append(out, value{text: b.String()})
		default:
			out = append(out, p.atom(end))
		}
	}
	return out
}

var literalStart = regexp.MustCompile(`^~?\{(\d+)\+?\}\r\n`)

func (p *valueParser) atom(end byte) value {
	if m := literalStart.FindStringSubmatch(p.text[p.at:]); m != nil {
		n, _ := strconv.Atoi(m[1])
		p.at += len(m[0])
		v := value{text: p.text[p.at : p.at+n]}
		p.at += n
		return v
	}
	start, depth := p.at, 0
	for ; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		switch {
		case c == '[':
			depth++
		case c == ']' && depth > 0:
			depth--
		case depth == 0 && (c == ' ' || c == '(' || c == ')' || end != 0 && c == end):
			return value{text: p.text[start:p.at]}
		}
	}
	return value{text: p.text[start:p.at]}
}
