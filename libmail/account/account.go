// Package account is the list of mail users: a passwd-file as Dovecot has it,
// read and changed in place.
//
//	# comment
//	alice@example.com:{ARGON2ID}$argon2id$...:5000:5000::/var/mail/vhosts/example.com/alice::quota=1G
//	user             :{SCHEME}password       :uid :gid :full name:home              :shell:extra fields
//
// Fields after the name may be empty; the uid and gid then are the list's
// default. Extra fields are "name" or "name=value", separated by blanks.
package account

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Errors of the list.
var (
	ErrExists  = errors.New("user exists")
	ErrUnknown = errors.New("unknown user")
	ErrName    = errors.New("not a user name")
)

// nameChars are what a user name may hold, as Dovecot's
// auth_username_chars: nothing that means something in a path or a query.
const nameChars = "abcdefghijklmnopqrstuvwxyz0123456789.-_@+"

// Bounds of the file.
const (
	maxName = 255
	maxLine = 64 << 10
)

// A User is one line of the list.
type User struct {
	Name     string // lower case, usually with a domain
	Password string // "{SCHEME}data"
	UID, GID int    // 0: the list's default
	FullName string
	Home     string
	Shell    string
	Extra    []Field
}

// A Field is an extra field of a User.
type Field struct{ Name, Value string }

// Get is the value of an extra field; ok is false when there is none.
func (u *User) Get(name string) (value string, ok bool) {
	for _, f := range u.Extra {
		if f.Name == name {
			return f.Value, true
		}
	}
	return "", false
}

// Set sets an extra field, or removes it when the value is "".
func (u *User) Set(name, value string) {
	for i := range u.Extra {
		if u.Extra[i].Name == name {
			if value == "" {
				u.Extra = append(u.Extra[:i:i], u.Extra[i+1:]...)
			} else {
				u.Extra[i].Value = value
			}
			return
		}
	}
	if value != "" {
		u.Extra = append(u.Extra, Field{name, value})
	}
}

// CheckName brings a user name into the form of the list, lower case, and
// refuses what could be anything else than a name. The default domain, where
// it is not "", is put behind a name without one.
func CheckName(name, domain string) (string, error) {
	name = strings.ToLower(name)
	if domain != "" && !strings.Contains(name, "@") {
		name += "@" + strings.ToLower(domain)
	}
	switch {
	case name == "" || len(name) > maxName:
		return "", fmt.Errorf("%w: length %d", ErrName, len(name))
	case strings.Trim(name, nameChars) != "" && strings.IndexFunc(name, strange) >= 0:
		return "", fmt.Errorf("%w: %.40q holds a character other than %s", ErrName, name, nameChars)
	case strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") || strings.Contains(name, "..") ||
		strings.HasPrefix(name, "@") || strings.HasSuffix(name, "@") || strings.Contains(name, "@.") || strings.Count(name, "@") > 1:
		return "", fmt.Errorf("%w: %.40q", ErrName, name)
	}
	return name, nil
}

func strange(r rune) bool { return !strings.ContainsRune(nameChars, r) }

// A List is the file. It notices changes, at most checkInterval late; its
// methods may be called by many goroutines.
type List struct {
	path string

	mu      sync.Mutex
	checked time.Time
	stamp   stamp
	users   map[string]User
	err     error
}

// stamp tells one state of the file from another.
type stamp struct {
	inode uint64
	size  int64
	time  unix.Timespec
}

// checkInterval bounds how often the file is looked at; a name that is not
// found looks at once, so that a user exists from the moment it is made.
const checkInterval = 200 * time.Millisecond

// Open gives the list in a file, which need not exist yet.
func Open(path string) *List { return &List{path: path} }

// Path is the name of the file.
func (l *List) Path() string { return l.path }

// Find finds a user; the error is ErrUnknown when the list has none of that
// name, and any other when nobody knows now.
func (l *List) Find(name string) (User, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh(checkInterval)
	u, ok := l.users[name]
	if !ok && l.err == nil {
		l.refresh(0)
		u, ok = l.users[name]
	}
	switch {
	case l.err != nil:
		return User{}, l.err
	case !ok:
		return User{}, fmt.Errorf("%w %s", ErrUnknown, name)
	}
	return u, nil
}

// All calls f with each user, in no order.
func (l *List) All(f func(User)) error {
	l.mu.Lock()
	l.refresh(0)
	users, err := l.users, l.err
	l.mu.Unlock()
	for _, u := range users { // the map is replaced, never changed
		f(u)
	}
	return err
}

// Forget makes the next method look at the file: somebody says that it has
// changed.
func (l *List) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checked = time.Time{}
}

// refresh reads the file anew when it has changed.
func (l *List) refresh(interval time.Duration) {
	if now := time.Now(); interval == 0 || now.Sub(l.checked) >= interval {
		l.checked = now
	} else {
		return
	}
	var st unix.Stat_t
	err := unix.Stat(l.path, &st)
	if errors.Is(err, unix.ENOENT) {
		l.users, l.err, l.stamp = nil, nil, stamp{}
		return
	}
	if err != nil {
		l.err = fmt.Errorf("%s: %w", l.path, err)
		return
	}
	now := stamp{st.Ino, st.Size, st.Mtim}
	if l.err == nil && l.users != nil && now == l.stamp {
		return
	}
	users := map[string]User{}
	if err := eachLine(l.path, func(n int, line string) error {
		u, ok, err := parse(line)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", l.path, n, err)
		}
		if _, twice := users[u.Name]; ok && !twice {
			users[u.Name] = u
		}
		return nil
	}); err != nil {
		l.err = err
		return
	}
	l.users, l.err, l.stamp = users, nil, now
}

