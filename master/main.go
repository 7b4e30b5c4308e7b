// Master starts and watches the programs of the mail system.
//
// # Synopsis
//
//	master [-c config_dir] [-w] [-t] [-v] [-e seconds] [-disD]
//
// # Description
//
// It opens the sockets of all services in master.cf, waits for their first
// client or their wakeup time, and starts the program, which takes over the
// clients until it has been idle for max_idle. A program that ends is started
// again when it is wanted; one that keeps ending is started slowly.
//
//	-c dir  the directory of main.cf and master.cf
//	-w      go to the background; return when the services are open, with
//	        exit status 1 and the reason on standard error when they cannot be
//	-t      exit with status 0 when no master runs, else with 1
//	-e n    exit after n seconds
//	-v      log what master does
//	-i      run as process 1 of a container
//	-d -s -D  accepted for the sake of old scripts; without -w master stays in
//	        the foreground anyway
//
// # Signals
//
// TERM, INT and QUIT stop the mail system within ten seconds; HUP
// reads main.cf and master.cf again and drops no session.
//
// # Parameters
//
// daemon_directory, data_directory, default_process_limit,
// import_environment, inet_interfaces, inet_protocols, mail_owner,
// mail_version, master_service_disable, queue_directory,
// service_throttle_time, setgid_group, syslog_facility, syslog_name,
// maillog_file.
//
// # Files
//
// Below queue_directory: pid/master.pid (process id, locked while
// master runs), pid/master.children (locked while a program of this or an
// earlier master runs), public/*, private/*; below data_directory:
// master.lock.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/getopt"
)

const usage = "usage: master [-c config_dir] [-w] [-t] [-v] [-e seconds] [-disD]"

func main() {
	if getopt.HelpAsked(os.Args[1:], "--help", "-h") {
		fmt.Print(getopt.Help(usage, "master(8)"))
		return
	}
	o, err := parseArgs(os.Args)
	if err != nil {
		fail(err)
	}
	if o.background {
		os.Exit(background(os.Args))
	}
	m, err := start(o)
	tellStarter(err)
	if err != nil {
		fmt.Fprintf(os.Stderr, "master: fatal: %v\n", err)
		if m != nil {
			m.log.Fatal("%v", err)
		}
		os.Exit(1)
	}
	m.run(o.exitAfter)
	os.Exit(0)
}

// fail ends a master that never was.
func fail(err error) {
	fmt.Fprintf(os.Stderr, "master: fatal: %v\n", err)
	os.Exit(1)
}

// options are the command line's.
type options struct {
	configDir  string
	background bool
	init       bool
	verbose    int
	exitAfter  time.Duration
}

// parseArgs reads the command line; -t answers at once.
func parseArgs(argv []string) (options, error) {
	o := options{configDir: os.Getenv("MAIL_CONFIG")}
	if os.Getenv("MAIL_VERBOSE") != "" {
		o.verbose = 1
	}
	test := false
	for i := 1; i < len(argv); i++ {
		arg := argv[i]
		if len(arg) < 2 || arg[0] != '-' {
			return o, errors.New(usage)
		}
		if strings.HasPrefix(arg, "--") {
			return o, fmt.Errorf("%s: no such option", arg)
		}
		for j := 1; j < len(arg); j++ {
			letter := arg[j]
			if strings.IndexByte("ce", letter) < 0 {
				if err := o.flag(letter, &test); err != nil {
					return o, err
				}
				continue
			}
			value := arg[j+1:]
			if value == "" && i+1 < len(argv) {
				i++
				value = argv[i]
			}
			if letter == 'c' {
				o.configDir = value
			} else if n, err := strconv.Atoi(value); err != nil || n < 1 {
				return o, fmt.Errorf("-e %s: not a number of seconds", value)
			} else {
				o.exitAfter = time.Duration(n) * time.Second
			}
			break
		}
	}
	if o.configDir == "" {
		o.configDir = conf.FindDir("")
	}
	if test && o.background {
		return o, fmt.Errorf("-t and -w do not go together")
	}
	if o.init && (o.background || os.Getpid() != 1) {
		return o, fmt.Errorf("-i is for process 1")
	}
	if test {
		os.Exit(testLock(o))
	}
	return o, nil
}

func (o *options) flag(letter byte, test *bool) error {
	switch letter {
	case 'w':
		o.background = true
	case 't':
		*test = true
	case 'i':
		o.init = true
	case 'v':
		o.verbose++
	case 'd', 's', 'D':
	default:
		return fmt.Errorf("-%c: no such option", letter)
	}
	return nil
}

// params are the settings that master itself uses.
type params struct {
	version     string
	queueDir    string
	dataDir     string
	daemonDirs  []string // where programs are looked for, in this order
	mailOwner   string
	setgidGroup string
	throttle    time.Duration // service_throttle_time
	environ     []string      // of the programs
	limitWished bool          // the administrator set default_process_limit
}

func readParams(c *conf.Config) params {
	p := params{
		version:     c.String("mail_version"),
		queueDir:    c.String("queue_directory"),
		dataDir:     c.String("data_directory"),
		mailOwner:   c.String("mail_owner"),
		setgidGroup: c.String("setgid_group"),
		throttle:    c.Duration("service_throttle_time"),
		limitWished: c.IsSet("default_process_limit"),
	}
	// Our own programs come first: daemon_directory of a configuration that
	// was Postfix's holds programs that do not understand us.
	if self, err := os.Executable(); err == nil {
		p.daemonDirs = append(p.daemonDirs, filepath.Dir(self))
	}
	p.daemonDirs = append(p.daemonDirs, c.DaemonDirectory())
	p.environ = environment(c.List("import_environment"), c.Dir())
	return p
}

// environment is what programs get: the names that import_environment lists,
// with our value or the one given there, and the configuration directory.
func environment(names []string, configDir string) []string {
	env := []string{"MAIL_CONFIG=" + configDir}
	for _, name := range names {
		name, value, given := strings.Cut(name, "=")
		if !given {
			var found bool
			if value, found = os.LookupEnv(name); !found {
				continue
			}
		}
		if name != "MAIL_CONFIG" {
			env = append(env, name+"="+value)
		}
	}
	return env
}
