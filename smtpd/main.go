// Smtpd receives mail over the network.
//
// # Synopsis
//
//	smtpd [generic options of a daemon]
//	sendmail -bs
//
// # Description
//
// Smtpd talks SMTP with clients (RFC 5321, and the extensions PIPELINING, SIZE,
// 8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES, DSN, CHUNKING, STARTTLS, AUTH,
// REQUIRETLS, ETRN, VRFY, XCLIENT, XFORWARD, XVERP), decides with restriction
// lists who may send what to whom, and streams each message to cleanup. It
// answers 250 only when cleanup has the message on stable storage.
//
//	client --> wire.go --> session.go --> command.go --> helo.go mail.go rcpt.go data.go bdat.go ...
//	                                        |  stages.go: may this be?
//	                                        v
//	                       restrict.go restrictions.go access.go *checks.go listed.go relay.go dnsbl.go policy.go
//	message ------------------------------> submit.go finish.go --> cleanup
//
// One process serves all clients of a service, each on a goroutine. It runs
// without privileges and keeps no files open but its tables.
//
// With -S there is one session on standard input and output, for sendmail -bs:
// no access control, and mail goes to the postdrop command.
//
// # Parameters
//
// smtpd_*, access_map_defer_code, access_map_reject_code,
// address_verify_poll_count, address_verify_poll_delay, address_verify_sender,
// address_verify_sender_ttl, address_verify_service_name,
// allow_untrusted_routing, anvil_service_name, bounce_notice_recipient,
// broken_sasl_auth_clients, canonical_maps, cleanup_service_name,
// compatibility_level, content_filter, data_directory, default_rbl_reply,
// default_verp_delimiters, defer_code, disable_vrfy_command,
// double_bounce_sender, error_notice_recipient, flush_service_name,
// header_from_format, inet_protocols, info_log_address_format,
// internal_mail_filter_classes, invalid_hostname_reject_code, ipc_timeout,
// line_length_limit, local_header_rewrite_clients, local_recipient_maps,
// mail_name, mail_owner, mail_version, maps_rbl_reject_code, max_idle,
// message_size_limit, multi_recipient_bounce_reject_code, mydestination,
// myhostname, myorigin, non_fqdn_reject_code, notify_classes,
// owner_request_special, parent_domain_matches_subdomains,
// permit_mx_backup_networks, plaintext_reject_code, queue_minfree,
// rbl_reply_maps, receive_override_options, recipient_canonical_maps,
// recipient_delimiter, reject_code, relay_clientcerts,
// relay_domains_reject_code, relay_recipient_maps, requiretls_enable,
// rewrite_service_name, sender_canonical_maps, show_user_unknown_table_name,
// smtputf8_autodetect_classes, smtputf8_enable, soft_bounce, stress,
// strict_rfc821_envelopes, strict_smtputf8, tls_server_sni_maps,
// unknown_address_reject_code,
// unknown_address_tempfail_action, unknown_client_reject_code,
// unknown_helo_hostname_tempfail_action, unknown_hostname_reject_code,
// unknown_local_recipient_reject_code, unknown_relay_recipient_reject_code,
// unknown_virtual_alias_reject_code, unknown_virtual_mailbox_reject_code,
// unverified_recipient_defer_code, unverified_recipient_reject_code,
// unverified_recipient_reject_reason, unverified_recipient_tempfail_action,
// unverified_sender_defer_code, unverified_sender_reject_code,
// unverified_sender_reject_reason, unverified_sender_tempfail_action,
// verp_delimiter_filter, virtual_alias_maps, virtual_mailbox_maps; the
// restrictions and tables that these name, and the tls_ parameters.
//
// Of those, milters (smtpd_milters) and the before-queue filter (smtpd_proxy_*)
// have no effect.
package main

import (
	"context"
	"net"
	"os"
	"strings"
	"sync"

	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/resolver"
	"postroad/libmail/server"
	"postroad/libmail/table"
)

func main() {
	d := &daemon{}
	server.Run(server.Program{Name: "smtpd", Open: d.open, Start: d.start})
}

// A daemon is the program at work.
type daemon struct {
	service
	alone bool // -S by somebody else than mail_owner
}

