package main

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/dsn"
	"postroad/libmail/message"
)

// refusedByFlags checks what flags= of master.cf demands of a request. On
// false the Outcome is about all recipients.
func (j *job) refusedByFlags() (o dsn.Outcome, ok bool) {
	flags := j.p.flags
	for _, flag := range []string{"D", "O"} {
		if strings.Contains(flags, flag) && len(j.Rcpts) > 1 {
			j.log.Warning("flag `%s' requires %s_destination_recipient_limit = 1", flag, j.p.prefix)
			return local("4.3.5", "mail system configuration error"), false
		}
	}
	if !strings.Contains(flags, "D") {
		return o, true
	}
	to, err := j.outward(j.Rcpts[0].Address)
	if err == nil {
		var loops bool
		if loops, err = deliveredTo(j.content(), to); loops {
			return local("5.4.6", "mail forwarding loop for %s", j.Rcpts[0].Address), false
		}
	}
	if err != nil {
		j.log.Warning("%s: %v", j.QueueID, err)
		return local("4.3.0", "mail system error"), false
	}
	return o, true
}

// deliveredTo reports whether a Delivered-To header of the message has an
// address.
func deliveredTo(src lines, address string) (bool, error) {
	cut := false
	for {
		line, partial, err := src.Line()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if !cut {
			if len(line) == 0 {
				return false, nil // the end of the headers
			}
			f := message.LookupField(line)
			if f != nil && f.Type == message.DeliveredTo {
				value := string(bytes.TrimSpace(message.Value(line)))
				if addr.EqualFold(addr.Unquote(value), address) {
					return true, nil
				}
			}
		}
		cut = partial
	}
}
