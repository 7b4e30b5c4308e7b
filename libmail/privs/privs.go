// Package privs is giving up rights: becoming another user for good, acting
// as a user through a helper process, shutting a process in, opening files
// that others could have put there.
package privs

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// A User is an account as the kernel knows it.
type User struct {
	Name   string
	UID    int
	GID    int
	Groups []int // supplementary groups
	Home   string
	Shell  string // "" where the account database does not say
}

// LookupUser finds an account by name. Its supplementary groups are its
// primary group alone; see WithGroups.
func LookupUser(name string) (*User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	return &User{Name: name, UID: uid, GID: gid, Groups: []int{gid}, Home: u.HomeDir}, nil
}

// WithGroups returns the user with all groups that the group database gives it.
func (u *User) WithGroups() (*User, error) {
	account := &user.User{Username: u.Name, Uid: strconv.Itoa(u.UID), Gid: strconv.Itoa(u.GID)}
	ids, err := account.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of user %s: %w", u.Name, err)
	}
	c := *u
	c.Groups = nil
	for _, id := range ids {
		gid, err := strconv.Atoi(id)
		if err != nil {
			return nil, fmt.Errorf("groups of user %s: %w", u.Name, err)
		}
		c.Groups = append(c.Groups, gid)
	}
	return &c, nil
}

// Drop makes the whole process, all its threads, the user's for good. It
// checks that the way back is shut.
func Drop(u *User) error {
	if os.Geteuid() != 0 {
		if os.Getuid() == u.UID && os.Geteuid() == u.UID {
			return nil
		}
		return fmt.Errorf("become user %s: not started by root", u.Name)
	}
	if u.UID == 0 {
		return errors.New("become user root: that drops nothing")
	}
	if err := syscall.Setgroups([]int{u.GID}); err != nil {
		return fmt.Errorf("become user %s: set groups: %w", u.Name, err)
	}
	if err := syscall.Setresgid(u.GID, u.GID, u.GID); err != nil {
		return fmt.Errorf("become user %s: set group: %w", u.Name, err)
	}
	if err := syscall.Setresuid(u.UID, u.UID, u.UID); err != nil {
		return fmt.Errorf("become user %s: set user: %w", u.Name, err)
	}
	if syscall.Setuid(0) == nil {
		return fmt.Errorf("become user %s: still able to become root", u.Name)
	}
	return nil
}

// Chroot makes dir the root directory of the process and the working
// directory.
func Chroot(dir string) error {
	if err := syscall.Chroot(dir); err != nil {
		return fmt.Errorf("chroot %s: %w", dir, err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("chroot %s: %w", dir, err)
	}
	return nil
}
