// Authd says who somebody is: it checks passwords and finds accounts.
//
// # Synopsis
//
//	authd [generic options of a daemon]
//
// # Description
//
// authd speaks the authentication protocol of Dovecot (version 1) on its
// socket, so that smtpd here, and Postfix and Exim elsewhere, can ask it. A
// password comes in, yes or no goes out; password hashes never leave the
// process.
//
// Users are in account_file, a passwd-file that `postroad user` changes, or
// are those of this host, whose passwords unix_chkpwd(8) checks. Both are
// asked in the order of auth_sources.
//
// A wrong password is answered auth_failure_delay late, and later the more
// wrong ones come from an address; somebody who does not exist costs the same
// time as somebody who does. Right ones are remembered for
// auth_success_cache_time, so that a mail program that logs in every minute
// costs no hash each time. Hashes are made by a few workers: a slow one does not hold up
// other requests.
//
// A front (imapd, pop3d) that asks for it gets a ticket with the yes, signed
// and good once, for userd(8).
//
// authd is root where it must read the passwords of this host. It shuts
// itself in: it reads its files and runs unix_chkpwd, nothing else.
//
// # Parameters
//
// account_file, account_user, auth_default_domain, auth_failure_delay, auth_mechanisms,
// auth_sources, auth_success_cache_time, auth_ticket_key_file, mail_location.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"postroad/libmail/account"
	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/privs"
	"postroad/libmail/server"
	"postroad/libmail/ticket"
)

func main() {
	a := &authd{}
	server.Run(server.Program{Name: "authd", Open: a.open, Start: a.start, Sandbox: sandbox})
}

// params are the settings of authd (postconf(5)).
type params struct {
	mechanisms []string
	sources    []string
	domain     string
	delay      time.Duration
	cacheTime  time.Duration
	location   string // mail_location
}

func newParams(c *conf.Config) params {
	p := params{sources: c.List("auth_sources"), domain: c.String("auth_default_domain"),
		delay: c.Duration("auth_failure_delay"), cacheTime: c.Duration("auth_success_cache_time"),
		location: c.String("mail_location")}
	for _, m := range c.List("auth_mechanisms") {
		p.mechanisms = append(p.mechanisms, strings.ToUpper(m))
	}
	return p
}

// An authd is the program at work.
type authd struct {
	params
	env     *server.Env
	sources []source
	checks  *checks
	tickets *ticket.Key
	secret  []byte      // for salts of users who don't exist
	owner   *privs.User // of mail whose user has no uid; nil: there is none
}

// open finds the sources and the key for tickets.
func (a *authd) open(env *server.Env) error {
	a.env, a.params = env, newParams(env.Conf)
	for _, m := range a.mechanisms {
		if _, known := mechanisms[m]; !known {
			return fmt.Errorf("%s: auth_mechanisms: unknown mechanism %s", env.Conf.Where("auth_mechanisms"), m)
		}
	}
	for _, name := range a.params.sources {
		switch name {
		case "accounts":
			a.sources = append(a.sources, accounts{account.Open(env.Conf.String("account_file")), a.domain})
		case "system":
			a.sources = append(a.sources, system{})
		default:
			return fmt.Errorf("%s: auth_sources: unknown source %s; there are accounts and system", env.Conf.Where("auth_sources"), name)
		}
	}
	var err error
	if a.tickets, err = ticket.Open(env.Conf.String("auth_ticket_key_file")); err != nil {
		return err
	}
	a.findOwner()
	a.secret = a.tickets.Derive("salts of users who do not exist")
	a.checks = newChecks(a.sources, a.cacheTime, a.delay)
	return nil
}

// findOwner finds whose mail it is when a user has no uid: account_user's, or
// ours where all accounts are one.
func (a *authd) findOwner() {
	if os.Geteuid() != 0 {
		a.owner = &privs.User{UID: os.Geteuid(), GID: os.Getegid()}
		return
	}
	u, err := privs.LookupUser(a.env.Conf.String("account_user"))
	if err != nil { // no harm unless a user needs it, and then the one who asks complains
		a.env.Log.Debug("account_user: %v", err)
		return
	}
	a.owner = u
}

func (a *authd) start(env *server.Env) (server.Service, error) {
	s := server.Stream(func(_ context.Context, c *ipc.Conn) { a.serve(c) })
	s.ManyClients = true
	return s, nil
}

// sandbox leaves authd its files and unix_chkpwd.
func sandbox(env *server.Env) privs.Sandbox {
	box := privs.Sandbox{NoTCP: true,
		Read: []string{"/etc", "/usr/share/zoneinfo", "/run/systemd/userdb", dirOf(env.Conf.String("account_file"))}}
	for _, s := range env.Conf.List("auth_sources") {
		if s == "system" {
			box.Exec = []string{chkpwd, "/lib", "/lib64", "/usr/lib", "/usr/lib64"}
		}
	}
	return box
}

func dirOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}
