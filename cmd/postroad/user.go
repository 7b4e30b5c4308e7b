package main

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	users "postroad/libmail/account"
	"postroad/libmail/privs"
)

// userUsage is what user can do; passwords never stand on a command line.
const userUsage = `usage: %[1]s user add NAME [home=DIR] [quota=SIZE] [uid=N] [gid=N] [name=TEXT]
       %[1]s user passwd NAME
       %[1]s user list [DOMAIN]
       %[1]s user del NAME
       %[1]s user quota NAME [SIZE|none]
       %[1]s user app-password NAME [LABEL [delete]]
NAME is user@domain; without a domain it is in auth_default_domain. SIZE is
as in 500M or 2G. A password is asked for on the terminal, or is the first
line of standard input.`

// user changes account_file. All that the change concerns sees it at once.
func (s *system) user(args []string) error {
	acts := map[string]struct {
		least, most int
		run         func(l *users.List, args []string) error
	}{
		"add": {1, 6, s.userAdd}, "passwd": {1, 1, s.userPassword}, "list": {0, 1, s.userList},
		"del": {1, 1, s.userDelete}, "quota": {1, 2, s.userQuota}, "app-password": {1, 3, s.userAppPassword},
	}
	if len(args) == 0 {
		return fmt.Errorf(userUsage, s.program)
	}
	act, known := acts[args[0]]
	if rest := args[1:]; !known || len(rest) < act.least || len(rest) > act.most {
		return fmt.Errorf(userUsage, s.program)
	}
	return act.run(users.Open(s.conf.String("account_file")), args[1:])
}

// userName is a name in the form of the list.
func (s *system) userName(text string) (string, error) {
	return users.CheckName(text, s.conf.String("auth_default_domain"))
}

// findUser finds a user of the list.
func (s *system) findUser(l *users.List, text string) (users.User, error) {
	name, err := s.userName(text)
	if err != nil {
		return users.User{}, err
	}
	return l.Find(name)
}

// userAdd makes a user with a home directory.
func (s *system) userAdd(l *users.List, args []string) error {
	name, err := s.userName(args[0])
	if err != nil {
		return err
	}
	if _, err := l.Find(name); err == nil {
		return fmt.Errorf("%w: %s", users.ErrExists, name)
	}
	u := users.User{Name: name}
	if err := userSettings(&u, args[1:]); err != nil {
		return err
	}
	if u.Home == "" {
		base := s.conf.String("virtual_mailbox_base")
		local, domain, ok := strings.Cut(name, "@")
		if base == "" || !ok {
			return fmt.Errorf("virtual_mailbox_base is not set in main.cf: say home=DIR")
		}
		u.Home = filepath.Join(base, domain, local)
	}
	if err := s.setPassword(&u); err != nil {
		return err
	}
	if err := s.makeHome(&u); err != nil {
		return err
	}
	if err := l.Add(u); err != nil {
		return err
	}
	if _, domain, _ := strings.Cut(name, "@"); !s.isMailboxDomain(domain) {
		s.log.Warning("mail for %s is not delivered to mailboxes yet: %s domain add %s", domain, s.program, domain)
	}
	return nil
}

// userSettings reads name=value words.
func userSettings(u *users.User, words []string) (err error) {
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "home":
			if u.Home = value; !filepath.IsAbs(value) {
				err = errors.New("not an absolute path")
			}
		case "name":
			u.FullName = value
		case "quota":
			err = setQuota(u, value)
		case "uid":
			u.UID, err = strconv.Atoi(value)
		case "gid":
			u.GID, err = strconv.Atoi(value)
		default:
			err = errors.New("unknown setting")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
	}
	if (u.UID > 0) != (u.GID > 0) || u.UID < 0 || u.GID < 0 {
		return errors.New("uid and gid come together, and are above 0")
	}
	return nil
}

