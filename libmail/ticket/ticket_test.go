package ticket

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	k, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Open(path) // the other process reads the same file
	if err != nil {
		t.Fatal(err)
	}
	want := Ticket{User: "alice@example.com", Service: "imap", Session: "7"}
	text := k.Sign(want)
	if got, err := other.Check(text, "7"); got != want || err != nil {
		t.Fatalf("got %v, %v", got, err)
	}
	stranger, err := Open(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	late := &Key{secret: k.secret, used: map[string]int64{}, now: func() time.Time { return time.Now().Add(2 * Life) }}
	parts := strings.Split(k.Sign(want), ".")
	parts[0] = b64.EncodeToString([]byte("root"))
	for rule, try := range map[string]func() (Ticket, error){
		"a ticket is good once":              func() (Ticket, error) { return other.Check(text, "7") },
		"a ticket is for one session":        func() (Ticket, error) { return other.Check(k.Sign(want), "8") },
		"a ticket of another key is refused": func() (Ticket, error) { return other.Check(stranger.Sign(want), "7") },
		"an old ticket is refused":           func() (Ticket, error) { return late.Check(k.Sign(want), "7") },
		"a changed ticket is refused":        func() (Ticket, error) { return other.Check(strings.Join(parts, "."), "7") },
		"an empty ticket is refused":         func() (Ticket, error) { return other.Check("", "7") },
	} {
		if got, err := try(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, %v", rule, got, err)
		}
	}
}

func TestKeyThatOthersCanReadIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if _, err := Open(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Error("taken")
	}
}

func FuzzCheck(f *testing.F) {
	k := &Key{secret: make([]byte, keySize), now: time.Now, used: map[string]int64{}}
	f.Add(k.Sign(Ticket{"a", "b", "c"}))
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := k.Check(text, "x"); err == nil {
			t.Errorf("%q gives %v", text, got)
		}
	})
}
