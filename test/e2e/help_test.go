package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postroad/libmail/mailtest"
)

// Somebody who knows nothing of a program asks it, and somebody who mistypes
// an option learns which.
func TestEveryProgramAnswersHelp(t *testing.T) {
	dir := mailtest.Programs(t)
	list, err := os.ReadDir(dir)
	if err != nil || len(list) < 30 {
		t.Fatalf("%d programs: %v", len(list), err)
	}
	unknown := map[string]int{"sendmail": 75, "mailq": 75, "newaliases": 75, "postqueue": 69, "postlock": 75} // the rest 1
	for _, e := range list {
		name := e.Name()
		out, err := exec.Command(filepath.Join(dir, name), "--help").Output()
		if err != nil || !strings.HasPrefix(string(out), "usage: ") || !strings.Contains(string(out), "manual page") {
			t.Errorf("%s --help: %v %q", name, err, out)
		}
		want := 1
		if status, other := unknown[name]; other {
			want = status
		}
		cmd := exec.Command(filepath.Join(dir, name), "--nosuch")
		said, _ := cmd.CombinedOutput() // the status is looked at below
		if cmd.ProcessState.ExitCode() != want || !strings.Contains(string(said), "--nosuch") {
			t.Errorf("%s --nosuch: status %d, want %d: %q", name, cmd.ProcessState.ExitCode(), want, said)
		}
	}
}
