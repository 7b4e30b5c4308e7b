// trivial-rewrite brings addresses into standard form and says where mail for
// an address goes.
//
// # Synopsis
//
//	trivial-rewrite [generic options of a daemon]
//
// # Description
//
// smtpd, cleanup, qmgr and local ask it over private/rewrite:
//
//	rewrite   user -> user@example.com           (rewrite.go)
//	resolve   user@example.com -> local          (resolve.go, class.go, transport.go)
//	verify    resolve with the address_verify_* settings, for address probes
//
// It keeps nothing between two requests and does not touch the queue. A table
// that cannot be read makes it answer "try again later".
//
// # Parameters
//
//	rewriting  append_at_myorigin, append_dot_mydomain, allow_percent_hack,
//	           swap_bangpath, myorigin, mydomain, remote_header_rewrite_domain
//	resolving  resolve_dequoted_address, resolve_null_domain,
//	           resolve_numeric_domain, empty_address_recipient, myhostname,
//	           allow_min_user, smtputf8_enable
//	classes    mydestination, inet_interfaces, proxy_interfaces,
//	           virtual_alias_domains, virtual_mailbox_domains, relay_domains,
//	           parent_domain_matches_subdomains, helpful_warnings,
//	           show_user_unknown_table_name
//	routes     local_transport, virtual_transport, relay_transport,
//	           default_transport, relayhost, transport_maps,
//	           sender_dependent_default_transport_maps,
//	           sender_dependent_relayhost_maps,
//	           empty_address_default_transport_maps_lookup_key,
//	           empty_address_relayhost_maps_lookup_key,
//	           relocated_maps, relocated_prefix_enable,
//	           recipient_delimiter, owner_request_special, double_bounce_sender
//	probes     address_verify_* in place of the transports, relayhost and tables
//	tables     socketmap_max_reply_size, socketmap_max_query_size,
//	           proxymap_service_name
package main

import (
	"context"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/server"
)

func main() {
	var s *service
	server.Run(server.Program{
		Name: "trivial-rewrite",
		Open: func(env *server.Env) (err error) {
			s, err = newService(env.Conf, env.Log, func(table string) { env.Restart("table " + table + " has changed") })
			return err
		},
		Start: func(env *server.Env) (server.Service, error) {
			svc := server.Stream(func(_ context.Context, c *ipc.Conn) {
				if err := proto.ServeRewrite(c, s); err != nil {
					env.Log.Warning("%v", err)
				}
			})
			svc.ManyClients = true
			return svc, nil
		},
		// Tables may stand anywhere; nothing is written.
		Sandbox: func(*server.Env) privs.Sandbox { return privs.Sandbox{Read: []string{"/"}} },
	})
}

// params are the settings that need no table.
type params struct {
	local, remote    completion
	appendAtOrigin   bool
	appendDotDomain  bool
	percentHack      bool
	swapBangpath     bool
	dequote          bool // resolve_dequoted_address
	nullDomain       bool // resolve_null_domain
	numericDomain    bool // resolve_numeric_domain
	utf8             bool
	emptyRecipient   string
	hostname         string
	minUser          bool // allow_min_user
	helpful          bool // helpful_warnings
	showUnknownTable bool // show_user_unknown_table_name
	relocatedPrefix  bool
	relayNullKey     string
	transportNullKey string
	delimiters       addr.Delimiters
}

func newParams(c *conf.Config) params {
	remote := c.String("remote_header_rewrite_domain")
	return params{
		local:            completion{c.String("myorigin"), c.String("mydomain")},
		remote:           completion{remote, remote},
		appendAtOrigin:   c.Bool("append_at_myorigin"),
		appendDotDomain:  c.Bool("append_dot_mydomain"),
		percentHack:      c.Bool("allow_percent_hack"),
		swapBangpath:     c.Bool("swap_bangpath"),
		dequote:          c.Bool("resolve_dequoted_address"),
		nullDomain:       c.Bool("resolve_null_domain"),
		numericDomain:    c.Bool("resolve_numeric_domain"),
		utf8:             c.Bool("smtputf8_enable"),
		emptyRecipient:   c.String("empty_address_recipient"),
		hostname:         c.String("myhostname"),
		minUser:          c.Bool("allow_min_user"),
		helpful:          c.Bool("helpful_warnings"),
		showUnknownTable: c.Bool("show_user_unknown_table_name"),
		relocatedPrefix:  c.Bool("relocated_prefix_enable"),
		relayNullKey:     c.String("empty_address_relayhost_maps_lookup_key"),
		transportNullKey: c.String("empty_address_default_transport_maps_lookup_key"),
		delimiters: addr.Delimiters{
			Set:          c.String("recipient_delimiter"),
			OwnerRequest: c.Bool("owner_request_special"),
			DoubleBounce: c.String("double_bounce_sender"),
		},
	}
}
