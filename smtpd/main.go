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
// All that postconf(5) lists for smtpd, but not: milters (smtpd_milters,
// milter_*), the before-queue filter (smtpd_proxy_*), tls_server_sni_maps.
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
	o := table.Options{Delimiters: sv.params.delimiters, UTF8: sv.params.utf8, Log: env.Log, Trust: table.NoProxy}
	o.Stale = func(name string) { env.Restart("table " + name + " has changed") }
	if err := sv.load(o); err != nil {
		return err
	}
	if d.alone {
		return nil // a user's process reads no keys and asks nobody
	}
	if err := sv.openTLS(); err != nil {
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
	sv.dns = resolver.New(resolver.Options{
		Protocols: resolver.ParseProtocols(c.String("inet_protocols")), Sources: resolver.DNS | resolver.Native,
		Filter: replyFilter(sv.tables.dnsFilter),
	})
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
