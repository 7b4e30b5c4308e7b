// Pipe delivers mail to commands.
//
// # Synopsis
//
//	pipe [generic options of a daemon] attribute=value... argv=command...
//
// # Description
//
// The queue manager asks pipe to deliver to recipients of a transport that
// master.cf defines with a command:
//
//	maildrop  unix  -  n  n  -  -  pipe
//	  flags=DRXhu user=vmail argv=/usr/bin/maildrop -d ${recipient}
//
// The command runs as user=, with the message on standard input, without a
// shell, in a process group of its own. How it ends says what becomes of the
// message, by sysexits.h or by a status code at the start of its output.
//
// Attributes:
//
//	argv=       the command, last; {…} around arguments with blanks
//	directory=  its working directory
//	eol=        line end of its input, \r\n for example
//	flags=      B empty line at the end, D Delivered-To, F From_ line,
//	            O X-Original-To, R Return-Path, X final delivery,
//	            h and u fold domain and local part to lower case,
//	            q quote addresses, . double dots, > quote From_ lines
//	null_sender= what stands for the empty sender (MAILER-DAEMON)
//	size=       largest message, bytes
//	user=       user or user:group, never root or mail_owner
//
// In the command ${client_address}, ${client_helo}, ${client_hostname},
// ${client_port}, ${client_protocol}, ${domain}, ${envid}, ${extension},
// ${mailbox}, ${nexthop}, ${original_recipient}, ${queue_id}, ${recipient},
// ${sasl_method}, ${sasl_sender}, ${sasl_username}, ${sender}, ${size} and
// ${user} are replaced. An argument that names a part of the recipient is
// repeated for each recipient.
//
// # Parameters
//
// command_time_limit, export_environment, mail_owner, recipient_delimiter,
// setgid_group; double_bounce_sender, owner_request_special; transport_time_limit
// with the name of the transport.
package main

import (
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/agent"
	"postroad/libmail/conf"
	"postroad/libmail/server"
)

func main() {
	p := &pipe{}
	server.Run(server.Program{Name: "pipe", Open: p.open, Start: p.start})
}

// params are the settings of pipe (postconf(5)).
type params struct {
	delimiter addr.Delimiters
	exported  []string
	limit     time.Duration
	mailOwner string
	setgid    string // setgid_group
}

func newParams(c *conf.Config, service string) params {
	return params{
		delimiter: addr.Delimiters{Set: c.String("recipient_delimiter"),
			OwnerRequest: c.Bool("owner_request_special"), DoubleBounce: c.String("double_bounce_sender")},
		exported:  c.List("export_environment"),
		limit:     c.TransportDuration(service, "time_limit"),
		mailOwner: c.String("mail_owner"),
		setgid:    c.String("setgid_group"),
	}
}

// A pipe is the program at work.
type pipe struct {
	params
	attrs attributes
	env   *server.Env
	mda   *agent.MDA
}

// open reads the command while master.cf's rights are still ours.
func (p *pipe) open(env *server.Env) error {
	p.env = env
	p.params = newParams(env.Conf, env.Service)
	var err error
	if p.attrs, err = parseAttributes(env.Args); err != nil {
		return err
	}
	return p.attrs.checkUser(p.mailOwner, p.setgid)
}

// start connects the rooms.
func (p *pipe) start(env *server.Env) (server.Service, error) {
	a, err := agent.New(env)
	if err != nil {
		return server.Service{}, err
	}
	if p.mda, err = agent.NewMDA(env.Conf, ""); err != nil {
		return server.Service{}, err
	}
	return a.Service(p.request), nil
}

// has reports whether a flag is set.
func (a *attributes) has(flag string) bool { return strings.Contains(a.flags, flag) }
