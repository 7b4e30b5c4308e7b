package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"postroad/libmail/conf"
)

// check looks for everything that start looks for, and for tables and key
// files that cannot be read. Only what would keep the mail system from
// starting makes it fail.
func (s *system) check([]string) error {
	if err := s.checkFatal(); err != nil {
		return err
	}
	s.warn(s.configurationWarnings())
	s.warn(s.located(s.conf.Unsupported()))
	s.warn(s.ownerWarnings())
	s.warn(s.tableWarnings())
	s.warn(s.chrootWarnings())
	s.warn(s.damagedWarnings())
	return nil
}

// checkPrograms makes sure that master is where it is looked for.
func (s *system) checkPrograms() error {
	path := filepath.Join(s.conf.DaemonDirectory(), "master")
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("no Postfix master program %s: set daemon_directory in main.cf", path)
	case info.IsDir() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not a program", path)
	}
	return nil
}

// checkServices reads master.cf.
func (s *system) checkServices() error {
	services, err := conf.LoadMaster(s.conf.Dir(), s.conf)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no %s/master.cf file found", s.conf.Dir())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.conf.Dir(), err)
	}
	wanted := s.conf.String("postlog_service_name")
	hasLog := slices.ContainsFunc(services, func(x conf.Service) bool { return x.Name == wanted && x.Type == "unix-dgram" })
	if s.conf.String("maillog_file") != "" && !hasLog {
		return fmt.Errorf("missing '%s' service of type unix-dgram in %s/master.cf, which maillog_file needs", wanted, s.conf.Dir())
	}
	s.warn(s.programWarnings(services))
	s.warn(s.overrideWarnings(services))
	return nil
}

// overrideWarnings lists services whose -o settings would keep their program
// from starting.
func (s *system) overrideWarnings(services []conf.Service) []string {
	var w []string
	for _, x := range services {
		if _, err := s.conf.With(x.Overrides()...); err != nil {
			w = append(w, fmt.Sprintf("%s/%s: service %s/%s will not work: %v", s.conf.Dir(), x.Where(), x.Name, x.Type, err))
		}
	}
	return w
}

// programWarnings lists programs that services want and that are not there.
func (s *system) programWarnings(services []conf.Service) []string {
	var paths []string
	wanted := map[string][]string{}
	for _, x := range services {
		path := x.Command
		if !filepath.IsAbs(path) {
			path = filepath.Join(s.conf.DaemonDirectory(), path)
		}
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if wanted[path] == nil {
			paths = append(paths, path)
		}
		wanted[path] = append(wanted[path], x.Name+"/"+x.Type)
	}
	var w []string
	for _, path := range paths {
		w = append(w, fmt.Sprintf("there is no program %s: clients of %s will wait", path, strings.Join(wanted[path], ", ")))
	}
	return w
}

// ownerWarnings lists files with the wrong owner or too wide rights.
func (s *system) ownerWarnings() []string {
	var w []string
	for _, dir := range []string{s.queueDir, filepath.Join(s.queueDir, "pid")} {
		w = append(w, s.ownedBy(dir, s.admin, shallow)...)
		w = append(w, narrow(dir, shallow)...)
	}
	for _, dir := range []string{s.conf.DaemonDirectory(), s.conf.Dir()} {
		if s.root {
			w = append(w, s.ownedBy(dir, s.admin, deep)...)
		}
		w = append(w, narrow(dir, deep)...)
	}
	w = append(w, slices.DeleteFunc(s.ownedBy(s.dataDir, s.owner, deep), s.isKey)...)
	w = append(w, narrow(s.dataDir, deep)...)
	for _, d := range layout {
		path := filepath.Join(s.queueDir, d.name)
		switch {
		case d.name == "maildrop": // the least trusted directory is not walked
			w = append(w, s.ownedBy(path, s.owner, shallow)...)
		case d.group != byAdmin:
			w = append(w, s.ownedBy(path, s.owner, deep)...)
		}
		if d.group == byGroup {
			w = append(w, s.inGroup(path)...)
		}
	}
	if s.root {
		w = append(w, s.setGIDWarnings()...)
	}
	return w
}

