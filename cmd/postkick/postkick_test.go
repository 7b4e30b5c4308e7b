package main

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the test's own program be postkick.
func TestMain(m *testing.M) {
	if os.Getenv("BE_POSTKICK") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestRequestReachesTheService(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "q", "public"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte("queue_directory = "+dir+"/q\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	kick := func(args ...string) (string, error) {
		cmd := exec.Command(os.Args[0], append([]string{"-c", dir}, args...)...)
		cmd.Env = append(os.Environ(), "BE_POSTKICK=1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	l, err := net.Listen("unix", filepath.Join(dir, "q", "public", "qmgr"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b, _ := io.ReadAll(c) // what came is compared
		got <- string(b)
	}()
	if out, err := kick("public", "qmgr", "IDFA"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if request := <-got; request != "IDFA" {
		t.Errorf("the service got %q", request)
	}
	out, err := kick("public", "nobody", "W")
	if err == nil || !strings.Contains(out, "Cannot contact class public service nobody - perhaps the mail system is down") {
		t.Errorf("a service that is not there: %v, %s", err, out)
	}
	if out, err := kick("public", "qmgr"); err == nil || !strings.Contains(out, "usage: ") {
		t.Errorf("too few words: %v, %s", err, out)
	}
}
