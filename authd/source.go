package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/account"
)

// An identity is somebody whom a source knows.
type identity struct {
	Name     string // as we spell it from here on
	UID, GID int    // 0: the default of account_file's users
	Home     string
	Quota    string // quota rule, or ""
	Disabled bool   // may not log in
	SCRAM    map[string]account.SCRAM

	stored string // all that passwords are checked with: a right one is remembered as long as this stays
}

var (
	errUnknown = errors.New("unknown user")
	errName    = errors.New("not a user name")
)

// A source is where users and their passwords are.
type source interface {
	// find finds a user; errUnknown and errName mean no, any other error
	// means that nobody knows now.
	find(name string) (*identity, error)
	// check reports whether the password is right for a user that find gave.
	check(who *identity, password string) (bool, error)
	// each calls f with each user, for doveadm-like listings.
	each(f func(name string)) error
	// refresh makes the next find see what the source is now.
	refresh()
}

// accounts is account_file.
type accounts struct {
	list   *account.List
	domain string
}

// scramFields are the extra fields that hold SCRAM keys.
var scramFields = map[string]string{"SCRAM-SHA-256": "scram_sha_256", "SCRAM-SHA-1": "scram_sha_1"}

func (a accounts) lookup(name string) (account.User, error) {
	canonical, err := account.CheckName(name, a.domain)
	if err != nil {
		return account.User{}, errName
	}
	u, err := a.list.Find(canonical)
	if errors.Is(err, account.ErrUnknown) && !strings.Contains(name, "@") {
		u, err = a.list.Find(strings.ToLower(name)) // a list without domains
	}
	if errors.Is(err, account.ErrUnknown) {
		return u, errUnknown
	}
	return u, err
}

func (a accounts) find(name string) (*identity, error) {
	u, err := a.lookup(name)
	if err != nil {
		return nil, err
	}
	who := &identity{Name: u.Name, UID: u.UID, GID: u.GID, Home: u.Home, SCRAM: map[string]account.SCRAM{}}
	who.Quota, _ = u.Get("quota")
	_, who.Disabled = u.Get("disabled")
	who.stored = fmt.Sprint(u.Password, u.Extra)
	for mech, field := range scramFields {
		text, ok := u.Get(field)
		if !ok && strings.HasPrefix(strings.ToUpper(u.Password), "{"+mech+"}") {
			text, ok = u.Password[len(mech)+2:], true
		}
		if !ok {
			continue
		}
		if _, keys, err := account.ParseSCRAM("{" + mech + "}" + text); err == nil {
			who.SCRAM[mech] = keys // a malformed one is as good as none
		}
	}
	return who, nil
}

func (a accounts) check(who *identity, password string) (bool, error) {
	u, err := a.list.Find(who.Name)
	if err != nil {
		return false, err
	}
	ok, err := account.Verify(password, u.Password)
	for _, f := range u.Extra { // app_password.LABEL={SCHEME}data
		if ok {
			break
		}
		if strings.HasPrefix(f.Name, "app_password.") {
			if good, e := account.Verify(password, f.Value); e == nil && good {
				ok, err = true, nil
			}
		}
	}
	return ok, err
}

func (a accounts) each(f func(string)) error {
	return a.list.All(func(u account.User) { f(u.Name) })
}

func (a accounts) refresh() { a.list.Forget() }

// chkpwd is Linux-PAM's password checker: it knows every form that crypt(3)
// of this host knows.
const chkpwd = "/sbin/unix_chkpwd"

// chkpwdLimit bounds one run of it.
const chkpwdLimit = 30 * time.Second

// system is the users of this host.
type system struct{}

func (system) find(name string) (*identity, error) {
	if strings.ContainsAny(name, "@/\x00") || name == "" || name[0] == '-' {
		return nil, errName
	}
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return nil, errUnknown
	}
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if uid == 0 || gid == 0 {
		return nil, errUnknown // root has no mail account
	}
	return &identity{Name: u.Username, UID: uid, GID: gid, Home: u.HomeDir}, nil
}

func (system) check(who *identity, password string) (bool, error) {
	if strings.IndexByte(password, 0) >= 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), chkpwdLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, chkpwd, who.Name, "nonull")
	cmd.Env = []string{}
	cmd.Stdin = strings.NewReader(password + "\x00")
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &exit) && exit.ExitCode() == 7: // PAM_AUTH_ERR
		return false, nil
	}
	return false, fmt.Errorf("%s: %w", chkpwd, err)
}

func (system) each(func(string)) error { return nil } // the users of a host may be a directory's: not listed

func (system) refresh() {} // nothing is kept
