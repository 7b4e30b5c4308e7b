// Cleanup puts new mail into the queue.
//
// # Synopsis
//
//	cleanup [generic options of a daemon]
//
// # Description
//
// Cleanup receives messages from smtpd, pickup, local and bounce, and makes a
// queue file of each:
//
//   - envelope addresses are completed, and mapped by canonical_maps,
//     masquerade_domains and virtual_alias_maps; duplicates are dropped;
//   - headers that are missing are added, addresses in headers are completed
//     and mapped, Bcc and others that must not leave are removed;
//   - header_checks and body_checks look at the content;
//   - recipients of always_bcc and the BCC maps are added.
//
// A message goes through cleanup record by record; at most one header of it
// is in memory. It is ours when the queue file and its directory are on
// stable storage: only then the client gets its status 0, and the queue
// manager the queue id. What cannot be queued is refused, or, for mail that
// was submitted on this host, returned to its sender.
//
// # Parameters
//
// address_verify_service_name, always_add_missing_headers, always_bcc,
// body_checks, body_checks_size_limit, bounce_service_name, canonical_classes,
// canonical_maps, cleanup_replace_stray_cr_lf,
// delay_logging_resolution_limit, delay_warning_time,
// detect_8bit_encoding_header, disable_mime_input_processing,
// disable_verp_bounces, double_bounce_sender, duplicate_filter_limit,
// empty_address_recipient, enable_long_queue_ids, enable_original_recipient,
// force_mime_input_conversion, full_name_encoding_charset,
// header_address_token_limit, header_checks, header_from_format,
// header_size_limit, hopcount_limit, info_log_address_format, ipc_timeout,
// line_length_limit, masquerade_classes, masquerade_domains,
// masquerade_exceptions, message_drop_headers, message_reject_characters,
// message_size_limit, message_strip_characters, mime_boundary_length_limit,
// mime_header_checks, mime_nesting_limit, mydestination, myhostname, myorigin,
// nested_header_checks, non_empty_end_of_header_action, owner_request_special,
// propagate_unmatched_extensions, proxy_interfaces,
// queue_file_attribute_count_limit, queue_service_name, recipient_bcc_maps,
// recipient_canonical_classes, recipient_canonical_maps, recipient_delimiter,
// remote_header_rewrite_domain, requiretls_enable, requiretls_esmtp_header,
// rewrite_service_name, sender_bcc_maps, sender_canonical_classes,
// sender_canonical_maps, smtputf8_enable, soft_bounce, strict_7bit_headers,
// strict_8bitmime, strict_8bitmime_body, strict_mime_encoding_domain,
// tls_required_enable, trace_service_name, undisclosed_recipients_header,
// verp_delimiter_filter, virtual_alias_address_length_limit,
// virtual_alias_expansion_limit, virtual_alias_maps,
// virtual_alias_recursion_limit.
package main

import (
	"context"
	"fmt"

	"postroad/libmail/ipc"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/server"
)

func main() {
	c := &cleanup{}
	server.Run(server.Program{Name: "cleanup", Open: c.open, Start: c.start})
}

// A cleanup is the program at work.
type cleanup struct {
	params
	tables
	env     *server.Env
	spool   *queue.Spool
	rewrite *rewriter
	local   *localDomains
	qmgr    interface{ queued(id string) }
	flow    interface { // in_flow_delay
		Take(ctx context.Context)
		Give(n int)
	}

	bounce, trace *proto.BounceClient
	verify        *proto.VerifyClient
}

// open reads the settings and opens the tables, with the privileges that
// their files may need.
func (c *cleanup) open(env *server.Env) (err error) {
	if len(env.Args) > 0 {
		return fmt.Errorf("unexpected command-line argument: %s", env.Args[0])
	}
	c.env = env
	if c.params, err = newParams(env.Conf); err != nil {
		return err
	}
	o, err := queue.Settings(env.Conf)
	if err != nil {
		return err
	}
	o.Now, o.Warn = env.Clock.Now, env.Log.Warning
	c.spool = queue.New(o)
	if c.local, err = newLocalDomains(env.Conf, env.Log); err != nil {
		return err
	}
	c.tables, err = openTables(env, c.local)
	return err
}

// start connects the other programs and serves.
func (c *cleanup) start(env *server.Env) (server.Service, error) {
	p, limit := env.Conf, env.Conf.Duration("ipc_timeout")
	ask := proto.NewRewriteClient("private/"+p.String("rewrite_service_name"), limit)
	c.rewrite = newRewriter(ask.Rewrite, env.Clock.Now)
	c.bounce = proto.NewBounceClient("private/"+p.String("bounce_service_name"), limit)
	c.trace = proto.NewBounceClient("private/"+p.String("trace_service_name"), limit)
	c.verify = proto.NewVerifyClient("private/"+p.String("address_verify_service_name"), limit)
	c.flow = env.Flow
	n := newNotifier("public/"+p.String("queue_service_name"), env.Log)
	c.qmgr = n
	env.Go(n.run)
	s := server.Stream(c.serve)
	s.Stop = n.stop
	return s, nil
}

// serve receives messages from one client until it closes.
func (c *cleanup) serve(ctx context.Context, conn *ipc.Conn) {
	err := proto.ServeCleanup(conn, func(flags int) (proto.CleanupSession, error) {
		c.flow.Take(ctx)
		return c.newSession(flags)
	})
	if err != nil {
		c.env.Log.Debug("%v", err)
	}
}
