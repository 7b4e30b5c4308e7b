package server

import (
	"context"
	"net"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
)

// A Service is what a program does with its clients. Make one with Stream,
// Inet, Trigger or Datagram, then set the hooks that it needs.
//
// The context of a session is cancelled shortly before the process ends
// whatever happens; see Env.Stopping for the polite word before it.
type Service struct {
	// Reload, which may be nil, takes new settings in place. Without it, and
	// after an error, the process finishes its sessions with the old
	// settings while a new process takes new ones.
	Reload func(c *conf.Config) error

	// Stop, which may be nil, is the last call before the process ends: save
	// state, end loops. The context ends with the time allowed.
	Stop func(ctx context.Context)

	// Wake, which may be nil, is called when master's wakeup timer fires. A
	// trigger service without it gets the request "W".
	Wake func(ctx context.Context)

	// Changed, which may be nil, is asked before each session and each
	// request; it returns the name of a table or file that is not any more
	// what was opened, or "". The process then restarts, and the new process
	// takes the session.
	Changed func() string

	// Panicked, which may be nil, tells the client of a session that failed
	// through a bug of ours: "421 4.3.0 ...". The connection has a deadline.
	Panicked func(c net.Conn)

	// Drained, which may be nil, is called when a datagram service has served
	// what waited: write what was collected.
	Drained func()

	// Rest is how long a datagram service then lets further ones gather, when
	// they are so few that the kernel's queue will not fill meanwhile. One
	// processor of the program is idle for that time: a few milliseconds.
	Rest time.Duration

	// Resident services run as long as master does: they do not leave when
	// idle, and are started again when they end.
	Resident bool

	// ManyClients is for services whose single Postfix process has many
	// clients at a time (rewrite, proxymap, anvil, verify, tlsmgr,
	// postscreen): the maxproc column does not limit their sessions.
	ManyClients bool

	stream   func(ctx context.Context, c *ipc.Conn)
	inet     func(ctx context.Context, c net.Conn)
	trigger  func(ctx context.Context, request []byte)
	datagram func(ctx context.Context, packet []byte)
}

// Stream serves conversations on Unix sockets, each on a goroutine of its
// own. The connection is closed when serve returns.
func Stream(serve func(ctx context.Context, c *ipc.Conn)) Service {
	return Service{stream: serve}
}

// Inet serves network clients, each on a goroutine of its own. The connection
// is closed when serve returns. It also takes the connections that another
// program passes (type pass; see Passed) and standard input (-S).
func Inet(serve func(ctx context.Context, c net.Conn)) Service {
	return Service{inet: serve}
}

// Trigger serves short requests without reply, one after the other; request
// is valid during the call.
func Trigger(serve func(ctx context.Context, request []byte)) Service {
	return Service{trigger: serve}
}

// Datagram serves datagrams, one after the other; packet is valid during the
// call.
func Datagram(serve func(ctx context.Context, packet []byte)) Service {
	return Service{datagram: serve}
}
