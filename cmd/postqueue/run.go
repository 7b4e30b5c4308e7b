package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/table"
)

// A command does what the options say; the working directory is the queue
// directory.
type command struct {
	conf *conf.Config
	log  *maillog.Logger
	out  io.Writer
	dir  string // of main.cf, for programs that are run
}

func (c *command) run(o options) error {
	switch o.mode {
	case 'p', 'j':
		if err := c.allowed("authorized_mailq_users", "view"); err != nil {
			return err
		}
		return c.list(o)
	}
	if err := c.allowed("authorized_flush_users", "flush"); err != nil {
		return err
	}
	switch o.mode {
	case 'f':
		return c.flushAll()
	case 'i':
		return c.flush(proto.FlushRequest{Verb: proto.FlushSendFile, QueueID: o.value}, o.value)
	}
	return c.flushSite(o.value)
}

// allowed asks a list of login names. root and mail_owner may do everything.
func (c *command) allowed(parameter, what string) error {
	uid := os.Getuid()
	acl := c.conf.String(parameter)
	if uid == 0 || strings.HasPrefix(acl, "static:") {
		return nil
	}
	name := "unknown" // so that !unknown keeps out who has no account
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		name = u.Username
	}
	if name == c.conf.String("mail_owner") {
		return nil
	}
	list, err := table.OpenMatchList(parameter, table.StringList, acl, table.DotParents, table.Options{Log: c.log})
	if err != nil {
		return err
	}
	defer list.Close()
	yes, err := list.Match(name, "")
	if err != nil {
		return err
	}
	if !yes {
		return fmt.Errorf("User %s(%d) is not allowed to %s the mail queue", name, uid, what)
	}
	return nil
}

// list prints the queue.
func (c *command) list(o options) error {
	service := c.conf.String("showq_service_name")
	var l listing = &jsonListing{out: c.out}
	if o.mode == 'p' {
		l = &mailqListing{out: c.out, long: c.conf.Bool("enable_long_queue_ids")}
	}
	conn, err := ipc.Dial("public/"+service, c.conf.Duration("ipc_timeout"))
	switch {
	case err == nil:
		defer conn.Close() // nothing was written
		return read(conn, l)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("Connect to the %s %s service: %w", c.conf.String("mail_name"), service, cause(err))
	}
	down := fmt.Sprintf("(Connect to the %s %s service: %v)", c.conf.String("mail_name"), service, cause(err))
	if os.Geteuid() != 0 {
		return fmt.Errorf("Queue report unavailable - mail system is down %s", down)
	}
	c.log.Warning("Mail system is down -- accessing queue directly %s", down)
	return c.listDirectly(c.conf.DaemonDirectory()+"/"+service, l)
}

// cause is the system's error alone.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// listDirectly runs showq for one listing.
func (c *command) listDirectly(showq string, l listing) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := exec.CommandContext(ctx, showq, "-u", "-S")
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+c.dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("Error running %s: %w", showq, err)
	}
	err = read(ipc.NewConn(pipe{out}, time.Hour), l)
	if err != nil {
		cancel() // it would wait for a reader
	}
	if errWait := cmd.Wait(); err == nil && errWait != nil {
		err = fmt.Errorf("Error running %s: %w", showq, errWait)
	}
	return err
}

// A pipe is a connection that can only be read.
type pipe struct{ io.ReadCloser }

func (pipe) Write([]byte) (int, error)        { return 0, io.ErrClosedPipe }
func (pipe) LocalAddr() net.Addr              { return nil }
func (pipe) RemoteAddr() net.Addr             { return nil }
func (pipe) SetDeadline(time.Time) error      { return nil }
func (pipe) SetReadDeadline(time.Time) error  { return nil }
func (pipe) SetWriteDeadline(time.Time) error { return nil }

// flushAll wakes qmgr for everything that waits, and pickup.
func (c *command) flushAll() error {
	timeout := c.conf.Duration("ipc_timeout")
	err := ipc.Trigger("public/"+c.conf.String("queue_service_name"), []byte(proto.FlushQueue), timeout)
	if err == nil {
		err = ipc.Trigger("public/"+c.conf.String("pickup_service_name"), []byte{proto.TriggerWakeup}, timeout)
	}
	if err != nil {
		c.log.Warning("%v", err)
		return errors.New("Cannot flush mail queue - mail system is down")
	}
	return nil
}

// flushSite asks for a site if fast_flush_domains has it.
func (c *command) flushSite(site string) error {
	list, err := table.OpenMatchList("fast_flush_domains", table.DomainList, c.conf.String("fast_flush_domains"),
		table.ParentsOf("fast_flush_domains", c.conf.List("parent_domain_matches_subdomains")), table.Options{Log: c.log})
	if err != nil {
		return err
	}
	defer list.Close()
	yes, err := list.Match(site, "")
	if err != nil {
		c.log.Warning("%v", err)
		return errors.New("Cannot flush mail queue - mail system is down")
	}
	if !yes {
		return fmt.Errorf("Flush service is not configured for destination \"%s\"", site)
	}
	return c.flush(proto.FlushRequest{Verb: proto.FlushSendSite, Site: site}, site)
}

// flush asks the flush service; what is the site or the id, for messages.
func (c *command) flush(r proto.FlushRequest, what string) error {
	client := proto.NewFlushClient("public/"+c.conf.String("flush_service_name"), c.conf.Duration("ipc_timeout"))
	defer client.IPC.Close()
	status, err := client.Do(r)
	switch {
	case err != nil:
		c.log.Warning("%v", err)
		return errors.New("Cannot flush mail queue - mail system is down")
	case status == proto.FlushOK:
		return nil
	case status == proto.FlushBadSite:
		return fmt.Errorf("Invalid request: \"%s\"", what)
	case status == proto.FlushFail:
		return errors.New("Cannot flush mail queue - mail system is down")
	case status == proto.FlushDenied:
		return fmt.Errorf("Flush service is not configured for destination \"%s\"", what)
	}
	return fmt.Errorf("Unknown flush server reply status %d", status)
}
