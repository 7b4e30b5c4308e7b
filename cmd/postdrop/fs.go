package main

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"postroad/libmail/queue"
)

// dropFS is the file system as a set-gid program sees it: it may make names
// in maildrop, but not read the directory, and so it cannot sync it either.
type dropFS struct{ queue.System }

// File systems whose fsync of a new file makes its name durable as well: the
// creation is part of the transaction that fsync waits for.
var journaled = map[int64]bool{
	unix.EXT4_SUPER_MAGIC:  true, // and ext3
	unix.XFS_SUPER_MAGIC:   true,
	unix.BTRFS_SUPER_MAGIC: true,
}

// SyncDir makes the names in a directory durable by the best means there is:
// fsync of the directory where its mode allows that, nothing where fsync of
// the file did it, else a sync of the whole file system.
func (f dropFS) SyncDir(path string) error {
	err := f.System.SyncDir(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	if journaled[st.Type] {
		return nil
	}
	return syncFS(path)
}

// syncFS writes back the file system that holds path, by way of the working
// directory if that is on the same one.
func syncFS(path string) error {
	var there, here unix.Stat_t
	if unix.Stat(path, &there) != nil || unix.Stat(".", &here) != nil || there.Dev != here.Dev {
		unix.Sync() // all of them; it has no error to return
		return nil
	}
	d, err := os.Open(".")
	if err != nil {
		return err
	}
	defer d.Close() // only read
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return &fs.PathError{Op: "syncfs", Path: path, Err: err}
	}
	return nil
}
