package table

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// userdbTimeout bounds one question.
const userdbTimeout = 30 * time.Second

// maxGreeting bounds the lines before an answer.
const maxGreeting = 1000

// A userdb asks authd(8), or Dovecot's auth, about a user, so that a mailbox
// exists from the moment its user does:
//
//	S: VERSION 1 2 ... DONE               once for a connection, fields with tabs
//	C: VERSION 1 2                        as above
//	C: CPID 4711
//	C: USER 1 alice@example.com service=userdb
//	S: USER 1 alice@example.com uid=5000 gid=5000 home=/m/alice mail=maildir:/m/alice/Maildir
//	   or NOTFOUND 1, or FAIL 1: nobody knows now
type userdb struct {
	path  string
	value func(fields map[string]string) (string, error)
	pool  pool
}

// openUserdb opens userdb:SOCKET, userdb-uid:SOCKET or userdb-gid:SOCKET. The
// connection is made by the first lookup.
func openUserdb(value func(map[string]string) (string, error)) func(*front, string) (contents, error) {
	return func(_ *front, path string) (contents, error) {
		if path == "" {
			return nil, errors.New("userdb requires the path of a socket")
		}
		return &userdb{path: path, value: value, pool: pool{dial: dialer("unix", path)}}, nil
	}
}

// userMailbox is what virtual(8) wants to know: a Maildir ends in a slash.
func userMailbox(fields map[string]string) (string, error) {
	kind, path, ok := strings.Cut(fields["mail"], ":")
	switch {
	case ok && kind == "maildir" && strings.HasPrefix(path, "/"):
		return strings.TrimRight(path, "/") + "/", nil
	case ok && kind == "mbox" && strings.HasPrefix(path, "/"):
		return path, nil
	}
	return "", fmt.Errorf("bad mail location %.100q", fields["mail"])
}

// userNumber is a uid or gid.
func userNumber(name string) func(map[string]string) (string, error) {
	return func(fields map[string]string) (string, error) {
		if fields[name] == "" {
			return "", fmt.Errorf("user has no %s", name)
		}
		return fields[name], nil
	}
}

func (u *userdb) get(key string) (string, bool, error) {
	if key == "" || key[0] == '@' || strings.ContainsAny(key, "\t\n\r\x00\x01") { // no user has such a name
		return "", false, nil
	}
	reply, dead, err := u.ask(key)
	if err != nil && dead { // a server that was restarted meanwhile
		u.pool.drop()
		reply, _, err = u.ask(key)
	}
	switch {
	case err != nil:
		return "", false, fmt.Errorf("user database %s: %w", u.path, err)
	case reply[0] == "NOTFOUND":
		return "", false, nil
	case reply[0] == "FAIL":
		return "", false, fmt.Errorf("user database %s: temporary failure", u.path)
	}
	fields := map[string]string{}
	for _, f := range reply[3:] {
		name, value, _ := strings.Cut(f, "=")
		fields[name] = value
	}
	value, err := u.value(fields)
	if err != nil {
		return "", false, fmt.Errorf("user database %s: user %s: %w", u.path, key, err)
	}
	return value, true, nil
}

// ask makes one exchange. dead says that a kept connection was at its end.
func (u *userdb) ask(key string) (reply []string, dead bool, err error) {
	c, err := u.pool.take()
	if err != nil {
		return nil, false, err
	}
	c.deadline(userdbTimeout)
	request := "USER\t1\t" + key + "\tservice=userdb\n"
	if !c.reused {
		request = fmt.Sprintf("VERSION\t1\t2\nCPID\t%d\n", os.Getpid()) + request
	}
	if _, err = io.WriteString(c, request); err == nil {
		reply, err = userdbReply(c.r)
	}
	if err != nil {
		c.Close() // it is of no use any more
		return nil, c.reused, err
	}
	u.pool.put(c)
	return reply, false, nil
}

// userdbReply reads lines up to the answer: at least its word and id, and the
// name of a user who exists.
func userdbReply(r *bufio.Reader) ([]string, error) {
	for range maxGreeting {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		f := strings.Split(strings.TrimSuffix(string(line), "\n"), "\t")
		if len(f) < 2 || f[1] != "1" {
			continue // the greeting
		}
		switch f[0] {
		case "USER":
			if len(f) < 3 {
				return nil, errors.New("malformed reply")
			}
			for i := range f {
				f[i] = userdbEscapes.Replace(f[i])
			}
			return f, nil
		case "NOTFOUND", "FAIL":
			return f, nil
		}
	}
	return nil, errors.New("no answer")
}

// userdbEscapes undoes what the protocol does to its own characters.
var userdbEscapes = strings.NewReplacer("\x011", "\x01", "\x01t", "\t", "\x01n", "\n", "\x01r", "\r", "\x010", "\x00")

func (u *userdb) close() error { return u.pool.close() }

func (u *userdb) owner() Owner { return Owner{} }
