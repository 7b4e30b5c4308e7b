package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"postroad/libmail/conf"
	"postroad/libmail/maillog"
)

// start starts master in the background and returns when its sockets are open.
func (s *system) start([]string) error {
	if err := s.prepare(); err != nil {
		return err
	}
	s.log.Info("starting the Postfix mail system")
	if err := s.helper(s.conf.DaemonDirectory(), "master", s.masterArgs("-w")...).Run(); err != nil {
		return fmt.Errorf("mail system startup failed: %w", err)
	}
	return nil
}

// startForeground becomes master.
func (s *system) startForeground([]string) error {
	if err := s.prepare(); err != nil {
		return err
	}
	s.log.Info("starting the Postfix mail system")
	option := "-s"
	if os.Getpid() == 1 {
		option = "-i"
	}
	cmd := s.helper(s.conf.DaemonDirectory(), "master", s.masterArgs(option)...)
	err := syscall.Exec(cmd.Path, cmd.Args, cmd.Env)
	return fmt.Errorf("cannot start-fg the master daemon: %s: %w", cmd.Path, err)
}

func (s *system) masterArgs(option string) []string {
	args := []string{"-c", s.conf.Dir(), option}
	for range s.verbose {
		args = append(args, "-v")
	}
	return args
}

// prepare refuses to start what cannot work, makes missing directories, and
// warns of everything else that is not as it should be.
func (s *system) prepare() error {
	pid, err := s.running()
	if err != nil {
		return err
	}
	if pid != 0 {
		return errors.New("the Postfix mail system is already running")
	}
	if err := s.checkFatal(); err != nil {
		s.log.Error("%v", err)
		return errors.New("Postfix integrity check failed!") // Postfix's words
	}
	s.warn(s.configurationWarnings())
	s.warn(s.ownerWarnings())
	s.showUnsupported()
	return nil
}

// checkFatal refuses what cannot work and makes missing directories.
func (s *system) checkFatal() error {
	if err := s.checkPrograms(); err != nil {
		return err
	}
	if err := s.checkServices(); err != nil {
		return err
	}
	if err := s.makeDirectories(); err != nil {
		return err
	}
	if err := os.Chdir(s.queueDir); err != nil {
		return err
	}
	return s.repairQueue()
}

// repairQueue lets postsuper put every queue file where it belongs. postsuper
// works as mail_owner; who runs the mail system with one account has no other.
func (s *system) repairQueue() error {
	if !s.root {
		return nil
	}
	dir := s.conf.CommandDirectory()
	if _, err := os.Stat(filepath.Join(dir, "postsuper")); err != nil {
		return err
	}
	return s.helper(dir, "postsuper", "-c", s.conf.Dir()).Run()
}

// warn logs warnings.
func (s *system) warn(texts []string) {
	for _, t := range texts {
		s.log.Warning("%s", t)
	}
}

// configurationWarnings lists what main.cf and master.cf say twice, or what
// means nothing.
func (s *system) configurationWarnings() []string {
	warnings := s.conf.Warnings()
	if entries, err := conf.ReadMaster(s.conf.Dir()); err == nil { // checkServices reports an error
		warnings = append(warnings, conf.DuplicateServices(entries)...)
	}
	return s.located(warnings)
}

// located says in which directory a file is.
func (s *system) located(warnings []conf.Warning) []string {
	var texts []string
	for _, w := range warnings {
		texts = append(texts, filepath.Join(s.conf.Dir(), w.String()))
	}
	return texts
}

// showUnsupported tells who starts the mail system which settings have no
// effect. master tells the log.
func (s *system) showUnsupported() {
	screen := maillog.New(s.log.Tag(), s.sink)
	for _, t := range s.located(s.conf.Unsupported()) {
		screen.Warning("%s", t)
	}
}
