package main

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sort"
	"sync"
	"time"

	"postroad/libmail/mailbox"
)

// A message is one message of a hub. Its uid never changes, the rest is
// guarded by the hub's lock.
type message struct {
	uid    uint32
	item   *mailbox.Item
	flags  mailbox.Flags
	words  []string // keywords
	modseq uint64
	recent bool // no session has had it as \Recent
	gone   bool // expunged; sessions may still have it in their view
	date   int64
	digest *digest
}

// A vanished UID and when it did.
type vanished struct {
	uid    uint32
	modseq uint64
}

// maxVanished bounds the memory of expunged UIDs (RFC 7162 §3.2.10 allows to
// forget).
const maxVanished = 100_000

// A hub is a mailbox that is open: what all sessions of the user share. Its
// lock is never held while a client is written to.
type hub struct {
	u    *user
	name string // in the tree; guarded by u.mu
	dir  string

	mu       sync.Mutex
	box      *mailbox.Box
	msgs     []*message // by UID
	modseq   uint64     // HIGHESTMODSEQ (RFC 7162 §3.1)
	gone     []vanished
	goneFrom uint64 // gone is complete from this modseq on
	watched  bool
	dirty    bool // something has changed on disk
	checked  [2]time.Time
	scanned  time.Time
	deleted  string // why the sessions must end, or ""
	sessions map[*session]chan struct{}
	index    *index
	digests  int // bytes of digests in memory
}

// load opens the mailbox.
func (h *hub) load() error {
	box, err := mailbox.Open(h.dir)
	if err != nil {
		return err
	}
	h.box = box
	h.sessions = map[*session]chan struct{}{}
	h.watched = h.u.watch.add(h)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.box.Sync(); err != nil {
		return err
	}
	h.modseq = uint64(time.Now().UnixMilli()) << 11 // above what any server ever gave, below 2^53
	h.goneFrom = h.modseq
	h.index = openIndex(h)
	h.index.restore(h)
	return nil
}

// mark notes that a directory entry appeared or vanished. It reports whether
// somebody else than us did it.
func (h *hub) mark(sub, name string, exists bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if name != "" && h.box.Knows(sub, name, exists) {
		return false
	}
	h.dirty = true
	return true
}

// poke wakes the sessions that wait for news.
func (h *hub) poke() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notify()
}

func (h *hub) notify() {
	for _, c := range h.sessions {
		select {
		case c <- struct{}{}:
		default: // it has been told
		}
	}
}

// changedOnDisk reports whether the mailbox must be read again.
func (h *hub) changedOnDisk() bool {
	if h.watched {
		return h.dirty
	}
	var now [2]time.Time
	for i, sub := range []string{"new", "cur"} {
		st, err := os.Stat(h.dir + "/" + sub)
		if err != nil {
			return true
		}
		now[i] = st.ModTime()
		if h.scanned.Sub(now[i]) < time.Second { // a change as young as this may not show
			h.dirty = true
		}
	}
	if now != h.checked {
		h.checked = now
		return true
	}
	return h.dirty
}

// refresh learns what others did. The lock is held.
func (h *hub) refresh() error {
	if h.deleted != "" || !h.changedOnDisk() {
		return nil
	}
	h.dirty, h.scanned = false, time.Now()
	if err := h.box.Sync(); err != nil {
		if _, e := os.Stat(h.dir); errors.Is(e, fs.ErrNotExist) {
			h.deleted = "Mailbox was deleted"
			h.notify()
			return nil
		}
		h.dirty = true
		return err
	}
	h.merge()
	return nil
}

// merge brings the messages in line with the Box. All changes share one
// modseq.
func (h *hub) merge() {
	items := h.box.Items()
	next, changed := h.modseq+1, false
	kept := make([]*message, 0, len(items))
	i := 0
	for _, m := range h.msgs {
		for i < len(items) && items[i].UID < m.uid {
			kept = append(kept, h.appear(items[i], next)) // a UID that was lost and is back
			i++
			changed = true
		}
		if i < len(items) && items[i].UID == m.uid {
			if it := items[i]; m.take(it) {
				m.modseq, changed = next, true
			}
			kept = append(kept, m)
			i++
			continue
		}
		h.vanish(m, next)
		changed = true
	}
	for ; i < len(items); i++ {
		kept = append(kept, h.appear(items[i], next))
		changed = true
	}
	h.msgs = kept
	if changed {
		h.modseq = next
		h.notify()
	}
}

func (h *hub) appear(it *mailbox.Item, modseq uint64) *message {
	return &message{uid: it.UID, item: it, flags: it.Flags, words: it.Keywords, modseq: modseq, recent: true}
}

// take copies flags from the item; it reports whether they changed.
func (m *message) take(it *mailbox.Item) bool {
	same := m.flags == it.Flags && slices.Equal(m.words, it.Keywords)
	m.item, m.flags, m.words = it, it.Flags, it.Keywords
	return !same
}

func (h *hub) vanish(m *message, modseq uint64) {
	m.gone, m.modseq = true, modseq
	h.dropDigest(m)
	h.index.forgetUID(m.uid)
	h.gone = append(h.gone, vanished{m.uid, modseq})
	if over := len(h.gone) - maxVanished; over > 0 {
		h.goneFrom = h.gone[over-1].modseq
		h.gone = append([]vanished(nil), h.gone[over:]...)
	}
}

// find is the message with a UID, or nil.
func (h *hub) find(uid uint32) *message {
	i := sort.Search(len(h.msgs), func(i int) bool { return h.msgs[i].uid >= uid })
	if i < len(h.msgs) && h.msgs[i].uid == uid {
		return h.msgs[i]
	}
	return nil
}

// add makes additions messages of the mailbox and returns their UIDs.
func (h *hub) add(list []*mailbox.Addition) ([]uint32, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	items, err := h.box.Add(list)
	if err != nil {
		return nil, err
	}
	h.modseq++
	uids := make([]uint32, len(items))
	for i, it := range items {
		uids[i] = it.UID
		h.msgs = append(h.msgs, h.appear(it, h.modseq))
	}
	sort.Slice(h.msgs, func(i, j int) bool { return h.msgs[i].uid < h.msgs[j].uid })
	h.notify()
	return uids, nil
}

// expunge removes messages from disk; the sessions hear of it.
func (h *hub) expunge(list []*message) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := h.modseq + 1
	var gone []*mailbox.Item
	var first error
	for _, m := range list {
		if m.gone {
			continue
		}
		if err := h.box.Expunge(m.item); err != nil {
			first = errors.Join(first, err)
			continue
		}
		gone = append(gone, m.item)
		h.vanish(m, next)
	}
	if len(gone) > 0 {
		h.box.Forget(gone)
		h.msgs = slices.DeleteFunc(h.msgs, func(m *message) bool { return m.gone })
		h.modseq = next
		h.notify()
	}
	return first
}

// internalDate is the INTERNALDATE of a message, in seconds. The lock is held.
func (h *hub) internalDate(m *message) (int64, error) {
	if m.date == 0 {
		t, err := h.box.Date(m.item)
		if err != nil {
			return 0, err
		}
		m.date = t.Unix()
	}
	return m.date, nil
}
