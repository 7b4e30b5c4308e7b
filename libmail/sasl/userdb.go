package sasl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// ErrUnknownUser means that the server has no such user.
var ErrUnknownUser = errors.New("unknown user")

// An Account is what the server knows about a user besides passwords.
type Account struct {
	User     string // as the server spells it
	UID, GID int    // 0: not said
	Home     string
	Mail     string // "maildir:/path", "" when not said
	Quota    string
}

// Account asks for a user's account, on a connection of its own:
//
//	C: USER 1 alice service=imap
//	S: USER 1 alice@example.com uid=5000 gid=5000 home=/m/alice
//
// ErrUnknownUser is the only error that means no; with others nobody knows now.
func (d *Dovecot) Account(ctx context.Context, user, service string) (a Account, err error) {
	dialer := net.Dialer{Timeout: d.timeout()}
	c, err := dialer.DialContext(ctx, d.Network, d.Address)
	if err != nil {
		return a, err
	}
	defer c.Close() // the answer was read, or will not come
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	line := fmt.Sprintf("VERSION\t1\t2\nCPID\t%d\nUSER\t1\t%s\tservice=%s\n", os.Getpid(), escapeTab(user), escapeTab(service))
	if _, err := c.Write([]byte(line)); err != nil {
		return a, err
	}
	r := &dovecotConn{r: bufio.NewReaderSize(c, maxDovecotLine)}
	for range 1000 {
		f, err := r.readLine()
		if err != nil {
			return a, fmt.Errorf("user database %s: %w", d.Address, err)
		}
		switch {
		case len(f) > 1 && f[0] == "NOTFOUND":
			return a, ErrUnknownUser
		case len(f) > 1 && f[0] == "FAIL":
			return a, fmt.Errorf("user database %s: temporary failure", d.Address)
		case len(f) > 2 && f[0] == "USER":
			return account(f[2], f[3:])
		}
	}
	return a, fmt.Errorf("user database %s: no answer", d.Address)
}

func account(user string, fields []string) (a Account, err error) {
	a.User = user
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		var e error
		switch name {
		case "uid":
			a.UID, e = strconv.Atoi(value)
		case "gid":
			a.GID, e = strconv.Atoi(value)
		case "home":
			a.Home = value
		case "mail":
			a.Mail = value
		case "quota":
			a.Quota = value
		}
		if e != nil {
			return a, fmt.Errorf("user %s: %s: %w", user, name, e)
		}
	}
	return a, nil
}
