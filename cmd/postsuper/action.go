package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"postroad/libmail/maillog"
	"postroad/libmail/queue"
)

// A keeper does the work and counts it. The counts are atomic because the
// signal handler looks at them.
type keeper struct {
	spool    *queue.Spool
	settings queue.Options
	log      *maillog.Logger

	requeued, deleted, expired, held, released atomic.Int64

	inodeMismatch, inodeFixed, misplaced atomic.Int64
}

// renamed reports whether messages have other names than before.
func (k *keeper) renamed() bool { return k.inodeMismatch.Load() > 0 || k.inodeFixed.Load() > 0 }

// incomplete warns that a repair was begun and not ended.
func (k *keeper) incomplete() {
	if k.renamed() || k.misplaced.Load() > 0 {
		k.log.Warning("OPERATION INCOMPLETE -- RERUN COMMAND TO FIX THE QUEUE FIRST")
	}
}

// A verb is what an option does to one message. A message that is not there
// any more, or that the verb leaves alone, is errSkip.
type verb struct {
	letter byte
	not    []string // message queues that the verb leaves alone
	do     func(k *keeper, queue, id, path string) error
	count  func(k *keeper) *atomic.Int64
	said   string // log text about one message
	then   *verb  // done afterwards, whatever came of this one
}

var errSkip = errors.New("skipped")

// verbs are the options that take a queue id.
var verbs map[byte]*verb

func init() { // in init, because -f is made of two others
	maildrop := []string{queue.Maildrop} // not sanitised: never to be mixed with the other queues
	release := &verb{'H', []string{queue.Maildrop, queue.Incoming, queue.Active, queue.Deferred}, (*keeper).release,
		func(k *keeper) *atomic.Int64 { return &k.released }, "released from hold", nil}
	expire := verb{'e', maildrop, (*keeper).expire,
		func(k *keeper) *atomic.Int64 { return &k.expired }, "expired", nil}
	expireAndRelease := expire
	expireAndRelease.letter, expireAndRelease.then = 'f', release
	verbs = map[byte]*verb{
		'd': {'d', nil, (*keeper).remove, func(k *keeper) *atomic.Int64 { return &k.deleted }, "removed", nil},
		'e': &expire,
		'f': &expireAndRelease,
		'h': {'h', []string{queue.Maildrop, queue.Hold}, (*keeper).hold,
			func(k *keeper) *atomic.Int64 { return &k.held }, "placed on hold", nil},
		'H': release,
		'r': {'r', maildrop, (*keeper).requeue,
			func(k *keeper) *atomic.Int64 { return &k.requeued }, "requeued", nil},
	}
}

func (v *verb) leavesAlone(q string) bool {
	for _, n := range v.not {
		if n == q {
			return true
		}
	}
	return places[q] != messages
}

// act does one action: on one message, on those that in names, or on all.
func (k *keeper) act(a action, queues []string, in io.Reader) error {
	switch a.id {
	case "ALL":
		return k.actAll(a.verb, queues)
	case "-":
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			if err := k.actOne(a.verb, queues, lines.Text()); err != nil {
				return err
			}
		}
		return lines.Err()
	}
	return k.actOne(a.verb, queues, a.id)
}

// actOne looks for a message, twice, because it may move meanwhile from a
// queue not yet seen to one already seen.
func (k *keeper) actOne(v *verb, queues []string, id string) error {
	if !queue.ValidID(id) {
		k.log.Warning("invalid mail queue id: %s", id)
		return nil
	}
	for ; v != nil; v = v.then {
		if err := k.actTwice(v, queues, id); err != nil {
			return err
		}
	}
	return nil
}

func (k *keeper) actTwice(v *verb, queues []string, id string) error {
	for range 2 {
		for _, q := range queues {
			if v.leavesAlone(q) {
				continue
			}
			if _, err := k.spool.Check(q, id); err != nil {
				if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, queue.ErrNotReady) {
					k.log.Warning("%v", err)
				}
				continue
			}
			switch err := v.do(k, q, id, k.spool.Path(q, id)); {
			case err == nil:
				v.count(k).Add(1)
				k.log.Info("%s: %s", id, v.said)
				return nil
			case !errors.Is(err, errSkip):
				return err
			}
		}
	}
	return nil
}

