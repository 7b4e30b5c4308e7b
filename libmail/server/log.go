package server

import (
	"bytes"
	"fmt"
	"log/syslog"
	"os"
	"slices"
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
// and the working directory is the queue directory, else syslog. While
// neither can be reached, syslog's lines go to standard error; postlogd's are
// dropped and counted.
func OpenLog(c *conf.Config, program string) *maillog.Logger {
	return OpenLogOver(c, program, nil)
}

// OpenLogOver is OpenLog with a sink that takes the lines while the log
// cannot be reached; nil means as in OpenLog.
func OpenLogOver(c *conf.Config, program string, backup maillog.Sink) *maillog.Logger {
	tag := c.String("syslog_name") + "/" + program
	if t := os.Getenv("MAIL_LOGTAG"); t != "" {
		tag = t + "/" + program
	}
	if c.String("maillog_file") != "" {
		path := "public/" + c.String("postlog_service_name")
		sink := maillog.Postlog(path, LogHost(), backup)
		// Connect now, as descriptors may be short when there is something to
		// say. While postlogd's socket is not there, each line tries again.
		_ = sink.Open()
		return maillog.New(tag, sink)
	}
	if backup == nil {
		backup = maillog.Stream(os.Stderr, LogHost())
	}
	facility, found := facilities[strings.ToLower(c.String("syslog_facility"))]
	if !found {
		facility = syslog.LOG_MAIL
	}
	sink := maillog.Syslog(syslogPath, facility, backup)
	// Connect now, as a chroot has no such path; without a system logger the
	// backup has its day.
	_ = sink.Open()
	return maillog.New(tag, sink)
}

// LogFile is maillog_file and the mode of a new one; path is "" when the log
// goes to syslog. A path outside of maillog_file_prefixes is an error.
func LogFile(c *conf.Config) (path string, mode os.FileMode, err error) {
	path = c.String("maillog_file")
	if path == "" {
		return "", 0, nil
	}
	allowed := slices.ContainsFunc(c.List("maillog_file_prefixes"), func(prefix string) bool {
		return path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
	})
	if !allowed {
		return "", 0, fmt.Errorf("parameter maillog_file: %s is not below any of maillog_file_prefixes", path)
	}
	switch text := c.String("maillog_file_permissions"); strings.TrimLeft(text, "0") {
	case "644":
		mode = 0o644
	case "640":
		mode = 0o640
	case "600":
		mode = 0o600
	default:
		return "", 0, fmt.Errorf("parameter maillog_file_permissions: %q is none of 644, 640, 600", text)
	}
	return path, mode, nil
}

// LogHost is the host name of log lines: its first label, as syslog has it.
func LogHost() string {
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
