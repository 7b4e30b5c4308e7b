// Postlogd writes the mail log to a file of its own, for systems without a
// system logger and for those that want it apart.
//
// # Synopsis
//
//	postlogd [generic options of a daemon]
//
// # Description
//
// The programs send finished lines as datagrams to public/postlog, a service
// of type unix-dgram in master.cf:
//
//	postlog unix-dgram n - n - 1 postlogd
//
// The file is made when it is missing. It may be rotated by renaming it: when
// another file has its name, or none, a new postlogd process opens it anew,
// with the rights of root if it needs them, while the lines wait. Control
// characters in a line become '?'. A file that cannot be written stops
// nothing: the lines that it misses are counted, and the count is logged. When
// maillog_file is empty, what still comes goes to syslog.
//
// # Parameters
//
// maillog_file (/dev/stdout is master's standard output),
// maillog_file_permissions, maillog_file_prefixes, postlog_service_name,
// queue_directory, syslog_facility.
package main

import (
	"context"
	"runtime"
	"strings"
	"time"

	"postroad/libmail/maillog"
	"postroad/libmail/privs"
	"postroad/libmail/server"
)

func main() {
	runtime.GOMAXPROCS(1) // one line follows the other
	var f *file
	server.Run(server.Program{
		Name: "postlogd",
		Open: func(env *server.Env) error {
			path, mode, err := server.LogFile(env.Conf)
			if err == nil && path != "" {
				f, err = open(path, mode, env.Log.Tag())
			}
			return err
		},
		Start: func(env *server.Env) (server.Service, error) {
			if f == nil {
				return server.Datagram(func(_ context.Context, line []byte) { forward(env.Log, string(line)) }), nil
			}
			s := server.Datagram(func(_ context.Context, line []byte) { f.add(line) })
			s.Drained, s.Rest = f.flush, gather
			s.Resident = true // no line has to wait for a start
			var looked time.Time
			s.Changed = func() string {
				if time.Since(looked) < rotationCheck {
					return ""
				}
				looked = time.Now()
				return f.rotated()
			}
			return s, nil
		},
		Sandbox: func(env *server.Env) privs.Sandbox {
			return privs.Sandbox{NoTCP: true, Read: []string{env.Conf.String("queue_directory")}}
		},
	})
}

// gather is how long lines gather, so that those of one message cost one
// wakeup and one write.
const gather = 2 * time.Millisecond

// rotationCheck is how often the name of the file is looked at, at most.
const rotationCheck = time.Second

// forward passes a line to the system logger, without what was made for the
// file: "Nov 22 07:40:50 host postfix/smtpd[4711]: text".
func forward(l *maillog.Logger, line string) {
	for range 4 {
		_, line, _ = strings.Cut(strings.TrimLeft(line, " "), " ")
	}
	if line != "" {
		l.Info("%s", line)
	}
}
