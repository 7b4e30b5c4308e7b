// Package ticket is the word of authd that userd believes: who logged in, for
// which front, good once and for a short time.
//
//	user.service.session.expiry.nonce.MAC
//
// Each field is in base64url without padding; expiry is in seconds since 1970,
// the MAC is HMAC-SHA-256 over all before it.
package ticket

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Life is how long a ticket is good.
const Life = 60 * time.Second

// keySize is the length of the key, bytes.
const keySize = 32

// ErrInvalid means that a ticket is not to be believed; the text before it
// says why, for the log.
var ErrInvalid = errors.New("invalid ticket")

// A Ticket says that a user may use a service.
type Ticket struct {
	User    string // as authd spells it
	Service string // "imap", "pop3"
	Session string // of the front: a ticket is of no use to another one
}

// A Key signs and checks tickets.
type Key struct {
	secret []byte
	now    func() time.Time

	mu   sync.Mutex
	used map[string]int64 // nonces that were seen, and when they expire
}

// Open reads the key file, which is made where it is missing. It must be the
// owner's alone.
func Open(path string) (*Key, error) {
	k := &Key{now: time.Now, used: map[string]int64{}}
	for range 2 {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if errors.Is(err, fs.ErrNotExist) {
			if err = create(path); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, fmt.Errorf("ticket key: %w", err)
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ticket key: %w", err)
		}
		defer f.Close() // it is only read
		st, err := f.Stat()
		if err != nil {
			return nil, fmt.Errorf("ticket key: %w", err)
		}
		if st.Mode().Perm()&0o077 != 0 {
			return nil, fmt.Errorf("ticket key: %s can be read by others: chmod 600 it, or remove it to have a new one made", path)
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Geteuid() {
			// Whoever makes the file could make tickets for everybody.
			return nil, fmt.Errorf("ticket key: %s belongs to uid %d: remove it to have a new one made", path, sys.Uid)
		}
		k.secret, err = io.ReadAll(io.LimitReader(f, keySize+1))
		if err == nil && len(k.secret) != keySize {
			err = fmt.Errorf("%s: want %d bytes: remove it to have a new one made", path, keySize)
		}
		if err != nil {
			return nil, fmt.Errorf("ticket key: %w", err)
		}
		return k, nil
	}
	return nil, fmt.Errorf("ticket key: %s is made and removed all the time", path)
}

// create makes a key file, whole from the first moment that it has its name.
func create(path string) error {
	secret := make([]byte, keySize)
	rand.Read(secret) // never fails
	temp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(temp, secret, 0o600); err != nil {
		return err
	}
	err := os.Link(temp, path)
	return errors.Join(err, os.Remove(temp))
}

// Derive is a secret for another purpose.
func (k *Key) Derive(purpose string) []byte { return k.mac(purpose) }

func (k *Key) mac(text string) []byte {
	m := hmac.New(sha256.New, k.secret)
	m.Write([]byte(text))
	return m.Sum(nil)
}

var b64 = base64.RawURLEncoding

// Sign makes a ticket.
func (k *Key) Sign(t Ticket) string {
	nonce := make([]byte, 16)
	rand.Read(nonce) // never fails
	fields := []string{t.User, t.Service, t.Session, strconv.FormatInt(k.now().Add(Life).Unix(), 10), string(nonce)}
	for i, f := range fields {
		fields[i] = b64.EncodeToString([]byte(f))
	}
	text := strings.Join(fields, ".")
	return text + "." + b64.EncodeToString(k.mac(text))
}

// Check reads a ticket, which must come from the session that it was made
// for, and not a second time.
func (k *Key) Check(text, session string) (Ticket, error) {
	i := strings.LastIndexByte(text, '.')
	if i < 0 {
		return Ticket{}, fmt.Errorf("no signature: %w", ErrInvalid)
	}
	mac, err := b64.DecodeString(text[i+1:])
	if err != nil || !hmac.Equal(mac, k.mac(text[:i])) {
		return Ticket{}, fmt.Errorf("bad signature: %w", ErrInvalid)
	}
	fields := strings.Split(text[:i], ".")
	if len(fields) != 5 {
		return Ticket{}, fmt.Errorf("%d fields: %w", len(fields), ErrInvalid)
	}
	for i, f := range fields {
		b, err := b64.DecodeString(f)
		if err != nil {
			return Ticket{}, fmt.Errorf("field %d: %w", i, ErrInvalid)
		}
		fields[i] = string(b)
	}
	expiry, err := strconv.ParseInt(fields[3], 10, 64)
	if err != nil || k.now().Unix() > expiry {
		return Ticket{}, fmt.Errorf("too old: %w", ErrInvalid)
	}
	t := Ticket{User: fields[0], Service: fields[1], Session: fields[2]}
	if t.Session != session {
		return Ticket{}, fmt.Errorf("of another session: %w", ErrInvalid)
	}
	if !k.first(fields[4], expiry) {
		return Ticket{}, fmt.Errorf("used before: %w", ErrInvalid)
	}
	return t, nil
}

// first notes a nonce, and forgets those whose tickets are too old anyway.
func (k *Key) first(nonce string, expiry int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, again := k.used[nonce]; again {
		return false
	}
	if len(k.used) > 1000 {
		now := k.now().Unix()
		for n, e := range k.used {
			if e < now {
				delete(k.used, n)
			}
		}
	}
	k.used[nonce] = expiry
	return true
}
