package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Separator divides the levels of a mailbox name.
const Separator = "."

// Inbox is the mailbox that is the Maildir itself.
const Inbox = "INBOX"

// Bounds of a mailbox name.
const (
	maxName  = 240 // bytes: it is one file name
	maxDepth = 32
)

// Errors of operations on mailboxes.
var (
	ErrName    = errors.New("invalid mailbox name")
	ErrNoBox   = errors.New("mailbox doesn't exist")
	ErrBoxHere = errors.New("mailbox already exists")
	ErrInbox   = errors.New("INBOX can't be deleted or renamed")
	ErrNoSub   = errors.New("subscription to a mailbox that doesn't exist")
)

// A Tree is a user's mailboxes in Maildir++ form:
//
//	ROOT/           INBOX: tmp new cur
//	ROOT/.A.B/      the mailbox A.B: tmp new cur maildirfolder
//	ROOT/subscriptions
//
// Names are in modified UTF-7 (RFC 3501 §5.1.3), as on disk; a directory whose
// name is UTF-8 is found too. A Tree may be used by many goroutines.
type Tree struct {
	root string
}

// OpenTree opens the mailboxes below the Maildir root, which is made where it
// is missing. fresh reports that the user has never had a list of
// subscriptions.
func OpenTree(root string) (t *Tree, fresh bool, err error) {
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		if err := makeMaildir(root); err != nil {
			return nil, false, err
		}
	} else if err != nil {
		return nil, false, err
	}
	t = &Tree{root: root}
	_, err = os.Lstat(filepath.Join(root, subscriptionsName))
	return t, errors.Is(err, fs.ErrNotExist), nil
}

// Root is the Maildir of INBOX.
func (t *Tree) Root() string { return t.root }

// CheckName brings a mailbox name into its one form: INBOX in capitals, no
// separator at the end.
func CheckName(name string) (string, error) {
	name = strings.TrimSuffix(name, Separator)
	levels := strings.Split(name, Separator)
	if len(name) > maxName || len(levels) > maxDepth || strings.Contains(name, "/") {
		return "", ErrName
	}
	if slices.Contains(levels, "") {
		return "", ErrName
	}
	if text, err := DecodeMUTF7(name); err != nil || !utf8.ValidString(text) {
		return "", ErrName
	} else if strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) {
		return "", ErrName
	}
	if strings.EqualFold(levels[0], Inbox) {
		levels[0] = Inbox
	}
	return strings.Join(levels, Separator), nil
}

// Dir is the directory of a mailbox, whether it exists or not.
func (t *Tree) Dir(name string) string {
	if name == Inbox {
		return t.root
	}
	dir := filepath.Join(t.root, "."+name)
	if strings.Contains(name, "&") {
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			if text, err := DecodeMUTF7(name); err == nil {
				if wide := filepath.Join(t.root, "."+text); isDir(wide) {
					return wide
				}
			}
		}
	}
	return dir
}

func isDir(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.IsDir()
}

// Exists reports whether a mailbox is there.
func (t *Tree) Exists(name string) bool { return name == Inbox || isDir(t.Dir(name)) }

// Names lists the mailboxes, sorted, INBOX first.
func (t *Tree) Names() ([]string, error) {
	entries, err := os.ReadDir(t.root)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() || len(name) < 2 || name[0] != '.' || name[1] == '.' {
			continue
		}
		name = name[1:]
		if strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }) && utf8.ValidString(name) {
			name = EncodeMUTF7(name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return append([]string{Inbox}, slices.Compact(names)...), nil
}

// Create makes a mailbox, with a UIDVALIDITY that none of the user's
// mailboxes ever had.
func (t *Tree) Create(name string) error {
	if t.Exists(name) {
		return ErrBoxHere
	}
	validity, err := t.nextValidity()
	if err != nil {
		return err
	}
	dir := filepath.Join(t.root, "."+name)
	if err := os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
		return ErrBoxHere
	} else if err != nil {
		return err
	}
	if err := makeMaildir(dir); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "maildirfolder"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	b, err := Open(dir)
	if err != nil {
		return err
	}
	return b.identity(validity)
}

// Delete removes a mailbox and its messages; its inferiors stay.
func (t *Tree) Delete(name string) error {
	if name == Inbox {
		return ErrInbox
	}
	dir := t.Dir(name)
	if !isDir(dir) {
		return ErrNoBox
	}
	if _, err := t.nextValidity(); err != nil { // the name never gets this UIDVALIDITY again
		return err
	}
	doomed := filepath.Join(t.root, fmt.Sprintf("..deleted.%d.%d", os.Getpid(), drafted.Add(1)))
	if err := os.Rename(dir, doomed); err != nil {
		return err
	}
	if err := os.RemoveAll(doomed); err != nil {
		return fmt.Errorf("delete mailbox: %w", err)
	}
	left, _ := filepath.Glob(filepath.Join(t.root, "..deleted.*")) // the pattern is good
	for _, l := range left {
		_ = os.RemoveAll(l) // what a crash left; tried again next time
	}
	return syncDir(t.root)
}

// Rename renames a mailbox and its inferiors; UIDs and UIDVALIDITY stay
// theirs.
func (t *Tree) Rename(from, to string) error {
	if from == Inbox || to == Inbox {
		return ErrInbox
	}
	if strings.HasPrefix(to, from+Separator) {
		return ErrName
	}
	names, err := t.Names()
	if err != nil {
		return err
	}
	var moved []string
	for _, n := range names {
		if n == from || strings.HasPrefix(n, from+Separator) {
			moved = append(moved, n)
		}
	}
	if len(moved) == 0 {
		return ErrNoBox
	}
	for _, n := range moved {
		if t.Exists(to + n[len(from):]) {
			return ErrBoxHere
		}
		if len(to)+len(n)-len(from) > maxName {
			return ErrName
		}
	}
	if t.Exists(to) {
		return ErrBoxHere
	}
	for _, n := range moved {
		if err := os.Rename(t.Dir(n), filepath.Join(t.root, "."+to+n[len(from):])); err != nil {
			return err
		}
	}
	return syncDir(t.root)
}

const validityName = "dovecot-uidvalidity"

// nextValidity is a UIDVALIDITY that was never given below this root. The
// counter is Dovecot's: a file with 8 hexadecimal digits, and an empty
// companion whose rename is the claim.
func (t *Tree) nextValidity() (uint32, error) {
	path := filepath.Join(t.root, validityName)
	for range 100 {
		last := uint64(0)
		if data, err := readSmall(path, 64); err == nil {
			last, _ = strconv.ParseUint(strings.TrimSpace(string(data)), 16, 32) // damaged: as if it were missing
		} else if !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		next := max(last+1, uint64(time.Now().Unix())) & (1<<31 - 1)
		old, claim := fmt.Sprintf("%s.%08x", path, last), fmt.Sprintf("%s.%08x", path, next)
		if last != 0 {
			if err := os.Rename(old, claim); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, err
			}
		}
		f, err := os.OpenFile(claim, os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return 0, err
		}
		temp := tempName(t.root)
		if err := os.WriteFile(temp, []byte(fmt.Sprintf("%08x", next)), 0o600); err != nil {
			return 0, err
		}
		if err := os.Rename(temp, path); err != nil {
			return 0, err
		}
		return uint32(next), nil
	}
	return 0, fmt.Errorf("%s: %w", path, ErrLocked)
}
