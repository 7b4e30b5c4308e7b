package account

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt"
	"github.com/go-crypt/x/bcrypt"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/pbkdf2"
)

// ErrScheme means that a password is stored in a way that we can't check.
var ErrScheme = errors.New("password scheme is not supported")

// DefaultScheme is the scheme of passwords without one (Dovecot's default for
// passwd files).
const DefaultScheme = "CRYPT"

// Argon2id as new passwords use it: 19 MiB, 2 passes, 1 lane (OWASP's first
// choice); a login costs some 20 ms.
const (
	argonMemory  = 19 << 10 // KiB
	argonTime    = 2
	argonThreads = 1
	argonKey     = 32
	argonSalt    = 16
)

// Hash stores a password: {ARGON2ID}.
func Hash(password string) string {
	salt := make([]byte, argonSalt)
	rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("{ARGON2ID}$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", argonMemory, argonTime, argonThreads,
		b64.EncodeToString(salt), b64.EncodeToString(key))
}

// Verify reports whether a password is the stored one, "{SCHEME}data" in
// Dovecot's form, {SCHEME.b64} and {SCHEME.hex} too. ErrScheme means that
// nobody can tell.
func Verify(password, stored string) (bool, error) {
	scheme, data := split(stored)
	scheme, encoding, _ := strings.Cut(scheme, ".")
	check, ok := schemes[scheme]
	if !ok {
		return false, fmt.Errorf("%w: %.30s", ErrScheme, scheme)
	}
	return check(password, data, encoding)
}

// split takes the scheme off.
func split(stored string) (scheme, data string) {
	if strings.HasPrefix(stored, "{") {
		if i := strings.IndexByte(stored, '}'); i > 0 {
			return strings.ToUpper(stored[1:i]), stored[i+1:]
		}
	}
	return DefaultScheme, stored
}

type checker func(password, data, encoding string) (bool, error)

// schemes is how each scheme is checked.
var schemes = map[string]checker{
	"PLAIN":         plain,
	"CLEAR":         plain,
	"CLEARTEXT":     plain,
	"CRYPT":         crypted,
	"MD5-CRYPT":     crypted,
	"SHA256-CRYPT":  crypted,
	"SHA512-CRYPT":  crypted,
	"BLF-CRYPT":     crypted,
	"ARGON2I":       crypted,
	"ARGON2ID":      crypted,
	"PBKDF2":        pbkdf2SHA1,
	"MD5":           md5Either,
	"PLAIN-MD5":     digest(md5.New, false, "hex"),
	"LDAP-MD5":      digest(md5.New, false, "b64"),
	"SMD5":          digest(md5.New, true, "b64"),
	"SHA":           digest(sha1.New, false, "b64"),
	"SHA1":          digest(sha1.New, false, "b64"),
	"SSHA":          digest(sha1.New, true, "b64"),
	"SHA256":        digest(sha256.New, false, "b64"),
	"SSHA256":       digest(sha256.New, true, "b64"),
	"SHA512":        digest(sha512.New, false, "b64"),
	"SSHA512":       digest(sha512.New, true, "b64"),
	"SCRAM-SHA-1":   scramKeys(sha1.New),
	"SCRAM-SHA-256": scramKeys(sha256.New),
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

func plain(password, data, encoding string) (bool, error) {
	want, err := decode(data, encoding, "")
	return err == nil && equal([]byte(password), want), err
}

// decode reads data in the encoding that the scheme's name says, or else in
// its usual one.
func decode(data, encoding, usual string) ([]byte, error) {
	if encoding == "" {
		encoding = usual
	}
	switch strings.ToLower(encoding) {
	case "":
		return []byte(data), nil
	case "b64", "base64":
		b, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			b, err = base64.RawStdEncoding.DecodeString(data)
		}
		return b, err
	case "hex":
		return hex.DecodeString(data)
	}
	return nil, fmt.Errorf("%w: encoding %.20s", ErrScheme, encoding)
}

// crypted checks what crypt(3) makes, and the forms of argon2.
func crypted(password, data, _ string) (bool, error) {
	if strings.HasPrefix(data, "$2") { // $2a$ and $2y$ differ in name only
		err := bcrypt.CompareHashAndPassword([]byte(data), []byte(password))
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			return false, nil
		}
		return err == nil, err
	}
	d, err := crypt.NewDecoderAll()
	if err != nil {
		return false, fmt.Errorf("%w: %v", ErrScheme, err)
	}
	known, err := d.Decode(data)
	if err != nil {
		return false, fmt.Errorf("%w: crypt form %.4s: %v", ErrScheme, data, err)
	}
	return known.Match(password), nil
}

