package queue

import (
	"strconv"
	"strings"
	"time"
)

// alphabet is the digits of long queue ids, in the order of their values. It
// has no vowels, so that ids spell no words.
const alphabet = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"

// ShortID is the queue id of enable_long_queue_ids=no: five hexadecimal digits
// of microseconds, then the inode number.
func ShortID(t time.Time, inode uint64) string {
	usec := strings.ToUpper(strconv.FormatInt(int64(t.Nanosecond()/1000), 16))
	return "00000"[len(usec):] + usec + strings.ToUpper(strconv.FormatUint(inode, 16))
}

// LongID is the queue id of enable_long_queue_ids=yes: seconds in at least six
// digits of base 52, microseconds in four, 'z', the inode number in base 51.
func LongID(t time.Time, inode uint64) string {
	return encode(uint64(t.Unix()), 52, 6) + encode(uint64(t.Nanosecond()/1000), 52, 4) +
		"z" + encode(inode, 51, 0)
}

func encode(v, base uint64, pad int) string {
	var buf [16]byte
	i := len(buf)
	for v > 0 || i == len(buf) {
		i--
		buf[i] = alphabet[v%base]
		v /= base
	}
	for len(buf)-i < pad {
		i--
		buf[i] = '0'
	}
	return string(buf[i:])
}

func decode(s string, base uint64) (v uint64, ok bool) {
	for i := 0; i < len(s); i++ {
		d := strings.IndexByte(alphabet, s[i])
		if d < 0 || uint64(d) >= base || v > (1<<64-1-uint64(d))/base {
			return 0, false
		}
		v = v*base + uint64(d)
	}
	return v, s != ""
}

// An ID is a queue id taken apart.
type ID struct {
	Long  bool
	Time  string // all before the inode number, with the 'z' of a long id
	Usec  uint64
	Inode uint64
}

// ParseID takes a queue id apart. It fails for names that hold no inode
// number, such as a site of the flush service.
func ParseID(id string) (ID, bool) {
	if z := longSeparator(id); z >= 0 {
		usec, ok1 := decode(id[z-4:z], 52)
		inode, ok2 := decode(id[z+1:], 51)
		return ID{true, id[:z+1], usec, inode}, ok1 && ok2
	}
	if len(id) <= 5 {
		return ID{}, false
	}
	usec, err1 := strconv.ParseUint(id[:5], 16, 64)
	inode, err2 := strconv.ParseUint(id[5:], 16, 64)
	return ID{false, id[:5], usec, inode}, err1 == nil && err2 == nil
}

// WithInode is the id with another inode number, for a file that was copied.
func (id ID) WithInode(inode uint64) string {
	if id.Long {
		return id.Time + encode(inode, 51, 0)
	}
	return id.Time + strings.ToUpper(strconv.FormatUint(inode, 16))
}

// longSeparator finds the 'z' of a long id, or returns -1.
func longSeparator(id string) int {
	if z := strings.LastIndexByte(id, 'z'); z >= 10 {
		return z
	}
	return -1
}

// ValidID reports whether id may be the name of a queue file: 1 to 255
// letters, digits and underscores. The flush service's logs are named by site.
func ValidID(id string) bool {
	return id != "" && len(id) <= 255 && strings.IndexFunc(id, func(c rune) bool {
		return !alnum(c) && c != '_'
	}) < 0
}

// ValidName reports whether name may be the name of a queue: 1 to 100 letters
// and digits.
func ValidName(name string) bool {
	return name != "" && len(name) <= 100 && strings.IndexFunc(name, func(c rune) bool { return !alnum(c) }) < 0
}

func alnum(c rune) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// hashKey is the part of an id whose first characters name the subdirectories:
// the microseconds in hexadecimal, which short ids begin with.
func hashKey(id string) string {
	z := longSeparator(id)
	if z < 0 {
		return id
	}
	usec, _ := decode(id[z-4:z], 52) // as in Postfix, 0 for what is no number
	key := strings.ToUpper(strconv.FormatUint(usec, 16))
	return "00000"[min(5, len(key)):] + key
}
