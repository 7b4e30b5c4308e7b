// Sendmail submits mail, as the command of that name has done since 4.1BSD;
// mailq lists the queue, newaliases makes the alias tables.
//
// # Synopsis
//
//	sendmail [options] [recipient...]
//	mailq
//	newaliases
//
// # Description
//
//	-B type      7BIT or 8BITMIME: encoding of the message
//	-bd, -bl     start the mail system (postfix start)
//	-bh, -bH     accepted, nothing is done
//	-bi, -I      make the alias tables
//	-bm          submit a message: what is done without -b
//	-bp          list the queue
//	-bs          speak SMTP on standard input and output
//	-bv          report whether the recipients are deliverable; no message is read
//	-C dir       directory of main.cf, or main.cf in it
//	-F name      full name of the sender
//	-f, -r addr  envelope sender
//	-G           the message comes through a gateway: headers are not completed
//	-i, -oi      a line with a lone dot does not end the message
//	-N list      notices that the sender wants (RFC 3461): never, or success,failure,delay
//	-O name=val  requiretls or smtputf8, yes or no; others are ignored
//	-oA file     alias table for newaliases
//	-q           deliver the queue now; -qIid, -qRsite: a message, a site
//	-R full|hdrs what a notice returns (RFC 3461)
//	-t           recipients are also in the headers
//	-V id        envelope id for notices (RFC 3461)
//	-v           mail a report of the delivery to the sender; twice: say more
//	-XV[xy]      return mail by recipient (VERP)
//
// Options that only Sendmail knows are accepted and ignored.
//
// The message goes to postdrop(1), which writes it to the maildrop queue; the
// mail system need not be up.
//
// # Parameters
//
// alias_database, authorized_submit_users, command_directory,
// daemon_directory, default_verp_delimiters, header_size_limit,
// import_environment, line_length_limit, queue_directory, requiretls_enable,
// sendmail_fix_line_endings, smtputf8_enable, verp_delimiter_filter.
//
// # Exit status
//
// 0 when the message is queued, else 75 (try again), whatever the
// trouble; with -b and -q that of the command that does the work.
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
	"postroad/libmail/maillog"
	"postroad/libmail/server"
)

// exitTempFail is EX_TEMPFAIL of sysexits.h: the caller keeps the message.
const exitTempFail = 75

func main() {
	syscall.Umask(022)
	signal.Ignore(syscall.SIGPIPE)
	name := filepath.Base(os.Args[0])
	if getopt.HelpAsked(os.Args[1:], "--help") {
		fmt.Print(getopt.Help(usage(name), "sendmail(1)"))
		return
	}
	log := maillog.New(name, maillog.Terminal(os.Stderr)).ExitStatus(exitTempFail)
	args := append([]string(nil), os.Args[1:]...)
	if dir := configDir(args); dir != "" {
		// For the programs that we run; Setenv fails for a NUL only, which no argument holds.
		_ = os.Setenv("MAIL_CONFIG", dir)
	}
	c, err := conf.Load("")
	if err != nil {
		log.Fatal("%v", err)
	}
	importEnv(c)
	if err := os.Chdir(c.String("queue_directory")); err != nil {
		log.Fatal("%v", err)
	}
	log = server.CommandLog(c, name).ExitStatus(exitTempFail)
	o, err := parse(name, args, c, log)
	if err != nil {
		log.Fatal("%v", err)
	}
	if err := (&command{conf: c, log: log.Verbose(o.verbose), in: os.Stdin, out: os.Stdout}).run(o); err != nil {
		log.Fatal("%v", err)
	}
}

// importEnv sets what import_environment sets, so that all programs agree.
func importEnv(c *conf.Config) {
	for _, item := range c.List("import_environment") {
		if name, value, ok := strings.Cut(item, "="); ok {
			_ = os.Setenv(name, value) // an empty name, which means nothing
		}
	}
}

// A command does what the options say.
type command struct {
	conf *conf.Config
	log  *maillog.Logger
	in   *os.File
	out  *os.File
}

// run does it; a program that takes our place does not return.
func (c *command) run(o *options) error {
	if o.queueTime && o.mode != daemon {
		return nil
	}
	if what := o.mode.noRecipients(o); what != "" && len(o.recipients) > 0 {
		return errors.New(what + " requires no recipient")
	}
	switch o.mode {
	case enqueue:
		switch {
		case o.flushSite != "":
			return c.become(o, c.conf.CommandDirectory(), "postqueue", "-s", o.flushSite)
		case o.flushID != "":
			return c.become(o, c.conf.CommandDirectory(), "postqueue", "-i", o.flushID)
		}
		return c.submit(o)
	case list:
		return c.become(o, c.conf.CommandDirectory(), "postqueue", "-p")
	case flush:
		return c.become(o, c.conf.CommandDirectory(), "postqueue", "-f")
	case daemon:
		return c.start(o)
	case aliases:
		return c.newAliases(o)
	case smtp:
		if err := c.authorized(); err != nil {
			return err
		}
		return c.become(o, c.conf.DaemonDirectory(), "smtpd", "-S")
	}
	return nil // -bh, -bH
}

// become runs another program of ours in our place.
func (c *command) become(o *options, dir string, argv ...string) error {
	path := filepath.Join(dir, argv[0])
	err := syscall.Exec(path, append(argv, o.verboseArgs()...), os.Environ())
	return errors.New("execv " + path + ": " + err.Error())
}

// start starts the mail system and does not wait for it.
func (c *command) start(o *options) error {
	path := filepath.Join(c.conf.CommandDirectory(), "postfix")
	cmd := exec.Command(path, append(o.verboseArgs(), "start")...)
	cmd.Stdout, cmd.Stderr = c.out, os.Stderr
	return cmd.Start()
}

// newAliases makes the tables of alias_database, or that of -oA.
func (c *command) newAliases(o *options) error {
	names := c.conf.List("alias_database")
	if o.aliasFile != "" {
		names = []string{o.aliasFile}
	}
	if len(names) == 0 {
		return nil
	}
	argv := append([]string{"postalias"}, o.verboseArgs()...)
	argv = append(append(argv, "--"), names...)
	o.verbose = 0 // it is said already, and must stand before the names
	return c.become(o, c.conf.CommandDirectory(), argv...)
}
