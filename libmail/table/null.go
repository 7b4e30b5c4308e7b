package table

import "strings"

// A nullRule says whether the keys and values of a file end in a NUL byte.
// Some programs write one and others do not, so at first both are tried; the
// first key that is found decides for the rest.
type nullRule int

const (
	nullUnknown nullRule = iota
	nullAppended
	nullAbsent
)

// find looks key up in both forms, as far as they are still possible, and
// takes the NUL off the value.
func (n *nullRule) find(key string, find func(stored string) (string, bool, error)) (value string, found bool, err error) {
	if *n != nullAbsent {
		if value, found, err = find(key + "\x00"); found {
			*n = nullAppended
		}
	}
	if !found && err == nil && *n != nullAppended {
		if value, found, err = find(key); found {
			*n = nullAbsent
		}
	}
	return cutNull(value), found, err
}

// cutNull ends a string where C would end it.
func cutNull(s string) string {
	if i := strings.IndexByte(s, 0); i >= 0 {
		return s[:i]
	}
	return s
}
