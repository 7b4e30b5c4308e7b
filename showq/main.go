// Showq lists the mail queue for postqueue(1) and mailq(1).
//
// # Synopsis
//
//	showq [generic options of a daemon]
//
// # Description
//
// A client that connects gets all messages with their recipients, and, for
// those that failed or wait, why (conversation: libmail/proto/showq.go). With
// -S the listing goes to standard output, which is how postqueue works while
// the mail system is down.
//
// Messages are listed queue by queue: maildrop, active, incoming, deferred,
// hold. Incomplete and damaged files are left out, or end where the damage is.
//
// # Parameters
//
// duplicate_filter_limit, empty_address_recipient, ipc_timeout;
// queue_directory, hash_queue_names, hash_queue_depth.
//
// # Files
//
// Reads maildrop, active, incoming, deferred, hold, defer, bounce.
package main

import (
	"context"
	"net"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/queue"
	"postroad/libmail/server"
)

// params are the parameters of a listing.
type params struct {
	dupLimit int    // duplicate_filter_limit: recipients remembered of a message; 0: all
	empty    string // empty_address_recipient: how the null address is shown
	timeout  time.Duration
}

func newParams(c *conf.Config) params {
	return params{
		dupLimit: c.Int("duplicate_filter_limit"),
		empty:    c.String("empty_address_recipient"),
		timeout:  c.Duration("ipc_timeout"),
	}
}

func main() {
	server.Run(server.Program{
		Name: "showq",
		Start: func(env *server.Env) (server.Service, error) {
			settings, err := queue.Settings(env.Conf)
			if err != nil {
				return server.Service{}, err
			}
			settings.Warn = env.Log.Warning
			p := newParams(env.Conf)
			l := &lister{params: p, spool: queue.New(settings), log: env.Log}
			return server.Inet(func(ctx context.Context, c net.Conn) { l.serve(ctx, ipc.NewConn(c, p.timeout)) }), nil
		},
	})
}
