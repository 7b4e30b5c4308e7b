// Postlock runs a command while it holds the lock of a mailbox file, as
// local(8) would, for scripts that change mailboxes.
//
// # Synopsis
//
//	postlock [-v] [-c config_dir] [-l lock_style] file command...
//
// # Description
//
//	-c dir    directory of main.cf
//	-l style  dotlock, fcntl, flock; the default is mailbox_delivery_lock
//	-v        accepted
//
// # Parameters
//
// deliver_lock_attempts, deliver_lock_delay,
// mailbox_delivery_lock, stale_lock_time.
//
// # Files
//
// file.lock, while the command runs.
//
// # Exit status
//
// That of the command; 1 when a signal ended it; 75 when it was
// not run.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"postroad/libmail/conf"
	"postroad/libmail/getopt"
	"postroad/libmail/mailbox"
	"postroad/libmail/maillog"
)

// exitTempFail is EX_TEMPFAIL of sysexits.h: every failure of ours may pass.
const exitTempFail = 75

const usage = "usage: postlock [-c config_dir] [-l lock_style] [-v] folder command..."

func main() {
	if getopt.HelpAsked(os.Args[1:], "--help", "-h") {
		fmt.Print(getopt.Help(usage, "postlock(1)"))
		return
	}
	syscall.Umask(022)
	name := filepath.Base(os.Args[0])
	log := maillog.New(name, maillog.Terminal(os.Stderr)).ExitStatus(exitTempFail)
	configDir, style := "", ""
	rest, err := getopt.Parse(os.Args[1:], "c:l:v", func(option byte, value string) error {
		switch option {
		case 'c':
			configDir = value
		case 'l':
			style = value
		}
		return nil
	})
	if err != nil || len(rest) < 2 {
		log.Fatal("%v", getopt.Usage(err, usage))
	}
	c, err := conf.Load(configDir)
	if err != nil {
		log.Fatal("%v", err)
	}
	if style == "" {
		style = c.String("mailbox_delivery_lock")
	}
	locks, err := mailbox.ParseLocks(conf.SplitWords(strings.ToLower(style)))
	if err != nil {
		log.Fatal("%v", err)
	}
	unlock, err := mailbox.LockMbox(rest[0], mailbox.Mbox{Locks: locks, Attempts: c.Int("deliver_lock_attempts"),
		Delay: c.Duration("deliver_lock_delay"), Stale: c.Duration("stale_lock_time")})
	if err != nil {
		log.Fatal("open file %s: %v", rest[0], err)
	}
	status, err := run(rest[1:])
	unlock()
	if err != nil {
		log.Fatal("%v", err)
	}
	os.Exit(status)
}

// run runs the command. A signal from the terminal is for the command; we
// stay to give the lock back.
func run(argv []string) (status int, err error) {
	signal.Ignore(syscall.SIGINT, syscall.SIGQUIT)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	case errors.As(err, &exit):
		return 1, nil
	}
	return 0, err
}
