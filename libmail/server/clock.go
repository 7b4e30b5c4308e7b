package server

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Clock tells the time and wakes up; tests bring their own.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in a goroutine after d of this clock.
	AfterFunc(d time.Duration, f func()) Timer
}

// A Timer is a call that a Clock will make.
type Timer interface {
	// Stop prevents the call; false means that it was made or stopped before.
	Stop() bool
	// Reset makes the call due after d from now.
	Reset(d time.Duration) bool
}

// RealClock is the system's clock. Its timers follow the monotonic clock, so
// that a jump of the wall clock neither delays nor hastens them.
func RealClock() Clock { return realClock{} }

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// clockRefresh bounds how stale the shift of a shifted clock is.
const clockRefresh = 50 * time.Millisecond

// clockFromEnv is RealClock, or for tests of clock jumps a clock shifted by
// the seconds in the file that POSTROAD_CLOCK_FILE names. The file counts
// only when it belongs to the effective user and the process has no more
// rights than who started it.
func clockFromEnv() Clock {
	path := os.Getenv("POSTROAD_CLOCK_FILE")
	if path == "" || os.Geteuid() != os.Getuid() || os.Getegid() != os.Getgid() {
		return RealClock()
	}
	st, err := os.Stat(path)
	if err != nil {
		return RealClock()
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != os.Geteuid() {
		return RealClock()
	}
	return &shiftedClock{path: path}
}

// shiftedClock is the system's clock plus an offset; its timers are not
// shifted, as a jump of the wall clock does not move the monotonic one.
type shiftedClock struct {
	path   string
	mu     sync.Mutex
	read   time.Time
	offset time.Duration
}

func (c *shiftedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.read) >= clockRefresh {
		c.read = now
		// A file that cannot be read, as in a chroot, leaves the last offset.
		if text, err := os.ReadFile(c.path); err == nil {
			if s, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64); err == nil {
				c.offset = time.Duration(s * float64(time.Second))
			}
		}
	}
	// Round drops the monotonic reading: the result is a wall clock's.
	return now.Round(0).Add(c.offset)
}

func (c *shiftedClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
