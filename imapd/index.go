package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"postroad/libmail/mailbox"
)

// The index of a mailbox is postroad-index, a bbolt file beside its messages.
// Whatever is in it can be found out again:
//
//	bucket "digest"   UID (4 bytes, big endian) -> digest.encode
//	bucket "state"    "state" -> modification sequences, as they were at close
//
// The state is taken out when the mailbox is opened and put back when it is
// closed. After a crash there is none: then all messages count as changed, and
// no client misses anything.
const (
	indexName    = "postroad-index"
	indexPatient = 2 * time.Second // another process may be about to leave
	indexBatch   = 200             // digests that are written together
	stateVersion = 1
)

var (
	digestBucket = []byte("digest")
	stateBucket  = []byte("state")
	stateKey     = []byte("state")
)

// An index may be nil inside: then nothing is kept. The hub's lock guards it.
type index struct {
	db      *bbolt.DB
	pending map[uint32]*digest
	removed []uint32
	state   []byte // as it was at the last close
}

// openIndex opens a mailbox's index. One that can't be read is made anew.
func openIndex(h *hub) *index {
	x := &index{pending: map[uint32]*digest{}}
	path := filepath.Join(h.dir, indexName)
	for try := range 2 {
		err := x.open(path)
		if err == nil {
			return x
		}
		x.drop()
		if errors.Is(err, bbolt.ErrTimeout) || try > 0 {
			h.u.log.Warning("imap(%s): %s: %v", h.u.name, path, err)
			return x
		}
		h.u.log.Warning("imap(%s): %s: %v; making a new one", h.u.name, path, err)
		_ = os.Remove(path) // if it stays the next try fails too
	}
	return x
}

func (x *index) open(path string) error {
	return x.guard(func() (err error) {
		x.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: indexPatient, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
		if err != nil {
			return err
		}
		return x.db.Update(func(tx *bbolt.Tx) error {
			if _, err := tx.CreateBucketIfNotExists(digestBucket); err != nil {
				return err
			}
			b, err := tx.CreateBucketIfNotExists(stateBucket)
			if err != nil {
				return err
			}
			x.state = slices.Clone(b.Get(stateKey))
			return b.Delete(stateKey)
		})
	})
}

// guard turns what damaged pages do into an error.
func (x *index) guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged index: %v", p)
		}
	}()
	return f()
}

// drop goes on without an index.
func (x *index) drop() {
	if x.db != nil {
		_ = x.guard(x.db.Close) // it is of no use any more
	}
	x.db, x.state = nil, nil
}

// digest looks a digest up.
func (x *index) digest(uid uint32) (d *digest) {
	if p := x.pending[uid]; p != nil {
		return p
	}
	if x.db == nil {
		return nil
	}
	err := x.guard(func() error {
		return x.db.View(func(tx *bbolt.Tx) error {
			d = decodeDigest(tx.Bucket(digestBucket).Get(uidKey(uid)))
			return nil
		})
	})
	if err != nil {
		x.drop()
		return nil
	}
	return d
}

func uidKey(uid uint32) []byte { return binary.BigEndian.AppendUint32(nil, uid) }

// keep writes a digest, sooner or later.
func (x *index) keep(uid uint32, d *digest) {
	if x.db == nil {
		return
	}
	if x.pending[uid] = d; len(x.pending) >= indexBatch {
		x.flush(nil)
	}
}

// forgetUID drops the digest of a message that is gone.
func (x *index) forgetUID(uid uint32) {
	if x.db != nil {
		delete(x.pending, uid)
		x.removed = append(x.removed, uid)
	}
}

// flush writes what is pending, and the state where there is one.
func (x *index) flush(state []byte) {
	if x.db == nil {
		return
	}
	err := x.guard(func() error {
		return x.db.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(digestBucket)
			for _, uid := range x.removed {
				if err := b.Delete(uidKey(uid)); err != nil {
					return err
				}
			}
			for uid, d := range x.pending {
				if err := b.Put(uidKey(uid), d.encode()); err != nil {
					return err
				}
			}
			if state == nil {
				return nil
			}
			return tx.Bucket(stateBucket).Put(stateKey, state)
		})
	})
	clear(x.pending)
	x.removed = nil
	if err != nil {
		x.drop() // the disk may be full: what is kept here is only a help
	}
}

