package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"postroad/libmail/privs"
)

// allFlags are the flags that flags= may hold.
const allFlags = "BDFORXhqu.>"

// attributes are the words that follow pipe in master.cf.
type attributes struct {
	argv       []string
	directory  string
	eol        string
	flags      string
	nullSender string
	size       int64 // 0: no limit
	user       string
	group      string

	as *privs.User
}

// parseAttributes reads attribute=value words up to argv=, which takes the
// rest. Errors name the word.
func parseAttributes(words []string) (attributes, error) {
	a := attributes{eol: "\n", nullSender: "MAILER-DAEMON"}
	for i, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return a, fmt.Errorf("master.cf: pipe: %q: want attribute=value", word)
		}
		var err error
		switch strings.ToLower(name) {
		case "argv":
			a.argv = append([]string{value}, words[i+1:]...)
			return a, a.complete()
		case "chroot":
			err = errors.New("not supported: let the command enter its root directory itself")
		case "directory":
			a.directory = value
		case "eol":
			a.eol, err = unescape(value)
		case "flags":
			a.flags = value
			if i := strings.IndexFunc(value, func(r rune) bool { return !strings.ContainsRune(allFlags, r) }); i >= 0 {
				err = fmt.Errorf("unknown flag %q; there are %s", value[i:i+1], allFlags)
			}
		case "null_sender":
			a.nullSender = value
		case "size":
			a.size, err = strconv.ParseInt(value, 10, 64)
		case "user":
			a.user, a.group, _ = strings.Cut(value, ":")
		default:
			err = errors.New("unknown attribute; there are argv chroot directory eol flags null_sender size user")
		}
		if err != nil {
			return a, fmt.Errorf("master.cf: pipe: %s: %w", word, err)
		}
	}
	return a, a.complete()
}

// complete checks that nothing is missing.
func (a *attributes) complete() error {
	switch {
	case a.user == "":
		return errors.New("master.cf: pipe: user= is missing")
	case len(a.argv) == 0 || a.argv[0] == "":
		return errors.New("master.cf: pipe: argv= is missing")
	}
	return nil
}

// checkUser finds the account of user= and refuses root and the mail system's
// own accounts and groups. Without root's rights there is one account, which everything runs as.
func (a *attributes) checkUser(mailOwner, setgidGroup string) error {
	u, err := privs.LookupUser(a.user)
	if err != nil {
		return fmt.Errorf("master.cf: pipe: user=%s: %w", a.user, err)
	}
	if a.group != "" {
		g, err := user.LookupGroup(a.group)
		if err == nil {
			u.GID, err = strconv.Atoi(g.Gid)
		}
		if err != nil {
			return fmt.Errorf("master.cf: pipe: user=%s:%s: %w", a.user, a.group, err)
		}
		u.Groups = []int{u.GID}
	}
	a.as = u
	if os.Geteuid() != 0 {
		return nil
	}
	owner, err := privs.LookupUser(mailOwner)
	switch {
	case err != nil:
		return fmt.Errorf("mail_owner: %w", err)
	case u.UID == 0 || u.GID == 0:
		return fmt.Errorf("master.cf: pipe: user=%s: commands do not run with the rights of root", a.user)
	case u.UID == owner.UID || u.GID == owner.GID:
		return fmt.Errorf("master.cf: pipe: user=%s: commands do not run with the rights of mail_owner", a.user)
	}
	if g, err := user.LookupGroup(setgidGroup); err == nil && g.Gid == strconv.Itoa(u.GID) {
		return fmt.Errorf("master.cf: pipe: user=%s: commands do not run with the rights of setgid_group", a.user)
	}
	return nil
}

// unescape reads C's backslash sequences.
func unescape(s string) (string, error) {
	simple := map[byte]byte{'a': 7, 'b': 8, 'f': 12, 'n': 10, 'r': 13, 't': 9, 'v': 11, '\\': '\\'}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", errors.New("nothing follows the backslash")
		}
		if c, ok := simple[s[i]]; ok {
			b.WriteByte(c)
			continue
		}
		end := i
		for end < len(s) && end < i+3 && s[end] >= '0' && s[end] <= '7' {
			end++
		}
		n, err := strconv.ParseUint(s[i:end], 8, 8)
		if err != nil {
			return "", fmt.Errorf("unknown sequence \\%c", s[i])
		}
		b.WriteByte(byte(n))
		i = end - 1
	}
	return b.String(), nil
}
