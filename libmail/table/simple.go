package table

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
)

// static answers every key with one value.
type static string

func (s static) get(string) (string, bool, error) { return string(s), true, nil }
func (s static) close() error                     { return nil }

// openStatic opens static:text and static:{text with blanks}.
func openStatic(t *front, name string) (contents, error) {
	var err error
	if name[0] == '{' {
		if name, err = unbraceTrim(name); err != nil {
			return nil, fmt.Errorf("bad static:name syntax: %w", err)
		}
	}
	if t.o.FileValues {
		if name, err = FileValue(name); err != nil {
			return nil, err
		}
	}
	return static(name), nil
}

// fail answers every key with an error.
type fail struct{}

func (fail) get(string) (string, bool, error) {
	return "", false, errors.New("lookup error on request")
}
func (fail) close() error { return nil }

func openFail(*front, string) (contents, error) { return fail{}, nil }

// environ answers from the environment of the process.
type environ struct{}

func (environ) get(key string) (string, bool, error) {
	value, found := os.LookupEnv(key)
	return value, found, nil
}
func (environ) close() error { return nil }

func openEnviron(*front, string) (contents, error) { return environ{}, nil }

// random answers every key with any of its values.
type random []string

func (r random) get(string) (string, bool, error) { return r[rand.IntN(len(r))], true, nil }
func (r random) close() error                     { return nil }

// openRandom opens randmap:{value, value}.
func openRandom(t *front, name string) (contents, error) {
	list, err := unbrace(name)
	r := random(fields(list))
	if err != nil || len(r) == 0 {
		return nil, fmt.Errorf("bad syntax: \"randmap:%s\"; need \"randmap:{value...}\"", name)
	}
	if t.o.FileValues {
		for i := range r {
			if r[i], err = FileValue(r[i]); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// users answers from /etc/passwd or /etc/group: the whole line. Users that
// only the name service switch knows (LDAP, systemd) are not found.
type users struct {
	path   string
	fields int
}

// openUnix opens unix:passwd.byname and unix:group.byname.
func openUnix(t *front, name string) (contents, error) {
	switch name {
	case "passwd.byname":
		return users{"/etc/passwd", 7}, nil
	case "group.byname":
		return users{"/etc/group", 4}, nil
	}
	return nil, fmt.Errorf("unknown table: unix:%s", name)
}

func (u users) get(key string) (string, bool, error) {
	if key == "" || strings.ContainsAny(key, ":\n") {
		return "", false, nil
	}
	f, err := os.Open(u.path)
	if err != nil {
		return "", false, err
	}
	defer f.Close() // it was only read
	return u.find(f, key)
}

func (u users) find(r io.Reader, key string) (string, bool, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if len(line) > len(key) && line[len(key)] == ':' && line[:len(key)] == key &&
			strings.Count(line, ":") == u.fields-1 {
			return line, true, nil
		}
	}
	return "", false, lines.Err()
}

func (u users) close() error { return nil }
