package main

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// A digest is what is kept of a message so that its file need not be read
// again: ready bytes, and headers for SEARCH, SORT and THREAD.
type digest struct {
	level     digestLevel
	headers   [len(digestHeaders)]string // raw values, joined; "\x00" means that there is none
	envelope  []byte
	body      []byte
	structure []byte
	preview   string
	wire      int64
}

// A digestLevel says how much of a message was read.
type digestLevel uint8

const (
	digestHeader digestLevel = 1 + iota
	digestFull
)

// digestHeaders are the headers that a digest has.
var digestHeaders = [...]string{"from", "to", "cc", "bcc", "subject", "date", "message-id", "in-reply-to", "references"}

// The places of headers in a digest.
const (
	headFrom = iota
	headTo
	headCc
	headBcc
	headSubject
	headDate
	headMessageID
	headInReplyTo
	headReferences
)

const noHeader = "\x00"

// maxDigests bounds the bytes of digests that a mailbox keeps in memory.
const maxDigests = 8 << 20

// maxDigest bounds one digest that is kept.
const maxDigest = 256 << 10

func newDigest(p *part, level digestLevel) *digest {
	d := &digest{level: level, envelope: appendEnvelope(nil, p)}
	for i, name := range digestHeaders {
		if _, given := p.get(name); !given {
			d.headers[i] = noHeader
			continue
		}
		d.headers[i] = p.all(name)
		if i == headSubject || i == headDate {
			d.headers[i], _ = p.last(name)
		}
	}
	return d
}

// header is a raw header value, "" when it is missing.
func (d *digest) header(i int) string {
	if d.headers[i] == noHeader {
		return ""
	}
	return d.headers[i]
}

func (d *digest) size() int {
	n := 200 + len(d.envelope) + len(d.body) + len(d.structure) + len(d.preview)
	for _, h := range d.headers {
		n += len(h)
	}
	return n
}

// digest gets the digest of a message: from memory, the index, or its file.
func (s *session) digest(m *message, level digestLevel) (*digest, error) {
	h := s.hub
	h.mu.Lock()
	if m.digest == nil && !m.gone {
		if d := h.index.digest(m.uid); d != nil {
			h.keepDigest(m, d)
		}
	}
	if d := m.digest; d != nil && d.level >= level {
		h.mu.Unlock()
		return d, nil
	}
	f, err := h.box.OpenItem(m.item)
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	defer f.Close() // it is only read
	d, err := makeDigest(f, level)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.level == digestFull {
		m.item.SetWire(d.wire)
	}
	if !m.gone && d.size() <= maxDigest {
		h.keepDigest(m, d)
		h.index.keep(m.uid, d)
	}
	return d, nil
}

func makeDigest(f *os.File, level digestLevel) (*digest, error) {
	if level == digestHeader {
		p, err := parseHeader(f)
		if err != nil {
			return nil, err
		}
		return newDigest(p, level), nil
	}
	p, err := parseMessage(f)
	if err != nil {
		return nil, err
	}
	d := newDigest(p, level)
	d.body, d.structure = appendStructure(nil, p, plainForm), appendStructure(nil, p, withExtension)
	d.wire = p.head.wire + p.body.wire
	if d.preview, err = p.preview(f); errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // malformed: what could be read is enough
	}
	return d, err
}

// keepDigest keeps a digest in memory. The lock is held.
func (h *hub) keepDigest(m *message, d *digest) {
	h.dropDigest(m)
	if h.digests += d.size(); h.digests > maxDigests {
		for _, x := range h.msgs {
			x.digest = nil
		}
		h.digests = d.size()
	}
	m.digest = d
}

func (h *hub) dropDigest(m *message) {
	if m.digest != nil {
		h.digests -= m.digest.size()
		m.digest = nil
	}
}

// wireSize is a message's RFC822.SIZE: from its file name, or by reading it.
func (s *session) wireSize(m *message) (int64, error) {
	s.hub.mu.Lock()
	n := m.item.Wire
	s.hub.mu.Unlock()
	if n >= 0 {
		return n, nil
	}
	d, err := s.digest(m, digestFull)
	if err != nil {
		return 0, err
	}
	return d.wire, nil
}

// digestVersion is the form of encode.
const digestVersion = 1

// encode writes a digest for the index: a version, the level, the size, and
// the texts, each with its length before it.
func (d *digest) encode() []byte {
	b := []byte{digestVersion, byte(d.level)}
	b = binary.AppendUvarint(b, uint64(d.wire))
	add := func(s []byte) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	for _, h := range d.headers {
		add([]byte(h))
	}
	add(d.envelope)
	add(d.body)
	add(d.structure)
	add([]byte(d.preview))
	return b
}

// decodeDigest reads what encode wrote; nil when it is something else.
func decodeDigest(b []byte) *digest {
	if len(b) < 2 || b[0] != digestVersion || b[1] != byte(digestHeader) && b[1] != byte(digestFull) {
		return nil
	}
	d := &digest{level: digestLevel(b[1])}
	wire, n := binary.Uvarint(b[2:])
	if n <= 0 {
		return nil
	}
	d.wire, b = int64(wire), b[2+n:]
	whole := true
	take := func() []byte {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			whole = false
			return nil
		}
		text := append([]byte(nil), b[n:n+int(size)]...)
		b = b[n+int(size):]
		return text
	}
	for i := range d.headers {
		d.headers[i] = string(take())
	}
	d.envelope, d.body, d.structure, d.preview = take(), take(), take(), string(take())
	if !whole || len(b) != 0 {
		return nil
	}
	return d
}
