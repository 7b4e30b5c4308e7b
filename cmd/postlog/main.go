// Postlog writes to the mail log for scripts: the text of the command line, or
// each line of standard input. It is set-gid, so that scripts of users can do
// so.
//
// # Synopsis
//
//	postlog [-iv] [-c config_dir] [-p priority] [-t tag] [text...]
//
// # Description
//
//	-c dir       directory of main.cf; a user's must be an alternate_config_directories one
//	-i           accepted: the process id is always logged
//	-p priority  info (the default), warn, error, fatal or panic
//	-t tag       what stands before the process id; the default is $syslog_name/postlog
//	-v           accepted
//
// The lines also go to standard error. While postlogd is down and the log is
// a file, the superuser writes to that file.
//
// # Parameters
//
// import_environment, maillog_file, maillog_file_permissions,
// maillog_file_prefixes, postlog_service_name, queue_directory,
// syslog_facility, syslog_name.
//
// # Exit status
//
// 0, or 1 after an error of its own.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postroad/libmail/conf"
	"postroad/libmail/getopt"
	"postroad/libmail/maillog"
	"postroad/libmail/privs"
	"postroad/libmail/server"
)

// levels are the priorities by name.
var levels = map[string]maillog.Level{
	"info": maillog.Info, "warn": maillog.Warning, "warning": maillog.Warning,
	"error": maillog.Error, "err": maillog.Error,
	"fatal": maillog.Fatal, "crit": maillog.Fatal, "panic": maillog.Panic,
}

// options of the command line.
type options struct {
	configDir string
	level     maillog.Level
	tag       string
	text      []string
}

const usage = "usage: postlog [-c config_dir] [-i] [-p priority] [-t tag] [-v] [text]"

func parse(args []string) (o options, err error) {
	o.text, err = getopt.Parse(args, "c:ip:t:v", func(option byte, value string) error {
		switch option {
		case 'c':
			o.configDir = value
		case 't':
			o.tag = value
		case 'p':
			level, ok := levels[strings.ToLower(value)]
			if !ok {
				return fmt.Errorf("bad severity: \"%s\"", value)
			}
			o.level = level
		}
		return nil
	})
	if err != nil {
		err = getopt.Usage(err, usage)
	}
	return o, err
}

func main() {
	if getopt.HelpAsked(os.Args[1:], "--help", "-h") {
		fmt.Print(getopt.Help(usage, "postlog(1)"))
		return
	}
	privs.ShedRuntimeEnv("postlog")
	syscall.Umask(022)
	log := maillog.New("postlog", maillog.Terminal(os.Stderr))
	o, err := parse(os.Args[1:])
	if err != nil {
		log.Fatal("%v", err)
	}
	c, err := conf.LoadSetgid(o.configDir)
	if err != nil {
		log.Fatal("%v", err)
	}
	c.CleanEnv()
	if err := os.Chdir(c.String("queue_directory")); err != nil {
		log.Fatal("%v", err)
	}
	log = openLog(c, o.tag)
	if len(o.text) > 0 {
		log.Log(o.level, strings.Join(o.text, " "))
	} else if err := logLines(log, o.level, os.Stdin); err != nil {
		log.Fatal("read standard input: %v", err)
	}
	if o.level >= maillog.Fatal {
		time.Sleep(time.Second) // a script that fails again and again shall not fill the log
	}
}

// openLog opens the mail log, with standard error beside it. On a terminal the
// lines there have the tag, elsewhere the name of this command.
func openLog(c *conf.Config, tag string) *maillog.Logger {
	log := server.OpenLogOver(c, "postlog", file{c})
	if tag != "" {
		log = log.Tagged(tag)
	}
	shown := "postlog"
	if _, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS); err == nil {
		shown = log.Tag()
	}
	return log.Also(terminal(shown))
}

// terminal is a sink that writes to standard error under a name.
type terminal string

func (t terminal) Write(_ maillog.Level, _, text string) {
	fmt.Fprintf(os.Stderr, "%s: %s\n", t, text)
}

// file is a sink that appends to maillog_file, if we may, while postlogd does
// not.
type file struct{ conf *conf.Config }

func (f file) Write(level maillog.Level, tag, text string) {
	path, mode, err := server.LogFile(f.conf)
	if err != nil || path == "" {
		return // no log that we know of; standard error has the line
	}
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return // as above
	}
	maillog.Stream(w, server.LogHost()).Write(level, tag, text)
	w.Close() // a lost log line loses no mail
}

// maxLine is the length at which a line of input is cut, in bytes.
const maxLine = 4096

// logLines logs each line of r.
func logLines(log *maillog.Logger, level maillog.Level, r io.Reader) error {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			log.Log(level, strings.TrimSuffix(string(line), "\n"))
		}
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}
