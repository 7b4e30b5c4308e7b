// Postroad starts, stops and checks the mail system. Under the name postfix it
// is Postfix's command of that name.
//
// # Synopsis
//
//	postroad [-v] [-c config_dir] command
//
// # Description
//
// "postroad help" lists the commands. Any configuration directory of Postfix
// will do, in place. Root runs the mail system with separate accounts; another
// user runs it with all rights being one's own, on a queue_directory of one's
// own and on ports from 1024.
//
//	-c dir  the directory of main.cf and master.cf
//	-D      accepted, without effect
//	-v      the mail system logs more
//
// It exits 0, or 1 after an error; status exits 1 when the mail system is not
// running. Messages go to standard error and to the mail log.
//
// user changes the list of mail users, domain the domains with mailboxes; both
// take effect at once. demo is a private mail system for trying out.
//
// # Parameters
//
// account_file, account_user, auth_default_domain, auth_mechanisms,
// auth_service_name, auth_ticket_key_file, virtual_mailbox_base, virtual_mailbox_domains,
// queue_directory, data_directory, daemon_directory, command_directory,
// mail_owner, setgid_group, default_privs, maillog_file, postlog_service_name,
// smtputf8_enable, mail_version, relay_domains, virtual_alias_domains, and
// those of the log; check looks at all others.
//
// # Files
//
// In the configuration directory domains and accounts; those below
// queue_directory, where pid/master.pid tells whether the mail system runs.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"postroad/libmail/getopt"
	"postroad/libmail/maillog"
)

func main() {
	syscall.Umask(0o022)
	program, terminal := filepath.Base(os.Args[0]), maillog.Terminal(os.Stderr)
	s := &system{program: program, root: os.Geteuid() == 0, out: os.Stdout, sink: terminal, log: maillog.New(program, terminal)}
	err := s.execute(os.Args[1:])
	var status exitStatus
	switch {
	case errors.As(err, &status):
		os.Exit(int(status))
	case err != nil:
		s.log.Fatal("%v", err)
	}
}

// An exitStatus ends the command without another word.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// execute reads the command line and carries out its command.
func (s *system) execute(args []string) error {
	dir := ""
	if getopt.HelpAsked(args, "--help", "-h") {
		args = []string{"help"}
	}
	rest, err := getopt.Parse(args, "c:Dv", func(option byte, value string) error {
		switch option {
		case 'c':
			dir, s.configDir = value, value
		case 'v':
			s.verbose++
		}
		return nil
	})
	if err != nil || len(rest) == 0 {
		return getopt.Usage(err, fmt.Sprintf("usage: %s [-Dv] [-c config_dir] command; \"%s help\" lists the commands", s.program, s.program))
	}
	command, known := find(rest[0])
	if !known {
		return fmt.Errorf("unknown command: '%s'. Usage: %s %s", rest[0], s.program, names())
	}
	if len(rest) > 1 && command.arguments == "" {
		return fmt.Errorf("usage: %s %s (no arguments)", s.program, command.name)
	}
	if command.needs != nothing {
		if err := s.open(dir, command.needs); err != nil {
			return err
		}
	}
	return command.run(s, rest[1:])
}
