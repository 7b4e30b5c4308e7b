package agent

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
)

// How long a helper waits for the next message to its user, and how many
// wait at a time.
const (
	helperIdle = 3 * time.Second
	helperMax  = 100
)

// An MDA has things done as a user: it starts mda(8) with the user's rights,
// and keeps it for the next messages.
type MDA struct {
	program string
	spool   string // a directory that mailboxes are in, besides home directories
	single  bool   // we are not root: everybody is us

	boxed privs.Helpers // shut in to the home directory and the spool
	free  privs.Helpers // with all that the user may do
}

// NewMDA finds mda(8) in daemon_directory. spool is the directory in which
// mailboxes are, besides home directories, or "".
func NewMDA(c *conf.Config, spool string) (*MDA, error) {
	h := &MDA{program: filepath.Join(c.DaemonDirectory(), "mda"), spool: spool, single: os.Geteuid() != 0}
	if _, err := os.Stat(h.program); err != nil {
		return nil, fmt.Errorf("delivery helper: %w; it is installed beside the other daemons", err)
	}
	for _, list := range []*privs.Helpers{&h.boxed, &h.free} {
		list.Idle, list.Max = helperIdle, helperMax
	}
	h.boxed.Command = func(u *privs.User) *privs.Command { return h.command(u, h.ShutIn(u)) }
	h.free.Command = func(u *privs.User) *privs.Command { return h.command(u, nil) }
	return h, nil
}

// Single reports whether all users are one: we are not root.
func (h *MDA) Single() bool { return h.single }

// ShutIn is the box for Ask when only a user's mailboxes are touched: the
// home directory and the spool. nil means that the user has no home to be
// shut in to.
func (h *MDA) ShutIn(u *privs.User) []string {
	if u == nil || u.Home == "" || u.Home == "/" {
		return nil
	}
	if _, err := os.Stat(u.Home); err != nil {
		return nil // a home that is made later, or nowhere: no box to be shut in
	}
	if h.spool == "" {
		return []string{u.Home}
	}
	return []string{u.Home, h.spool}
}

func (h *MDA) command(u *privs.User, box []string) *privs.Command {
	c := &privs.Command{User: u, Path: h.program, Args: []string{"mda"}, Stderr: os.Stderr,
		Env: []string{"PATH=/usr/bin:/bin", "TZ=" + os.Getenv("TZ")}}
	if h.single {
		c.User = nil
	}
	for _, dir := range box {
		c.Args = append(c.Args, "-w", dir)
	}
	return c
}

// Ask has one thing done as a user. With a box, from ShutIn, nothing else can
// be touched and nothing be run; nil allows all that the user may. message is
// the open queue file for actions that deliver. After an error it is unknown
// whether the message was delivered.
func (h *MDA) Ask(u *privs.User, box []string, req *proto.MDARequest, message *os.File) (r proto.MDAReply, err error) {
	if u.UID == 0 && !h.single && (len(box) == 0 || req.Action == proto.MDACommand) {
		return r, fmt.Errorf("user %s has the rights of root: only its mailbox and its .forward file are touched with them", u.Name)
	}
	list := &h.free
	if len(box) > 0 {
		list = &h.boxed
	}
	err = list.Do(u, func(c *net.UnixConn) error {
		limit := time.Hour
		if req.Limit > 0 {
			limit += req.Limit
		}
		r, err = proto.AskMDA(ipc.NewConn(c, limit), req, message)
		return err
	})
	return r, err
}
