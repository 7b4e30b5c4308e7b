package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startLimit bounds how long a start in the background may take. It is
// generous: a name service may be slow.
const startLimit = 100 * time.Second

// starterFD names, in the environment, the descriptor on which a master in
// the background tells who started it how it went.
const starterFD = "POSTROAD_STARTER_FD"

// startedWell is what it says when all is well; anything else is the reason.
const startedWell = "ok"

// background runs this command without -w in a session of its own and waits
// for its word. It returns the exit status.
func background(argv []string) int {
	r, w, err := os.Pipe()
	if err != nil {
		fail(err)
	}
	self, err := os.Executable()
	if err != nil {
		fail(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		fail(err)
	}
	proc, err := os.StartProcess(self, withoutW(argv), &os.ProcAttr{
		Env:   append(os.Environ(), starterFD+"=3"),
		Files: []*os.File{null, null, null, w},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		fail(err)
	}
	w.Close() // the background has a copy
	if err := r.SetReadDeadline(time.Now().Add(startLimit)); err != nil {
		fail(err)
	}
	text, err := io.ReadAll(r)
	switch {
	case string(text) == startedWell:
		return 0
	case len(text) > 0:
		fmt.Fprintf(os.Stderr, "master: fatal: %s\n", text)
	case os.IsTimeout(err):
		fmt.Fprintf(os.Stderr, "master: fatal: process %d did not start in %v\n", proc.Pid, startLimit)
	default:
		fmt.Fprintf(os.Stderr, "master: fatal: process %d ended before it started\n", proc.Pid)
	}
	return 1
}

// withoutW removes the letter w from the options.
func withoutW(argv []string) []string {
	out := argv[:1:1]
	for i := 1; i < len(argv); i++ {
		arg := argv[i]
		if strings.HasPrefix(arg, "-") && !strings.ContainsAny(arg, "ce") {
			if arg = strings.ReplaceAll(arg, "w", ""); arg == "-" {
				continue
			}
			out = append(out, arg)
			continue
		}
		flags, value := arg, ""
		if j := strings.IndexAny(arg, "ce"); strings.HasPrefix(arg, "-") {
			flags, value = strings.ReplaceAll(arg[:j], "w", ""), arg[j:]
		}
		out = append(out, flags+value)
		if strings.HasPrefix(arg, "-") && len(value) == 1 && i+1 < len(argv) {
			i++ // the value stands alone
			out = append(out, argv[i])
		}
	}
	return out
}

// tellStarter says how the start went, if somebody waits for that.
func tellStarter(err error) {
	fd, aerr := strconv.Atoi(os.Getenv(starterFD))
	if aerr != nil {
		return
	}
	text := startedWell
	if err != nil {
		text = err.Error()
	}
	f := os.NewFile(uintptr(fd), "starter")
	// Whoever waits sees the end at least; and if nobody does, nobody does.
	_, _ = io.WriteString(f, text)
	f.Close()
	os.Unsetenv(starterFD)
}
