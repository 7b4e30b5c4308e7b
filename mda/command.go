package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"postroad/libmail/dsn"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
)

// outputLimit is how much of a command's output is kept for the report.
const outputLimit = 2048

// lingering bounds the wait for output after a command has ended, when some
// child of it keeps the pipe.
const lingering = 2 * time.Second

// command runs a command with the message on standard input. The command has
// a process group of its own, which is killed at the time limit.
func (m *mailman) command(req *proto.MDARequest, file *os.File) proto.MDAReply {
	argv, shown := arguments(req)
	if len(argv) == 0 {
		return fail(dsn.Errorf("5.3.0", "empty command"))
	}
	out := &tail{}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = req.Dir, req.Env
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = lingering
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		status := "4.3.0"
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			status = "5.3.0"
		}
		return fail(&dsn.Error{Status: status, Text: "cannot run command: " + err.Error(), Err: err})
	}
	killed := make(chan struct{})
	timer := time.AfterFunc(limit(req.Limit), func() {
		close(killed)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the group may be empty by now
	})
	fed := make(chan error, 1)
	go func() { fed <- feed(stdin, req, file) }()
	err = cmd.Wait()
	timer.Stop()
	if e := <-fed; e != nil {
		return fail(&dsn.Error{Status: "4.3.0", Text: "cannot read message: " + e.Error(), Err: e})
	}
	exit := dsn.Exit{Command: shown, Output: out.line()}
	select {
	case <-killed:
		exit.TimedOut = true
	default:
	}
	return proto.MDAReply{Outcome: ended(exit, cmd.ProcessState, err).Outcome()}
}

// ended fills in how the process ended. Output that a child keeps open, or
// that could not be copied, does not change that.
func ended(exit dsn.Exit, state *os.ProcessState, err error) dsn.Exit {
	if state == nil {
		exit.Status, exit.Output = 71, err.Error()
		return exit
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		exit.Signal = int(ws.Signal())
		return exit
	}
	exit.Status = state.ExitCode()
	return exit
}

// limit is the time limit of a command; 0 would be none.
func limit(d time.Duration) time.Duration {
	if d <= 0 {
		return 24 * time.Hour
	}
	return d
}

// arguments is the program to run, and how it is named in reports.
func arguments(req *proto.MDARequest) (argv []string, shown string) {
	if len(req.Argv) > 0 {
		return req.Argv, strings.Join(req.Argv, " ")
	}
	if req.Shell != "" {
		return append(strings.Fields(req.Shell), req.Command), req.Command
	}
	return []string{"/bin/sh", "-c", req.Command}, req.Command
}

// feed writes the message to the command. A command that does not read all
// of it is no error: its exit status counts.
func feed(stdin io.WriteCloser, req *proto.MDARequest, file *os.File) error {
	defer stdin.Close() // the command sees the end; an error means it is gone
	if _, err := io.WriteString(stdin, req.Head); err != nil {
		return nil
	}
	var w io.Writer = stdin
	if req.EOL != "" && req.EOL != "\n" {
		w = &lineEnds{w: stdin, eol: []byte(req.EOL)}
	}
	body := queue.NewContent(file, req.Offset)
	buf := make([]byte, 64<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, e := w.Write(buf[:n]); e != nil {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lineEnds replaces LF by another line end.
type lineEnds struct {
	w   io.Writer
	eol []byte
}

func (l *lineEnds) Write(p []byte) (int, error) {
	if _, err := l.w.Write(bytes.ReplaceAll(p, []byte{'\n'}, l.eol)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// tail keeps the first outputLimit bytes and drops the rest.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	if room := outputLimit - len(t.buf); room > 0 {
		t.buf = append(t.buf, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// line is the output as one line of text.
func (t *tail) line() string {
	return maillog.Printable(strings.Join(strings.Fields(string(t.buf)), " "))
}
