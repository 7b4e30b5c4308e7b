package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"postroad/libmail/privs"
)

// account finds a user of this host; nil means that there is none. An error
// means that nobody knows now. Names are looked up as given, then in lower
// case, as Postfix does.
func (l *local) account(name string) (*privs.User, error) {
	find := systemAccount
	if l.passwdFile != "" {
		find = func(name string) (*privs.User, error) { return fileAccount(l.passwdFile, name) }
	}
	u, err := find(name)
	if u == nil && err == nil && strings.ToLower(name) != name {
		u, err = find(strings.ToLower(name))
	}
	return u, err
}

func systemAccount(name string) (*privs.User, error) {
	u, err := privs.LookupUser(name)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return u.WithGroups()
}

// fileAccount reads a file in the form of passwd(5): local_passwd_file.
func fileAccount(path, name string) (*privs.User, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("local_passwd_file: %w", err)
	}
	defer f.Close() // it was only read
	in := bufio.NewScanner(f)
	for n := 1; in.Scan(); n++ {
		fields := strings.Split(in.Text(), ":")
		if fields[0] != name {
			continue
		}
		if len(fields) != 7 {
			return nil, fmt.Errorf("local_passwd_file: %s:%d: want 7 fields separated by colons", path, n)
		}
		uid, err1 := strconv.Atoi(fields[2])
		gid, err2 := strconv.Atoi(fields[3])
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("local_passwd_file: %s:%d: %w", path, n, err)
		}
		return &privs.User{Name: name, UID: uid, GID: gid, Groups: []int{gid}, Home: fields[5], Shell: fields[6]}, nil
	}
	return nil, in.Err()
}

// byUID finds the account of a table's owner, for rights only.
func byUID(uid int) (*privs.User, error) {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return nil, err
	}
	return privs.LookupUser(u.Username)
}

// commandRights is whom a user's commands and files run as: root's as
// default_privs.
func (l *local) commandRights(u *privs.User) (*privs.User, error) {
	if u.UID == 0 && !l.mda.Single() {
		return l.unprivileged()
	}
	return u, nil
}

// unprivileged is whom |command and /file of root's aliases run as.
func (l *local) unprivileged() (*privs.User, error) {
	u, err := privs.LookupUser(l.defaultPrivs)
	if err != nil {
		return nil, fmt.Errorf("default_privs: %w", err)
	}
	if u.UID == 0 {
		return nil, fmt.Errorf("default_privs: user %s has the rights of root", l.defaultPrivs)
	}
	return u, nil
}
