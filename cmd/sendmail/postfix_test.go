package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// peerMain is a configuration that both sendmail commands can use; nothing of
// the mail system runs.
const peerMain = `
compatibility_level = 3.6
queue_directory = DIR/queue
data_directory = DIR/data
mail_owner = postfix
setgid_group = postdrop
multi_instance_name = postfix-NAME
multi_instance_enable = yes
myhostname = mx.example.com
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = /var/log/postroad-none/log
message_size_limit = 20000
line_length_limit = 600
header_size_limit = 2000
`

// spool makes the directories in a temporary place, with a main.cf for each of
// the two; ours runs the programs in bin.
func spool(t *testing.T, bin, settings string) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "postroad-sendmail")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, d := range []string{"etc", "ours", "data", "queue", "queue/maildrop", "queue/public", "queue/pid"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(dir, 0o755)
	text := strings.NewReplacer("DIR", dir, "NAME", filepath.Base(dir)).Replace(peerMain + settings)
	for file, text := range map[string]string{
		"etc/main.cf": text, "etc/master.cf": "",
		"ours/main.cf": text + "command_directory = " + bin + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// outcome is what a run of a command leaves.
type outcome struct{ status, stdout, stderr, queue string }

// run runs a sendmail command and takes what it put into maildrop.
func run(t *testing.T, dir, conf, path string, c call) (o outcome) {
	t.Helper()
	args := append([]string{"-C", dir + "/" + conf}, c.args...)
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(c.input)
	cmd.Env = append(os.Environ(), c.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	o.status = fmt.Sprint(cmd.Run())
	o.stdout, o.stderr = stdout.String(), stderr.String()
	files, err := filepath.Glob(dir + "/queue/maildrop/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		o.queue += dump(t, f)
		os.Remove(f)
	}
	return o
}

var times = regexp.MustCompile(`T "\d+ \d+"`)

// dump prints a queue file, a record a line.
func dump(t *testing.T, path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "mode %o\n", st.Mode().Perm())
	w := record.NewWalker(bytes.NewReader(data), queue.MaxRecord)
	for {
		rt, d, err := w.NextRaw()
		if err != nil {
			break
		}
		fmt.Fprintf(&b, "%c %q\n", rt, d)
	}
	return times.ReplaceAllString(b.String(), `T "TIME"`)
}

// A call is a command line and its input.
type call struct {
	name  string
	args  []string
	input string
	env   []string
}

const letter = "Subject: hello\nTo: a@example.com, b@example.org\nCc: J. Doe <c@example.com>\nBcc: d\n\nbody\n"

func calls() []call {
	long := strings.Repeat("x", 1500)
	list := []call{
		{"plain", []string{"u@example.com"}, letter, nil},
		{"several", []string{"u@example.com", "a,b", "J. Doe <v@example.com>", ""}, letter, nil},
		{"sender", []string{"-f", "s@example.org", "u"}, letter, nil},
		{"sender attached", []string{"-fs@example.org", "u"}, letter, nil},
		{"sender phrase", []string{"-f", "Joe <s@example.org>", "u"}, letter, nil},
		{"sender null", []string{"-f", "<>", "u"}, letter, nil},
		{"sender empty", []string{"-f", "", "u"}, letter, nil},
		{"sender quoted", []string{"-f", `"a b"@c`, "u"}, letter, nil},
		{"sender old", []string{"-rx@y", "u"}, letter, nil},
		{"two senders", []string{"-f", "a b", "u"}, letter, nil},
		{"full name", []string{"-F", "Real Name", "-f", "s", "u"}, letter, nil},
		{"full name in environment", []string{"-f", "s", "u"}, letter, []string{"NAME=Env Name"}},
		{"encoding", []string{"-B", "8BITMIME", "u"}, letter, nil},
		{"encoding attached", []string{"-B7BIT", "u"}, letter, nil},
		{"bad encoding", []string{"-Bfoo", "u"}, letter, nil},
		{"gateway", []string{"-G", "u"}, letter, nil},
		{"notify", []string{"-N", "success,DELAY", "u", "v"}, letter, nil},
		{"notify never", []string{"-Nnever", "u"}, letter, nil},
		{"bad notify", []string{"-N", "x", "u"}, letter, nil},
		{"ret", []string{"-R", "hdrs", "u"}, letter, nil},
		{"bad ret", []string{"-R", "x", "u"}, letter, nil},
		{"envid", []string{"-V", "some-id", "u"}, letter, nil},
		{"long envid", []string{"-V", long, "u"}, letter, nil},
		{"verp", []string{"-XV", "-f", "a@b", "u"}, letter, nil},
		{"verp chars", []string{"-XV+=", "-f", "a@b", "u"}, letter, nil},
		{"verp bad", []string{"-XVab", "-f", "a@b", "u"}, letter, nil},
		{"verp old", []string{"-V+=", "-f", "a@b", "u"}, letter, nil},
		{"verp null", []string{"-XV", "-f", "", "u"}, letter, nil},
		{"-X file", []string{"-X", "file", "u"}, letter, nil},
		{"extract", []string{"-t"}, letter, nil},
		{"extract and more", []string{"-t", "u"}, letter, nil},
		{"extract with notify", []string{"-t", "-N", "failure"}, letter, nil},
		{"extract resent", []string{"-t"}, "Resent-To: r\nTo: a\nResent-Bcc: s\nCc: b\n\nx\n", nil},
		{"extract resent later", []string{"-t"}, "To: a\nResent-To: r\nCc: b\nResent-Cc: t\n\nx\n", nil},
		{"extract folded", []string{"-t"}, "To: a,\n b,\n\tc\nX: y\n\nx\n", nil},
		{"extract none", []string{"-t"}, "Subject: x\n\nTo: y\n", nil},
		{"extract group", []string{"-t"}, "To: g: a, b;, c\n\n", nil},
		{"extract bad header", []string{"-t"}, "To: a\nno header\nCc: b\n", nil},
		{"extract long header", []string{"-t"}, "To: a\nX: " + strings.Repeat("y\n z", 300) + "\n\n", nil},
		{"extract too long header", []string{"-t"}, "To: a\nX: " + strings.Repeat(" yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n z", 300) + "\n\n", nil},
		{"extract blank before colon", []string{"-t"}, "To : a\n\nx", nil},
		{"no recipient", nil, letter, nil},
		{"dot", []string{"u"}, "a\n.\nb\n", nil},
		{"dot with -i", []string{"-i", "u"}, "a\n.\nb\n", nil},
		{"dot with -oi", []string{"-oi", "u"}, "a\n.\nb\n", nil},
		{"dot cr", []string{"u"}, "a\r\n.\r\nb\r\n", nil},
		{"dot at the end without newline", []string{"u"}, "a\n.", nil},
		{"no newline", []string{"u"}, "a\nb", nil},
		{"empty", []string{"u"}, "", nil},
		{"long line", []string{"u"}, "a\n" + long + "\nb\n", nil},
		{"line of the limit", []string{"u"}, strings.Repeat("y", 600) + "\nb\n", nil},
		{"line of the limit and dot", []string{"u"}, strings.Repeat("y", 600) + ".\nb\n", nil},
		{"long header", []string{"-t"}, "To: a\nX: " + long + "\n\nb\n", nil},
		{"From_", []string{"u"}, "From x\n>>From y\nSubject: z\nFrom w\n\n", nil},
		{"cr", []string{"u"}, "a\r\n\r\nb\r\r\nc\rd\n", nil},
		{"nul", []string{"u"}, "a\x00b\n\nc\x00\n", nil},
		{"8bit", []string{"u"}, "Subject: \xff\n\nü\n", nil},
		{"too large", []string{"u"}, strings.Repeat("line of text\n", 3000), nil},
		{"verify", []string{"-bv", "u", "v"}, letter, nil},
		{"verify with -t", []string{"-bv", "-t", "u"}, letter, nil},
		{"verify with -N", []string{"-bv", "-N", "delay", "u"}, letter, nil},
		{"report", []string{"-v", "-f", "me", "u"}, letter, nil},
		{"ignored", []string{"-Am", "-L", "x", "-m", "-e", "m", "-o7", "-om", "-ox", "-U", "-x", "-c", "-h", "5", "-p", "x", "u"}, letter, nil},
		{"-n", []string{"-n", "u"}, letter, nil},
		{"-bx", []string{"-bx", "u"}, letter, nil},
		{"-bm", []string{"-bm", "u"}, letter, nil},
		{"-bh", []string{"-bh"}, letter, nil},
		{"unknown option", []string{"-j", "u"}, letter, nil},
		{"option after recipient", []string{"u", "-f", "x"}, letter, nil},
		{"double dash", []string{"--", "-f"}, letter, nil},
		{"queue time", []string{"-q30m"}, letter, nil},
		{"queue S", []string{"-qSx"}, letter, nil},
		{"queue R without name", []string{"-qR"}, letter, nil},
		{"queue I with recipient", []string{"-qIabc", "u"}, letter, nil},
		{"mailq with recipient", []string{"-bp", "u"}, letter, nil},
		{"newaliases with recipient", []string{"-bi", "u"}, letter, nil},
		{"newaliases without tables", []string{"-bi"}, "", nil},
		{"-oA without name", []string{"-oA"}, letter, nil},
		{"cluster", []string{"-iGf", "x", "u"}, letter, nil},
		{"many recipients", append([]string{"-i"}, strings.Fields(strings.Repeat("u@example.com ", 100))...), letter, nil},
		{"8bit recipient", []string{"ü@example.com"}, letter, nil},
		{"newline in recipient", []string{"a\nb"}, letter, nil},
		{"newline in sender", []string{"-f", "a\nb", "u"}, letter, nil},
	}
	return list
}

// newer are calls whose messages differ between Postfix 3.7 and 3.12.
var newer = map[string]bool{"bad notify": true}

// TestAgainstPostfix compares maildrop files, messages and exit statuses with
// those of the installed sendmail and postdrop.
func TestAgainstPostfix(t *testing.T) {
	if os.Getenv("POSTROAD_PEERS") == "" {
		t.Skip("set POSTROAD_PEERS to compare with the installed Postfix")
	}
	theirs := "/usr/sbin/sendmail"
	if _, err := os.Stat(theirs); err != nil || os.Getuid() != 0 {
		t.Skip("needs Postfix and root")
	}
	bin := t.TempDir()
	for _, p := range []string{"sendmail", "postdrop"} {
		if out, err := exec.Command("go", "build", "-o", bin+"/"+p, "postroad/cmd/"+p).CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
	}
	for _, eol := range []string{"always", "strict", "never"} {
		dir := spool(t, bin, "alias_database =\nsendmail_fix_line_endings = "+eol+"\n")
		for _, c := range calls() {
			want, got := run(t, dir, "etc", theirs, c), run(t, dir, "ours", bin+"/sendmail", c)
			if got.queue != want.queue {
				t.Errorf("%s %s: queue files differ\n%s", eol, c.name, difference(got.queue, want.queue))
			}
			if newer[c.name] {
				continue
			}
			if got.status != want.status || got.stdout != want.stdout || messages(got.stderr) != messages(want.stderr) {
				t.Errorf("%s %s:\n  ours    %s %q %q\n  Postfix %s %q %q", eol, c.name, got.status, got.stdout, got.stderr, want.status, want.stdout, want.stderr)
			}
		}
	}
}

// messages leaves out what only one of the two says: that it runs as root
// without a mail system to log to.
func messages(stderr string) string {
	var lines []string
	for _, l := range strings.Split(stderr, "\n") {
		if strings.Contains(l, "public/pickup") || strings.Contains(l, "maillog") || strings.Contains(l, ": invalid option") ||
			strings.Contains(l, "close error") || l == "" {
			continue
		}
		l, _, _ = strings.Cut(l, " (invalid option") // which Postfix says on a line of its own
		lines = append(lines, l)
	}
	return strings.Join(lines, "\n")
}

func difference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	var b strings.Builder
	for i := 0; i < max(len(g), len(w)) && b.Len() < 2000; i++ {
		a, c := "(end)", "(end)"
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			c = w[i]
		}
		if a != c {
			fmt.Fprintf(&b, "  ours    %.200s\n  Postfix %.200s\n", a, c)
		}
	}
	return b.String()
}
