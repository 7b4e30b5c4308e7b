package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postroad/libmail/queue"
)

// repair is what -p, -s and -S ask for.
type repair struct {
	purge     bool // remove old temporary files
	structure bool // put files where they belong
	redundant bool // match long ids with their inode numbers too
}

// fixSuffix ends the name of a file that is being renamed after its inode
// number. It is no queue id, so that nobody else takes the file meanwhile.
const fixSuffix = "#FIX"

// maxTempAge is how long a file may be incomplete before -p removes it.
const maxTempAge = 7 * 24 * time.Hour

// repairAll walks the queues once, and once more if files got new names: the
// first walk gives them names that nobody uses, so that no file takes the
// place of another; the second gives them their own.
func (k *keeper) repairAll(r repair, queues []string) error {
	pass := func() error {
		return k.walk(queues, func(f found) error { return ignoreSkip(k.repair(r, f)) })
	}
	err := pass()
	if err == nil && k.inodeMismatch.Load() > 0 {
		err = pass()
	}
	return err
}

// repair treats one file.
func (k *keeper) repair(r repair, f found) error {
	isMessage := places[f.queue] == messages
	if r.purge && isMessage && f.info.Mode&queue.Ready != queue.Ready && time.Since(f.info.ModTime) > maxTempAge {
		return k.removePath(f.path)
	}
	if r.structure && len(f.name) > len(fixSuffix) && strings.HasSuffix(f.name, fixSuffix) {
		f.name = strings.TrimSuffix(f.name, fixSuffix)
		if err := k.finishName(&f, isMessage); err != nil {
			return err
		}
	}
	if !queue.ValidID(f.name) {
		k.log.Warning("bogus file name: %s", f.path)
		return nil
	}
	if !r.structure {
		return nil
	}
	if isMessage {
		id, ok := queue.ParseID(f.name)
		if !ok {
			k.log.Warning("bogus file name: %s", f.path)
			return nil
		}
		if id.Long && !k.settings.LongIDs || id.Inode != f.info.Inode && (!id.Long || r.redundant) {
			k.inodeMismatch.Add(1)
			return k.beginName(f, id)
		}
	}
	if want := k.spool.Path(f.queue, f.name); want != f.path {
		k.misplaced.Add(1)
		return k.rename(f.path, want)
	}
	return nil
}

// beginName renames a message whose name does not hold its inode number, with
// its logs, to the right name and fixSuffix. The logs go first: when the
// message has its new name, all is done.
func (k *keeper) beginName(f found, id queue.ID) error {
	name := id.WithInode(f.info.Inode)
	if id.Long && !k.settings.LongIDs {
		short := strings.ToUpper(strconv.FormatUint(id.Usec, 16))
		id = queue.ID{Time: strings.Repeat("0", max(0, 5-len(short))) + short}
		name = id.WithInode(f.info.Inode)
	}
	for _, kind := range []string{queue.Bounce, queue.Defer, queue.Trace} {
		err := k.rename(k.spool.Path(kind, f.name), k.spool.Path(kind, name)+fixSuffix)
		if ignoreSkip(err) != nil {
			return err
		}
	}
	return k.rename(f.path, k.spool.Path(f.queue, name)+fixSuffix)
}

// finishName takes fixSuffix off; f.name is the name without it.
func (k *keeper) finishName(f *found, isMessage bool) error {
	id, ok := queue.ParseID(f.name)
	if !queue.ValidID(f.name) || isMessage && !ok {
		k.log.Warning("bogus file name: %s", f.path)
		return errSkip
	}
	if isMessage && id.Inode != f.info.Inode {
		k.log.Warning("name/inode mismatch: %s", f.path)
		return errSkip
	}
	want := k.spool.Path(f.queue, f.name)
	if err := k.rename(f.path, want); err != nil {
		return err
	}
	if isMessage {
		k.inodeFixed.Add(1)
	}
	f.path = want
	return nil
}

// A place says what a directory of the queue holds.
type place int

const (
	messages place = iota + 1
	logs
)

// places are the directories that postsuper may work on.
var places = map[string]place{
	queue.Maildrop: messages, queue.Incoming: messages, queue.Active: messages, queue.Deferred: messages, queue.Hold: messages,
	queue.Trace: logs, queue.Defer: logs, queue.Bounce: logs, queue.Flush: logs,
}

// allQueues are worked on by default. Logs come first, so that they are in
// their place when a message takes them along to another name.
var allQueues = []string{queue.Defer, queue.Bounce, queue.Trace, queue.Maildrop, queue.Incoming, queue.Active, queue.Deferred, queue.Hold, queue.Flush}

// found is a regular file below a queue.
type found struct {
	queue, name string
	path        string // relative to the queue directory
	info        queue.Info
}

// walk calls each for all regular files of the queues, at whatever depth. What
// is neither file nor directory goes, and so do empty directories that the
// settings do not ask for.
func (k *keeper) walk(queues []string, each func(found) error) error {
	for _, q := range queues {
		depth := 0
		for _, h := range k.settings.Hashed {
			if strings.EqualFold(h, q) {
				depth = k.settings.Depth
			}
		}
		if depth > 0 && q == queue.Maildrop {
			return errors.New("maildrop queue must not be hashed")
		}
		k.log.Debug("queue: %s", q)
		if err := k.walkDir(q, q, depth, each); err != nil {
			return err
		}
	}
	return nil
}

// walkDir walks one directory; depth is how many levels the settings want
// below it.
func (k *keeper) walkDir(q, path string, depth int, each func(found) error) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close() // nothing was written
	for {
		names, err := d.Readdirnames(256)
		for _, name := range names {
			if err := k.walkName(q, path, name, depth, each); err != nil {
				return err
			}
		}
		if err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}

func (k *keeper) walkName(q, dir, name string, depth int, each func(found) error) error {
	path := dir + "/" + name
	st, err := k.spool.StatPath(path)
	switch {
	case err != nil:
		return nil // it moved on
	case st.Mode.IsDir() && len(name) == 1 && q != queue.Maildrop:
		if err := k.walkDir(q, path, depth-1, each); err != nil {
			return err
		}
		if depth <= 0 {
			k.rmdir(path)
		}
		return nil
	case st.Mode.IsDir():
		k.rmdir(path)
		return nil
	case !st.Mode.IsRegular():
		return ignoreSkip(k.removePath(path))
	}
	return each(found{q, name, path, st})
}

// rmdir removes a directory that should not be there, if it is empty.
func (k *keeper) rmdir(path string) {
	err := syscall.Rmdir(path)
	switch {
	case err == nil:
		k.log.Debug("remove subdirectory %s", path)
	case !errors.Is(err, fs.ErrNotExist):
		k.log.Warning("remove subdirectory %s: %v", path, err)
	}
}
