package table

import (
	"errors"
	"math/bits"
)

// bucketPage is the first page of a bucket: buckets are doubled in steps, and
// each step's pages stand together.
func (m *hashMeta) bucketPage(bucket uint32) uint32 {
	return bucket + m.spares[bits.Len32(bucket)]
}

// bucketOf is the bucket of a key (linear hashing).
func (m *hashMeta) bucketOf(key string) uint32 {
	bucket := hashBytes(key) & m.highMask
	if bucket > m.maxBucket {
		bucket &= m.lowMask
	}
	return bucket
}

// findHash looks a stored key up in a hash file.
func (b *bdb) findHash(key string) (value string, found bool, err error) {
	err = b.chain(b.meta.bucketPage(b.meta.bucketOf(key)), func(p bdbPage) (bool, error) {
		for i := 0; i+1 < p.entries(); i += 2 {
			same, err := b.sameHashItem(p, i, key)
			if err != nil {
				return false, err
			}
			if same {
				value, err = b.hashItem(p, i+1)
				found = err == nil
				return true, err
			}
		}
		return false, nil
	})
	return value, found, err
}

// chain calls fn with the pages of a bucket until it says stop.
func (b *bdb) chain(page uint32, fn func(p bdbPage) (stop bool, err error)) error {
	for n := uint32(0); page != 0; n++ {
		if n > b.pages {
			return errDamaged // a ring
		}
		if page >= b.pages && page <= b.last {
			return nil
		}
		p, err := b.page(page)
		if errors.Is(err, errBlank) {
			return nil
		}
		if err != nil {
			return err
		}
		if k := p.kind(); k != pageHash && k != pageUnsorted {
			return errDamaged
		}
		page = p.next()
		if stop, err := fn(p); stop || err != nil {
			return err
		}
	}
	return nil
}

// rawHashItem is the bytes of item i: items grow down from the end of the page.
func (b *bdb) rawHashItem(p bdbPage, i int) ([]byte, error) {
	end := b.size
	if i > 0 {
		end = p.offset(i - 1)
	}
	start := p.offset(i)
	if start >= end {
		return nil, errDamaged
	}
	return p.b[start:end], nil
}

// hashItem is a key or value.
func (b *bdb) hashItem(p bdbPage, i int) (string, error) {
	raw, err := b.rawHashItem(p, i)
	if err != nil {
		return "", err
	}
	switch {
	case raw[0] == itemData:
		return string(raw[1:]), nil
	case raw[0] == itemOffPage && len(raw) >= 12:
		return b.overflow(b.order.Uint32(raw[4:]), b.order.Uint32(raw[8:]))
	}
	return "", errDamaged // also duplicates, which postmap never makes
}

// sameHashItem compares without making a string.
func (b *bdb) sameHashItem(p bdbPage, i int, key string) (bool, error) {
	raw, err := b.rawHashItem(p, i)
	if err != nil {
		return false, err
	}
	if raw[0] == itemData {
		return string(raw[1:]) == key, nil
	}
	if len(raw) < 12 || b.order.Uint32(raw[8:]) != uint32(len(key)) {
		return false, nil
	}
	have, err := b.hashItem(p, i)
	return have == key, err
}

// walkHash lists all pairs.
func (b *bdb) walkHash(fn func(key, value string) error) error {
	for bucket := uint32(0); bucket <= b.meta.maxBucket; bucket++ {
		err := b.chain(b.meta.bucketPage(bucket), func(p bdbPage) (bool, error) {
			for i := 0; i+1 < p.entries(); i += 2 {
				key, err := b.hashItem(p, i)
				if err != nil {
					return false, err
				}
				value, err := b.hashItem(p, i+1)
				if err == nil {
					err = fn(b.cut(key), b.cut(value))
				}
				if err != nil {
					return false, err
				}
			}
			return false, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
