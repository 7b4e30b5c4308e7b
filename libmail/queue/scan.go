package queue

import (
	"errors"
	"io"
	"io/fs"
)

// maxDepth bounds how deep a scan goes: hash_queue_depth is at most 16.
const maxDepth = 20

// An Entry is a file that a scan found.
type Entry struct {
	Name string // the queue id, or whatever the name is
	Path string // where it really is, relative to the spool
}

// A Scan walks over the files of a queue in no particular order, in pieces,
// while others add and remove files. It enters subdirectories whose names
// have one character, and only those. Of maildrop it sees only the top.
type Scan struct {
	s     *Spool
	flat  bool
	stack []scanDir
	err   error
}

type scanDir struct {
	path  string
	r     DirReader
	names []string
}

// Scan starts a walk over a queue. The caller closes it, and may do so at any time.
func (s *Spool) Scan(queue string) *Scan {
	sc := &Scan{s: s, flat: queue == Maildrop}
	if !ValidName(queue) {
		sc.err = ErrName
		return sc
	}
	sc.err = sc.push(queue)
	return sc
}

func (sc *Scan) push(path string) error {
	r, err := sc.s.fs.OpenDir(sc.s.path(path))
	if err != nil {
		return err
	}
	sc.stack = append(sc.stack, scanDir{path: path, r: r})
	return nil
}

// Next returns the next file whose name is a queue id, and io.EOF at the end.
// After another error the scan is over.
func (sc *Scan) Next() (Entry, error) {
	for {
		e, err := sc.NextAny()
		if err != nil || ValidID(e.Name) {
			return e, err
		}
	}
}

// NextAny is Next with files of any name, such as temporary ones.
func (sc *Scan) NextAny() (Entry, error) {
	const batch = 256
	for sc.err == nil {
		if len(sc.stack) == 0 {
			return Entry{}, io.EOF
		}
		top := &sc.stack[len(sc.stack)-1]
		if len(top.names) == 0 {
			var err error
			if top.names, err = top.r.Names(batch); err != nil && len(top.names) == 0 {
				sc.pop(err)
			}
			continue
		}
		name := top.names[0]
		top.names = top.names[1:]
		if len(name) != 1 || sc.flat {
			return Entry{name, top.path + "/" + name}, nil
		}
		if len(sc.stack) < maxDepth {
			err := sc.push(top.path + "/" + name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				sc.err = err
			}
		}
	}
	return Entry{}, sc.err
}

// pop leaves a directory; err is how it ended, normally io.EOF.
func (sc *Scan) pop(err error) {
	top := sc.stack[len(sc.stack)-1]
	sc.stack = sc.stack[:len(sc.stack)-1]
	if errClose := top.r.Close(); err == io.EOF {
		err = errClose
	}
	sc.err = err
}

// Close ends the walk.
func (sc *Scan) Close() {
	for _, d := range sc.stack {
		if err := d.r.Close(); err != nil {
			sc.s.o.Warn("close directory %s: %v", d.path, err)
		}
	}
	sc.stack, sc.err = nil, io.EOF
}
