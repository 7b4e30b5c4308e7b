package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"postroad/libmail/maillog"
)

// TestMain lets the test's own program be postlog.
func TestMain(m *testing.M) {
	if os.Getenv("BE_POSTLOG") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		rule, line string
		want       options
		bad        bool
	}{
		{rule: "text and nothing else", line: "some text", want: options{text: []string{"some", "text"}}},
		{rule: "a priority by either name", line: "-p warn x", want: options{level: maillog.Warning, text: []string{"x"}}},
		{rule: "a tag", line: "-i -t script x", want: options{tag: "script", text: []string{"x"}}},
		{rule: "a priority that is none", line: "-p loud x", bad: true},
		{rule: "an option that is none", line: "-z", bad: true},
	} {
		got, err := parse(strings.Fields(c.line))
		if (err != nil) != c.bad || !c.bad && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", c.rule, got, err)
		}
	}
}

func TestLinesReachTheLog(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "q", "public"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := "queue_directory = " + dir + "/q\nmaillog_file = " + dir + "/log\nmaillog_file_prefixes = " + dir + "\n"
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-c", dir, "-t", "script", "-p", "warn")
	cmd.Env = append(os.Environ(), "BE_POSTLOG=1")
	cmd.Stdin = strings.NewReader("first\nsecond\x1b\n")
	out, err := cmd.CombinedOutput()
	if want := "postlog: warning: first\npostlog: warning: second?\n"; err != nil || string(out) != want {
		t.Errorf("standard error: %q, %v", out, err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil || strings.Count(string(log), "]: warning: ") != 2 || !strings.Contains(string(log), "script[") {
		t.Errorf("log: %q, %v", log, err)
	}
}