// eachLine calls f with the lines of a file.
func eachLine(path string, f func(n int, line string) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() // it is only read
	in := bufio.NewScanner(file)
	in.Buffer(nil, maxLine)
	for n := 1; in.Scan(); n++ {
		if err := f(n, in.Text()); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// parse reads a line; ok is false for comments and empty lines.
func parse(line string) (u User, ok bool, err error) {
	if line == "" || line[0] == '#' || strings.TrimSpace(line) == "" {
		return u, false, nil
	}
	f := strings.SplitN(line, ":", 8)
	for len(f) < 8 {
		f = append(f, "")
	}
	u = User{Name: strings.ToLower(strings.TrimSpace(f[0])), Password: f[1], FullName: f[4], Home: f[5], Shell: f[6]}
	for _, id := range []struct {
		text string
		n    *int
		what string
	}{{f[2], &u.UID, "uid"}, {f[3], &u.GID, "gid"}} {
		if id.text == "" {
			continue
		}
		if *id.n, err = strconv.Atoi(id.text); err != nil || *id.n <= 0 {
			return u, false, fmt.Errorf("user %.40s: bad %s %.20q", u.Name, id.what, id.text)
		}
	}
	for _, word := range strings.Fields(f[7]) {
		name, value, _ := strings.Cut(word, "=")
		u.Extra = append(u.Extra, Field{name, value})
	}
	return u, true, nil
}

// line is the user as the file has it.
func (u *User) line() string {
	id := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	var extra []string
	for _, f := range u.Extra {
		if f.Value == "" {
			extra = append(extra, f.Name)
		} else {
			extra = append(extra, f.Name+"="+f.Value)
		}
	}
	return strings.TrimRight(strings.Join([]string{u.Name, u.Password, id(u.UID), id(u.GID), u.FullName, u.Home, u.Shell,
		strings.Join(extra, " ")}, ":"), ":")
}

// check refuses values that would be read back as something else.
func (u *User) check() error {
	for _, v := range []string{u.Password, u.FullName, u.Home, u.Shell} {
		if strings.ContainsAny(v, ":\n\r\x00") {
			return fmt.Errorf("user %s: %.40q holds a colon or a line end", u.Name, v)
		}
	}
	for _, f := range u.Extra {
		if f.Name == "" || strings.ContainsAny(f.Name+f.Value, " \t\n\r\x00") {
			return fmt.Errorf("user %s: extra field %.40q holds a blank or a line end", u.Name, f.Name+"="+f.Value)
		}
	}
	_, err := CheckName(u.Name, "")
	return err
}

// Add adds a user; ErrExists when there is one of that name.
func (l *List) Add(u User) error {
	return l.edit(u.Name, func(found bool) (string, error) {
		if found {
			return "", fmt.Errorf("%w: %s", ErrExists, u.Name)
		}
		return u.line(), u.check()
	})
}

// Replace changes a user.
func (l *List) Replace(u User) error {
	return l.edit(u.Name, func(found bool) (string, error) {
		if !found {
			return "", fmt.Errorf("%w %s", ErrUnknown, u.Name)
		}
		return u.line(), u.check()
	})
}

// Remove removes a user.
func (l *List) Remove(name string) error {
	return l.edit(name, func(found bool) (string, error) {
		if !found {
			return "", fmt.Errorf("%w %s", ErrUnknown, name)
		}
		return "", nil
	})
}

// edit writes the file anew with one line changed: comments, order and all
// other lines stay. The new file is synced and takes the place of the old one
// at once, with its owner and mode; a second editor waits.
func (l *List) edit(name string, change func(found bool) (line string, err error)) error {
	lock, err := os.OpenFile(l.path+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // gives up the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", l.path, err)
	}
	var lines []string
	found := -1
	err = eachLine(l.path, func(n int, line string) error {
		if who, _, _ := strings.Cut(line, ":"); found < 0 && strings.EqualFold(strings.TrimSpace(who), name) {
			found = len(lines)
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	line, err := change(found >= 0)
	switch {
	case err != nil:
		return err
	case found < 0:
		lines = append(lines, line)
	case line == "":
		lines = append(lines[:found], lines[found+1:]...)
	default:
		lines[found] = line
	}
	return l.write(lines)
}

func (l *List) write(lines []string) error {
	temp := l.path + ".tmp"
	// A leftover of a crash; the lock says that nobody else uses it.
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	text := strings.Join(lines, "\n")
	if len(lines) > 0 {
		text += "\n"
	}
	_, err = io.WriteString(f, text)
	if err == nil {
		err = likeOld(f, l.path)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(temp, l.path)
	}
	if err != nil {
		_ = os.Remove(temp) // it is made anew next time
		return fmt.Errorf("write %s: %w", l.path, err)
	}
	dir, err := os.Open(filepath.Dir(l.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// likeOld gives the new file the owner and mode of the old one.
func likeOld(f *os.File, path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); errors.Is(err, unix.ENOENT) {
		return nil
	} else if err != nil {
		return err
	}
	if err := f.Chmod(fs.FileMode(st.Mode & 0o777)); err != nil {
		return err
	}
	if int(st.Uid) == os.Geteuid() && int(st.Gid) == os.Getegid() {
		return nil
	}
	return f.Chown(int(st.Uid), int(st.Gid))
}
