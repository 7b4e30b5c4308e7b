package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestMain lets the test's own program be postlock.
func TestMain(m *testing.M) {
	if os.Getenv("BE_POSTLOCK") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestCommandRunsUnderTheLock(t *testing.T) {
	dir := t.TempDir()
	box := filepath.Join(dir, "box")
	text := "mailbox_delivery_lock = dotlock\ndeliver_lock_attempts = 1\n"
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	status := func(args ...string) int {
		cmd := exec.Command(os.Args[0], append([]string{"-c", dir}, args...)...)
		cmd.Env = append(os.Environ(), "BE_POSTLOCK=1")
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatalf("%v: %s", err, out)
		}
		return cmd.ProcessState.ExitCode()
	}
	for _, c := range []struct {
		rule string
		want int
		args []string
	}{
		{"the lock is held meanwhile", 0, []string{box, "test", "-e", box + ".lock"}},
		{"the status is the command's", 7, []string{box, "sh", "-c", "exit 7"}},
		{"too few words", 75, []string{box}},
		{"an unknown lock", 75, []string{"-l", "hope", box, "true"}},
	} {
		if got := status(c.args...); got != c.want {
			t.Errorf("%s: status %d, want %d", c.rule, got, c.want)
		}
	}
	if _, err := os.Stat(box + ".lock"); err == nil {
		t.Error("the lock stays")
	}
	if err := os.WriteFile(box+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := status(box, "true"); got != 75 {
		t.Errorf("a lock of somebody else: status %d", got)
	}
}
