package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"postroad/libmail/mailtest"
)

// demonstration prepares `postroad demo` for an account without rights, with
// a directory for temporary files that nobody else uses.
func demonstration(t *testing.T, args ...string) (cmd *exec.Cmd, temp string) {
	t.Helper()
	temp, err := os.MkdirTemp("", "pd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temp) }) // a leftover harms nobody
	if err := os.Chmod(temp, 0o777); err != nil {
		t.Fatal(err)
	}
	etc, err := os.MkdirTemp("", "pe") // the source tree may be closed to the account
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(etc) }) // as above
	if err := os.Chmod(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(etc, os.DirFS(filepath.Join(mailtest.Top(), "etc"))); err != nil {
		t.Fatal(err)
	}
	args = append([]string{"-c", etc, "demo"}, args...)
	cmd = exec.Command(filepath.Join(mailtest.Programs(t), "postroad"), args...)
	cmd.Dir = temp
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/", "TMPDIR=" + temp}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return cmd, temp
}

// The demonstration ends well, has shown both messages in their mailboxes,
// and leaves nothing behind.
func TestDemoOnce(t *testing.T) {
	t.Parallel()
	cmd, temp := demonstration(t, "--once")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`pickup\[\d+\]: \w+: uid=`, `smtpd\[\d+\]: \w+: client=`, `status=sent`, `: removed`,
		`It is now in .*/alice/Maildir/new/`, `sasl_username=alice@example\.com`, `It is now in .*/bob/Maildir/new/`,
		`S: \+OK Logged in`, `S: Subject: with a password`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("nothing matches %s in:\n%s", want, out)
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// An interrupt stops the mail system and removes its directory.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	cmd, temp := demonstration(t)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() }) // the error is Wait's
	defer timer.Stop()
	var text bytes.Buffer
	interrupted := false
	for b := make([]byte, 4096); ; {
		n, err := out.Read(b)
		text.Write(b[:n])
		if !interrupted && bytes.Contains(text.Bytes(), []byte("until you press Ctrl-C")) {
			interrupted = true
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			break // the end of the output
		}
	}
	if err := cmd.Wait(); err != nil || !interrupted {
		t.Errorf("%v\n%s", err, text.Bytes())
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
