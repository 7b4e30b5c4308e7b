// Pickup takes in mail that was submitted on this host.
//
// # Synopsis
//
//	pickup [generic options of a daemon]
//
// # Description
//
// postdrop(1) puts messages into the maildrop queue and wakes pickup, which
// hands them to cleanup(8) and removes them when cleanup has them on stable
// storage. Whatever else happens the file stays, and is tried again when
// pickup is woken next, at the latest after the wakeup time in master.cf.
//
// Files that postsuper -r moved to maildrop go through once more: filters and
// redirections of their first time are forgotten, milters do not see them
// again.
//
// A file that is damaged goes to the corrupt queue. A file without sender, or
// whose recipients are all done, is removed.
//
// # Parameters
//
// cleanup_service_name, content_filter, info_log_address_format, ipc_timeout,
// line_length_limit, mail_name, mail_owner, myhostname,
// receive_override_options, smtputf8_autodetect_classes, smtputf8_enable.
//
// # Files
//
// maildrop, the socket public/cleanup.
package main

import (
	"context"
	"fmt"
	"slices"

	"postroad/libmail/conf"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/server"
)

func main() {
	server.Run(server.Program{Name: "pickup", Start: start})
}

// params are the settings of pickup (postconf(5)).
type params struct {
	hostname, mailName string
	filter             string // content_filter
	maxLine            int
	quoteLogged        bool
	owner              int // uid of mail_owner
	flags              int // for new mail
	detectUTF8         bool
}

func newParams(c *conf.Config, owner int) params {
	classes := c.List("smtputf8_autodetect_classes")
	p := params{
		hostname: c.String("myhostname"), mailName: c.String("mail_name"),
		filter: c.String("content_filter"), maxLine: int(c.Size("line_length_limit")),
		quoteLogged: c.String("info_log_address_format") == "external", owner: owner,
		flags:      proto.CleanupBounce | proto.CleanupFilter | proto.CleanupBCC | proto.CleanupMap | proto.CleanupMilter,
		detectUTF8: c.Bool("smtputf8_enable") && (slices.Contains(classes, "all") || slices.Contains(classes, "sendmail")),
	}
	for _, o := range c.List("receive_override_options") {
		switch o {
		case "no_address_mappings":
			p.flags &^= proto.CleanupBCC | proto.CleanupMap
		case "no_header_body_checks":
			p.flags &^= proto.CleanupFilter
		case "no_milters":
			p.flags &^= proto.CleanupMilter
		}
	}
	return p
}

// start connects cleanup and serves wakeups.
func start(env *server.Env) (server.Service, error) {
	if len(env.Args) > 0 {
		return server.Service{}, fmt.Errorf("unexpected command-line argument: %s", env.Args[0])
	}
	o, err := queue.Settings(env.Conf)
	if err != nil {
		return server.Service{}, err
	}
	o.Now, o.Warn = env.Clock.Now, env.Log.Warning
	p := &pickup{
		params: newParams(env.Conf, o.Owner), spool: queue.New(o), log: env.Log, now: env.Clock.Now,
		cleanup: proto.NewCleanupClient("public/"+env.Conf.String("cleanup_service_name"), env.Conf.Duration("ipc_timeout")),
	}
	return server.Trigger(func(ctx context.Context, _ []byte) { p.scan(ctx, env.Stopping()) }), nil
}
