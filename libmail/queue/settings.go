package queue

import (
	"fmt"
	"os"
	"os/user"
	"strconv"

	"postroad/libmail/conf"
)

// Configured is the Options that main.cf describes, for a program whose
// current directory is queue_directory. Files of $mail_owner alone are
// opened; without root privileges there is one account, and its files are.
func Configured(c *conf.Config) (Options, error) {
	o := Options{
		Hashed:  c.List("hash_queue_names"),
		Depth:   c.Int("hash_queue_depth"),
		LongIDs: c.Bool("enable_long_queue_ids"),
		OldLogs: c.Bool("backwards_bounce_logfile_compatibility"),
		Owner:   os.Geteuid(),
	}
	owner, err := user.Lookup(c.String("mail_owner"))
	switch {
	case err == nil && os.Geteuid() == 0:
		o.Owner, err = strconv.Atoi(owner.Uid)
	case os.Geteuid() != 0:
		err = nil
	}
	if err != nil {
		return o, fmt.Errorf("mail_owner: %w", err)
	}
	return o, nil
}
