// Package server is the daemon skeleton: arguments, privileges, sessions and
// their limits, reload, stop.
//
// master starts a program with these descriptors, and talks to it over the
// control socket (see Control):
//
//	0 /dev/null   1 master's own   2 a pipe into the mail log
//	3 control     4 flow, reading end     5 flow, writing end
//	6 ...         listening sockets
//
// One process serves all clients of a service, each on a goroutine. When it
// leaves, for whatever reason, the listening sockets stay with master, so
// that no client is turned away.
package server

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"postroad/libmail/conf"
	"postroad/libmail/getopt"
	"postroad/libmail/maillog"
	"postroad/libmail/privs"
)

// A Program is what differs between daemons.
type Program struct {
	Name string // as in the manual page: "smtpd"

	// Open, which may be nil, runs before privileges are dropped and before
	// chroot: open tables, read keys.
	Open func(env *Env) error

	// Start runs with privileges dropped and returns what serves.
	Start func(env *Env) (Service, error)

	// Sandbox, which may be nil, says what the program may touch once it
	// serves. Without it an unprivileged program may read everything that
	// its user may and write below queue_directory and data_directory, and
	// a privileged one is not shut in.
	Sandbox func(env *Env) privs.Sandbox
}

// An Env is what a program gets from its skeleton.
type Env struct {
	Conf    *conf.Config
	Log     *maillog.Logger
	Program string   // "smtpd"
	Service string   // name in master.cf, "submission"; the program's name without master
	Type    string   // type in master.cf: inet, unix, unix-dgram, fifo, pass
	Args    []string // arguments of master.cf that are no options
	MaxProc int      // maxproc column; 0: no limit
	Stdio   bool     // -S: one session on standard input and output
	Clock   Clock
	Flow    *Flow

	run       *running
	overrides []string

	stressOnce sync.Once
	stressConf *conf.Config
}

// Stress reports whether 80 % or more of the sessions that an inet service
// may have are in use.
func (e *Env) Stress() bool {
	return e.run != nil && (e.Type == "inet" || e.Type == "pass") && e.run.slots.stressed()
}

// SessionConf is the configuration for a session that begins now: Conf, or
// Conf with stress=yes (postconf(5)) while the service is under stress.
func (e *Env) SessionConf() *conf.Config {
	if !e.Stress() {
		return e.Conf
	}
	e.stressOnce.Do(func() {
		c, err := e.Conf.With("stress=yes")
		if err != nil {
			e.Log.Warning("stress=yes: %v", err)
			c = e.Conf
		}
		e.stressConf = c
	})
	return e.stressConf
}

// Stopping is closed when the mail system stops or master is gone: sessions
// finish their transaction and end, those that wait for a client at once.
func (e *Env) Stopping() <-chan struct{} {
	if e.run == nil {
		return nil
	}
	return e.run.stopping
}

// Sessions is the number of sessions now.
func (e *Env) Sessions() int {
	if e.run == nil {
		return 0
	}
	return e.run.slots.count()
}

// Restart makes this process finish its sessions and end, and another one
// take the new ones; the reason is logged: "table hash:/etc/aliases has
// changed". It returns at once.
func (e *Env) Restart(reason string) {
	if e.run != nil {
		e.run.restart(reason)
	}
}

// Go runs f on a goroutine of the program's own. A panic in it is logged and
// restarts the process instead of ending all its sessions.
func (e *Env) Go(f func()) {
	go func() {
		defer func() { e.panicked("background work", recover()) }()
		f()
	}()
}

// panicked logs what recover returned, if anything, with the stack, and
// restarts the process. It reports whether there was a panic.
func (e *Env) panicked(what string, p any) bool {
	if p == nil {
		return false
	}
	e.Log.Panic("%s: %v", what, p)
	logStack(e.Log, debug.Stack())
	e.Restart("")
	return true
}

