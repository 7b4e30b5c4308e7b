package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	users "postroad/libmail/account"
	"postroad/libmail/table"
)

// domain changes the list of domains with mailboxes, $config_directory/domains,
// which virtual_mailbox_domains names in the shipped main.cf.
func (s *system) domain(args []string) error {
	path := filepath.Join(s.conf.Dir(), "domains")
	switch {
	case len(args) == 1 && args[0] == "list":
		return s.domainList(path)
	case len(args) == 2 && args[0] == "add":
		return s.domainAdd(path, strings.ToLower(args[1]))
	case len(args) == 2 && args[0] == "del":
		return s.domainDelete(path, strings.ToLower(args[1]))
	}
	return fmt.Errorf("usage: %s domain add|del DOMAIN, or domain list", s.program)
}

var domainForm = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

func (s *system) domainAdd(path, domain string) error {
	if !domainForm.MatchString(domain) || len(domain) > 253 {
		return fmt.Errorf("%.100q is not a domain name; write it with xn-- where it is not ASCII", domain)
	}
	for _, param := range []string{"mydestination", "virtual_alias_domains", "relay_domains"} {
		if slices.Contains(s.conf.List(param), domain) {
			return fmt.Errorf("%s is in %s: a domain is in one list only", domain, param)
		}
	}
	err := editDomains(path, func(lines []string) ([]string, error) {
		if slices.ContainsFunc(lines, func(l string) bool { return domainOf(l) == domain }) {
			return nil, fmt.Errorf("domain %s is there already", domain)
		}
		return append(lines, domain+" mailboxes"), nil
	})
	if err == nil && !s.isMailboxDomain(domain) {
		s.log.Warning("virtual_mailbox_domains does not name this list yet: postconf -e 'virtual_mailbox_domains = texthash:$config_directory/domains'")
	}
	return err
}

// domainDelete removes a domain, as long as nobody has a mailbox there.
func (s *system) domainDelete(path, domain string) error {
	left := 0
	err := users.Open(s.conf.String("account_file")).All(func(u users.User) {
		if strings.HasSuffix(u.Name, "@"+domain) {
			left++
		}
	})
	if err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("domain %s has users (%d): %s user list %s", domain, left, s.program, domain)
	}
	return editDomains(path, func(lines []string) ([]string, error) {
		rest := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return domainOf(l) == domain })
		if len(rest) == len(lines) {
			return nil, fmt.Errorf("there is no domain %s", domain)
		}
		return rest, nil
	})
}

func (s *system) domainList(path string) error {
	lines, err := domainLines(path)
	for _, l := range lines {
		if d := domainOf(l); d != "" {
			fmt.Fprintln(s.out, d)
		}
	}
	return err
}

// domainOf is the domain of a line; a comment has none.
func domainOf(line string) string {
	f := strings.Fields(line)
	if len(f) == 0 || strings.HasPrefix(f[0], "#") || line[0] == ' ' || line[0] == '\t' {
		return ""
	}
	return strings.ToLower(f[0])
}

func domainLines(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(text) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), err
}

// editDomains replaces the file at once by a changed one, while no other
// editor does.
func editDomains(path string, change func(lines []string) ([]string, error)) error {
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // gives up the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	lines, err := domainLines(path)
	if err == nil {
		lines, err = change(lines)
	}
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "domains.")
	if err != nil {
		return err
	}
	_, err = temp.WriteString(strings.Join(append(lines, ""), "\n"))
	if err == nil {
		err = temp.Chmod(0o644) // all programs read it
	}
	if err == nil {
		err = temp.Sync()
	}
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name()) // the old list is in force
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

// isMailboxDomain reports whether virtual_mailbox_domains has a domain, as far
// as that can be told here.
func (s *system) isMailboxDomain(domain string) bool {
	list, err := table.OpenMatchList("virtual_mailbox_domains", table.DomainList, s.conf.String("virtual_mailbox_domains"),
		table.DotParents, table.Options{})
	if err != nil {
		return false
	}
	found, err := list.Match(domain, "")
	return err == nil && found
}
