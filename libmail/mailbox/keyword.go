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
	"syscall"
)

// keywords is dovecot-keywords: which keyword each letter of a file name is.
//
//	0 $Forwarded
//	1 Junk
type keywords struct {
	dir  string
	list [26]string
	sum  string // the file as it was read
}

const keywordsName = "dovecot-keywords"

// Bounds of a keyword and of the file.
const (
	maxKeyword     = 100
	maxKeywordFile = 64 << 10
)

// ErrKeywords means that a mailbox has no letter left for a new keyword.
var ErrKeywords = errors.New("too many keywords in this mailbox")

func (k *keywords) load() error {
	data, err := readSmall(filepath.Join(k.dir, keywordsName), maxKeywordFile)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = nil, nil
	}
	if err != nil || string(data) == k.sum && k.sum != "" {
		return err
	}
	k.sum, k.list = string(data), [26]string{}
	for line := range strings.Lines(string(data)) {
		number, name, ok := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		n, err := strconv.Atoi(number)
		if ok && err == nil && n >= 0 && n < 26 && name != "" && len(name) <= maxKeyword {
			k.list[n] = name
		}
	}
	return nil
}

func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it is only read
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	data := make([]byte, st.Size())
	n, err := f.ReadAt(data, 0)
	if n < len(data) && err != nil {
		return nil, err
	}
	return data, nil
}

// names are the keywords that letters stand for, sorted; a letter without a
// name shows as unknown-N.
func (k *keywords) names(letters string) []string {
	var names []string
	for _, c := range []byte(letters) {
		n := int(c - 'a')
		if name := k.list[n]; name != "" {
			names = append(names, name)
		} else {
			names = append(names, "unknown-"+strconv.Itoa(n))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// letters are the letters of keywords. With create, keywords that have none
// get one, under the lock of the uidlist.
func (k *keywords) letters(names []string, create bool) (string, error) {
	text, fresh := k.find(names)
	if len(fresh) == 0 || !create {
		return text, nil
	}
	unlock, err := lockList(k.dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := k.load(); err != nil { // somebody may have been quicker
		return "", err
	}
	_, fresh = k.find(names)
	for _, name := range fresh {
		n := slices.Index(k.list[:], "")
		if n < 0 {
			return "", ErrKeywords
		}
		k.list[n] = name
	}
	if err := k.save(); err != nil {
		return "", err
	}
	text, _ = k.find(names)
	return text, nil
}

// find divides names into letters and those that have none.
func (k *keywords) find(names []string) (letters string, fresh []string) {
	for _, name := range names {
		n := slices.IndexFunc(k.list[:], func(s string) bool { return strings.EqualFold(s, name) })
		if num, ok := strings.CutPrefix(name, "unknown-"); n < 0 && ok {
			if i, err := strconv.Atoi(num); err == nil && i >= 0 && i < 26 && k.list[i] == "" {
				n = i
			}
		}
		if n < 0 {
			fresh = append(fresh, name)
			continue
		}
		letters += string(rune('a' + n))
	}
	return letters, fresh
}

// Keywords are all keywords that the mailbox has a letter for.
func (b *Box) Keywords() []string {
	var names []string
	for _, n := range b.words.list {
		if n != "" {
			names = append(names, n)
		}
	}
	return names
}

// save replaces the file.
func (k *keywords) save() error {
	var text strings.Builder
	for n, name := range k.list {
		if name != "" {
			fmt.Fprintf(&text, "%d %s\n", n, name)
		}
	}
	path := filepath.Join(k.dir, keywordsName)
	if err := replaceFile(path, text.String()); err != nil {
		return err
	}
	k.sum = text.String()
	return nil
}

// replaceFile puts a new file in the place of an old one, synced.
func replaceFile(path, text string) error {
	temp := path + ".tmp"
	_ = os.Remove(temp) // a leftover of a crash; callers hold a lock
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp) // it is made anew next time
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return nil
}
