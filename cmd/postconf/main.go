// Postconf shows and changes the configuration.
//
// # Synopsis
//
//	postconf [-dfhHnopqvx] [-C class] [-c dir] [-o name=value] [name...]
//	postconf [-epv] [-c dir] name=value...
//	postconf -# [-pv] [-c dir] name...
//	postconf -X [-pv] [-c dir] name...
//	postconf -M|-F|-P [-fhHoqvx] [-c dir] [service[/type[/name]]...]
//	postconf -M|-F|-P [-ev] [-c dir] service/type[/name]=value...
//	postconf -M# | -MX | -PX [-c dir] service/type[/name]...
//	postconf -a | -A | -l | -m | -T what | -b [file] | -t [file]
//
// # Description
//
// Without options it prints every parameter of main.cf with its value; with
// names, only these. It exits 0, or 1 after an error.
//
//	-a -A  login plug-ins of the server, of the client
//	-b -t  bounce texts, with and without the $names replaced
//	-C     class of parameters: builtin, service, user, all
//	-c     configuration directory
//	-d     defaults in place of values
//	-e     edit; implied by name=value
//	-F     fields of master.cf      -M  entries of master.cf
//	-f     fold long lines          -h  values only       -H  names only
//	-j     one JSON object a line   -l  mailbox locks     -m  table types
//	-n     only what main.cf sets   -o  a value in place of main.cf's
//	-P     -o settings in master.cf; -PP all parameters of a service
//	-p     main.cf, which is the default
//	-q     no warnings about unused names
//	-T     about TLS: compile-version, run-version, public-key-algorithms
//	-v     accepted, without effect
//	-X     delete                   -#  comment out
//	-x     replace $names
//
// # Files
//
// main.cf and master.cf in the configuration directory; -b and -t run
// the bounce program of daemon_directory.
package main

import (
	"bufio"
	"fmt"
	"os"
	"postroad/libmail/getopt"
)

func main() {
	if getopt.HelpAsked(os.Args[1:], "--help") {
		fmt.Print(getopt.Help(usage, "postconf(1)"))
		return
	}
	out := bufio.NewWriter(os.Stdout)
	complain := func(text string) { fmt.Fprintf(os.Stderr, "%s: %s\n", os.Args[0], text) }
	err := run(os.Args[1:], out, complain)
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	if err != nil {
		complain("fatal: " + err.Error())
		os.Exit(1)
	}
}
