// Lmtpd delivers mail that any mail system brings by LMTP to the mailboxes of
// our users.
//
// # Synopsis
//
//	lmtpd [generic options of a daemon]
//
// # Description
//
// A mail system connects, to a Unix socket or over the network, and gets a
// reply for each recipient of a message: 250 when it is on stable storage in
// the mailbox. authd(8) says who is a user and where the mailbox is. There is
// no queue here: what fails for now stays with the client.
//
// lmtpd is root and touches no mailbox itself: mda(8) does, with the owner's
// rights. It believes what its clients say, so that only mail systems should
// reach it.
//
// RFC 2033 (LMTP), RFC 1870 (SIZE), RFC 2034 (ENHANCEDSTATUSCODES), RFC 2920
// (PIPELINING), RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8).
//
// # Parameters
//
// auth_service_name, deliver_lock_attempts, deliver_lock_delay,
// line_length_limit, lmtpd_quota_full_tempfail, lmtpd_subaddress_folder,
// message_size_limit, myhostname, recipient_delimiter,
// smtpd_hard_error_limit, smtpd_recipient_limit, smtpd_timeout,
// stale_lock_time, virtual_mailbox_base, virtual_mailbox_limit,
// virtual_mailbox_lock, virtual_minimum_uid.
package main

import (
	"context"
	"net"
	"os"
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/agent"
	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/sasl"
	"postroad/libmail/server"
)

func main() {
	d := &lmtpd{}
	server.Run(server.Program{Name: "lmtpd", Open: d.open, Start: d.start})
}

// params are the settings of lmtpd (postconf(5)).
type params struct {
	hostname     string
	base         string // virtual_mailbox_base
	minUID       int
	sizeLimit    int64 // bytes; 0: none
	lineLimit    int   // bytes
	rcptLimit    int
	errorLimit   int
	timeout      time.Duration
	folders      bool // the address extension names a folder
	fullWaits    bool // mail to a full mailbox may be tried again
	delimiters   addr.Delimiters
	locks        string
	lockAttempts int
	lockDelay    time.Duration
	lockStale    time.Duration
	mboxLimit    int64
}

func newParams(c *conf.Config) params {
	return params{
		hostname: c.String("myhostname"), base: strings.TrimRight(c.String("virtual_mailbox_base"), "/"),
		minUID: c.Int("virtual_minimum_uid"), sizeLimit: c.Size("message_size_limit"),
		lineLimit: int(c.Size("line_length_limit")), rcptLimit: c.Int("smtpd_recipient_limit"),
		errorLimit: c.Int("smtpd_hard_error_limit"), timeout: c.Duration("smtpd_timeout"),
		folders: c.Bool("lmtpd_subaddress_folder"), fullWaits: c.Bool("lmtpd_quota_full_tempfail"),
		delimiters:   addr.Delimiters{Set: c.String("recipient_delimiter")},
		locks:        strings.Join(c.List("virtual_mailbox_lock"), " "),
		lockAttempts: c.Int("deliver_lock_attempts"), lockDelay: c.Duration("deliver_lock_delay"),
		lockStale: c.Duration("stale_lock_time"), mboxLimit: c.Size("virtual_mailbox_limit"),
	}
}

// An lmtpd is the program at work.
type lmtpd struct {
	params
	env  *server.Env
	auth interface {
		Account(ctx context.Context, user, service string) (sasl.Account, error)
	}
	mda interface {
		Ask(u *privs.User, box []string, req *proto.MDARequest, message *os.File) (proto.MDAReply, error)
		Single() bool
	}
}

func (d *lmtpd) open(env *server.Env) error {
	d.env, d.params = env, newParams(env.Conf)
	return nil
}

func (d *lmtpd) start(env *server.Env) (server.Service, error) {
	d.auth = &sasl.Dovecot{Network: "unix", Address: "private/" + env.Conf.String("auth_service_name")}
	mda, err := agent.NewMDA(env.Conf, "")
	if err != nil {
		return server.Service{}, err
	}
	d.mda = mda
	serve := func(ctx context.Context, c net.Conn) { newSession(ctx, d, c).run() }
	s := server.Inet(serve)
	if env.Type == "unix" {
		s = server.Stream(func(ctx context.Context, c *ipc.Conn) { serve(ctx, c.Conn) })
	}
	s.Panicked = func(c net.Conn) {
		_, _ = c.Write([]byte("421 4.3.0 internal error\r\n")) // the client may be gone
	}
	return s, nil
}
