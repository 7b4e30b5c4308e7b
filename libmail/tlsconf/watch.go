package tlsconf

import (
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A watch tells that files have changed. It asks the kernel for notices
// about their directories, because a process that has dropped its
// privileges often may not even look into the directory of a private key,
// while a watch that it set before goes on. Where there are no notices it
// compares time stamps.
type watch struct {
	mu     sync.Mutex
	fd     int             // inotify, or -1
	files  []string        // given and resolved names
	names  map[string]bool // base names that matter
	stamps map[string]stamp
	dirty  bool
	looked time.Time
}

type stamp struct {
	size  int64
	mtime time.Time
	inode uint64
}

func watchFiles(files []string) *watch {
	w := &watch{fd: -1, names: map[string]bool{}}
	if len(files) == 0 {
		return w
	}
	dirs := map[string]bool{}
	for _, f := range files {
		w.follow(f, dirs)
	}
	if fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC); err == nil {
		w.fd = fd
		for dir := range dirs {
			// A directory that cannot be watched is left to the time stamps.
			_, _ = unix.InotifyAddWatch(fd, dir, unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO|unix.IN_CREATE|unix.IN_ATTRIB)
		}
	}
	w.stamps = w.look()
	return w
}

// follow notes a file and, link by link, what it points to: renewal tools
// replace the link, people overwrite the file.
func (w *watch) follow(file string, dirs map[string]bool) {
	for range 8 {
		w.files = append(w.files, file)
		w.names[filepath.Base(file)] = true
		dirs[filepath.Dir(file)] = true
		to, err := os.Readlink(file)
		if err != nil {
			return // no link
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(file), to)
		}
		file = to
	}
}

// look returns the time stamps of the files that we may look at.
func (w *watch) look() map[string]stamp {
	now := map[string]stamp{}
	for _, f := range w.files {
		var st unix.Stat_t
		if unix.Stat(f, &st) == nil {
			now[f] = stamp{st.Size, time.Unix(st.Mtim.Unix()), st.Ino}
		}
	}
	return now
}

// interval is how often time stamps are compared.
const interval = 2 * time.Second

// changed reports whether a file has changed since the last time that it
// said so.
func (w *watch) changed() bool {
	if w == nil || len(w.files) == 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drain()
	if now := time.Now(); now.Sub(w.looked) >= interval {
		w.looked = now
		for f, s := range w.look() {
			// A file that we could never look at, or cannot now, says nothing.
			if old, known := w.stamps[f]; known && old != s {
				w.dirty = true
			}
			w.stamps[f] = s
		}
	}
	dirty := w.dirty
	w.dirty = false
	return dirty
}

// drain reads the notices that have come.
func (w *watch) drain() {
	if w.fd < 0 {
		return
	}
	var buf [4096]byte
	for {
		n, err := unix.Read(w.fd, buf[:])
		if err != nil || n <= 0 {
			return
		}
		for data := buf[:n]; len(data) >= unix.SizeofInotifyEvent; {
			// struct inotify_event: wd, mask, cookie, len (4 bytes each), name.
			length := int(uint32(data[12]) | uint32(data[13])<<8 | uint32(data[14])<<16 | uint32(data[15])<<24)
			mask := uint32(data[4]) | uint32(data[5])<<8 | uint32(data[6])<<16 | uint32(data[7])<<24
			end := min(unix.SizeofInotifyEvent+length, len(data))
			name := data[unix.SizeofInotifyEvent:end]
			for i, c := range name {
				if c == 0 {
					name = name[:i]
					break
				}
			}
			if w.names[string(name)] || mask&unix.IN_Q_OVERFLOW != 0 {
				w.dirty = true
			}
			data = data[end:]
		}
	}
}

func (w *watch) close() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd >= 0 {
		unix.Close(w.fd) // a watch has nothing to lose
		w.fd = -1
	}
	w.files = nil
}
