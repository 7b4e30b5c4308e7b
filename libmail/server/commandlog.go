package server

import (
	"os"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
)

// CommandLog is the log of a command: each line goes to standard error and,
// where it can be reached, to the mail log.
func CommandLog(c *conf.Config, program string) *maillog.Logger {
	return OpenLogOver(c, program, nowhere{}).Also(maillog.Terminal(os.Stderr))
}

// nowhere is the backup of a log whose lines are seen elsewhere.
type nowhere struct{}

func (nowhere) Write(maillog.Level, string, string) {}
