package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"postroad/libmail/conf"
)

// A cache keeps text by address. An address that it does not have is "".
type cache interface {
	get(key string) (string, error)
	put(key, text string) error
	remove(key string) error
	// clean removes what keep refuses, and remembers the time.
	clean(ctx context.Context, now time.Time, keep func(text string) bool) (retained, dropped int, err error)
	cleaned() (time.Time, error) // when clean ended last; zero: never
	close() error
	String() string // for the log
}

// cachePath is the file of the cache, or "" for memory. A path in a folder of
// somebody else's is redirected to data_directory: whoever owns a folder has
// a say in what a file in it holds.
func cachePath(c *conf.Config, uid int, warn func(format string, args ...any)) (string, error) {
	spec := c.String("address_verify_map")
	if spec == "" {
		return "", nil
	}
	_, path, ok := strings.Cut(spec, ":")
	if !ok {
		path = spec
	}
	if path == "" {
		return "", fmt.Errorf("address_verify_map: no file name in %q", spec)
	}
	path += ".bbolt"
	data := c.String("data_directory")
	fi, err := os.Stat(filepath.Dir(path))
	if err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) != uid {
			warn("request to update table %s in non-%s directory %s", spec, c.String("mail_owner"), filepath.Dir(path))
			warn("redirecting the request to %s-owned data_directory %s", c.String("mail_owner"), data)
			path = filepath.Join(data, filepath.Base(path))
		}
	}
	return path, nil
}

// openCache opens the cache at path, or in memory.
func openCache(path string, warn func(format string, args ...any)) (cache, error) {
	if path == "" {
		return &memory{entries: map[string]string{}}, nil
	}
	db, err := openBolt(path)
	if errors.Is(err, bbolt.ErrInvalid) || errors.Is(err, bbolt.ErrChecksum) || errors.Is(err, bbolt.ErrVersionMismatch) {
		warn("verify cache %s is damaged: %v -- starting a new one", path, err)
		if err = os.Rename(path, path+".damaged"); err == nil {
			db, err = openBolt(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open verify cache %s: %w", path, err)
	}
	return &file{db: db, path: path}, nil
}

// lockTime is how long the verify process before this one may take to end.
const lockTime = 30 * time.Second

func openBolt(path string) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTime, NoFreelistSync: true})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{entriesBucket, metaBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// file is a cache in a bbolt file: bucket "addresses" of text by address, and
// bucket "meta" with the time of the last cleanup.
type file struct {
	db   *bbolt.DB
	path string
}

var (
	entriesBucket = []byte("addresses")
	metaBucket    = []byte("meta")
	cleanedKey    = []byte("cleaned")
)

func (f *file) String() string { return f.path }

func (f *file) fail(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("verify cache %s: %w", f.path, err)
}

func (f *file) get(key string) (text string, err error) {
	err = f.db.View(func(tx *bbolt.Tx) error {
		text = string(tx.Bucket(entriesBucket).Get([]byte(key)))
		return nil
	})
	return text, f.fail(err)
}

func (f *file) put(key, text string) error {
	return f.fail(f.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(entriesBucket).Put([]byte(key), []byte(text))
	}))
}

func (f *file) remove(key string) error {
	return f.fail(f.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(entriesBucket).Delete([]byte(key))
	}))
}

// step is how many entries clean looks at in one transaction, so that queries
// do not wait long.
const step = 1000

func (f *file) clean(ctx context.Context, now time.Time, keep func(text string) bool) (retained, dropped int, err error) {
	for from := []byte(nil); err == nil; {
		if ctx.Err() != nil {
			return retained, dropped, ctx.Err()
		}
		var last []byte
		err = f.db.Update(func(tx *bbolt.Tx) error {
			c := tx.Bucket(entriesBucket).Cursor()
			var drop [][]byte
			n := 0
			for k, v := c.Seek(from); k != nil && n < step; k, v = c.Next() {
				if last = append([]byte(nil), k...); keep(string(v)) {
					retained++
				} else {
					drop = append(drop, last)
				}
				n++
			}
			for _, k := range drop {
				if err := tx.Bucket(entriesBucket).Delete(k); err != nil {
					return err
				}
			}
			dropped += len(drop)
			return nil
		})
		if last == nil {
			break
		}
		from = append(last, 0) // the first key after it
	}
	if err == nil {
		err = f.db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket(metaBucket).Put(cleanedKey, []byte(now.Format(time.RFC3339)))
		})
	}
	return retained, dropped, f.fail(err)
}

func (f *file) cleaned() (at time.Time, err error) {
	err = f.db.View(func(tx *bbolt.Tx) error {
		// What is no time means "never".
		at, _ = time.Parse(time.RFC3339, string(tx.Bucket(metaBucket).Get(cleanedKey)))
		return nil
	})
	return at, f.fail(err)
}

func (f *file) close() error {
	if err := f.db.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return f.fail(err)
	}
	return nil
}

// memory is a cache that ends with the process.
type memory struct {
	mu      sync.Mutex
	entries map[string]string
	last    time.Time
}

func (m *memory) String() string { return "internal:verify" }

func (m *memory) get(key string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries[key], nil
}

func (m *memory) put(key, text string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries[key] = text
	return nil
}

func (m *memory) remove(key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, key)
	return nil
}

func (m *memory) clean(_ context.Context, now time.Time, keep func(text string) bool) (retained, dropped int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, text := range m.entries {
		if keep(text) {
			retained++
		} else {
			delete(m.entries, key)
			dropped++
		}
	}
	m.last = now
	return retained, dropped, nil
}

func (m *memory) cleaned() (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, nil
}

func (m *memory) close() error { return nil }
