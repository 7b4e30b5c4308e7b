// Postkick sends a request to a service of the mail system, for scripts.
//
// # Synopsis
//
//	postkick [-v] [-c config_dir] class service request
//
// # Description
//
// The class is public or private, the service a name of master.cf, the
// request what the service understands: "public qmgr DF" has the queue manager
// deliver all mail now, "public pickup W" has pickup look at its queue.
//
//	-c dir  directory of main.cf
//	-v      accepted
//
// # Parameters
//
// import_environment, queue_directory.
//
// # Files
//
// The socket of the service below queue_directory.
//
// # Exit status
//
// 0, or 1 when the service cannot be reached.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/getopt"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
)

// kickTime bounds the wait for a busy service.
const kickTime = 10 * time.Second

const usage = "usage: postkick [-c config_dir] [-v] class service request"

func main() {
	if getopt.HelpAsked(os.Args[1:], "--help", "-h") {
		fmt.Print(getopt.Help(usage, "postkick(1)"))
		return
	}
	name := filepath.Base(os.Args[0])
	log := maillog.New(name, maillog.Terminal(os.Stderr))
	configDir := ""
	rest, err := getopt.Parse(os.Args[1:], "c:v", func(option byte, value string) error {
		if option == 'c' {
			configDir = value
		}
		return nil
	})
	if err != nil || len(rest) != 3 {
		log.Fatal("%v", getopt.Usage(err, usage))
	}
	c, err := conf.Load(configDir)
	if err != nil {
		log.Fatal("%v", err)
	}
	for _, item := range c.List("import_environment") {
		if name, value, ok := strings.Cut(item, "="); ok {
			_ = os.Setenv(name, value) // fails for an empty name, which means nothing
		}
	}
	if err := os.Chdir(c.String("queue_directory")); err != nil {
		log.Fatal("%v", err)
	}
	class, service, request := rest[0], rest[1], rest[2]
	if err := ipc.Trigger(class+"/"+service, []byte(request), kickTime); err != nil {
		log.Warning("Cannot contact class %s service %s - perhaps the mail system is down", class, service)
		os.Exit(1)
	}
}
