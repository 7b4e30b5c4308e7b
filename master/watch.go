package main

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// A watcher waits for clients of the services that no program serves. It
// looks with poll(2), which sees a waiting client however long ago it came,
// and only at sockets that nobody else accepts from.
type watcher struct {
	wake   [2]int // a pipe that interrupts poll
	notify func(s *service)

	mu     sync.Mutex
	wanted map[*service][]int
}

// newWatcher calls notify once for each service that was set and has a
// client; the service is unset then.
func newWatcher(notify func(s *service)) (*watcher, error) {
	w := &watcher{notify: notify, wanted: map[*service][]int{}}
	if err := unix.Pipe2(w.wake[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	return w, nil
}

// set begins to watch a service's sockets; none ends it.
func (w *watcher) set(s *service, sockets []socket) {
	w.mu.Lock()
	if len(sockets) == 0 {
		delete(w.wanted, s)
	} else {
		var fds []int
		for _, sock := range sockets {
			fds = append(fds, sock.fd)
		}
		w.wanted[s] = fds
	}
	w.mu.Unlock()
	// A full pipe interrupts as well.
	_, _ = unix.Write(w.wake[1], []byte{0})
}

// run never returns.
func (w *watcher) run() {
	for {
		fds, owners := w.list()
		_, err := unix.Poll(fds, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic("poll: " + err.Error()) // EFAULT, EINVAL or no memory
		}
		if fds[0].Revents != 0 {
			var buf [64]byte
			for n := len(buf); n == len(buf); {
				n, _ = unix.Read(w.wake[0], buf[:]) // EAGAIN: it is empty
			}
		}
		for i, s := range owners {
			// An error on a socket is the program's to find out.
			if fds[i+1].Revents != 0 && w.take(s) {
				w.notify(s)
			}
		}
	}
}

// list is what to poll: the pipe, then the sockets with their services.
func (w *watcher) list() ([]unix.PollFd, []*service) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fds := []unix.PollFd{{Fd: int32(w.wake[0]), Events: unix.POLLIN}}
	var owners []*service
	for s, list := range w.wanted {
		for _, fd := range list {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			owners = append(owners, s)
		}
	}
	return fds, owners
}

// take unsets a service; false when it is not set any more.
func (w *watcher) take(s *service) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, found := w.wanted[s]
	delete(w.wanted, s)
	return found
}
