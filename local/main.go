// Local delivers mail to the users of this host.
//
// # Synopsis
//
//	local [generic options of a daemon]
//
// # Description
//
// The queue manager asks local to deliver a message to one recipient. For
// each, local looks in this order:
//
//  1. a leading backslash means the mailbox, whatever comes below;
//  2. alias_maps, with and then without the address extension;
//  3. forward_path, usually ~/.forward;
//  4. mailbox_transport_maps, mailbox_transport, mailbox_command_maps,
//     mailbox_command, home_mailbox, mail_spool_directory;
//  5. for unknown users fallback_transport_maps, fallback_transport,
//     luser_relay.
//
// Aliases, .forward and :include: files list addresses, /file/names,
// "|commands" and :include:/file/names. Addresses of this host are delivered
// at once; others, and those in lists with an owner, become a new message.
//
// local is root and touches nothing of a user itself: mda(8) does, with the
// user's rights and no others.
//
// # Parameters
//
// alias_maps, allow_mail_to_commands, allow_mail_to_files,
// cleanup_service_name, command_execution_directory, command_expansion_filter,
// command_time_limit, default_privs, deliver_lock_attempts,
// deliver_lock_delay, double_bounce_sender, duplicate_filter_limit,
// enable_original_recipient, execution_directory_expansion_filter,
// expand_owner_alias, export_environment, fallback_transport,
// fallback_transport_maps, forward_expansion_filter, forward_path,
// home_mailbox, ipc_timeout, local_command_shell, local_passwd_file,
// luser_relay, mail_name, mail_spool_directory, mailbox_command,
// mailbox_command_maps, mailbox_delivery_lock, mailbox_size_limit,
// mailbox_transport, mailbox_transport_maps, myhostname,
// owner_request_special, prepend_delivered_header,
// propagate_unmatched_extensions, recipient_delimiter, require_home_directory,
// rewrite_service_name, smtputf8_enable, stale_lock_time.
package main

import (
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/agent"
	"postroad/libmail/conf"
	"postroad/libmail/proto"
	"postroad/libmail/server"
	"postroad/libmail/table"
)

func main() {
	l := &local{}
	server.Run(server.Program{Name: "local", Open: l.open, Start: l.start})
}

// params are the settings of local (postconf(5)).
type params struct {
	hostname, mailName         string
	delimiter                  addr.Delimiters
	ownerSpecial, expandOwner  bool
	propagate                  origins // propagate_unmatched_extensions
	toCommands, toFiles        origins
	duplicates                 int
	originalRcpt, homeRequired bool
	forwardPath, forwardFilter string
	headers                    origins // prepend_delivered_header
	defaultPrivs               string
	shell                      string
	commandLimit               time.Duration
	commandDir, commandFilter  string
	commandDirFilter           string
	exported                   []string // export_environment
	homeMailbox, spoolDir      string
	mailboxCommand             string
	mailboxTransport           string
	fallbackTransport          string
	luserRelay                 string
	passwdFile                 string
	locks                      string
	lockAttempts               int
	lockDelay, lockStale       time.Duration
	maxMailbox                 int64
}

// origins is where a token or a delivery comes from.
type origins map[string]bool

func originsOf(list []string) origins {
	o := origins{}
	for _, w := range list {
		o[strings.ToLower(w)] = true
	}
	return o
}

