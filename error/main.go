// Error sends mail back, or keeps it, with a reason from the configuration.
//
// # Synopsis
//
//	error [generic options of a daemon]
//
// # Description
//
// The queue manager asks error to deliver; every recipient fails for good, or
// for now when the service's name in master.cf is retry. The nexthop of the
// transport entry is the reason, with a status code before it or not:
//
//	example.com  error:5.1.6 we moved to example.org
//	example.net  retry:4.3.2 closed until Monday
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
	server.Run(server.Program{Name: "error", Start: start})
}

func start(env *server.Env) (server.Service, error) {
	a, err := agent.New(env)
	if err != nil {
		return server.Service{}, err
	}
	class := byte('5')
	if env.Service == "retry" {
		class = '4'
	}
	return a.Service(func(_ context.Context, m *agent.Message) {
		o := verdict(class, m.Nexthop)
		for i := range m.Rcpts {
			m.Report(&m.Rcpts[i], o, agent.Via{})
		}
	}), nil
}

// verdict is the outcome that a nexthop stands for. A status of another class
// than the service's counts for nothing: error does not keep mail and retry
// does not send it back.
func verdict(class byte, nexthop string) dsn.Outcome {
	standard := string(class) + ".0.0"
	status, reason := dsn.Split(nexthop, standard)
	if status[0] != class {
		status = standard
	}
	return dsn.Outcome{Status: status, Reason: reason}
}
