// Qmgr is the queue manager: it has each message in the queue delivered.
//
// # Synopsis
//
//	qmgr [generic options of a daemon]
//
// # Description
//
// New mail in incoming, which cleanup announces, and deferred mail whose time
// has come enter the active queue, as far as that has room. For each
// recipient trivial-rewrite says which transport and next hop; the delivery
// agents are asked to deliver, not more at once than each destination bears.
// At the end of a round the bounce service tells the sender what failed, and
// the message is removed, or deferred until its next try, or given up.
//
//	incoming -.               .-> delivery agents --> done marks, bounce and defer logs
//	           >--> active --<
//	deferred -'  ^            '-> end of the round --> removed, or deferred
//	             '---------------------------------------------------'
//
// # Parameters
//
//	active queue   qmgr_message_active_limit, qmgr_message_recipient_limit,
//	               qmgr_message_recipient_minimum, qmgr_clog_warn_time,
//	               in_flow_delay, helpful_warnings
//	times          queue_run_delay, minimal_backoff_time, maximal_backoff_time,
//	               maximal_queue_lifetime, bounce_queue_lifetime,
//	               transport_retry_time, daemon_timeout, qmgr_daemon_timeout,
//	               qmgr_ipc_timeout
//	routes         defer_transports, default_filter_nexthop, recipient_delimiter,
//	               owner_request_special, double_bounce_sender, myhostname,
//	               address_verify_pending_request_limit
//	each transport, with its name in place of "default", or before "initial"
//	               default_destination_concurrency_limit,
//	               default_destination_recipient_limit,
//	               default_destination_concurrency_positive_feedback,
//	               default_destination_concurrency_negative_feedback,
//	               default_destination_concurrency_failed_cohort_limit,
//	               default_destination_rate_delay, default_transport_rate_delay,
//	               default_delivery_slot_cost, default_delivery_slot_discount,
//	               default_delivery_slot_loan, default_minimum_delivery_slots,
//	               default_recipient_limit, default_extra_recipient_limit,
//	               default_recipient_refill_limit, default_recipient_refill_delay,
//	               initial_destination_concurrency
//	at once        default_process_limit
//	notices        confirm_delay_cleared, disable_verp_bounces, smtputf8_enable
//	services       bounce_service_name, defer_service_name, trace_service_name,
//	               rewrite_service_name
//	the queue      queue_directory, hash_queue_names, hash_queue_depth, mail_owner
//	log            destination_concurrency_feedback_debug, info_log_address_format,
//	               delay_logging_resolution_limit
//
// # Files
//
// The queue directories below $queue_directory; the maxproc column of
// master.cf says how many deliveries each transport bears.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/proto"
	"postroad/libmail/queue"
	"postroad/libmail/server"
)

func main() {
	var set *settings
	server.Run(server.Program{
		Name: "qmgr",
		Open: func(env *server.Env) error { // before chroot hides master.cf
			set = readSettings(env.Conf, env.Log)
			return nil
		},
		Start: func(env *server.Env) (server.Service, error) { return start(env, set) },
	})
}

// start makes the queue manager and starts its loop.
func start(env *server.Env, set *settings) (server.Service, error) {
	spool, lock, err := openSpool(env)
	if err != nil {
		return server.Service{}, err
	}
	m := newQmgr(connect(env, spool), set)
	m.lock = lock
	env.Flow.Drain()
	m.credit = func(n int) { env.Flow.Give(n) }
	if !set.flow {
		m.credit = nil
	}
	m.watchdog = time.AfterFunc(set.watchdog, func() {
		env.Log.Fatal("watchdog timeout: no progress in %v", set.watchdog)
	})
	m.start()
	ctx, stop := context.WithCancel(context.Background())
	go m.loop(ctx)

	svc := server.Trigger(func(_ context.Context, request []byte) {
		text := strings.Clone(string(request)) // request is the caller's
		m.post(func() { m.trigger([]byte(text)) })
	})
	svc.Resident = true
	svc.ManyClients = true // each cleanup process keeps its connection
	svc.Reload = func(c *conf.Config) error {
		for _, name := range fixed {
			if c.String(name) != env.Conf.String(name) {
				return fmt.Errorf("parameter %s has changed", name)
			}
		}
		fresh := readSettings(c, env.Log)
		m.post(func() { m.reload(fresh) })
		return nil
	}
	svc.Stop = func(ctx context.Context) {
		// Agents finish their deliveries and mark them without us. What is
		// active is tried again by the next queue manager.
		stop()
		select {
		case <-m.over:
		case <-ctx.Done():
		}
	}
	return svc, nil
}

// fixed are the parameters that a running queue manager can't take anew: a
// change of one makes a reload replace the process.
var fixed = []string{"queue_directory", "hash_queue_names", "hash_queue_depth", "mail_owner", "in_flow_delay",
	"daemon_timeout", "qmgr_ipc_timeout", "rewrite_service_name", "bounce_service_name", "defer_service_name",
	"trace_service_name"}

// lockPatience is how long a starting queue manager waits for the end of the
// one before it.
const lockPatience = 10 * time.Second

// openSpool makes us the one queue manager of the spool, and takes back what
// the last one had in hand.
func openSpool(env *server.Env) (spool *queue.Spool, lock io.Closer, err error) {
	o, err := queue.Settings(env.Conf)
	if err != nil {
		return nil, nil, err
	}
	o.Warn, o.Now = env.Log.Warning, env.Clock.Now
	spool = queue.New(o)
	for end := time.Now().Add(lockPatience); ; time.Sleep(50 * time.Millisecond) {
		lock, err = spool.LockActive()
		if err == nil {
			break
		}
		if !errors.Is(err, queue.ErrBusy) {
			return nil, nil, err
		}
		if time.Now().After(end) {
			return nil, nil, fmt.Errorf("another queue manager is running: %w", err)
		}
	}
	return spool, lock, restore(spool, env.Clock.Now(), env.Log.Warning)
}

// connect gives the queue manager its peers.
func connect(env *server.Env, spool *queue.Spool) house {
	c := env.Conf
	limit := c.Duration("qmgr_ipc_timeout")
	private := func(name string) string { return "private/" + c.String(name) }
	rewrite := proto.NewRewriteClient(private("rewrite_service_name"), limit)
	rewrite.IPC.MaxIdle = takers
	return house{
		log:      env.Log,
		clock:    newSystemClock(env.Clock),
		spool:    spool,
		resolver: rewrite,
		bounce:   proto.NewBounceClient(private("bounce_service_name"), limit),
		defers:   proto.NewBounceClient(private("defer_service_name"), limit),
		trace:    proto.NewBounceClient(private("trace_service_name"), limit),
		pause:    time.Sleep,
		agent: func(transport string) agent {
			// A delivery may take as long as a daemon may (daemon_timeout).
			return proto.NewDeliverClient("private/"+transport, c.Duration("daemon_timeout"))
		},
	}
}
