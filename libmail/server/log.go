package server

import (
	"bytes"
	"log/syslog"
	"os"
	"strings"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
)

// syslogPath is the system logger's socket (RFC 3164 §4.1).
const syslogPath = "/dev/log"

// facilities are the names of syslog_facility (RFC 3164 §4.1.1).
var facilities = map[string]syslog.Priority{
	"kern": syslog.LOG_KERN, "user": syslog.LOG_USER, "mail": syslog.LOG_MAIL,
	"daemon": syslog.LOG_DAEMON, "auth": syslog.LOG_AUTH, "security": syslog.LOG_AUTH,
	"syslog": syslog.LOG_SYSLOG, "lpr": syslog.LOG_LPR, "news": syslog.LOG_NEWS,
	"uucp": syslog.LOG_UUCP, "cron": syslog.LOG_CRON, "authpriv": syslog.LOG_AUTHPRIV,
	"ftp":    syslog.LOG_FTP,
	"local0": syslog.LOG_LOCAL0, "local1": syslog.LOG_LOCAL1, "local2": syslog.LOG_LOCAL2,
	"local3": syslog.LOG_LOCAL3, "local4": syslog.LOG_LOCAL4, "local5": syslog.LOG_LOCAL5,
	"local6": syslog.LOG_LOCAL6, "local7": syslog.LOG_LOCAL7,
}

// OpenLog opens the mail log of a program: postlogd when maillog_file is set
// and the working directory is the queue directory, else syslog, each with
// standard error to fall back on.
func OpenLog(c *conf.Config, program string) *maillog.Logger {
	return maillog.New(logTag(c, program), logSink(c, maillog.Stream(os.Stderr, logHost())))
}

// CommandLog is the log of a command: each line goes to standard error and,
// where it can be reached, to the mail log.
func CommandLog(c *conf.Config, program string) *maillog.Logger {
	return maillog.New(logTag(c, program), maillog.Tee(maillog.Terminal(os.Stderr), logSink(c, nil)))
}

func logTag(c *conf.Config, program string) string {
	if t := os.Getenv("MAIL_LOGTAG"); t != "" {
		return t + "/" + program
	}
	return c.String("syslog_name") + "/" + program
}

// logSink is where c sends the log; backup, which may be nil, gets the lines
// that cannot go there.
func logSink(c *conf.Config, backup maillog.Sink) maillog.Sink {
	if c.String("maillog_file") != "" {
		return maillog.Postlog("public/"+c.String("postlog_service_name"), logHost(), backup)
	}
	facility, found := facilities[strings.ToLower(c.String("syslog_facility"))]
	if !found {
		facility = syslog.LOG_MAIL
	}
	sink := maillog.Syslog(syslogPath, facility, backup)
	// Connect now, as a chroot has no such path; without a system logger the
	// lines go to the backup.
	_ = sink.Open()
	return sink
}

// logHost is the host name of log lines: its first label, as syslog has it.
func logHost() string {
	if h := os.Getenv("POSTLOG_HOSTNAME"); h != "" {
		return h
	}
	h, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	h, _, _ = strings.Cut(h, ".")
	return h
}

// maxStack bounds the lines of a stack in the log.
const maxStack = 60

// logStack logs a stack, a line each.
func logStack(l *maillog.Logger, stack []byte) {
	for i, line := range bytes.Split(bytes.TrimSpace(stack), []byte("\n")) {
		if i == maxStack {
			l.Info("stack: ...")
			return
		}
		l.Info("stack: %s", strings.ReplaceAll(string(line), "\t", "    "))
	}
}
