package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// A directory is part of the layout below queue_directory.
type directory struct {
	name  string
	mode  os.FileMode
	group ownership
}

// An ownership says who owns a directory.
type ownership int

const (
	byOwner ownership = iota // mail_owner
	byGroup                  // mail_owner, and setgid_group has access
	byAdmin                  // root
)

// layout is what must be below queue_directory.
var layout = []directory{
	{"active", 0o700, byOwner},
	{"bounce", 0o700, byOwner},
	{"corrupt", 0o700, byOwner},
	{"defer", 0o700, byOwner},
	{"deferred", 0o700, byOwner},
	{"flush", 0o700, byOwner},
	{"hold", 0o700, byOwner},
	{"incoming", 0o700, byOwner},
	{"maildrop", 0o730, byGroup},
	{"pid", 0o755, byAdmin},
	{"private", 0o700, byOwner},
	{"public", 0o710, byGroup},
	{"saved", 0o700, byOwner},
	{"tlstrace", 0o700, byOwner},
	{"trace", 0o700, byOwner},
}

// ids are the owner and group that a directory should have.
func (s *system) ids(o ownership) (uid, gid int) {
	switch o {
	case byAdmin:
		return s.admin.uid, s.admin.gid
	case byGroup:
		return s.owner.uid, s.owner.groupGID
	}
	return s.owner.uid, s.owner.gid
}

// makeDirectories makes what is missing. A message may be answered with 250 as
// soon as they exist, so that their names are synced to disk first.
func (s *system) makeDirectories() error {
	if err := s.makeTree(s.queueDir, 0o755, byAdmin); err != nil {
		return fmt.Errorf("queue_directory: %w", err)
	}
	if err := s.makeTree(s.dataDir, 0o700, byOwner); err != nil {
		return fmt.Errorf("data_directory: %w", err)
	}
	if err := s.mustOwn(s.queueDir); err != nil {
		return err
	}
	for _, d := range layout {
		if err := s.makeDirectory(filepath.Join(s.queueDir, d.name), d.mode, d.group); err != nil {
			return err
		}
	}
	return syncDirectory(s.queueDir)
}

// mustOwn refuses a queue that belongs to others when we are not root.
func (s *system) mustOwn(path string) error {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !s.root && int(st.Uid) != s.owner.uid {
		return fmt.Errorf("%s is not owned by %s: run this command as root, or have a queue_directory of your own", path, s.owner.name)
	}
	return nil
}

// makeTree makes a directory and the ones above it.
func (s *system) makeTree(path string, mode os.FileMode, o ownership) error {
	parent := filepath.Dir(path)
	if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) {
		if err := s.makeTree(parent, 0o755, byAdmin); err != nil {
			return err
		}
	}
	_, err := os.Stat(path)
	if err == nil {
		return s.makeDirectory(path, mode, o)
	}
	if err := s.makeDirectory(path, mode, o); err != nil {
		return err
	}
	return syncDirectory(parent)
}

// makeDirectory makes one directory if it is missing. It gets its rights
// before its owner, so that nobody else ever has more.
func (s *system) makeDirectory(path string, mode os.FileMode, o ownership) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is not a directory", path)
		}
		return err
	}
	if err != nil {
		return err
	}
	uid, gid := s.ids(o)
	if err := os.Chown(path, uid, gid); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close() // only synced
	return d.Sync()
}

// setGID are the commands that users may run with the rights of setgid_group.
var setGID = []string{"postdrop", "postqueue", "postlog"}

// setPermissions gives the queue, its files and the set-gid commands the owners
// and rights that they should have.
func (s *system) setPermissions([]string) error {
	if err := s.makeDirectories(); err != nil {
		return err
	}
	for _, d := range append([]directory{{".", 0o755, byAdmin}}, layout...) {
		path := filepath.Join(s.queueDir, d.name)
		if err := s.fix(path, d.mode, d.group); err != nil {
			return err
		}
		if d.group == byOwner {
			if err := s.fixFiles(path); err != nil {
				return err
			}
		}
	}
	if err := s.fix(s.dataDir, 0o700, byOwner); err != nil {
		return err
	}
	if !s.root {
		return nil
	}
	for _, name := range setGID {
		path := filepath.Join(s.conf.CommandDirectory(), name)
		if err := s.fixSetGID(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// fix changes owner and rights of a directory where they are wrong. Bits that
// Debian adds, sticky and set-gid, stay.
func (s *system) fix(path string, mode os.FileMode, o ownership) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	uid, gid := s.ids(o)
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && (int(st.Uid) != uid || o != byOwner && int(st.Gid) != gid) {
		if err := os.Chown(path, uid, gid); err != nil {
			return err
		}
	}
	if info.Mode().Perm() == mode {
		return nil
	}
	return os.Chmod(path, mode|info.Mode()&(os.ModeSticky|os.ModeSetgid))
}

// fixFiles gives all files below a queue to mail_owner. Sockets belong to
// whoever listens.
func (s *system) fixFiles(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // delivered in the meantime
			}
			return err
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			return nil
		}
		if uid, known := ownerOf(d); known && uid != s.owner.uid {
			return os.Lchown(path, s.owner.uid, s.owner.gid)
		}
		return nil
	})
}

func ownerOf(d fs.DirEntry) (uid int, known bool) {
	info, err := d.Info()
	if err != nil {
		return 0, false // gone in the meantime
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}

func (s *system) fixSetGID(path string) error {
	if err := os.Chown(path, 0, s.owner.groupGID); err != nil {
		return err
	}
	return os.Chmod(path, 0o755|os.ModeSetgid)
}
