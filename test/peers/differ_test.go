package peers

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
)

// A trial is one case of testdata/cases.txt:
//
//	== rule
//	main LINE          of main.cf
//	file NAME          its lines are indented
//	C: LINE            of the dialog
type trial struct {
	rule     string
	settings []string
	files    map[string]string
	lines    []string
}

func readTrials(t *testing.T) (trials []*trial) {
	text, err := os.ReadFile("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	var c *trial
	file := ""
	for n, l := range strings.Split(string(text), "\n") {
		word, rest, _ := strings.Cut(l, " ")
		switch {
		case word == "==":
			c = &trial{rule: rest, files: map[string]string{}}
			trials = append(trials, c)
		case strings.HasPrefix(l, "  "):
			c.files[file] += l[2:] + "\n"
		case word == "main":
			c.settings = append(c.settings, rest)
		case word == "file":
			file = rest
			c.files[file] = ""
		case word == "C:":
			c.lines = append(c.lines, rest)
		case l != "" && word != "#":
			t.Fatalf("testdata/cases.txt:%d: %q", n+1, l)
		}
	}
	return trials
}

// TestSameAsPostfix plays each trial to Postfix and to postroad.
func TestSameAsPostfix(t *testing.T) {
	needed(t)
	for _, c := range readTrials(t) {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			settings := strings.Join(c.settings, "\n")
			want := play(newPostfix(t, settings, c.files), c.lines)
			got := play(newPostroad(t, settings, c.files), c.lines)
			compare(t, "replies", want.replies, got.replies)
			compare(t, "mailboxes", want.boxes, got.boxes)
			compare(t, "log", want.log, got.log)
		})
	}
}

// A result is what came of a trial, without times, ids and pids.
type result struct{ replies, boxes, log []string }

func play(h *house, lines []string) (r result) {
	for _, l := range h.dialog(lines) {
		if l == "(end)" {
			break // or the reset that comes with it, whichever is seen first
		}
		r.replies = append(r.replies, h.plain(l))
	}
	h.idle()
	r.boxes = h.boxes()
	r.log = h.events()
	return r
}

// boxes is what was written, each line with its file.
func (h *house) boxes() (lines []string) {
	for _, top := range []string{"spool", "out"} {
		err := filepath.WalkDir(filepath.Join(h.dir, top), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			st, err := d.Info()
			if err != nil {
				return err
			}
			text, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			name, _ := filepath.Rel(h.dir, p) // p lies below dir
			if strings.Contains(name, "/new/") {
				name = filepath.Dir(name) + "/MESSAGE"
			}
			prose := false
			sys := st.Sys().(*syscall.Stat_t)
			lines = append(lines, fmt.Sprintf("%s %v uid=%d gid=%d", name, st.Mode(), sys.Uid, sys.Gid))
			for _, l := range strings.Split(string(text), "\n") {
				switch {
				case strings.HasPrefix(l, "Content-Description: Notification"):
					prose = true
				case strings.HasPrefix(l, "<"), strings.HasPrefix(l, "--"):
					prose = false
				}
				if !prose { // each has words of its own
					lines = append(lines, name+": "+h.plain(l))
				}
			}
			return nil
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
	return lines
}

// told are the log lines that scripts look for.
var told = regexp.MustCompile(`status=|reject|from=<.*nrcpt|: hold:|: discard:|: warning: header|: warning: body|: redirect:|: prepend:|: replace:|: strip:|: filter:|notification:|: client=|: removed|disconnect from`)

// events is the log, sorted, as several programs write it at once.
func (h *house) events() (lines []string) {
	for _, l := range strings.Split(h.log(), "\n") {
		_, l, _ = strings.Cut(l, "postfix/")
		// Debian's Postfix does not log what cleanup throws away.
		if told.MatchString(l) && !strings.Contains(l, ": removed (") {
			lines = append(lines, h.plain(l))
		}
	}
	sort.Strings(lines)
	return lines
}

// variable are the parts that differ from run to run.
var variable = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\b[0-9]{14}\.[0-9A-F]{6,14}@`), "MSGID@"},
	{regexp.MustCompile(`\b[0-9A-F]{8,14}\b(\.\d+/mx)?`), "ID"},
	{regexp.MustCompile(`^([a-z/-]+)\[\d+\]`), "$1"},
	{regexp.MustCompile(`delays?=[0-9./]+`), "delay"},
	{regexp.MustCompile(`\w\w\w,? +\d+ \w\w\w \d+ \d\d:\d\d:\d\d [-+]\d+ \(\w+\)`), "DATE"},
	{regexp.MustCompile(`(From \S+  ).*`), "${1}DATE"},
	{regexp.MustCompile(`userid \d+`), "userid N"},
	{regexp.MustCompile(`size=\d+`), "size=N"}, // the path of the directory may be in it
	{regexp.MustCompile(`\d+ of \d+ bytes`), "N bytes"},
	{regexp.MustCompile(`, tls=none\??`), ""}, // newer than Debian's Postfix
	{regexp.MustCompile(`(cannot update mailbox \S+/\w+)( for|:) .*`), "$1"},
	{regexp.MustCompile(`\bl[12](@example\.com>(, orig_to=<l1@example\.com>)?)?`), "LOOP"}, // seen at another turn
	{regexp.MustCompile(` \)$`), ")"},                                                      // a command's last line break
}

func (h *house) plain(l string) string {
	l = strings.ReplaceAll(l, h.dir, "DIR")
	l = strings.ReplaceAll(l, fmt.Sprint(h.port), "PORT")
	for _, v := range variable {
		l = v.re.ReplaceAllString(l, v.with)
	}
	return l
}

// compare shows the lines that only one of both has.
func compare(t *testing.T, what string, want, got []string) {
	t.Helper()
	if slices.Equal(want, got) {
		return
	}
	t.Errorf("%s differ:", what)
	for _, l := range want {
		if !slices.Contains(got, l) {
			t.Logf("  only Postfix:  %s", l)
		}
	}
	for _, l := range got {
		if !slices.Contains(want, l) {
			t.Logf("  only postroad: %s", l)
		}
	}
}
