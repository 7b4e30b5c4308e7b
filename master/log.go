package main

import (
	"os"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/server"
)

// openLog opens the mail log as the settings say. While postlogd, which is
// our own child, does not run yet, master writes to maillog_file itself.
func (m *master) openLog(c *conf.Config) {
	var backup maillog.Sink
	if path, mode, err := server.LogFile(c); err == nil && path != "" {
		backup = directLog{path, mode, server.LogHost()}
	}
	m.log = server.OpenLogOver(c, "master", backup).Verbose(m.opts.verbose)
}

// startLog is openLog before the programs run: a line for postlogd would be
// lost if master failed to start.
func (m *master) startLog(c *conf.Config) {
	m.openLog(c)
	if path, mode, err := server.LogFile(c); err == nil && path != "" {
		m.log = maillog.New(m.log.Tag(), directLog{path, mode, server.LogHost()}).Verbose(m.opts.verbose)
	}
}

// directLog appends lines to the log file, one at a time.
type directLog struct {
	path string
	mode os.FileMode
	host string
}

func (d directLog) Write(_ maillog.Level, tag, text string) {
	f, err := os.OpenFile(d.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, d.mode)
	if err != nil {
		f = os.Stderr
	} else {
		defer f.Close() // what one write did not bring there, close will not
	}
	// A log that cannot be written has nobody left to tell.
	_, _ = f.WriteString(maillog.Line(time.Now(), d.host, tag, os.Getpid(), text) + "\n")
}
