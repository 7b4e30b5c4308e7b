// Discard drops mail, with a line in the log that says so.
//
// # Synopsis
//
//	discard [generic options of a daemon]
//
// # Description
//
// The queue manager asks discard to deliver; every recipient is delivered to
// nowhere. The nexthop of the transport entry is the reason in the log:
//
//	nobody@example.com  discard:nobody wants this
//
// # Parameters
//
// None of its own; what all delivery agents read applies.
package main

import (
	"context"

	"postroad/libmail/agent"
	"postroad/libmail/dsn"
	"postroad/libmail/server"
)

func main() {
	server.Run(server.Program{Name: "discard", Start: start})
}

func start(env *server.Env) (server.Service, error) {
	a, err := agent.New(env)
	if err != nil {
		return server.Service{}, err
	}
	return a.Service(discard), nil
}

// discard reports all recipients as delivered.
func discard(_ context.Context, m *agent.Message) {
	o := verdict(m.Nexthop)
	for i := range m.Rcpts {
		m.Report(&m.Rcpts[i], o, agent.Via{})
	}
}

// verdict is the outcome that a nexthop stands for: "2.1.5 nobody wants this".
func verdict(nexthop string) dsn.Outcome {
	status, reason := dsn.Split(nexthop, "2.0.0")
	if status[0] != '2' { // it is dropped, whatever the table says
		status = "2.0.0"
	}
	return dsn.Outcome{Status: status, Reason: reason}
}