// md5Either is Dovecot's MD5: crypt's form, or plain.
func md5Either(password, data, encoding string) (bool, error) {
	if strings.HasPrefix(data, "$1$") {
		return crypted(password, data, encoding)
	}
	return digest(md5.New, false, "hex")(password, data, encoding)
}

// digest checks an unsalted hash, or one whose salt follows it.
func digest(h func() hash.Hash, salted bool, usual string) checker {
	return func(password, data, encoding string) (bool, error) {
		b, err := decode(data, encoding, usual)
		if err != nil && encoding == "" && usual == "b64" {
			b, err = hex.DecodeString(data)
		}
		if err != nil {
			return false, err
		}
		sum := h()
		if len(b) < sum.Size() || !salted && len(b) != sum.Size() {
			return false, fmt.Errorf("%w: hash of %d bytes", ErrScheme, len(b))
		}
		sum.Write([]byte(password))
		sum.Write(b[sum.Size():])
		return equal(sum.Sum(nil), b[:sum.Size()]), nil
	}
}

// pbkdf2SHA1 is Dovecot's {PBKDF2}$1$salt$rounds$hex.
func pbkdf2SHA1(password, data, _ string) (bool, error) {
	f := strings.Split(data, "$")
	if len(f) != 5 || f[1] != "1" {
		return false, fmt.Errorf("%w: PBKDF2 form", ErrScheme)
	}
	rounds, err := strconv.Atoi(f[3])
	if err != nil || rounds < 1 || rounds > 10_000_000 {
		return false, fmt.Errorf("%w: PBKDF2 rounds %.20s", ErrScheme, f[3])
	}
	want, err := hex.DecodeString(f[4])
	if err != nil {
		return false, err
	}
	return equal(pbkdf2.Key([]byte(password), []byte(f[2]), rounds, len(want), sha1.New), want), nil
}

// A SCRAM is what a server stores for SCRAM (RFC 5802 §3).
type SCRAM struct {
	Salt                 []byte
	Iterations           int
	StoredKey, ServerKey []byte
}

// ParseSCRAM reads {SCRAM-SHA-256}iterations,salt,stored key,server key, all
// but the first in base64, as Dovecot stores them.
func ParseSCRAM(stored string) (scheme string, s SCRAM, err error) {
	scheme, data := split(stored)
	if scheme != "SCRAM-SHA-1" && scheme != "SCRAM-SHA-256" {
		return scheme, s, fmt.Errorf("%w: %.30s has no SCRAM keys", ErrScheme, scheme)
	}
	f := strings.Split(data, ",")
	if len(f) != 4 {
		return scheme, s, fmt.Errorf("%w: SCRAM form", ErrScheme)
	}
	if s.Iterations, err = strconv.Atoi(f[0]); err != nil || s.Iterations < 1 || s.Iterations > 10_000_000 {
		return scheme, s, fmt.Errorf("%w: SCRAM iterations %.20s", ErrScheme, f[0])
	}
	for i, b := range []*[]byte{&s.Salt, &s.StoredKey, &s.ServerKey} {
		if *b, err = base64.StdEncoding.DecodeString(f[i+1]); err != nil {
			return scheme, s, fmt.Errorf("%w: SCRAM form: %v", ErrScheme, err)
		}
	}
	return scheme, s, nil
}

// NewSCRAM makes the keys of a password for SCRAM-SHA-1 or SCRAM-SHA-256.
func NewSCRAM(scheme, password string, salt []byte, iterations int) SCRAM {
	h := sha256.New
	if scheme == "SCRAM-SHA-1" {
		h = sha1.New
	}
	salted := pbkdf2.Key([]byte(password), salt, iterations, h().Size(), h)
	mac := func(key []byte, text string) []byte {
		m := hmac.New(h, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	sum := h()
	sum.Write(mac(salted, "Client Key"))
	return SCRAM{Salt: salt, Iterations: iterations, StoredKey: sum.Sum(nil), ServerKey: mac(salted, "Server Key")}
}

// scramKeys checks a password against stored SCRAM keys.
func scramKeys(h func() hash.Hash) checker {
	scheme := "SCRAM-SHA-256"
	if h().Size() == sha1.Size {
		scheme = "SCRAM-SHA-1"
	}
	return func(password, data, _ string) (bool, error) {
		_, s, err := ParseSCRAM("{" + scheme + "}" + data)
		if err != nil {
			return false, err
		}
		return equal(NewSCRAM(scheme, password, s.Salt, s.Iterations).StoredKey, s.StoredKey), nil
	}
}
