package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"postroad/libmail/conf"
)

const blanks = " \t\r\n\v\f"

// A change is what becomes of one name of main.cf.
type change struct {
	value string
	found int
}

// editMain sets, comments out or deletes parameters of main.cf.
func editMain(o options, warn warner) error {
	changes, err := mainChanges(o, warn)
	if err != nil {
		return err
	}
	path := filepath.Join(o.dir, "main.cf")
	return replaceFile(path, func(text []byte, out *bufio.Writer) error {
		interesting := false
		for _, line := range physicalLines(text) {
			content := strings.TrimLeft(line, blanks)
			switch {
			case content == "" || content[0] == '#':
				out.WriteString(line)
				continue
			case content != line: // a continuation shares the fate of its line
			default:
				name := line[:strings.IndexAny(line, "="+blanks)]
				c := changes[name]
				interesting = c != nil
				if !interesting {
					break
				}
				if c.found++; c.found == 2 {
					warn("%s: multiple entries for %q", path, name)
				}
				if o.mode&edit != 0 {
					fmt.Fprintf(out, "%s = %s\n", name, c.value)
				}
			}
			switch {
			case !interesting:
				out.WriteString(line)
			case o.mode&comment != 0:
				out.WriteString("#" + line)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(changes)) {
			if o.mode&edit != 0 && changes[name].found == 0 {
				fmt.Fprintf(out, "%s = %s\n", name, changes[name].value)
			}
		}
		return nil
	})
}

// mainChanges reads "name=value" or "name" arguments.
func mainChanges(o options, warn warner) (map[string]*change, error) {
	changes := map[string]*change{}
	for _, arg := range o.args {
		text := strings.TrimLeft(arg, blanks)
		name, value := strings.TrimRight(text, blanks), ""
		switch {
		case strings.Contains(arg, "\n"):
			return nil, errors.New("-e, -X, or -# accepts no multi-line input")
		case strings.HasPrefix(text, "#"):
			return nil, errors.New("-e, -X, or -# accepts no comment input")
		case o.mode&edit != 0:
			var err error
			if name, value, err = conf.SplitNameValue(text); err != nil {
				return nil, fmt.Errorf("%w: %q", err, arg)
			}
		case name == "":
			return nil, errors.New("-X or -# requires non-blank parameter names")
		case strings.Contains(text, "="):
			return nil, errors.New("-X or -# requires parameter names without value")
		}
		if old := changes[name]; old != nil && old.value != value {
			warn("ignoring earlier request: '%s = %s'", name, old.value)
		}
		changes[name] = &change{value: value}
	}
	return changes, nil
}

// physicalLines splits text after each line end; the last line gets one.
func physicalLines(text []byte) []string {
	var lines []string
	for line := range bytes.Lines(text) {
		s := string(line)
		if !strings.HasSuffix(s, "\n") {
			s += "\n"
		}
		lines = append(lines, s)
	}
	return lines
}

// replaceFile lets rewrite turn the text of a file into a new one, which takes
// its place at once when it is safely on disk. Of several editors at a time,
// each works on the result of the one before. Owner and mode stay.
func replaceFile(path string, rewrite func(text []byte, out *bufio.Writer) error) error {
	tmp, err := lockTemporary(path + ".tmp")
	if err != nil {
		return err
	}
	defer tmp.Close() // an error was reported by Sync
	err = fillTemporary(path, tmp, rewrite)
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return syncDirectory(filepath.Dir(path))
}

func fillTemporary(path string, tmp *os.File, rewrite func([]byte, *bufio.Writer) error) error {
	source, err := os.Open(path)
	if err != nil {
		return err
	}
	defer source.Close() // only read
	info, err := source.Stat()
	if err != nil {
		return err
	}
	text, err := io.ReadAll(source)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(tmp)
	if err := rewrite(text, out); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := tmp.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := tmp.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return tmp.Sync()
}

// lockTemporary opens the temporary file for one editor at a time. Its name is
// fixed, so that a crash leaves at most one behind; a file that another editor
// renamed away while we waited for the lock is not ours.
func lockTemporary(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			f.Close() // the lock error is the one to report
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close() // the stat error is the one to report
			return nil, err
		}
		if now, err := os.Lstat(path); err == nil && os.SameFile(mine, now) {
			return f, f.Truncate(0)
		}
		f.Close() // it became the new main.cf; nothing was written to it
	}
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close() // only synced
	return d.Sync()
}
