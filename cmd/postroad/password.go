package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxPassword bounds a password, in bytes.
const maxPassword = 1000

// readPassword asks for a password: twice and without echo on a terminal, and
// else it is the first line.
func readPassword(in *os.File, prompts io.Writer, what string) (string, error) {
	r := bufio.NewReaderSize(in, maxPassword+2)
	restore, isTerminal, err := silence(in)
	if err != nil {
		return "", err
	}
	defer restore()
	if !isTerminal {
		return passwordLine(r)
	}
	fmt.Fprintf(prompts, "%s: ", what)
	first, err := passwordLine(r)
	fmt.Fprintln(prompts)
	if err != nil {
		return "", err
	}
	fmt.Fprint(prompts, "The same again: ")
	second, err := passwordLine(r)
	fmt.Fprintln(prompts)
	if err == nil && first != second {
		err = errors.New("the two passwords differ")
	}
	return first, err
}

// passwordLine reads one line.
func passwordLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("password: %w", err)
	}
	password := strings.TrimRight(string(line), "\r\n")
	switch {
	case password == "":
		return "", errors.New("an empty password is none")
	case len(password) > maxPassword:
		return "", fmt.Errorf("password is longer than %d bytes", maxPassword)
	case strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", errors.New("password holds a control character")
	}
	return password, nil
}

// silence turns off the echo of a terminal until restore is called, or an
// interrupt ends the program.
func silence(f *os.File) (restore func(), isTerminal bool, err error) {
	fd := int(f.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {}, false, nil // no terminal
	}
	quiet := *old
	quiet.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETSF, &quiet); err != nil {
		return nil, true, fmt.Errorf("turn off the echo: %w", err)
	}
	reset := func() { _ = unix.IoctlSetTermios(fd, unix.TCSETSF, old) } // the terminal may be gone
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			reset()
			os.Exit(1)
		case <-done:
		}
	}()
	return func() { signal.Stop(signals); close(done); reset() }, true, nil
}