// isKey reports whether a warning is about a private key, which root keeps to
// itself.
func (s *system) isKey(warning string) bool {
	return strings.HasSuffix(warning, ": "+s.conf.String("auth_ticket_key_file")) ||
		strings.HasSuffix(warning, ": "+filepath.Join(s.dataDir, "selfsigned.pem"))
}

// A depth says how far down to look.
type depth int

const (
	shallow depth = iota
	deep
)

// walk calls visit for path and, if deep, for all below it. What cannot be read
// is left out: it belongs to others, which visit of its directory tells.
func walk(path string, d depth, visit func(path string, info fs.FileInfo)) {
	_ = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error { // visit returns nothing
		if err != nil {
			return nil
		}
		if info, err := e.Info(); err == nil {
			visit(p, info)
		}
		if d == shallow && e.IsDir() {
			return fs.SkipAll
		}
		return nil
	})
}

// ownedBy lists what another account owns; sockets and links do not count.
func (s *system) ownedBy(path string, a account, d depth) []string {
	var w []string
	walk(path, d, func(p string, info fs.FileInfo) {
		st, ok := info.Sys().(*syscall.Stat_t)
		if ok && (info.IsDir() || info.Mode().IsRegular()) && int(st.Uid) != a.uid {
			w = append(w, fmt.Sprintf("not owned by %s: %s", a.name, p))
		}
	})
	return w
}

// narrow lists what group or others may write to.
func narrow(path string, d depth) []string {
	var w []string
	walk(path, d, func(p string, info fs.FileInfo) {
		if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSymlink == 0 {
			w = append(w, "group or other writable: "+p)
		}
	})
	return w
}

func (s *system) inGroup(path string) []string {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil || int(st.Gid) == s.owner.groupGID {
		return nil // makeDirectories has reported an error
	}
	return []string{fmt.Sprintf("not owned by group %s: %s", s.owner.group, path)}
}

// setGIDWarnings lists the commands that users could not use.
func (s *system) setGIDWarnings() []string {
	var w []string
	for _, name := range setGID {
		path := filepath.Join(s.conf.CommandDirectory(), name)
		info, err := os.Stat(path)
		if err != nil {
			continue // not installed here
		}
		w = append(w, s.inGroup(path)...)
		if info.Mode()&fs.ModeSetgid == 0 || info.Mode()&0o111 != 0o111 {
			w = append(w, "not set-gid or not owner+group+world executable: "+path)
		}
	}
	return w
}

// chrootWarnings lists system files below the queue directory, for programs
// that are locked in there, that are not what they are outside.
func (s *system) chrootWarnings() []string {
	var w []string
	for _, dir := range []string{"bin", "etc", "lib", "sbin", "usr"} {
		walk(filepath.Join(s.queueDir, dir), deep, func(p string, info fs.FileInfo) {
			if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != s.admin.uid {
				w = append(w, fmt.Sprintf("not owned by %s: %s", s.admin.name, p))
			}
			outside := strings.TrimPrefix(p, s.queueDir)
			if info.Mode().IsRegular() && differ(p, outside) {
				w = append(w, fmt.Sprintf("%s and %s differ", p, outside))
			}
		})
	}
	return w
}

// differ reports whether two readable files have different contents.
func differ(a, b string) bool {
	x, err := os.ReadFile(a)
	if err != nil {
		return false
	}
	y, err := os.ReadFile(b)
	return err == nil && !bytes.Equal(x, y)
}

// damagedWarnings lists messages that could not be read.
func (s *system) damagedWarnings() []string {
	var w []string
	walk(filepath.Join(s.queueDir, "corrupt"), deep, func(p string, info fs.FileInfo) {
		if info.Mode().IsRegular() {
			w = append(w, "damaged message: "+p)
		}
	})
	return w
}
