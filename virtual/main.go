// Virtual delivers mail to mailboxes that are in tables only.
//
// # Synopsis
//
//	virtual [generic options of a daemon]
//
// # Description
//
// The queue manager asks virtual to deliver a message to mailboxes of
// virtual_mailbox_domains. virtual_mailbox_maps gives each address a path
// below virtual_mailbox_base, a Maildir when it ends in a slash;
// virtual_uid_maps and virtual_gid_maps say whose it is. There are no
// aliases, no .forward files and no commands here.
//
// virtual is root and touches no mailbox itself: mda(8) does, with the
// mailbox's uid and gid, shut in to virtual_mailbox_base.
//
// # Parameters
//
// deliver_lock_attempts, deliver_lock_delay, double_bounce_sender,
// enable_original_recipient, myhostname, owner_request_special,
// recipient_delimiter, smtputf8_enable, stale_lock_time, virtual_gid_maps,
// virtual_mailbox_base, virtual_mailbox_limit, virtual_mailbox_lock,
// virtual_mailbox_maps, virtual_minimum_uid, virtual_uid_maps.
package main

import (
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/agent"
	"postroad/libmail/conf"
	"postroad/libmail/server"
	"postroad/libmail/table"
)

func main() {
	v := &virtual{}
	server.Run(server.Program{Name: "virtual", Open: v.open, Start: v.start})
}

// params are the settings of virtual (postconf(5)).
type params struct {
	hostname             string
	base                 string
	minUID               int
	maxSize              int64
	locks                string
	lockAttempts         int
	lockDelay, lockStale time.Duration
	originalRcpt         bool
}

func newParams(c *conf.Config) params {
	return params{
		hostname: c.String("myhostname"), base: c.String("virtual_mailbox_base"),
		minUID: c.Int("virtual_minimum_uid"), maxSize: c.Size("virtual_mailbox_limit"),
		locks: strings.Join(c.List("virtual_mailbox_lock"), " "), lockAttempts: c.Int("deliver_lock_attempts"),
		lockDelay: c.Duration("deliver_lock_delay"), lockStale: c.Duration("stale_lock_time"),
		originalRcpt: c.Bool("enable_original_recipient"),
	}
}

// A virtual is the program at work.
type virtual struct {
	params
	env        *server.Env
	mailboxes  *table.Maps
	uids, gids *table.Maps
	mda        *agent.MDA
}

// open opens the tables.
func (v *virtual) open(env *server.Env) error {
	v.env = env
	v.params = newParams(env.Conf)
	o := table.Options{Log: env.Log, UTF8: env.Conf.Bool("smtputf8_enable"), Trust: table.Paranoid,
		Delimiters: addr.Delimiters{Set: env.Conf.String("recipient_delimiter"),
			OwnerRequest: env.Conf.Bool("owner_request_special"), DoubleBounce: env.Conf.String("double_bounce_sender")},
		Stale: func(name string) { env.Restart("table " + name + " has changed") }}
	for _, m := range []struct {
		maps  **table.Maps
		names []string
		title string
	}{
		{&v.mailboxes, env.Conf.List("virtual_mailbox_maps"), "virtual_mailbox_maps"},
		{&v.uids, env.Conf.List("virtual_uid_maps"), "virtual_uid_maps"},
		{&v.gids, env.Conf.List("virtual_gid_maps"), "virtual_gid_maps"},
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
func (v *virtual) start(env *server.Env) (server.Service, error) {
	a, err := agent.New(env)
	if err != nil {
		return server.Service{}, err
	}
	if v.mda, err = agent.NewMDA(env.Conf, ""); err != nil {
		return server.Service{}, err
	}
	return a.Service(v.request), nil
}
