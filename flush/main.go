// Flush knows which messages wait for which destination, so that mail for one
// destination can be delivered without looking at the whole queue (ETRN,
// RFC 1985; postqueue -s).
//
// # Synopsis
//
//	flush [generic options of a daemon]
//
// # Description
//
// Delivery agents add a message to the log of its destination when its
// delivery is put off, for the destinations in fast_flush_domains. A request
// for a destination moves its messages from deferred to incoming and wakes
// qmgr. The logs are hints: a message that is not deferred any more is
// skipped, and one that no log has waits for its time as always. The
// conversation is in libmail/proto/flush.go.
//
// Each time that master wakes it, flush forgets logs that have been empty for
// fast_flush_purge_time, and delivers from those that nobody asked for in
// fast_flush_refresh_time.
//
// # Parameters
//
// fast_flush_domains, fast_flush_purge_time, fast_flush_refresh_time,
// hash_queue_depth, hash_queue_names, mail_owner,
// parent_domain_matches_subdomains, queue_service_name, smtputf8_enable,
// trigger_timeout.
//
// # Files
//
// Below queue_directory: flush/SITE (one queue id a line), deferred/*,
// incoming/*.
package main

import (
	"context"
	"time"

	"postroad/libmail/ipc"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/server"
	"postroad/libmail/table"
)

func main() {
	f := &flush{}
	server.Run(server.Program{
		Name:  "flush",
		Open:  f.open,
		Start: f.start,
	})
}

// open reads the destinations and finds the spool.
func (f *flush) open(env *server.Env) error {
	c := env.Conf
	f.log = env.Log
	f.now = env.Clock.Now
	f.refreshTime = c.Duration("fast_flush_refresh_time")
	f.purgeTime = c.Duration("fast_flush_purge_time")
	o, err := queue.Settings(c)
	if err != nil {
		return err
	}
	o.Now, o.Warn = env.Clock.Now, env.Log.Warning
	f.spool = queue.New(o)
	parents := table.ParentsOf("fast_flush_domains", c.List("parent_domain_matches_subdomains"))
	domains, err := table.OpenMatchList("fast_flush_domains", table.DomainList, c.String("fast_flush_domains"), parents,
		table.Options{Log: env.Log, UTF8: c.Bool("smtputf8_enable"),
			Stale: func(name string) { env.Restart("table " + name + " has changed") }})
	if err != nil {
		return err
	}
	f.mayFlush = func(site string) (bool, error) { return domains.Match(site, "") }
	qmgr, limit := "public/"+c.String("queue_service_name"), c.Duration("trigger_timeout")
	f.trigger = func(request ...byte) {
		if err := ipc.Trigger(qmgr, request, limit); err != nil {
			env.Log.Warning("trigger queue manager: %v", err)
		}
	}
	return nil
}

// start serves.
func (f *flush) start(env *server.Env) (server.Service, error) {
	f.background = env.Go
	s := server.Stream(func(_ context.Context, conn *ipc.Conn) {
		if err := proto.ServeFlush(conn, f.do); err != nil {
			env.Log.Warning("%v", err)
		}
	})
	s.Wake = func(context.Context) { f.refresh(f.refreshTime) }
	return s, nil
}

// everything is the age of logs for a purge: all of them are read.
const everything = time.Duration(0)
