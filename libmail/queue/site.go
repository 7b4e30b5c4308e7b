package queue

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// SiteName is the name of a site's log: lower case, with '_' for what is
// neither letter nor digit. The site is in ASCII form (RFC 5891).
func SiteName(site string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case !alnum(c):
			return '_'
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		}
		return c
	}, site)
}

// AppendSite notes that message id waits for a site (postconf(5)
// fast_flush_domains). The log is a hint: it is not synced.
func (s *Spool) AppendSite(site, id string) error {
	path, err := s.file(Flush, SiteName(site))
	if err != nil {
		return err
	}
	h, tickets, err := s.openLog(path)
	if err != nil {
		return fmt.Errorf("flush log of %s: %w", site, err)
	}
	for _, t := range tickets {
		s.dirs.drop(t)
	}
	err = s.lockLog(h)
	if err == nil {
		var st Info
		if st, err = h.Stat(); err == nil {
			_, err = h.WriteAt([]byte(id+"\n"), st.Size)
		}
	}
	if errClose := h.Close(); err == nil {
		err = errClose
	}
	if err != nil {
		return fmt.Errorf("flush log of %s: %w", site, err)
	}
	return nil
}

// maxSiteIDs bounds the ids that FlushSite remembers to skip repetitions.
const maxSiteIDs = 10000

// FlushSite calls each with the messages that wait for a site, then empties
// the log. name is the name of the log, as SiteName makes it and Scan finds
// it. Others who append meanwhile wait.
func (s *Spool) FlushSite(name string, each func(id string)) error {
	path, err := s.file(Flush, name)
	if err != nil {
		return err
	}
	h, err := s.fs.Open(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("flush log %s: %w", name, err)
	}
	if err = s.lockLog(h); err == nil {
		err = s.flushSite(h, name, each)
	}
	if errClose := h.Close(); err == nil {
		err = errClose
	}
	if err != nil {
		return fmt.Errorf("flush log %s: %w", name, err)
	}
	return s.fs.SetTime(path, s.o.Now()) // so that it counts as read, also where reading leaves no trace
}

func (s *Spool) flushSite(h Handle, name string, each func(id string)) error {
	seen := map[string]bool{}
	lines := bufio.NewScanner(io.NewSectionReader(h, 0, 1<<62))
	for lines.Scan() {
		id := lines.Text()
		if !ValidID(id) {
			s.o.Warn("bad queue id %.30q in fast flush logfile %s", id, name)
			continue
		}
		if seen[id] {
			continue
		}
		if len(seen) < maxSiteIDs {
			seen[id] = true
		}
		each(id)
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return err
	}
	return h.Truncate(0)
}

// PurgeSite removes the log of a site that is empty and was not touched since
// a time.
func (s *Spool) PurgeSite(name string, since time.Time) error {
	st, err := s.Stat(Flush, name)
	if err != nil || st.Size > 0 || !st.ModTime.Before(since) {
		return err
	}
	return s.Remove(Flush, name)
}