// actAll does a verb to all messages of the queues, and -d to all that lies
// there.
func (k *keeper) actAll(v *verb, queues []string) error {
	return k.walk(queues, func(f found) error {
		for v := v; v != nil; v = v.then {
			if err := k.actFound(v, f); err != nil {
				return ignoreSkip(err)
			}
		}
		return nil
	})
}

func (k *keeper) actFound(v *verb, f found) error {
	isMessage := places[f.queue] == messages && f.info.Mode&queue.Ready == queue.Ready
	if v.letter == 'd' {
		err := k.removePath(f.path)
		if err == nil && isMessage {
			k.deleted.Add(1)
		}
		return ignoreSkip(err)
	}
	if !queue.ValidID(f.name) {
		k.log.Warning("bogus file name: %s", f.path)
		return errSkip
	}
	if v.leavesAlone(f.queue) || v.letter == 'e' && !isMessage {
		return nil
	}
	err := v.do(k, f.queue, f.name, f.path)
	if err == nil {
		v.count(k).Add(1)
	}
	return ignoreSkip(err)
}

func ignoreSkip(err error) error {
	if errors.Is(err, errSkip) {
		return nil
	}
	return err
}

// remove deletes a message. Its logs go first, and only if there is a message,
// because its id may be used again.
func (k *keeper) remove(_, id, path string) error {
	for _, kind := range []string{queue.Bounce, queue.Defer, queue.Trace} {
		if err := k.spool.RemoveLog(kind, id); err != nil {
			return err
		}
	}
	return k.removePath(path)
}

// removePath deletes a file, errSkip if it is gone.
func (k *keeper) removePath(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return errSkip
	}
	if err == nil {
		k.log.Debug("removed file %s", path)
	}
	return err
}

// requeue has pickup submit the message again. Its logs stay: qmgr may be
// about to return the message.
func (k *keeper) requeue(_, id, path string) error {
	if err := k.rename(path, k.spool.Path(queue.Maildrop, id)); err != nil {
		return err
	}
	if err := k.spool.SetTime(queue.Maildrop, id, time.Now()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.log.Warning("%s: reset time stamps: %v", k.spool.Path(queue.Maildrop, id), err)
	}
	return nil
}

func (k *keeper) hold(_, id, path string) error {
	return k.rename(path, k.spool.Path(queue.Hold, id))
}

func (k *keeper) release(_, id, path string) error {
	return k.rename(path, k.spool.Path(queue.Deferred, id))
}

// expire marks a message for its sender. It must not change the mode of
// something else that was put in its place.
func (k *keeper) expire(q, id, path string) error {
	if path != k.spool.Path(q, id) {
		k.log.Warning("expire file %s: not in its place, run postsuper -s", path)
		return errSkip
	}
	m, err := k.spool.Open(q, id, queue.NoLock)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, queue.ErrNotReady) {
			k.log.Warning("expire file %s: %v", path, err)
		}
		return errSkip
	}
	defer m.Close() // nothing was written
	if m.Info.Mode&queue.ForceExpire != 0 {
		return errSkip
	}
	if err := m.Chmod(m.Info.Mode.Perm() | queue.ForceExpire); err != nil {
		k.log.Warning("expire file %s: cannot set permission: %v", path, err)
		return errSkip
	}
	return nil
}

// rename moves a file, errSkip if it is gone. A file in the way is left alone:
// overwriting it would lose mail.
func (k *keeper) rename(from, to string) error {
	err := k.spool.MovePath(from, to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errSkip
	case errors.Is(err, fs.ErrExist):
		k.log.Warning("rename file %s: there is another %s", from, to)
		return errSkip
	case err != nil:
		return fmt.Errorf("rename file %s as %s: %w", from, to, err)
	}
	k.log.Debug("renamed file %s as %s", from, to)
	return nil
}