// Run is a daemon's main: it parses the arguments, loads the configuration,
// opens the log, drops privileges, serves, and does not return.
func Run(p Program) {
	if getopt.HelpAsked(os.Args[1:], "--help", "-h") {
		fmt.Print(getopt.Help(usage(p.Name), p.Name+"(8)"))
		os.Exit(0)
	}
	o, err := parseArgs(p.Name, os.Args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: fatal: %v\n", p.Name, err)
		os.Exit(1)
	}
	// Nothing that master gave us goes to a command of ours. An error means an
	// old kernel; the commands' starter tries again.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	tuneMemory()
	env, err := prepare(p, o)
	if err != nil {
		fatal(p.Name, env, err)
	}
	run, err := begin(p, env, o)
	if err != nil {
		fatal(p.Name, env, err)
	}
	run.loop()
	os.Exit(0)
}

// fatal logs err and ends the process; master starts it again, slowly.
func fatal(name string, env *Env, err error) {
	if env == nil || env.Log == nil {
		fmt.Fprintf(os.Stderr, "%s: fatal: %v\n", name, err)
		os.Exit(1)
	}
	env.Log.Fatal("%v", err)
	os.Exit(1) // Fatal does not return either
}

// prepare makes the Env: configuration, log, queue directory, clock.
func prepare(p Program, o options) (*Env, error) {
	env := &Env{Program: p.Name, Service: o.service, Type: o.kind, Args: o.args, MaxProc: o.maxProc, Stdio: o.stdio}
	var err error
	env.overrides = o.overrides
	if env.Conf, err = conf.Load(o.configDir, o.overrides...); err != nil {
		return env, err
	}
	err = os.Chdir(env.Conf.String("queue_directory"))
	env.Log = OpenLog(env.Conf, p.Name).Verbose(o.verbose)
	if err != nil {
		return env, fmt.Errorf("queue_directory: %w", err)
	}
	if env.MaxProc < 0 {
		env.MaxProc = env.Conf.Int("default_process_limit")
	}
	time.Now().Local().Zone() // read the time zone while it can be found
	env.Clock = clockFromEnv()
	env.Flow = newFlow(env.Conf, o)
	return env, nil
}

// begin opens what needs privileges, gives them up and starts the service.
func begin(p Program, env *Env, o options) (*running, error) {
	run, err := newRunning(p, env, o)
	if err != nil {
		return nil, err
	}
	env.run = run
	if p.Open != nil {
		if err := p.Open(env); err != nil {
			return nil, err
		}
	}
	enforced := ""
	if o.chroot { // now or never: paths look different inside
		if enforced, err = shutIn(p, env, o); err != nil {
			return nil, err
		}
	}
	if err := giveUp(env, o); err != nil {
		return nil, err
	}
	if run.svc, err = p.Start(env); err != nil {
		return nil, err
	}
	if err := run.attach(); err != nil {
		return nil, err
	}
	if !o.chroot {
		if enforced, err = shutIn(p, env, o); err != nil {
			return nil, err
		}
	}
	run.enforced = privs.Describe() + enforced
	return run, nil
}

// giveUp applies the chroot and unprivileged columns of master.cf.
func giveUp(env *Env, o options) error {
	if o.stdio || os.Geteuid() != 0 {
		return nil // single-uid mode: there is nothing to give up
	}
	var owner *privs.User
	if o.unprivileged {
		var err error
		if owner, err = privs.LookupUser(env.Conf.String("mail_owner")); err != nil {
			return fmt.Errorf("mail_owner: %w", err)
		}
	}
	if o.chroot {
		if err := privs.Chroot("."); err != nil {
			return err
		}
	}
	if owner == nil {
		return nil
	}
	return privs.Drop(owner)
}

// shutIn applies the program's sandbox and says what holds now.
func shutIn(p Program, env *Env, o options) (string, error) {
	var box privs.Sandbox
	switch {
	case o.stdio:
		return "", nil
	case p.Sandbox != nil:
		box = p.Sandbox(env)
	case o.unprivileged:
		box = privs.Sandbox{
			Read:  []string{"/"},
			Write: []string{env.Conf.String("queue_directory"), env.Conf.String("data_directory")},
		}
	default:
		return "", nil
	}
	text, err := box.Enforce()
	return ", " + text, err
}

// Passed returns what the program that passed this session's connection said
// about it (type pass): names and values, client_address and so on.
func Passed(ctx context.Context) map[string]string {
	m, _ := ctx.Value(passedKey{}).(map[string]string)
	return m
}

type passedKey struct{}
