// Postsuper does maintenance on the queue. It is reserved for the superuser.
//
// # Synopsis
//
//	postsuper [-psSv] [-c config_dir]
//	    [-d id] [-e id] [-f id] [-h id] [-H id] [-r id] [directory...]
//
// # Description
//
// First the queue is repaired as -p, -s and -S ask, then the messages are
// treated in the order of the options. An id of ALL is every message; "-"
// takes ids from standard input, one a line. Without options: -s -p.
//
//	-d id   delete a message and its logs
//	-e id   expire it: it is returned to its sender at the next try
//	-f id   expire it, and release it from hold
//	-h id   put it on hold
//	-H id   release it from hold
//	-r id   requeue it: it is submitted again, with addresses rewritten anew
//	-p      remove temporary files of crashed programs, after seven days
//	-s      put files where hash_queue_names and hash_queue_depth want them, and
//	        rename those whose name does not hold their inode number
//	-S      -s, and rename also those with a long queue id
//	-v      say more
//
// Directories are the queues to work on: by default hold, incoming, active,
// deferred and maildrop with the logs for -p, -s, -S and ALL.
//
// # Parameters
//
// queue_directory, mail_owner, hash_queue_names, hash_queue_depth,
// enable_long_queue_ids, and those of the log.
//
// # Files
//
// The directories below queue_directory. All work is done as mail_owner.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"postroad/libmail/conf"
	"postroad/libmail/getopt"
	"postroad/libmail/maillog"
	"postroad/libmail/privs"
	"postroad/libmail/queue"
	"postroad/libmail/server"
)

const usage = "usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] " +
	"[-f queue_id (expire and/or un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] " +
	"[-p (purge temporary files)] [-r queue_id (requeue)] [-s (structure fix)] " +
	"[-S (redundant structure fix)] [-v (verbose)] [queue...]"

// options of the command line.
type options struct {
	configDir string
	verbose   int
	repair    repair
	actions   []action
}

// An action is one of -defhHr with its id.
type action struct {
	verb *verb
	id   string
}

func parse(args []string) (o options, queues []string, err error) {
	any := false
	queues, err = getopt.Parse(args, "c:d:e:f:h:H:pr:sSv", func(option byte, value string) error {
		switch option {
		case 'c':
			if !filepath.IsAbs(value) {
				return errors.New("-c requires absolute pathname")
			}
			o.configDir = value
			return nil
		case 'v':
			o.verbose++
			return nil
		case 'p':
			o.repair.purge = true
		case 'S':
			o.repair.redundant = true
			o.repair.structure = true
		case 's':
			o.repair.structure = true
		default:
			o.actions = append(o.actions, action{verbs[option], value})
		}
		any = true
		return nil
	})
	if errors.Is(err, getopt.ErrUsage) {
		err = getopt.Usage(err, usage)
	}
	if !any {
		o.repair = repair{structure: true, purge: true}
	}
	return o, queues, err
}

func main() {
	if getopt.HelpAsked(os.Args[1:], "--help") {
		fmt.Print(getopt.Help(usage, "postsuper(1)"))
		return
	}
	program := filepath.Base(os.Args[0])
	log := maillog.New(program, maillog.Terminal(os.Stderr))
	o, queues, err := parse(os.Args[1:])
	if err != nil {
		log.Fatal("%v", err)
	}
	c, err := conf.Load(o.configDir)
	if err == nil {
		err = os.Chdir(c.String("queue_directory"))
	}
	if err == nil {
		log = server.CommandLog(c, program).Verbose(o.verbose)
		err = becomeOwner(c)
	}
	if err != nil {
		log.Fatal("%v", err)
	}
	settings, err := queue.Settings(c)
	if err != nil {
		log.Fatal("%v", err)
	}
	settings.Warn = log.Warning
	k := &keeper{spool: queue.New(settings), settings: settings, log: log}
	go k.interrupted()
	if err := k.run(o, queues, os.Stdin); err != nil {
		k.incomplete()
		log.Fatal("%v", err)
	}
}

// becomeOwner makes the process mail_owner: the daemons must own what is made
// here, and a queue that was tampered with must not mislead root.
func becomeOwner(c *conf.Config) error {
	syscall.Umask(022)
	owner, err := privs.LookupUser(c.String("mail_owner"))
	if err != nil {
		return fmt.Errorf("mail_owner: %w", err)
	}
	switch os.Getuid() {
	case owner.UID:
		return nil // single-uid mode
	case 0:
		return privs.Drop(owner)
	}
	return errors.New("use of this command is reserved for the superuser")
}

// interrupted says what an unfinished repair means, and ends the process.
func (k *keeper) interrupted() {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP)
	sig := <-ch
	k.incomplete()
	if n, ok := sig.(syscall.Signal); ok {
		os.Exit(int(n))
	}
	os.Exit(1)
}

// run does all that was asked.
func (k *keeper) run(o options, queues []string, in io.Reader) error {
	if len(queues) == 0 {
		queues = allQueues
	}
	for _, q := range queues {
		if _, known := places[q]; !known {
			return fmt.Errorf("invalid directory name: %s", q)
		}
	}
	if o.repair != (repair{}) {
		if err := k.repairAll(o.repair, queues); err != nil {
			return err
		}
	}
	byID := false
	for _, a := range o.actions {
		byID = byID || a.id != "ALL"
	}
	if byID && k.renamed() {
		k.log.Error("QUEUE FILE NAMES WERE CHANGED TO MATCH INODE NUMBERS")
		return errors.New("CHECK YOUR QUEUE IDS AND RE-ISSUE THE COMMAND")
	}
	for _, a := range o.actions {
		if err := k.act(a, queues, in); err != nil {
			return err
		}
	}
	k.report(o.actions)
	return nil
}

// report prints the totals, in a fixed order.
func (k *keeper) report(actions []action) {
	var used strings.Builder
	for _, a := range actions {
		used.WriteByte(a.verb.letter)
	}
	for _, line := range []struct {
		letters, text string
		n             int64
	}{
		{"r", "Requeued", k.requeued.Load()},
		{"d", "Deleted", k.deleted.Load()},
		{"ef", "Force-expired", k.expired.Load()},
		{"h", "Placed on hold", k.held.Load()},
		{"Hf", "Released from hold", k.released.Load()},
	} {
		if strings.ContainsAny(used.String(), line.letters) {
			k.log.Info("%s: %d message%s", line.text, line.n, plural(line.n))
		}
	}
	if n := k.inodeFixed.Load(); n > 0 {
		k.log.Info("Renamed to match inode number: %d message%s", n, plural(n))
	}
	if k.renamed() {
		k.log.Warning("QUEUE FILE NAMES WERE CHANGED TO MATCH INODE NUMBERS")
	}
}

func plural(n int64) string {
	if n == 1 {
		return ""
	}
	return "s"
}
