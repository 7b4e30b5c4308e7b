// Userd brings a mail reader who has logged in to the process that is the
// user.
//
// # Synopsis
//
//	userd [generic options of a daemon]
//
// # Description
//
// A front (imapd, pop3d) that authd said yes to sends userd the ticket and its
// client's connection. userd checks the ticket, asks authd for the account,
// finds the worker of the user's uid, or starts one, and passes the
// connection on. A worker is the same program as the front, started with -w
// and with the user's rights; all sessions of a user are in one worker.
//
// userd is root and does nothing else. It refuses users whose uid is below
// virtual_minimum_uid, and root always.
//
// # Parameters
//
// account_user, auth_service_name, auth_ticket_key_file, daemon_directory,
// virtual_minimum_uid.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/sasl"
	"postroad/libmail/server"
	"postroad/libmail/ticket"
)

func main() {
	u := &userd{}
	server.Run(server.Program{Name: "userd", Open: u.open, Start: u.start})
}

// params are the settings of userd (postconf(5)).
type params struct {
	minUID   int
	fallback string // account_user
	programs string // daemon_directory
	config   string // configuration directory, for the workers
}

func newParams(c *conf.Config) params {
	return params{minUID: c.Int("virtual_minimum_uid"), fallback: c.String("account_user"),
		programs: c.DaemonDirectory(), config: c.Dir()}
}

// services are the programs whose workers userd starts.
var services = map[string]string{"imap": "imapd", "pop3": "pop3d"}

// A userd is the program at work.
type userd struct {
	params
	env     *server.Env
	tickets *ticket.Key
	auth    interface {
		Account(ctx context.Context, user, service string) (sasl.Account, error)
	}
	workers workers
	single  bool // we are not root: everybody is us
}

func (u *userd) open(env *server.Env) (err error) {
	u.env, u.params = env, newParams(env.Conf)
	u.single = os.Geteuid() != 0
	u.tickets, err = ticket.Open(env.Conf.String("auth_ticket_key_file"))
	return err
}

func (u *userd) start(env *server.Env) (server.Service, error) {
	u.auth = &sasl.Dovecot{Network: "unix", Address: "private/" + env.Conf.String("auth_service_name")}
	u.workers.start = u.worker
	s := server.Stream(func(ctx context.Context, c *ipc.Conn) {
		if err := proto.ServeHandover(c, func(h *proto.Handover, f *os.File) error { return u.take(ctx, h, f) }); err != nil {
			env.Log.Warning("%v", err)
		}
	})
	s.ManyClients = true
	s.Resident = true // the workers' sockets are ours
	s.Stop = func(context.Context) { u.workers.close() }
	return s, nil
}

// take passes a client on to its worker. The text of an error goes to the
// front's log, and not to the client.
func (u *userd) take(ctx context.Context, h *proto.Handover, f *os.File) error {
	defer f.Close() // the worker has its own
	t, err := u.tickets.Check(h.Ticket, h.Session)
	if err != nil {
		u.env.Log.Warning("session %.40s: %v", h.Session, err)
		return errors.New("ticket is not accepted")
	}
	program, known := services[t.Service]
	if !known || t.Service != h.Service {
		return fmt.Errorf("ticket is for service %.20q", t.Service)
	}
	a, err := u.auth.Account(ctx, t.User, t.Service)
	if err != nil {
		return fmt.Errorf("account of %s: %w", t.User, err)
	}
	who, err := u.owner(a)
	if err != nil {
		u.env.Log.Warning("user %s: %v", t.User, err)
		return err
	}
	h.Ticket, h.User, h.Home, h.Quota, h.Mail = "", a.User, a.Home, a.Quota, a.Mail
	if h.Mail == "" {
		return fmt.Errorf("user %s: authd does not say where the mail is", a.User)
	}
	return u.workers.handOver(program, who, h, f)
}

// owner is whom the worker of an account runs as.
func (u *userd) owner(a sasl.Account) (*privs.User, error) {
	if !filepath.IsAbs(a.Home) {
		return nil, fmt.Errorf("no home directory: give it one in account_file")
	}
	if u.single {
		return nil, nil
	}
	if a.UID == 0 {
		fallback, err := privs.LookupUser(u.fallback)
		if err != nil {
			return nil, fmt.Errorf("account_user: %w", err)
		}
		a.UID, a.GID = fallback.UID, fallback.GID
	}
	if a.UID < max(u.minUID, 1) || a.GID < 1 {
		return nil, fmt.Errorf("uid %d gid %d: below virtual_minimum_uid %d", a.UID, a.GID, u.minUID)
	}
	return &privs.User{Name: a.User, UID: a.UID, GID: a.GID, Groups: []int{a.GID}}, nil
}

// worker is the command that is a user's worker.
func (u *userd) worker(program string, who *privs.User) *privs.Command {
	return &privs.Command{User: who, Path: filepath.Join(u.programs, program), Stderr: os.Stderr,
		Args: []string{program, "-w", "-c", u.config}, Dir: "/",
		Env: []string{"PATH=/usr/bin:/bin", "TZ=" + os.Getenv("TZ"), "MAIL_CONFIG=" + u.config, "POSTROAD_CLOCK_FILE=" + os.Getenv("POSTROAD_CLOCK_FILE")}}
}
