package main

import (
	"fmt"
	"strings"
)

// A command is one of postroad's; to add one, add a line and a file.
type command struct {
	name      string
	arguments string // as help shows them, or ""
	needs     need
	run       func(*system, []string) error
	help      string
}

// A need says what a command works on.
type need int

const (
	nothing            need = iota
	queueDirectory          // main.cf, right or wrong, for the place of the queue
	validSettings           // main.cf without a bad value
	validConfiguration      // as before, and the accounts in it
)

var commands []command

func init() { // in init, because help reads the table
	commands = []command{
		// name            arguments  needs          does
		{"start", "", validConfiguration, (*system).start, "start the mail system and return when it listens"},
		{"start-fg", "", validConfiguration, (*system).startForeground, "start the mail system and stay until it ends, as containers want it"},
		{"stop", "", queueDirectory, (*system).stop, "stop in an orderly way: deliveries in progress may end"},
		{"abort", "", queueDirectory, (*system).abort, "stop at once; no mail is lost, some may be delivered twice"},
		{"reload", "", validConfiguration, (*system).reload, "read the configuration again, without dropping a session"},
		{"flush", "", validConfiguration, (*system).flush, "try to deliver all mail that waits"},
		{"check", "", validConfiguration, (*system).check, "look for mistakes in configuration, files and tables"},
		{"status", "", queueDirectory, (*system).status, "tell whether the mail system runs"},
		{"demo", "[--once]", nothing, (*system).demo, "try it: a private mail system in a directory of its own, until interrupted"},
		{"user", "ACTION", validSettings, (*system).user, "mailboxes: add, passwd, list, del, quota, app-password"},
		{"domain", "ACTION", validSettings, (*system).domain, "domains with mailboxes: add, list, del"},
		{"set-permissions", "", validConfiguration, (*system).setPermissions, "make owners and access rights of queue and commands right"},
		{"version", "", nothing, (*system).version, "tell the version"},
		{"help", "", nothing, (*system).help, "list the commands"},
	}
}

func find(name string) (command, bool) {
	for _, c := range commands {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

// names lists the commands for a usage message.
func names() string {
	var list []string
	for _, c := range commands {
		list = append(list, c.name)
	}
	return list[0] + " (or " + strings.Join(list[1:], ", ") + ")"
}

// help prints the table of commands.
func (s *system) help([]string) error {
	fmt.Fprintf(s.out, "usage: %s [-v] [-c config_dir] command\n\n", s.program)
	for _, c := range commands {
		fmt.Fprintf(s.out, "  %-16s %s\n", strings.TrimSpace(c.name+" "+c.arguments), c.help)
	}
	fmt.Fprintf(s.out, "\nThe configuration is in /etc/postfix unless -c names another directory.\n"+
		"The manual page postroad(1) says the rest.\n")
	return nil
}
