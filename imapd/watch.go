package main

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A watcher hears from the kernel what other programs do in mailboxes that
// are open (inotify(7)).
type watcher struct {
	f *os.File

	mu  sync.Mutex // taken before a hub's
	buf []byte
	by  map[int32]watched
}

type watched struct {
	h   *hub
	sub string // "new" or "cur"
}

const watchEvents = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// newWatcher starts listening. Without inotify the mailboxes are read anew
// each time.
func newWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	w := &watcher{f: os.NewFile(uintptr(fd), "inotify"), buf: make([]byte, 64<<10), by: map[int32]watched{}}
	go w.listen()
	return w, nil
}

// listen waits for events until close.
func (w *watcher) listen() {
	raw, err := w.f.SyscallConn()
	if err != nil {
		return // drain still works
	}
	_ = raw.Read(func(fd uintptr) bool { // its end is that of the watcher
		w.read(int(fd))
		return false // wait for more
	})
}

// drain takes note of what has happened up to now.
func (w *watcher) drain() {
	if w == nil {
		return
	}
	raw, err := w.f.SyscallConn()
	if err != nil {
		return // closed
	}
	_ = raw.Control(func(fd uintptr) { w.read(int(fd)) }) // as above
}

// read reads all events that are there.
func (w *watcher) read(fd int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		n, err := unix.Read(fd, w.buf)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return // EAGAIN: no more
		}
		w.take(w.buf[:n])
	}
}

// take gives events to their hubs.
func (w *watcher) take(b []byte) {
	changed := map[*hub]bool{}
	for len(b) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(b))
		mask := binary.NativeEndian.Uint32(b[4:])
		size := int(binary.NativeEndian.Uint32(b[12:]))
		name := b[unix.SizeofInotifyEvent : unix.SizeofInotifyEvent+size]
		b = b[unix.SizeofInotifyEvent+size:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			for _, x := range w.by {
				changed[x.h] = true
				x.h.mark("", "", true)
			}
			continue
		}
		x, known := w.by[wd]
		if !known {
			continue
		}
		for i, c := range name {
			if c == 0 {
				name = name[:i]
				break
			}
		}
		if x.h.mark(x.sub, string(name), mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0) {
			changed[x.h] = true
		}
	}
	for h := range changed {
		h.poke()
	}
}

// add watches a hub's directories; false when that is not possible.
func (w *watcher) add(h *hub) bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, sub := range []string{"new", "cur"} {
		wd, err := unix.InotifyAddWatch(int(w.f.Fd()), filepath.Join(h.dir, sub), watchEvents)
		if err != nil {
			return false
		}
		w.by[int32(wd)] = watched{h, sub}
	}
	return true
}

// remove forgets a hub.
func (w *watcher) remove(h *hub) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for wd, x := range w.by {
		if x.h == h {
			_, _ = unix.InotifyRmWatch(int(w.f.Fd()), uint32(wd)) // the directory may be gone
			delete(w.by, wd)
		}
	}
}
