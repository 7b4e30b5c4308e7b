package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/privs"
	"postroad/libmail/server"
)

// A system is the mail system that a configuration describes.
type system struct {
	program   string // the name we were called by
	configDir string // -c, or ""
	root      bool   // rights are separated by accounts
	out       io.Writer
	verbose   int

	conf     *conf.Config
	log      *maillog.Logger
	sink     maillog.Sink // where the log goes beside the mail log
	queueDir string
	dataDir  string
	owner    account // of the queue
	admin    account // of what no program may change
}

// An account owns files.
type account struct {
	name     string
	uid, gid int
	group    string // setgid_group, for the owner
	groupGID int
}

// open reads the configuration and opens the log. Commands that only look at a
// running system, or end it, do so whatever main.cf says in the meantime.
func (s *system) open(dir string, n need) error {
	dir, err := filepath.Abs(conf.FindDir(dir))
	if err != nil {
		return err
	}
	if s.conf, err = conf.Read(dir); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	s.queueDir, s.dataDir = s.conf.String("queue_directory"), s.conf.String("data_directory")
	for name, path := range map[string]string{"queue_directory": s.queueDir, "data_directory": s.dataDir} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("parameter %s: %q is not an absolute path", name, path)
		}
	}
	// The log's socket is below the queue directory. Where that does not exist
	// yet, there is no log either.
	_ = os.Chdir(s.queueDir)
	s.openLog()
	if n < validSettings {
		return nil
	}
	if faults := s.conf.Check(); len(faults) > 0 {
		for _, f := range faults[:len(faults)-1] {
			s.log.Error("%s: %v", dir, f)
		}
		return fmt.Errorf("%s: %w", dir, faults[len(faults)-1])
	}
	if n == validSettings {
		return nil
	}
	return s.findAccounts()
}

// openLog opens the mail log under the name that Postfix's script has. While
// postlogd does not run, lines go straight to its file.
func (s *system) openLog() {
	var backup maillog.Sink = nowhere{}
	if path, mode, err := server.LogFile(s.conf); err == nil && path != "" {
		if f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, mode); err == nil {
			backup = maillog.Stream(f, server.LogHost())
		}
	}
	s.log = server.OpenLogOver(s.conf, "postfix-script", backup).Also(s.sink)
}

// nowhere is the backup of a log whose lines standard error has as well.
type nowhere struct{}

func (nowhere) Write(maillog.Level, string, string) {}

// findAccounts finds out who owns what: as root the accounts in main.cf, else
// everything is ours.
func (s *system) findAccounts() error {
	if !s.root {
		uid := os.Geteuid()
		s.owner = account{name: "uid " + strconv.Itoa(uid), uid: uid, gid: os.Getegid(),
			group: "gid " + strconv.Itoa(os.Getegid()), groupGID: os.Getegid()}
		s.admin = s.owner
		return nil
	}
	s.admin = account{name: "root"}
	name := s.conf.String("mail_owner")
	u, err := privs.LookupUser(name)
	if err != nil {
		return fmt.Errorf("parameter mail_owner: unknown user name value: %s: create the account", name)
	}
	group := s.conf.String("setgid_group")
	g, err := user.LookupGroup(group)
	if err != nil {
		return fmt.Errorf("parameter setgid_group: unknown group name: %s: create the group", group)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return fmt.Errorf("parameter setgid_group: group %s: %w", group, err)
	}
	s.owner = account{name: name, uid: u.UID, gid: u.GID, group: group, groupGID: gid}
	return s.checkAccounts()
}

// checkAccounts refuses accounts that would undo the separation of rights.
func (s *system) checkAccounts() error {
	owner, group := s.owner, s.owner.group
	name := s.conf.String("default_privs")
	u, err := privs.LookupUser(name)
	switch {
	case err != nil:
		return fmt.Errorf("parameter default_privs: unknown user name value: %s", name)
	case owner.uid == 0 || owner.gid == 0:
		return fmt.Errorf("parameter mail_owner: user %s has privileged user or group ID", owner.name)
	case owner.groupGID == 0:
		return fmt.Errorf("parameter setgid_group: group %s has privileged group ID", group)
	case u.UID == 0 || u.GID == 0:
		return fmt.Errorf("parameter default_privs: user %s has privileged user or group ID", name)
	case u.UID == owner.uid:
		return fmt.Errorf("parameters default_privs and mail_owner specify the same user %s", name)
	case u.GID == owner.gid:
		return fmt.Errorf("parameters default_privs and mail_owner: users %s and %s have the same group ID", name, owner.name)
	case u.GID == owner.groupGID:
		return fmt.Errorf("parameters default_privs and setgid_group: user %s is in group %s", name, group)
	case owner.gid == owner.groupGID:
		return fmt.Errorf("parameters mail_owner and setgid_group: user %s is in group %s", owner.name, group)
	}
	return nil
}

const pidFile = "pid/master.pid"

// running returns the process id of the master that holds the lock on its pid
// file, ours or Postfix's; 0 if there is none.
func (s *system) running() (int, error) {
	f, err := os.Open(filepath.Join(s.queueDir, pidFile))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, err
	}
	defer f.Close() // only locked
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		return 0, nil
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 100))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 1 {
		return 0, fmt.Errorf("%s: bad process id %q", f.Name(), text)
	}
	return pid, nil
}

// helper prepares one of our programs with our standard streams.
func (s *system) helper(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(dir, name), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+s.conf.Dir())
	if s.verbose > 0 {
		cmd.Env = append(cmd.Env, "MAIL_VERBOSE=")
	}
	return cmd
}
