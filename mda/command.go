package main

import (
	"bufio"
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
	return proto.MDAReply{Outcome: ended(exit, cmd.ProcessState, err).Outcome(), Data: []byte(exit.Output)}
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
	f := &feeder{w: bufio.NewWriterSize(stdin, 64<<10), eol: req.EOL,
		dots: strings.Contains(req.Quote, "."), from: strings.Contains(req.Quote, ">")}
	if f.eol == "" {
		f.eol = "\n"
	}
	f.head(req.Head)
	body := queue.NewContent(file, req.Offset)
	for f.err == nil {
		line, partial, err := body.Line()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		f.piece(line, partial)
	}
	if strings.Contains(req.Quote, "B") {
		f.piece(nil, false)
	}
	if f.err == nil {
		_ = f.w.Flush() // a command that is gone, as above
	}
	return nil
}

// A feeder writes lines with the ends and quotes that a command wants. It
// keeps the first error.
type feeder struct {
	w          *bufio.Writer
	eol        string
	dots, from bool
	inLine     bool
	err        error
}

// head writes the lines that go before the message, as they are.
func (f *feeder) head(text string) {
	for line := range strings.Lines(text) {
		f.put(strings.TrimSuffix(line, "\n"))
		f.put(f.eol)
	}
}

// piece writes a line, or a piece of one that goes on.
func (f *feeder) piece(line []byte, partial bool) {
	if !f.inLine {
		switch {
		case f.dots && len(line) > 0 && line[0] == '.':
			f.put(".")
		case f.from && bytes.HasPrefix(line, []byte("From ")):
			f.put(">")
		}
	}
	if f.err == nil {
		_, f.err = f.w.Write(line)
	}
	if !partial {
		f.put(f.eol)
	}
	f.inLine = partial
}

func (f *feeder) put(s string) {
	if f.err == nil {
		_, f.err = f.w.WriteString(s)
	}
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
