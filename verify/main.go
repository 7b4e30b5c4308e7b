// Verify keeps what is known about recipient addresses: whether mail to them
// can be delivered.
//
// # Synopsis
//
//	verify [generic options of a daemon]
//
// # Description
//
// smtpd asks it for an address (reject_unverified_recipient and _sender). Where
// nothing is known, or what is known is old, verify sends a probe: a message
// that is resolved and routed as any other but never delivered. The delivery
// agents report what would have become of it.
//
//	smtpd --query--> verify --probe--> cleanup -> qmgr -> smtp, local ...
//	                    ^                                     |
//	                    '--------------- update --------------'
//
// # Parameters
//
//	cache   address_verify_map, address_verify_cache_cleanup_interval,
//	        address_verify_positive_expire_time,
//	        address_verify_positive_refresh_time,
//	        address_verify_negative_cache,
//	        address_verify_negative_expire_time,
//	        address_verify_negative_refresh_time, data_directory
//	probes  address_verify_sender, address_verify_sender_ttl, myhostname,
//	        mail_name, smtputf8_autodetect_classes, cleanup_service_name,
//	        rewrite_service_name, ipc_timeout, mail_owner
//
// # Files
//
// address_verify_map's path with ".bbolt" after it, by default
// $data_directory/verify_cache.bbolt; it may be removed while verify does not
// run. An empty address_verify_map keeps the cache in memory.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/server"
)

func main() {
	server.Run(server.Program{Name: "verify", Start: start, Sandbox: sandbox})
}

// sandbox lets verify write where its cache is, and nowhere else.
func sandbox(env *server.Env) privs.Sandbox {
	box := privs.Sandbox{Read: []string{"/"}, NoTCP: true}
	path, err := cachePath(env.Conf, os.Geteuid(), func(string, ...any) {}) // start warns
	if err == nil && path != "" {
		box.Write = []string{filepath.Dir(path)}
	}
	return box
}

// params are the settings of the cache.
type params struct {
	positiveExpire, positiveRefresh time.Duration
	negativeExpire, negativeRefresh time.Duration
	negativeCache                   bool
	cleanup                         time.Duration // 0: never
}

func newParams(c *conf.Config) params {
	return params{
		positiveExpire:  c.Duration("address_verify_positive_expire_time"),
		positiveRefresh: c.Duration("address_verify_positive_refresh_time"),
		negativeExpire:  c.Duration("address_verify_negative_expire_time"),
		negativeRefresh: c.Duration("address_verify_negative_refresh_time"),
		negativeCache:   c.Bool("address_verify_negative_cache"),
		cleanup:         c.Duration("address_verify_cache_cleanup_interval"),
	}
}

func newProber(env *server.Env) (*prober, error) {
	c, limit := env.Conf, env.Conf.Duration("ipc_timeout")
	p := &prober{
		sender: c.String("address_verify_sender"), ttl: c.Duration("address_verify_sender_ttl"),
		hostname: c.String("myhostname"), mailName: c.String("mail_name"),
		flags:   proto.CleanupMap,
		rewrite: proto.NewRewriteClient("private/"+c.String("rewrite_service_name"), limit).Rewrite,
		submit:  proto.NewCleanupClient("public/"+c.String("cleanup_service_name"), limit).Open,
		now:     env.Clock.Now,
	}
	auto := c.List("smtputf8_autodetect_classes")
	if slices.Contains(auto, "verify") || slices.Contains(auto, "all") {
		p.flags |= proto.CleanupAutoUTF8
	}
	return p, p.check()
}

// start opens the cache and connects the rooms.
func start(env *server.Env) (server.Service, error) {
	p, err := newProber(env)
	if err != nil {
		return server.Service{}, err
	}
	path, err := cachePath(env.Conf, os.Geteuid(), env.Log.Warning)
	if err != nil {
		return server.Service{}, err
	}
	cache, err := openCache(path, env.Log.Warning)
	if err != nil {
		return server.Service{}, err
	}
	s := &service{params: newParams(env.Conf), cache: cache, log: env.Log, now: env.Clock.Now,
		probe: p.send, probes: make(chan struct{}, maxProbes), start: env.Go}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.cleanupLoop(ctx, env.Clock)
	}()
	svc := server.Stream(func(_ context.Context, c *ipc.Conn) {
		if err := proto.ServeVerify(c, s); err != nil {
			env.Log.Warning("%v", err)
		}
	})
	svc.ManyClients = true
	svc.Resident = path == "" // what is in memory shall last
	svc.Reload = func(c *conf.Config) error {
		if fresh, err := cachePath(c, os.Geteuid(), env.Log.Warning); err != nil || fresh != path {
			return fmt.Errorf("address_verify_map has changed")
		}
		s.reload(newParams(c))
		return nil
	}
	svc.Stop = func(context.Context) {
		stop()
		<-over
		if err := cache.close(); err != nil {
			env.Log.Warning("%v", err)
		}
	}
	return svc, nil
}
