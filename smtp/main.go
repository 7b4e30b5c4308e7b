// Smtp delivers mail to other hosts by SMTP, or by LMTP.
//
// # Synopsis
//
//	smtp [generic daemon options] [flags=DORX]
//	lmtp [generic daemon options] [flags=DORX]
//
// # Description
//
// Smtp takes delivery requests from qmgr, each for one message and some
// recipients of one next hop. It finds the servers of the next hop, talks to
// one after the other until each recipient has a result, and reports it:
// delivered recipients are marked in the queue file after the server's 250,
// failures go to bounce and defer.
//
// The name under which it is started, smtp or lmtp, chooses the protocol and
// the parameters; relay is another name of smtp. A service of master.cf that
// is called otherwise is what its command says.
//
// One process makes many deliveries at a time. After a message a connection
// waits a short time for another one to the same destination
// (smtp_connection_cache_time_limit).
//
// Next hops of smtp: "domain", "domain:port" (with MX lookup), "[host]",
// "[host]:port", "[address]:port"; of lmtp: "unix:path", "inet:host",
// "inet:host:port"; each may be a list.
//
// The flags put headers before the message: D Delivered-To, O X-Original-To,
// R Return-Path; X says that delivery is final. D and O need
// <transport>_destination_recipient_limit = 1.
//
// # Parameters
//
// smtp_*, or lmtp_* under that name, but those that start-up reports as
// unsupported; allow_srv_lookup_fallback, best_mx_transport,
// cleanup_replace_stray_cr_lf, cleanup_service_name, debug_peer_list,
// default_process_limit, disable_dns_lookups, disable_mime_output_conversion,
// double_bounce_sender, error_notice_recipient, header_address_token_limit,
// header_from_format, header_size_limit, helpful_warnings,
// ignore_mx_lookup_error, ignore_srv_lookup_error, inet_interfaces,
// inet_protocols, ipc_timeout, known_tcp_ports, mail_name,
// mime_boundary_length_limit, mime_nesting_limit, minimal_backoff_time,
// mydestination, myhostname, myorigin, notify_classes, owner_request_special,
// parent_domain_matches_subdomains, propagate_unmatched_extensions,
// proxy_interfaces, recipient_delimiter, relayhost, requiretls_enable,
// smtputf8_enable, socketmap_max_query_size, socketmap_max_reply_size,
// soft_bounce, tcp_windowsize, tls_append_default_CA, tls_required_enable,
// use_srv_lookup.
//
// # Files
//
// Tables and certificates that the parameters name; resolv.conf(5), hosts(5).
package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"postroad/libmail/agent"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/resolver"
	daemon "postroad/libmail/server"
	"postroad/libmail/tlsconf"
)

// A client is the service: what all its deliveries share.
type client struct {
	p            *params
	log          *maillog.Logger
	clock        daemon.Clock
	dns          *resolver.Resolver
	pool         *pool
	doubleBounce string
	restart      func(reason string)

	post func(text []string) error                               // a notice to the postmaster
	pass func(transport string, req *proto.Request) (int, error) // a request to another agent
}

func main() {
	prefix := "smtp"
	if strings.HasPrefix(filepath.Base(os.Args[0]), "lmtp") {
		prefix = "lmtp"
	}
	var p *params
	daemon.Run(daemon.Program{
		Name: prefix,
		Open: func(env *daemon.Env) (err error) {
			stale := func(name string) { env.Restart("table " + name + " has changed") }
			p, err = readParams(env.Conf, env.Log, prefix, env.Args, stale)
			return err
		},
		Start: func(env *daemon.Env) (daemon.Service, error) { return start(env, p) },
	})
}

// start makes the service.
func start(env *daemon.Env, p *params) (daemon.Service, error) {
	a, err := agent.New(env)
	if err != nil {
		return daemon.Service{}, err
	}
	limit := env.Conf.Duration("ipc_timeout")
	cleanup := proto.NewCleanupClient("public/"+env.Conf.String("cleanup_service_name"), limit)
	c := newClient(p, env.Log, env.Clock)
	c.restart = env.Restart
	c.doubleBounce = env.Conf.String("double_bounce_sender")
	if !strings.Contains(c.doubleBounce, "@") {
		c.doubleBounce += "@" + p.myorigin
	}
	c.post = func(text []string) error { return c.submit(cleanup, text) }
	c.pass = func(transport string, req *proto.Request) (int, error) {
		_, status, err := proto.NewDeliverClient("private/"+transport, limit).Deliver(req)
		return status, err
	}
	svc := a.Service(func(ctx context.Context, m *agent.Message) {
		c.refreshKeys()
		c.deliver(ctx, m.Request, m, func() lines { return m.Content() })
	})
	svc.Stop = func(context.Context) { c.pool.close() }
	return svc, nil
}

// newClient makes a client that asks the name service itself.
func newClient(p *params, log *maillog.Logger, clock daemon.Clock) *client {
	return &client{
		p: p, log: log, clock: clock, dns: resolver.New(p.dns),
		pool: newPool(clock, p.keepIdle, p.keepMax),
	}
}

// refreshKeys takes renewed certificates.
func (c *client) refreshKeys() {
	_, err := c.p.tls.keys.Refresh()
	switch {
	case errors.Is(err, tlsconf.ErrRestart):
		c.restart("certificate has changed")
	case err != nil:
		c.log.Warning("%v", err)
	}
}
