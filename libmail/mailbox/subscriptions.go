package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The list of subscriptions is Dovecot's, version 2: a header, an empty line,
// and one mailbox a line, its levels divided by tabs.
//
//	V	2
//
//	INBOX
//	Lists	go
const (
	subscriptionsName   = "subscriptions"
	subscriptionsHeader = "V\t2\n\n"
	subscriptionsLimit  = 4 << 20 // bytes
	subscriptionStale   = 30 * time.Second
)

var (
	tabEscape   = strings.NewReplacer("\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n")
	tabUnescape = strings.NewReplacer("\x011", "\x01", "\x01t", "\t", "\x01r", "\r", "\x01n", "\n")
)

// Subscriptions lists the mailboxes that the user subscribed to; they may be
// gone. A list without a header has one name a line.
func (t *Tree) Subscriptions() ([]string, error) {
	data, err := readSmall(filepath.Join(t.root, subscriptionsName), subscriptionsLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	text, second := strings.CutPrefix(string(data), "V\t2\n")
	var names []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if second {
			line = tabUnescape.Replace(strings.ReplaceAll(line, "\t", Separator))
		}
		if line != "" {
			names = append(names, line)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Subscribe adds mailboxes to the list, durably.
func (t *Tree) Subscribe(names ...string) error {
	return t.changeSubscriptions(func(list []string) []string { return append(list, names...) })
}

// Unsubscribe takes a mailbox off the list; one that is not there is no error.
func (t *Tree) Unsubscribe(name string) error {
	return t.changeSubscriptions(func(list []string) []string {
		return slices.DeleteFunc(list, func(n string) bool { return n == name })
	})
}

func (t *Tree) changeSubscriptions(change func([]string) []string) error {
	path := filepath.Join(t.root, subscriptionsName)
	unlock, err := lockSubscriptions(path+".lock", subscriptionStale)
	if err != nil {
		return err
	}
	defer unlock()
	list, err := t.Subscriptions()
	if err != nil {
		return err
	}
	list = change(list)
	slices.Sort(list)
	var b strings.Builder
	b.WriteString(subscriptionsHeader)
	for _, n := range slices.Compact(list) {
		levels := strings.Split(n, Separator)
		for i, l := range levels {
			levels[i] = tabEscape.Replace(l)
		}
		b.WriteString(strings.Join(levels, "\t") + "\n")
	}
	return replaceFile(path, b.String())
}

// lockSubscriptions takes a lock file.
func lockSubscriptions(path string, stale time.Duration) (unlock func(), err error) {
	deadline := time.Now().Add(lockTimeout)
	for {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
		if err == nil {
			_, err = fmt.Fprintf(f, "%d", os.Getpid())
			if err = errors.Join(err, f.Close()); err != nil {
				_ = os.Remove(path) // the error above says more
				return nil, err
			}
			return func() { _ = os.Remove(path) }, nil // a leftover is broken when it is stale
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if st, e := os.Lstat(path); e == nil && time.Since(st.ModTime()) > stale {
			_ = os.Remove(path) // whoever comes first makes it anew
			continue
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s: %w", path, ErrLocked)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
