package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"postroad/libmail/conf"
)

// setUp makes the directory with all that the mail system needs.
func (d *demo) setUp() (err error) {
	shipped := d.configDir
	if shipped == "" {
		if shipped, err = shippedConfiguration(); err != nil {
			return err
		}
	}
	if err := d.findOwner(); err != nil {
		return err
	}
	parent := os.TempDir()
	if d.owner != nil && !openToOthers(parent) {
		parent = "/tmp"
	}
	if d.dir, err = os.MkdirTemp(parent, "postroad-demo-"); err != nil {
		return err
	}
	for _, sub := range []string{"etc", "queue", "data", "mail"} {
		if err := os.Mkdir(d.path(sub), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(d.dir, 0o755); err != nil {
		return err
	}
	for _, step := range []func() error{
		d.findPrograms,
		func() error { return os.CopyFS(d.path("etc"), os.DirFS(shipped)) },
		d.masterFile, d.giveAway, d.mainFile, d.users,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// shippedConfiguration is the directory etc/ of the sources that we were built
// from, or what make install made of it.
func shippedConfiguration() (string, error) {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return "", err
	}
	var tried []string
	for _, away := range []string{"../etc", "../share/postroad/etc"} {
		dir := filepath.Join(filepath.Dir(self), away)
		if _, err := os.Stat(filepath.Join(dir, "master.cf")); err == nil {
			return dir, nil
		}
		tried = append(tried, dir)
	}
	return "", fmt.Errorf("no configuration as shipped in %s", strings.Join(tried, " or "))
}

// findOwner finds who runs the mail system: who called us, and nobody in place
// of root, because the accounts of an installed system need not exist.
func (d *demo) findOwner() error {
	if !d.root {
		return nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return fmt.Errorf("account for the demonstration: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil || uid == 0 || gid == 0 {
		return fmt.Errorf("account nobody has uid %s and gid %s", u.Uid, u.Gid)
	}
	d.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return nil
}

// findPrograms finds our programs, and copies them where the account that
// runs them could not reach them.
func (d *demo) findPrograms() error {
	c := conf.Defaults(d.path("etc"))
	d.daemons, d.commands = c.DaemonDirectory(), c.CommandDirectory()
	if d.owner == nil || openToOthers(d.daemons) && openToOthers(d.commands) {
		return nil
	}
	bin := d.path("bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	for _, dir := range []string{d.daemons, d.commands} {
		if err := copyPrograms(dir, bin); err != nil {
			return err
		}
	}
	d.daemons, d.commands = bin, bin
	return nil
}

// openToOthers reports whether everybody can reach what is in a directory.
func openToOthers(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o005 != 0o005 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
		dir = filepath.Dir(dir)
	}
}

// copyPrograms copies the programs in a directory, and its links to them.
func copyPrograms(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(to, e.Name())
		if link, err := os.Readlink(filepath.Join(from, e.Name())); err == nil {
			err = os.Symlink(link, name)
			if err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 || from == to {
			continue
		}
		if err := copyFile(filepath.Join(from, e.Name()), name); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() // it was only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// demoUsers have mailboxes.
var demoUsers = []string{"alice", "bob"}

// users makes the users, with passwords that nobody else knows.
func (d *demo) users() error {
	if err := d.quietly("postroad", "-c", d.path("etc"), "domain", "add", demoDomain); err != nil {
		return err
	}
	d.passwords = map[string]string{}
	for _, u := range demoUsers {
		u += "@" + demoDomain
		d.passwords[u] = strings.ToLower(rand.Text()[:12])
		cmd := d.tool("postroad", "-c", d.path("etc"), "user", "add", u)
		cmd.Stdin = strings.NewReader(d.passwords[u] + "\n")
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("user %s: %w", u, err)
		}
	}
	return nil
}

// masterFile puts the services of the network on free ports of 127.0.0.1.
func (d *demo) masterFile() error {
	text, err := os.ReadFile(d.path("etc", "master.cf"))
	if err != nil {
		return err
	}
	var bad error
	text = regexp.MustCompile(`(?m)^(\w+)(\s+inet\s)`).ReplaceAllFunc(text, func(line []byte) []byte {
		name, rest, _ := strings.Cut(string(line), " ")
		port, err := freePort()
		bad = errors.Join(bad, err)
		d.ports[name] = port
		return fmt.Appendf(nil, "127.0.0.1:%d %s", port, rest)
	})
	if bad != nil {
		return bad
	}
	return os.WriteFile(d.path("etc", "master.cf"), text, 0o644)
}

// freePort is a port that was free just now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close() // it is the suite's soon
	return l.Addr().(*net.TCPAddr).Port, nil
}

// giveAway hands everything but the programs to the account that runs them.
func (d *demo) giveAway() error {
	if d.owner == nil {
		return nil
	}
	return filepath.WalkDir(d.dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p == d.path("bin") {
			return fs.SkipDir
		}
		return os.Lchown(p, int(d.owner.Uid), int(d.owner.Gid))
	})
}

// mainFile changes main.cf as an administrator would.
func (d *demo) mainFile() error {
	account := "vmail" // without a meaning where all accounts are one
	if d.owner != nil {
		account = "nobody"
	}
	return d.quietly("postconf", "-c", d.path("etc"), "-e", "account_user="+account,
		"queue_directory="+d.path("queue"), "data_directory="+d.path("data"),
		"daemon_directory="+d.daemons, "command_directory="+d.commands,
		"maillog_file="+d.path("maillog"), "maillog_file_prefixes="+d.dir,
		"myhostname="+demoHost, "myorigin=$mydomain", "mydestination=$myhostname, localhost",
		"inet_interfaces=127.0.0.1", "inet_protocols=ipv4",
		// No question and no mail leaves this host.
		"disable_dns_lookups=yes", "smtpd_peername_lookup=no",
		"default_transport=error:5.7.1 the demonstration sends no mail to other hosts",
		"virtual_mailbox_base="+d.path("mail"), "virtual_minimum_uid=1",
		"virtual_alias_maps=inline:{postmaster="+demoUsers[0]+"@"+demoDomain+"}")
}

// tool prepares one of our commands, run by the account that runs all. An
// interrupt from the terminal is ours alone.
func (d *demo) tool(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(d.commands, name), args...)
	cmd.Dir = d.dir
	cmd.Stdout, cmd.Stderr = d.out, os.Stderr
	cmd.Env = []string{"PATH=" + d.commands + ":/usr/bin:/bin", "MAIL_CONFIG=" + d.path("etc"), "HOME=" + d.dir, "TZ=" + os.Getenv("TZ")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: d.owner}
	return cmd
}
