package queue

import (
	"fmt"
	"os"
	"os/user"
	"strconv"

	"postroad/libmail/conf"
)

// Settings are the options of the spool that c describes, seen from
// queue_directory as the current directory. Files of mail_owner are opened
// for delivery; in single-uid mode those of the user who runs us.
func Settings(c *conf.Config) (Options, error) {
	o := Options{
		Hashed:  c.List("hash_queue_names"),
		Depth:   c.Int("hash_queue_depth"),
		LongIDs: c.Bool("enable_long_queue_ids"),
		OldLogs: c.Bool("backwards_bounce_logfile_compatibility"),
		Owner:   os.Getuid(),
	}
	if o.Owner != 0 {
		return o, nil
	}
	owner := c.String("mail_owner")
	u, err := user.Lookup(owner)
	if err != nil {
		return o, fmt.Errorf("parameter mail_owner: %w", err)
	}
	if o.Owner, err = strconv.Atoi(u.Uid); err != nil {
		return o, fmt.Errorf("parameter mail_owner: user %s: %w", owner, err)
	}
	return o, nil
}