// makeHome makes the home directory, with access for its owner only. What is
// there already stays as it is.
func (s *system) makeHome(u *users.User) error {
	owner := &privs.User{UID: u.UID, GID: u.GID}
	if s.root && u.UID == 0 {
		var err error
		if owner, err = privs.LookupUser(s.conf.String("account_user")); err != nil {
			return fmt.Errorf("parameter account_user: %w: create the account, which all mailboxes belong to", err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(u.Home), 0o755); err != nil {
		return err
	}
	err := os.Mkdir(u.Home, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err == nil && s.root {
		err = os.Lchown(u.Home, owner.UID, owner.GID)
	}
	return err
}

// scramRounds is the iteration count of new SCRAM keys (RFC 7677 §4 asks for
// 4096 at least).
const scramRounds = 15000

// setPassword asks for a password and stores what checks it.
func (s *system) setPassword(u *users.User) error {
	password, err := readPassword(os.Stdin, os.Stderr, "Password for "+u.Name)
	if err != nil {
		return err
	}
	u.Password = users.Hash(password)
	for scheme, field := range map[string]string{"SCRAM-SHA-256": "scram_sha_256", "SCRAM-SHA-1": "scram_sha_1"} {
		u.Set(field, "")
		if slices.ContainsFunc(s.conf.List("auth_mechanisms"), func(m string) bool { return strings.EqualFold(m, scheme) }) {
			u.Set(field, scramKeys(scheme, password))
		}
	}
	return nil
}

// scramKeys are the keys of a password, as account.ParseSCRAM reads them.
func scramKeys(scheme, password string) string {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails
	k := users.NewSCRAM(scheme, password, salt, scramRounds)
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%d,%s,%s,%s", k.Iterations, b64(k.Salt), b64(k.StoredKey), b64(k.ServerKey))
}

// userPassword changes a password; the old one is refused from now on.
func (s *system) userPassword(l *users.List, args []string) error {
	u, err := s.findUser(l, args[0])
	if err != nil {
		return err
	}
	if err := s.setPassword(&u); err != nil {
		return err
	}
	return errors.Join(l.Replace(u), s.forgetPasswords())
}

// userList lists users with what they have.
func (s *system) userList(l *users.List, args []string) error {
	var lines []string
	err := l.All(func(u users.User) {
		if _, domain, _ := strings.Cut(u.Name, "@"); len(args) > 0 && !strings.EqualFold(domain, args[0]) {
			return
		}
		line := u.Name + " home=" + u.Home
		for _, f := range u.Extra {
			switch label, isApp := strings.CutPrefix(f.Name, "app_password."); {
			case isApp:
				line += " app-password=" + label
			case f.Name == "quota":
				line += " quota=" + f.Value
			case f.Name == "disabled":
				line += " disabled"
			}
		}
		lines = append(lines, line)
	})
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Fprintln(s.out, line)
	}
	return err
}

// userDelete removes a user from the list; the mail stays.
func (s *system) userDelete(l *users.List, args []string) error {
	u, err := s.findUser(l, args[0])
	if err != nil {
		return err
	}
	if err := errors.Join(l.Remove(u.Name), s.forgetPasswords()); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s is removed; the mail stays in %s\n", u.Name, u.Home)
	return nil
}

var quotaForm = regexp.MustCompile(`^[1-9][0-9]{0,14}[KMGT]?$`)

// setQuota sets or removes the limit on stored mail.
func setQuota(u *users.User, size string) error {
	size = strings.ToUpper(size)
	if size == "NONE" {
		size = ""
	} else if !quotaForm.MatchString(size) {
		return fmt.Errorf("quota %.30q is no size such as 500M", size)
	}
	u.Set("quota", size)
	return nil
}

// userQuota shows or changes the limit on stored mail.
func (s *system) userQuota(l *users.List, args []string) error {
	u, err := s.findUser(l, args[0])
	if err != nil {
		return err
	}
	if len(args) == 1 {
		size, ok := u.Get("quota")
		if !ok {
			size = "none"
		}
		fmt.Fprintln(s.out, size)
		return nil
	}
	if err := setQuota(&u, args[1]); err != nil {
		return err
	}
	return errors.Join(l.Replace(u), s.forgetPasswords())
}

var labelForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,40}$`)

// userAppPassword makes a password for one mail program, which is shown once,
// or removes it.
func (s *system) userAppPassword(l *users.List, args []string) error {
	u, err := s.findUser(l, args[0])
	if err != nil {
		return err
	}
	if len(args) == 1 {
		for _, f := range u.Extra {
			if label, ok := strings.CutPrefix(f.Name, "app_password."); ok {
				fmt.Fprintln(s.out, label)
			}
		}
		return nil
	}
	field := "app_password." + args[1]
	_, exists := u.Get(field)
	switch {
	case !labelForm.MatchString(args[1]):
		return fmt.Errorf("label %.50q: letters, digits, dots and dashes only", args[1])
	case len(args) == 3 && args[2] != "delete":
		return fmt.Errorf(userUsage, s.program)
	case len(args) == 3 && !exists:
		return fmt.Errorf("user %s has no app password %s", u.Name, args[1])
	case len(args) == 3:
		u.Set(field, "")
		return errors.Join(l.Replace(u), s.forgetPasswords())
	case exists:
		return fmt.Errorf("user %s has an app password %s already", u.Name, args[1])
	}
	password := strings.ToLower(rand.Text()) // 130 random bits
	u.Set(field, users.Hash(password))
	if err := errors.Join(l.Replace(u), s.forgetPasswords()); err != nil {
		return err
	}
	fmt.Fprintln(s.out, password)
	return nil
}

// forgetPasswords has authd, if it runs, forget which passwords were right, and
// read the list anew.
func (s *system) forgetPasswords() error {
	path := filepath.Join(s.queueDir, "private", s.conf.String("auth_service_name"))
	conn, err := net.DialTimeout("unix", path, 5*time.Second)
	if err != nil {
		return nil // it does not run, so that it remembers nothing
	}
	defer conn.Close() // the answer was read, or will not come
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "VERSION\t1\t2\nCPID\t%d\nCACHE-FLUSH\t1\n", os.Getpid()); err != nil {
		return fmt.Errorf("old passwords may work for auth_success_cache_time: %w", err)
	}
	for in := bufio.NewScanner(conn); in.Scan(); {
		if strings.HasPrefix(in.Text(), "OK\t1") {
			return nil
		}
	}
	return errors.New("authd does not answer: old passwords may work for auth_success_cache_time")
}
