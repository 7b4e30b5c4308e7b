package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// A demo is a mail system for trying out: it keeps to 127.0.0.1 and one
// directory of its own.
//
//	DIR/etc/   the shipped configuration with a few settings changed
//	DIR/queue/ DIR/data/ DIR/maillog
//	DIR/mail/DOMAIN/USER/Maildir/
//	DIR/bin/   our programs, where the account could not reach them otherwise
type demo struct {
	*system
	dir      string
	daemons  string              // where our programs are
	commands string              // as above
	owner    *syscall.Credential // who runs everything; nil: who called us
	ports    map[string]int      // by service of master.cf

	passwords map[string]string // by user
}

const (
	demoDomain = "example.com"
	demoHost   = "mx." + demoDomain
)

// demo sets up a private mail system, sends messages through it, shows the way
// they take, and stays until it is interrupted; with --once it ends when they
// have arrived. -c names a configuration in place of the shipped one.
func (s *system) demo(args []string) (err error) {
	once := len(args) == 1 && args[0] == "--once"
	if len(args) > 0 && !once {
		return fmt.Errorf("usage: %s demo [--once]", s.program)
	}
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	d := &demo{system: s, ports: map[string]int{}}
	if err := d.setUp(); err != nil {
		return errors.Join(err, d.remove())
	}
	ended := make(chan error, 1)
	go func() { ended <- d.run() }()
	select {
	case err = <-ended:
	case <-interrupts:
		once = true
	}
	if err == nil && !once {
		d.farewell()
		<-interrupts
	}
	fmt.Fprintf(s.out, "\nStopping the mail system ...\n")
	if e := d.quietly("postroad", "-c", d.path("etc"), "stop"); e != nil {
		return errors.Join(err, fmt.Errorf("%w; everything stays in %s", e, d.dir))
	}
	if err != nil {
		return fmt.Errorf("%w; everything stays in %s for you to look at", err, d.dir)
	}
	if err := d.remove(); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "It is stopped, and %s is removed.\n", d.dir)
	return nil
}

// run starts the mail system and sends the messages.
func (d *demo) run() error {
	d.say("A private mail system in %s", d.dir)
	if d.owner != nil {
		d.say("  run by the account nobody, because nothing in it needs root")
	}
	if err := d.start(); err != nil {
		return err
	}
	for _, l := range d.letters() {
		if err := d.send(l); err != nil {
			return err
		}
	}
	return d.readByPOP3(demoUsers[1])
}

// start makes the table of aliases and starts master.
func (d *demo) start() error {
	if err := d.quietly("postalias", "hash:"+d.path("etc", "aliases")); err != nil {
		return err
	}
	return d.quietly("postroad", "-c", d.path("etc"), "start")
}

// farewell says where everything is.
func (d *demo) farewell() {
	d.say(`
It runs until you press Ctrl-C.

  the log        %s
  the mailboxes  %s
  configuration  %s
  the queue      %s

Try in another terminal:

  export MAIL_CONFIG=%[3]s PATH=%[5]s:$PATH
  echo hello | sendmail alice@%[6]s
  tail -f %[1]s
  mailq; postconf -n; postroad user list

Or with a mail program; it must accept a certificate that nobody vouches for:

  incoming       IMAP, 127.0.0.1 port %[12]d with TLS, or %[13]d with STARTTLS
                 POP3, 127.0.0.1 port %[7]d with TLS, or %[8]d with STARTTLS
  outgoing       SMTP, 127.0.0.1 port %[9]d with TLS, or %[10]d with STARTTLS
  other hosts    SMTP, 127.0.0.1 port %[11]d`,
		d.path("maillog"), d.path("mail"), d.path("etc"), d.path("queue"), d.commands, demoDomain,
		d.ports["995"], d.ports["110"], d.ports["465"], d.ports["587"], d.ports["smtp"], d.ports["993"], d.ports["143"])
	for _, u := range demoUsers {
		u += "@" + demoDomain
		d.say("  user           %s, password %s", u, d.passwords[u])
	}
}

// say prints a line.
func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

func (d *demo) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

// quietly runs one of our commands and shows what it says only if it fails.
func (d *demo) quietly(name string, args ...string) error {
	cmd := d.tool(name, args...)
	cmd.Stdout, cmd.Stderr = nil, nil
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, text)
	}
	return nil
}

// remove removes the directory.
func (d *demo) remove() error {
	if d.dir == "" {
		return nil
	}
	return os.RemoveAll(d.dir)
}
