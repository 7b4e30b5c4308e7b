package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// stopPatience is how long stop waits until it uses force. master gives its
// programs ten seconds.
const stopPatience = 13 * time.Second

// stop ends the mail system and waits for its end.
func (s *system) stop([]string) error {
	pid, err := s.mustRun()
	if err != nil {
		return err
	}
	s.log.Info("stopping the Postfix mail system")
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	if s.gone(stopPatience) {
		return nil
	}
	s.log.Warning("stopping the Postfix mail system with force")
	return s.force(pid)
}

// abort ends the mail system at once. The queue is made for that: what was
// not finished is done again.
func (s *system) abort([]string) error {
	pid, err := s.mustRun()
	if err != nil {
		return err
	}
	s.log.Info("aborting the Postfix mail system")
	return s.force(pid)
}

// force kills master with its programs, which are one process group.
func (s *system) force(pid int) error {
	target := pid
	if group, err := syscall.Getpgid(pid); err == nil && group == pid && pid > 1 {
		target = -group
	}
	if err := syscall.Kill(target, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	if !s.gone(stopPatience) {
		return fmt.Errorf("process %d does not end", pid)
	}
	return nil
}

// mustRun returns the process id of master; it fails if none runs.
func (s *system) mustRun() (int, error) {
	pid, err := s.running()
	if err != nil {
		return 0, err
	}
	if pid == 0 {
		return 0, errors.New("the Postfix mail system is not running")
	}
	return pid, nil
}

// gone waits until master has let go of its lock and says so every other
// second.
func (s *system) gone(limit time.Duration) bool {
	const pause = 20 * time.Millisecond
	for waited := time.Duration(0); waited < limit; waited += pause {
		if pid, err := s.running(); err == nil && pid == 0 {
			return true
		}
		time.Sleep(pause)
		if (waited+pause)%(2*time.Second) == 0 {
			s.log.Info("waiting for the Postfix mail system to terminate")
		}
	}
	return false
}

// status tells whether the mail system runs.
func (s *system) status([]string) error {
	pid, err := s.running()
	switch {
	case err != nil:
		return err
	case pid == 0:
		s.log.Info("the Postfix mail system is not running")
		return exitStatus(1)
	}
	s.log.Info("the Postfix mail system is running: PID: %d", pid)
	return nil
}

// reload tells master to read the configuration again. open has read it
// without finding an error, so that a bad one leaves the old one in force.
func (s *system) reload([]string) error {
	pid, err := s.mustRun()
	if err != nil {
		return err
	}
	if err := s.checkServices(); err != nil {
		return fmt.Errorf("%w: the old configuration stays in force", err)
	}
	s.warn(s.configurationWarnings())
	s.showUnsupported()
	s.log.Info("refreshing the Postfix mail system")
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("reload process %d: %w", pid, err)
	}
	return nil
}

// flush has the queue manager try all deferred mail.
func (s *system) flush([]string) error {
	cmd := s.helper(s.conf.CommandDirectory(), "postqueue", "-c", s.conf.Dir(), "-f")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s -f: %w", cmd.Path, err)
	}
	return nil
}
