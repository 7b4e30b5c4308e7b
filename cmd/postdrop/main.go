// Postdrop puts a message into the maildrop queue. It is set-gid, so that users
// can submit mail without rights to the queue; sendmail(1) runs it.
//
// # Synopsis
//
//	postdrop [-rv] [-c config_dir]
//
// # Description
//
//	-c dir  directory of main.cf; a user's must be an alternate_config_directories one
//	-r      accepted: the queue id and the verdict are always reported
//	-v      say more, for the superuser
//
// Standard input is a message in records (package record), standard output the
// queue id and the verdict (package proto, postdrop.go). Nothing that the user
// says about time, identity or queue control gets into the file; what may get
// in is in records.go. When the verdict is 0 the message is on stable storage.
//
// All that a caller can hand down is under suspicion: environment, signals,
// limits, descriptors, arguments.
//
// # Parameters
//
// authorized_submit_users, config_directory, double_bounce_sender,
// empty_address_local_login_sender_maps_lookup_key, import_environment,
// line_length_limit, local_login_sender_maps, message_size_limit,
// owner_request_special, pickup_service_name, queue_directory,
// recipient_delimiter, smtputf8_enable.
//
// # Files
//
// maildrop, and the socket public/pickup.
//
// # Exit status
//
// The verdict; 1 after an error that left no time for one.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/getopt"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/server"
)

// pickupTime bounds the wait for pickup to hear of the message; it looks for
// itself every minute.
const pickupTime = 10 * time.Second

const usage = "usage: postdrop [-c config_dir] [-rv]"

func main() {
	if getopt.HelpAsked(os.Args[1:], "--help", "-h") {
		fmt.Print(getopt.Help(usage, "postdrop(1)"))
		return
	}
	privs.ShedRuntimeEnv("postdrop")
	syscall.Umask(022)
	// A write beyond the user's file size limit fails instead of killing us.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ)
	log := maillog.New("postdrop", maillog.Terminal(os.Stderr))
	configDir, verbose, err := parse(os.Args[1:])
	if err != nil {
		log.Fatal("%v", err)
	}
	c, err := conf.LoadSetgid(configDir)
	if err != nil {
		log.Fatal("%v", err)
	}
	c.CleanEnv()
	if err := os.Chdir(c.String("queue_directory")); err != nil {
		log.Fatal("%v", err)
	}
	log = server.CommandLog(c, "postdrop").Verbose(verbose)
	status, err := run(c, log)
	if err != nil {
		log.Fatal("%v", err)
	}
	os.Exit(exitStatus(status))
}

func parse(args []string) (configDir string, verbose int, err error) {
	rest, err := getopt.Parse(args, "c:rv", func(option byte, value string) error {
		switch option {
		case 'c':
			configDir = value
		case 'v':
			if os.Geteuid() == 0 {
				verbose++
			}
		}
		return nil
	})
	if err != nil || len(rest) > 0 {
		err = getopt.Usage(err, usage)
	}
	return configDir, verbose, err
}

// exitStatus is a verdict as an exit status, which has eight bits.
func exitStatus(status int) int {
	if status != 0 && status&0xff == 0 {
		return 1
	}
	return status & 0xff
}

// run takes one message from standard input.
func run(c *conf.Config, log *maillog.Logger) (status int, err error) {
	uid := os.Getuid()
	if err := authorized(c, uid, log); err != nil {
		return 0, err
	}
	o, err := queue.Settings(c)
	if err != nil {
		return 0, err
	}
	o.Warn, o.FS = log.Warning, dropFS{}
	file, err := queue.New(o).Create(queue.Maildrop, 0o044)
	if err != nil {
		return 0, err
	}
	stop := removeOnSignal(file)
	s := newSubmission(c, uid, file, log)
	err = proto.ServeDrop(os.Stdin, os.Stdout, file.ID, s.maxRecord(), s)
	stop()
	if errors.Is(err, proto.ErrCancelled) {
		file.Abort()
		return 0, nil
	}
	if err != nil && !s.done {
		file.Abort()
		return 0, fmt.Errorf("uid=%d: %w", uid, err)
	}
	if s.status == 0 {
		path := "public/" + c.String("pickup_service_name")
		if err := ipc.Trigger(path, []byte{proto.TriggerWakeup}, pickupTime); err != nil {
			log.Debug("%v", err) // the mail system is down; pickup looks when it is up
		}
	}
	return s.status, nil
}

// removeOnSignal removes the unfinished file when the user interrupts us.
// Signals that were ignored when we started stay so.
func removeOnSignal(file *queue.File) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	path := file.Path()
	go func() {
		if s, ok := (<-signals).(syscall.Signal); ok {
			_ = os.Remove(path) // nobody is left to be told
			os.Exit(int(s))
		}
	}()
	return func() { signal.Stop(signals) }
}
