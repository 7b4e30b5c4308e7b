package server

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// memoryLimit is where the collector begins to work harder, in bytes.
const memoryLimit = 1 << 30

func tuneMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

// A process gives memory back when it has had no session for trimDelay, and
// once in trimPause.
const (
	trimDelay = 300 * time.Millisecond
	trimPause = 10 * time.Second
)

// A Trimmer gives back what an idle process does not need: free heap, and the
// pages of the program itself, most of which only its start used. They stay
// in the page cache and come back when they are touched.
type Trimmer struct {
	text []addressRange
	last time.Time
}

type addressRange struct{ start, end uintptr }

// NewTrimmer finds the program's pages; call it before a chroot hides proc(5).
func NewTrimmer() *Trimmer {
	t := &Trimmer{}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return t // no /proc: the heap alone is trimmed
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return t // as above
	}
	defer f.Close() // only read
	t.text = cleanRanges(bufio.NewScanner(f), exe)
	return t
}

// cleanRanges lists the mappings of a file in smaps (proc(5)) that cannot be
// written and have no page of their own, so that each page can be had from
// the file again.
func cleanRanges(lines *bufio.Scanner, file string) []addressRange {
	var list []addressRange
	var here addressRange
	candidate := false
	for lines.Scan() {
		line := lines.Text()
		fields := strings.Fields(line)
		if len(fields) >= 5 && strings.Contains(fields[0], "-") {
			candidate = len(fields) == 6 && fields[5] == file && (fields[1] == "r-xp" || fields[1] == "r--p")
			if _, err := fmt.Sscanf(fields[0], "%x-%x", &here.start, &here.end); err != nil {
				candidate = false
			}
			continue
		}
		if candidate && len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" {
			list = append(list, here)
		}
	}
	return list
}

// Wait is how long to wait until the next Trim.
func (t *Trimmer) Wait() time.Duration {
	if t.last.IsZero() {
		return trimDelay
	}
	return max(trimDelay, trimPause-time.Since(t.last))
}

// Trim gives back.
func (t *Trimmer) Trim() {
	t.last = time.Now()
	debug.FreeOSMemory()
	for _, r := range t.text {
		// An error leaves the pages where they are.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, r.start, r.end-r.start, unix.MADV_DONTNEED)
	}
}
