// Proxymap looks keys up in tables for programs that cannot open them
// themselves, because of a chroot or of their privileges, and shares one open
// table among many clients.
//
// # Synopsis
//
//	proxymap [generic options of a daemon]
//
// # Description
//
// A client's proxy:type:name is looked up only if a parameter in
// proxy_read_maps (service proxymap) or proxy_write_maps (service proxywrite)
// has proxy:type:name in its value, too, so that a program that was broken
// into learns no more than the administrator meant it to. Tables are not
// changed through proxywrite: the caches of verify, postscreen and tlsmgr are
// their own.
//
// # Parameters
//
// proxy_read_maps, proxy_write_maps,
// proxywrite_service_name, smtpd_restriction_classes, smtputf8_enable, socketmap_max_reply_size,
// socketmap_max_query_size.
package main

import (
	"context"

	"postroad/libmail/ipc"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/server"
	"postroad/libmail/table"
)

func main() {
	server.Run(server.Program{
		Name:  "proxymap",
		Start: start,
		// Tables may stand anywhere; nothing is written.
		Sandbox: func(*server.Env) privs.Sandbox { return privs.Sandbox{Read: []string{"/"}} },
	})
}

// start reads which tables may be asked.
func start(env *server.Env) (server.Service, error) {
	c := env.Conf
	parameter := "proxy_read_maps"
	if env.Service == c.String("proxywrite_service_name") {
		parameter = "proxy_write_maps"
	}
	a := &approval{approved: map[string]bool{}, warn: env.Log.Warning}
	a.list(c.String(parameter), parameter, 0)
	for _, class := range c.List("smtpd_restriction_classes") {
		if text, ok := c.User(class); ok && parameter == "proxy_read_maps" {
			a.list(text, "smtpd_restriction_classes", 0)
		}
	}
	s := &service{
		approved:  a.approved,
		parameter: parameter,
		log:       env.Log,
		open:      map[key]table.Table{},
		base: table.Options{
			Log: env.Log, MaxReply: int(c.Size("socketmap_max_reply_size")), MaxQuery: int(c.Size("socketmap_max_query_size")),
			Stale: func(name string) { env.Restart("table " + name + " has changed") },
		},
		utf8: c.Bool("smtputf8_enable"),
	}
	s.base.Proxy = table.Open // proxy: inside a table is the table itself
	svc := server.Stream(func(_ context.Context, conn *ipc.Conn) {
		if err := proto.ServeProxymap(conn, s); err != nil {
			env.Log.Warning("%v", err)
		}
	})
	svc.ManyClients = true
	return svc, nil
}