// open reads the settings and opens tables and keys, with the privileges that
// their files may need.
func (d *daemon) open(env *server.Env) (err error) {
	sv := &d.service
	if sv.params, err = readParams(env.Conf); err != nil {
		return err
	}
	sv.log, sv.clock, sv.name = env.Log, env.Clock, env.Service
	sv.stress, sv.restart, sv.stopping = env.Stress, env.Restart, env.Stopping()
	d.alone = env.Stdio && !runsAs(env.Conf.String("mail_owner"))
	o := table.Options{Delimiters: sv.params.delimiters, UTF8: sv.params.utf8, Log: env.Log, Proxy: proto.TableProxy(env.Conf)}
	o.Stale = func(name string) { env.Restart("table " + name + " has changed") }
	if err := sv.load(o); err != nil {
		return err
	}
	if d.alone {
		return nil // a user's process reads no keys and asks nobody
	}
	if err := sv.openTLS(o); err != nil {
		return err
	}
	return sv.saslClient()
}

// runsAs reports whether this process runs as the named user.
func runsAs(name string) bool {
	u, err := privs.LookupUser(name)
	return err == nil && u.UID == os.Getuid()
}

// start connects the other programs and serves.
func (d *daemon) start(env *server.Env) (server.Service, error) {
	sv, c := &d.service, env.Conf
	limit := c.Duration("ipc_timeout")
	sv.cleanup = proto.NewCleanupClient("public/"+c.String("cleanup_service_name"), limit)
	sv.resolver = &addressResolver{rewrite: proto.NewRewriteClient("private/"+c.String("rewrite_service_name"), limit), clock: env.Clock}
	sv.verify = proto.NewVerifyClient("private/"+c.String("address_verify_service_name"), limit)
	sv.flush = proto.NewFlushClient("public/"+c.String("flush_service_name"), limit)
	if sv.params.anvil.any() && !d.alone {
		sv.anvil = proto.NewAnvilClient("private/"+c.String("anvil_service_name"), limit)
	}
	protocols := resolver.ParseProtocols(c.String("inet_protocols"))
	sv.dns = resolver.New(resolver.Options{Protocols: protocols, Filter: replyFilter(sv.tables.dnsFilter)})
	sv.native = resolver.New(resolver.Options{Protocols: protocols, Sources: resolver.Native})
	if free := float64(sv.params.minFree); free > 0 && free/spaceFactor < float64(sv.params.messageLimit) {
		sv.log.Warning("queue_minfree(%d) should be at least %g*message_size_limit(%d)", sv.params.minFree, spaceFactor, sv.params.messageLimit)
	}
	env.Go(sv.watchStop)
	s := server.Inet(func(ctx context.Context, conn net.Conn) { sv.serve(ctx, conn, d.alone) })
	s.Panicked = func(conn net.Conn) {
		conn.Write([]byte("421 4.3.0 " + sv.params.hostname + " Server local error\r\n")) // the session is over either way
	}
	return s, nil
}

// replyFilter is smtpd_dns_reply_filter: records that it marks IGNORE are not
// seen.
func replyFilter(maps *table.Maps) func(string) (bool, error) {
	if maps.Empty() {
		return nil
	}
	return func(rec string) (bool, error) {
		action, found, err := maps.Find(rec)
		return found && strings.EqualFold(strings.TrimSpace(action), "ignore"), err
	}
}

// idlers are the connections of all sessions.
type idlers struct {
	mu      sync.Mutex
	stopped bool
	conns   map[*timedConn]bool
}

// add registers a session; when the mail system is stopping already it learns
// that at once.
func (i *idlers) add(c *timedConn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.conns == nil {
		i.conns = map[*timedConn]bool{}
	}
	i.conns[c] = true
	if i.stopped {
		c.stop()
	}
}

func (i *idlers) remove(c *timedConn) {
	i.mu.Lock()
	delete(i.conns, c)
	i.mu.Unlock()
}

// watchStop ends sessions when the mail system stops: those that wait for a
// command at once, others after their transaction.
func (sv *service) watchStop() {
	if sv.stopping == nil {
		return
	}
	<-sv.stopping
	sv.idlers.mu.Lock()
	defer sv.idlers.mu.Unlock()
	sv.idlers.stopped = true
	for c := range sv.idlers.conns {
		c.stop()
	}
}
