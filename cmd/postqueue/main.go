// Postqueue lists the mail queue and asks for deliveries. It is set-gid, so
// that users can do so.
//
// # Synopsis
//
//	postqueue [-v] [-c config_dir] -f | -i id | -j | -p | -s site
//
// # Description
//
//	-c dir   directory of main.cf; a user's must be an alternate_config_directories one
//	-f       try to deliver all mail now
//	-i id    try to deliver this message now
//	-j       list the queue, one JSON object a line
//	-p       list the queue as mailq(1) does
//	-s site  try to deliver mail for this site now: a name of fast_flush_domains or [address]
//	-v       say more, for the superuser
//
// While the mail system is down the superuser sees the queue all the same:
// the listing then comes from showq, run by this command.
//
// # Parameters
//
// authorized_flush_users, authorized_mailq_users, enable_long_queue_ids,
// fast_flush_domains, flush_service_name, import_environment, ipc_timeout,
// mail_name, mail_owner, parent_domain_matches_subdomains,
// pickup_service_name, queue_directory, queue_service_name,
// showq_service_name.
//
// # Files
//
// The sockets public/showq, public/qmgr, public/pickup, public/flush.
//
// # Exit status
//
// 0, or 69 after any error.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/getopt"
	"postroad/libmail/maillog"
	"postroad/libmail/privs"
	"postroad/libmail/queue"
	"postroad/libmail/server"
)

const usage = "usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site"

// exitUnavailable is EX_UNAVAILABLE of sysexits.h.
const exitUnavailable = 69

// options of the command line.
type options struct {
	configDir string
	mode      byte // one of f, i, j, p, s
	value     string
	verbose   int
}

func parse(args []string) (o options, err error) {
	rest, err := getopt.Parse(args, "c:fi:jps:v", func(option byte, value string) error {
		switch option {
		case 'c':
			o.configDir = value
		case 'v':
			o.verbose++
		default:
			if o.mode != 0 {
				return getopt.ErrUsage
			}
			o.mode, o.value = option, value
		}
		return nil
	})
	if err != nil || o.mode == 0 || len(rest) > 0 {
		return o, getopt.Usage(err, usage)
	}
	switch {
	case o.mode == 's' && !validSite(o.value):
		err = fmt.Errorf("Cannot flush mail queue - invalid destination: %q", clip(o.value))
	case o.mode == 'i' && !queue.ValidID(o.value):
		err = fmt.Errorf("Cannot flush queue ID - invalid name: %q", clip(o.value))
	}
	return o, err
}

func validSite(site string) bool {
	if strings.HasPrefix(site, "[") {
		_, err := addr.ParseLiteral(site)
		return err == nil
	}
	return addr.ValidHostname(site)
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

func main() {
	if getopt.HelpAsked(os.Args[1:], "--help", "-h") {
		fmt.Print(getopt.Help(usage, "postqueue(1)"))
		return
	}
	privs.ShedRuntimeEnv("postqueue")
	syscall.Umask(022)
	log := maillog.New("postqueue", maillog.Terminal(os.Stderr)).ExitStatus(exitUnavailable)
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
	if os.Geteuid() != 0 {
		o.verbose = 0
	}
	log = server.CommandLog(c, "postqueue").Verbose(o.verbose).ExitStatus(exitUnavailable)
	out := bufio.NewWriter(os.Stdout)
	err = (&command{conf: c, log: log, out: out, dir: c.Dir()}).run(o)
	if errOut := out.Flush(); err == nil && !errors.Is(errOut, syscall.EPIPE) {
		err = errOut
	}
	if err != nil {
		log.Fatal("%v", err)
	}
}
