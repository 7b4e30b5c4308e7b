// Anvil counts what each network client does, for smtpd and postscreen, which
// refuse those that do too much (smtpd_client_connection_count_limit and its
// kin).
//
// # Synopsis
//
//	anvil [generic options of a daemon]
//
// # Description
//
// A program tells it the events of its clients over one connection (see
// libmail/proto/anvil.go), and learns how many of their kind there were from
// the same client in the current time unit, or how many connections it has.
// Rates start at zero again each anvil_rate_time_unit after a client's first
// event. When a program goes away without saying so, its connections do too.
// Each anvil_status_update_time, and at its end, anvil logs the highest
// numbers:
//
//	statistics: max connection rate 12/60s for (smtp:192.0.2.1) at Nov 22 07:40:50
//	statistics: max connection count 3 for (smtp:192.0.2.1) at Nov 22 07:40:50
//	statistics: max cache size 5 at Nov 22 07:40:50
//
// Nothing is kept in files.
//
// # Parameters
//
// anvil_rate_time_unit, anvil_status_update_time, max_idle.
package main

import (
	"context"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/server"
)

func main() {
	server.Run(server.Program{
		Name:    "anvil",
		Start:   start,
		Sandbox: func(*server.Env) privs.Sandbox { return privs.Sandbox{NoTCP: true} },
	})
}

// params are the settings of anvil.
type params struct {
	unit   time.Duration // anvil_rate_time_unit
	update time.Duration // anvil_status_update_time
}

func readParams(c *conf.Config) params {
	return params{c.Duration("anvil_rate_time_unit"), c.Duration("anvil_status_update_time")}
}

func start(env *server.Env) (server.Service, error) {
	c := newCounter(readParams(env.Conf), env.Clock.Now)
	say := func(line string) { env.Log.Info("%s", line) }
	var report, sweep func()
	report = func() {
		c.report(say)
		env.Clock.AfterFunc(c.settings().update, report)
	}
	sweep = func() {
		c.sweep()
		env.Clock.AfterFunc(c.settings().unit, sweep)
	}
	env.Clock.AfterFunc(c.settings().update, report)
	env.Clock.AfterFunc(c.settings().unit, sweep)

	s := server.Stream(func(_ context.Context, conn *ipc.Conn) {
		local := c.join()
		defer local.leave()
		if err := proto.ServeAnvil(conn, local.do); err != nil {
			env.Log.Warning("%v", err)
		}
	})
	s.ManyClients = true
	s.Resident = env.Conf.Duration("max_idle") < c.settings().unit // else rates would be forgotten
	s.Reload = func(conf *conf.Config) error {
		c.set(readParams(conf))
		return nil
	}
	s.Stop = func(context.Context) { c.report(say) }
	return s, nil
}
