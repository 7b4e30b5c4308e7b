// Bounce keeps the logs of what became of recipients, and sends notices made
// from them (bounce, defer and trace of master.cf are this program).
//
// # Synopsis
//
//	bounce [generic options of a daemon]
//
// # Description
//
// A delivery agent has a recipient that failed (bounce), has to wait (defer)
// or was delivered for somebody who wants to know (trace) noted in the log of
// the message. Its reply comes after the entry is on stable storage. When a
// round of deliveries is over, qmgr asks for the notice: a delivery status
// notification (RFC 3464) to the sender, with the reasons in words and in
// fields, and the message or its header. The log goes after the notice is
// queued.
//
// Notices about notices go to 2bounce_notice_recipient from double_bounce_sender,
// and none is sent about those. notify_classes tells which copies postmasters
// get.
//
//	bounce -S -n dump_templates     print the templates (postconf -t)
//	bounce -S -n expand_templates   print their texts, $names expanded (postconf -b)
//
// # Parameters
//
// 2bounce_notice_recipient, backwards_bounce_logfile_compatibility,
// bounce_notice_recipient, bounce_size_limit, bounce_template_file,
// cleanup_service_name, delay_notice_recipient, delay_warning_time,
// double_bounce_sender, enable_threaded_bounces, header_from_format,
// internal_mail_filter_classes, ipc_timeout, mail_name, maximal_queue_lifetime,
// mydomain, myhostname, notify_classes, requiretls_enable,
// requiretls_redact_dsn, smtputf8_autodetect_classes, smtputf8_enable,
// tls_required_enable; those of the queue's layout; and what templates name.
//
// # Files
//
// bounce/, defer/ or trace/ below queue_directory; the queue files that
// notices are about; bounce_template_file.
package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/server"
)

// params are what notices depend on.
type params struct {
	hostname     string // myhostname
	mailName     string // mail_name, fit for a field name
	doubleBounce string // address that notices about notices come from
	mailerDaemon string // address that stands for the null sender

	bounceRcpt, doubleRcpt, delayRcpt string // who gets copies
	notify                            struct{ bounce, double, delay bool }

	sizeLimit int64         // bounce_size_limit, bytes; larger messages return as header only
	lifetime  time.Duration // maximal_queue_lifetime
	utf8      bool          // smtputf8_enable
	threaded  bool          // enable_threaded_bounces
	reqTLS    bool          // requiretls_enable
	redact    bool          // requiretls_redact_dsn
	tlsNo     bool          // tls_required_enable
	cleanup   int           // flags for cleanup
}

func newParams(c *conf.Config) params {
	p := params{
		hostname:     c.String("myhostname"),
		mailName:     c.String("mail_name"),
		doubleBounce: c.String("double_bounce_sender") + "@" + c.String("myhostname"),
		mailerDaemon: addr.MailerDaemon + "@" + c.String("myhostname"),
		bounceRcpt:   c.String("bounce_notice_recipient"),
		doubleRcpt:   c.String("2bounce_notice_recipient"),
		delayRcpt:    c.String("delay_notice_recipient"),
		sizeLimit:    c.Size("bounce_size_limit"),
		lifetime:     c.Duration("maximal_queue_lifetime"),
		utf8:         c.Bool("smtputf8_enable"),
		threaded:     c.Bool("enable_threaded_bounces"),
		reqTLS:       c.Bool("requiretls_enable"),
		redact:       c.Bool("requiretls_redact_dsn"),
		tlsNo:        c.Bool("tls_required_enable"),
		cleanup:      proto.CleanupMap,
	}
	classes := c.List("notify_classes")
	p.notify.bounce = slices.Contains(classes, "bounce")
	p.notify.double = slices.Contains(classes, "2bounce")
	p.notify.delay = slices.Contains(classes, "delay")
	if slices.Contains(c.List("internal_mail_filter_classes"), "bounce") {
		p.cleanup |= proto.CleanupFilter | proto.CleanupMilter
	}
	auto := c.List("smtputf8_autodetect_classes")
	if slices.Contains(auto, "bounce") || slices.Contains(auto, "all") {
		p.cleanup |= proto.CleanupAutoUTF8
	}
	return p
}

func main() {
	var t templates
	server.Run(server.Program{
		Name: "bounce",
		Open: func(env *server.Env) (err error) {
			t, err = openTemplates(env.Conf, env.Log)
			return err
		},
		Start: func(env *server.Env) (server.Service, error) {
			switch env.Service {
			case "dump_templates":
				return printer(t.dump), nil
			case "expand_templates":
				return printer(t.expand), nil
			}
			return start(env, t)
		},
	})
}

func start(env *server.Env, t templates) (server.Service, error) {
	settings, err := queue.Settings(env.Conf)
	if err != nil {
		return server.Service{}, err
	}
	settings.Warn = env.Log.Warning
	s := &service{
		params:    newParams(env.Conf),
		kind:      env.Service,
		spool:     queue.New(settings),
		templates: t,
		post: proto.NewCleanupClient("public/"+env.Conf.String("cleanup_service_name"),
			env.Conf.Duration("ipc_timeout")),
		log: env.Log,
		now: env.Clock.Now,
	}
	svc := server.Stream(func(_ context.Context, c *ipc.Conn) {
		if err := proto.ServeBounce(c, s); err != nil {
			env.Log.Warning("%v", err)
		}
	})
	svc.Changed = t.changed
	return svc, nil
}

// printer serves standard output (-S).
func printer(print func(io.Writer)) server.Service {
	return server.Inet(func(_ context.Context, c net.Conn) {
		w := bufio.NewWriter(c)
		print(w)
		_ = w.Flush() // who asked for it went away
	})
}

// openTemplates reads bounce_template_file, if there is one, over the
// templates of our own.
func openTemplates(c *conf.Config, log *maillog.Logger) (templates, error) {
	t := builtin(&words{conf: c, log: log})
	path := c.String("bounce_template_file")
	if path == "" {
		return t, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return t, err
	}
	defer f.Close() // nothing was written
	if st, err := f.Stat(); err == nil {
		t.file, t.time = path, st.ModTime()
	}
	return t, t.load(f, path)
}