// close writes the state and closes the index. The hub is not used any more.
func (x *index) close(h *hub) {
	if x.db == nil {
		return
	}
	x.flush(h.state())
	x.drop()
}

// forget closes the index of a mailbox that was deleted.
func (x *index) forget() { x.drop() }

// state writes modification sequences down: a version, UIDVALIDITY, the
// highest, where the list of vanished ones begins, the messages, the vanished.
func (h *hub) state() []byte {
	b := []byte{stateVersion}
	for _, n := range []uint64{uint64(h.box.UIDValidity()), h.modseq, h.goneFrom, uint64(len(h.msgs))} {
		b = binary.AppendUvarint(b, n)
	}
	for _, m := range h.msgs {
		b = binary.AppendUvarint(b, uint64(m.uid))
		b = binary.AppendUvarint(b, m.modseq)
		b = append(b, byte(m.flags))
		b = binary.AppendUvarint(b, uint64(len(m.words)))
		for _, w := range m.words {
			b = append(binary.AppendUvarint(b, uint64(len(w))), w...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(h.gone)))
	for _, v := range h.gone {
		b = binary.AppendUvarint(b, uint64(v.uid))
		b = binary.AppendUvarint(b, v.modseq)
	}
	return b
}

// A stateReader reads a state; it stops at the first thing that is wrong.
type stateReader struct {
	b   []byte
	bad bool
}

func (r *stateReader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *stateReader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

// restore makes the messages of a hub that was just opened, with the
// modification sequences of the last time where they are known.
func (x *index) restore(h *hub) {
	old := &hub{modseq: h.modseq}
	known := old.readState(x.state, h.box.UIDValidity())
	x.state = nil
	saved := map[uint32]*message{}
	if known {
		h.modseq, h.goneFrom, h.gone = old.modseq, old.goneFrom, old.gone
		for _, m := range old.msgs {
			saved[m.uid] = m
		}
	}
	next, changed := h.modseq+1, false
	if !known {
		next = h.modseq
	}
	for _, it := range h.box.Items() {
		m := h.appear(it, next)
		m.recent = it.IsNew()
		if was := saved[it.UID]; was != nil && was.flags == m.flags && slices.Equal(was.words, m.words) {
			m.modseq = was.modseq
		} else {
			changed = true
		}
		delete(saved, it.UID)
		h.msgs = append(h.msgs, m)
	}
	lost := make([]uint32, 0, len(saved))
	for uid := range saved {
		lost = append(lost, uid)
	}
	slices.Sort(lost)
	for _, uid := range lost {
		h.gone = append(h.gone, vanished{uid, next})
		changed = true
	}
	if changed {
		h.modseq = next
	}
}

// readState reads what state wrote; false when it is of another mailbox or
// damaged.
func (h *hub) readState(b []byte, validity uint32) bool {
	if len(b) == 0 || b[0] != stateVersion {
		return false
	}
	r := &stateReader{b: b[1:]}
	if r.number() != uint64(validity) {
		return false
	}
	h.modseq, h.goneFrom = r.number(), r.number()
	for n := r.number(); n > 0 && !r.bad; n-- {
		m := &message{uid: uint32(r.number()), modseq: r.number()}
		if f := r.bytes(1); f != nil {
			m.flags = mailbox.Flags(f[0])
		}
		for k := r.number(); k > 0 && !r.bad; k-- {
			m.words = append(m.words, string(r.bytes(r.number())))
		}
		h.msgs = append(h.msgs, m)
	}
	for n := r.number(); n > 0 && !r.bad; n-- {
		h.gone = append(h.gone, vanished{uint32(r.number()), r.number()})
	}
	return !r.bad && len(r.b) == 0
}
