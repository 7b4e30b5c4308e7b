package table

import (
	"sort"
	"strings"
)

// findTree looks a stored key up in a btree file.
func (b *bdb) findTree(key string) (value string, found bool, err error) {
	page := b.meta.root
	for depth := 0; depth < maxDepth; depth++ {
		p, err := b.page(page)
		if err != nil {
			return "", false, err
		}
		switch p.kind() {
		case pageLeaf:
			return b.findLeaf(p, key)
		case pageInternal:
			if page, err = b.child(p, key); err != nil {
				return "", false, err
			}
		default:
			return "", false, errDamaged
		}
	}
	return "", false, errDamaged
}

// child is the page below p whose keys may include key: that of the last
// entry that is not greater. The first entry is less than every key.
func (b *bdb) child(p bdbPage, key string) (uint32, error) {
	n := p.entries()
	if n == 0 {
		return 0, errDamaged
	}
	var failed error
	i := 1 + sort.Search(n-1, func(i int) bool {
		order, err := b.compareInternal(p, i+1, key)
		if err != nil {
			failed = err
		}
		return order > 0
	})
	off := p.offset(i - 1)
	if failed != nil || off+12 > b.size {
		return 0, errDamaged
	}
	return b.order.Uint32(p.b[off+4:]), nil
}

// compareInternal compares the key of an entry of an internal page with key:
// length[2] type[1] - pgno records data.
func (b *bdb) compareInternal(p bdbPage, i int, key string) (int, error) {
	off := p.offset(i)
	if off+12 > b.size {
		return 0, errDamaged
	}
	n := int(b.order.Uint16(p.b[off:]))
	if off+12+n > b.size {
		return 0, errDamaged
	}
	data := p.b[off+12 : off+12+n]
	switch p.b[off+2] &^ itemDeleted {
	case itemData:
		return compare(data, key), nil
	case itemOffPage:
		if len(data) >= 12 {
			have, err := b.overflow(b.order.Uint32(data[4:]), b.order.Uint32(data[8:]))
			return strings.Compare(have, key), err
		}
	}
	return 0, errDamaged
}

// compare is strings.Compare without making a string.
func compare(have []byte, key string) int {
	switch {
	case string(have) < key:
		return -1
	case string(have) > key:
		return 1
	}
	return 0
}

// findLeaf looks a key up in a leaf page, whose entries are key and value in
// turn, in order.
func (b *bdb) findLeaf(p bdbPage, key string) (string, bool, error) {
	n := p.entries() / 2
	var failed error
	i := sort.Search(n, func(i int) bool {
		order, err := b.compareLeaf(p, 2*i, key)
		if err != nil {
			failed = err
		}
		return order >= 0
	})
	if failed != nil || i == n {
		return "", false, failed
	}
	order, err := b.compareLeaf(p, 2*i, key)
	if err != nil || order != 0 || b.deleted(p, 2*i+1) {
		return "", false, err
	}
	value, err := b.leafItem(p, 2*i+1)
	return value, err == nil, err
}

// compareLeaf compares an item with key.
func (b *bdb) compareLeaf(p bdbPage, i int, key string) (int, error) {
	off := p.offset(i)
	if off+3 <= b.size && p.b[off+2]&^itemDeleted == itemData {
		if n := int(b.order.Uint16(p.b[off:])); off+3+n <= b.size {
			return compare(p.b[off+3:off+3+n], key), nil
		}
	}
	have, err := b.leafItem(p, i)
	return strings.Compare(have, key), err
}

func (b *bdb) deleted(p bdbPage, i int) bool {
	off := p.offset(i)
	return off+3 <= b.size && p.b[off+2]&itemDeleted != 0
}

// leafItem is a key or value.
func (b *bdb) leafItem(p bdbPage, i int) (string, error) {
	off := p.offset(i)
	if off+3 > b.size {
		return "", errDamaged
	}
	n := int(b.order.Uint16(p.b[off:]))
	switch p.b[off+2] &^ itemDeleted {
	case itemData:
		if off+3+n <= b.size {
			return string(p.b[off+3 : off+3+n]), nil
		}
	case itemOffPage:
		if off+12 <= b.size {
			return b.overflow(b.order.Uint32(p.b[off+4:]), b.order.Uint32(p.b[off+8:]))
		}
	}
	return "", errDamaged // also duplicates, which postmap never makes
}

// walkTree lists all pairs in the order of their keys.
func (b *bdb) walkTree(fn func(key, value string) error) error {
	page := b.meta.root
	p, err := b.page(page)
	for depth := 0; err == nil && p.kind() == pageInternal && depth < maxDepth; depth++ {
		off := b.size
		if p.entries() > 0 {
			off = p.offset(0)
		}
		if off+12 > b.size {
			return errDamaged
		}
		page = b.order.Uint32(p.b[off+4:])
		p, err = b.page(page)
	}
	for n := uint32(0); err == nil; n++ {
		if p.kind() != pageLeaf || n > b.pages {
			return errDamaged
		}
		for i := 0; i+1 < p.entries(); i += 2 {
			if b.deleted(p, i+1) {
				continue
			}
			key, err := b.leafItem(p, i)
			if err != nil {
				return err
			}
			value, err := b.leafItem(p, i+1)
			if err == nil {
				err = fn(b.cut(key), b.cut(value))
			}
			if err != nil {
				return err
			}
		}
		if page = p.next(); page == 0 {
			return nil
		}
		p, err = b.page(page)
	}
	return err
}