func newParams(c *conf.Config) params {
	return params{
		hostname: c.String("myhostname"), mailName: c.String("mail_name"),
		delimiter:    addr.Delimiters{Set: c.String("recipient_delimiter"), OwnerRequest: c.Bool("owner_request_special"), DoubleBounce: c.String("double_bounce_sender")},
		ownerSpecial: c.Bool("owner_request_special"), expandOwner: c.Bool("expand_owner_alias"),
		toCommands: originsOf(c.List("allow_mail_to_commands")), toFiles: originsOf(c.List("allow_mail_to_files")),
		propagate:    originsOf(c.List("propagate_unmatched_extensions")),
		duplicates:   c.Int("duplicate_filter_limit"),
		originalRcpt: c.Bool("enable_original_recipient"), homeRequired: c.Bool("require_home_directory"),
		forwardPath: c.String("forward_path"), forwardFilter: c.String("forward_expansion_filter"),
		headers:      originsOf(c.List("prepend_delivered_header")),
		defaultPrivs: c.String("default_privs"),
		shell:        c.String("local_command_shell"), commandLimit: c.Duration("command_time_limit"),
		commandDir: c.String("command_execution_directory"), commandFilter: c.String("command_expansion_filter"),
		commandDirFilter: c.String("execution_directory_expansion_filter"),
		exported:         c.List("export_environment"),
		homeMailbox:      c.String("home_mailbox"), spoolDir: c.String("mail_spool_directory"),
		mailboxCommand: c.String("mailbox_command"), mailboxTransport: c.String("mailbox_transport"),
		fallbackTransport: c.String("fallback_transport"), luserRelay: c.String("luser_relay"),
		passwdFile: c.String("local_passwd_file"),
		locks:      strings.Join(c.List("mailbox_delivery_lock"), " "), lockAttempts: c.Int("deliver_lock_attempts"),
		lockDelay: c.Duration("deliver_lock_delay"), lockStale: c.Duration("stale_lock_time"),
		maxMailbox: c.Size("mailbox_size_limit"),
	}
}

// A local is the program at work.
type local struct {
	params
	service string // our name in master.cf: addresses that resolve to it are ours
	agent   *agent.Agent
	env     *server.Env

	aliases           *table.Maps
	mailboxTransports *table.Maps
	mailboxCommands   *table.Maps
	fallbacks         *table.Maps

	rewrite interface {
		Rewrite(rule, address string) (string, error)
		Resolve(sender, address string) (proto.Resolved, error)
	}
	submit  func(flags int) (*proto.Submission, error)
	deliver func(transport string, req *proto.Request) (status int, err error)
	mda     *agent.MDA
}

// open opens the tables.
func (l *local) open(env *server.Env) error {
	l.env = env
	l.params = newParams(env.Conf)
	l.service = env.Service
	o := table.Options{Log: env.Log, UTF8: env.Conf.Bool("smtputf8_enable"), Delimiters: l.delimiter,
		Trust: table.Paranoid, Stale: func(name string) { env.Restart("table " + name + " has changed") }}
	for _, m := range []struct {
		maps  **table.Maps
		names []string
		title string
	}{
		{&l.aliases, env.Conf.List("alias_maps"), "alias_maps"},
		{&l.mailboxTransports, env.Conf.List("mailbox_transport_maps"), "mailbox_transport_maps"},
		{&l.mailboxCommands, env.Conf.List("mailbox_command_maps"), "mailbox_command_maps"},
		{&l.fallbacks, env.Conf.List("fallback_transport_maps"), "fallback_transport_maps"},
	} {
		maps, err := table.OpenMaps(m.title, m.names, o)
		if err != nil {
			return err
		}
		*m.maps = maps
	}
	return nil
}

// start connects the rooms.
func (l *local) start(env *server.Env) (server.Service, error) {
	a, err := agent.New(env)
	if err != nil {
		return server.Service{}, err
	}
	c, limit := env.Conf, env.Conf.Duration("ipc_timeout")
	l.agent = a
	l.rewrite = proto.NewRewriteClient("private/"+c.String("rewrite_service_name"), limit)
	l.submit = proto.NewCleanupClient("public/"+c.String("cleanup_service_name"), limit).Open
	l.deliver = newRelays(limit).deliver
	if l.mda, err = agent.NewMDA(c, l.spoolDir); err != nil {
		return server.Service{}, err
	}
	service := a.Service(l.request)
	return service, nil
}
