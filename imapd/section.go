package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// A section is a piece of a message that FETCH asks for: BODY[...]<...>
// (RFC 3501 §6.4.5), BINARY[...] (RFC 3516 §4.2).
type section struct {
	label   string // what stands before the data in the response
	path    []int
	what    wanted
	fields  []string // of HEADER.FIELDS, in capitals
	peek    bool
	form    sectionForm
	partial bool
	offset  int64
	length  int64
}

type wanted uint8

const (
	wantAll wanted = iota
	wantHeader
	wantText
	wantMIME
	wantFields
	wantFieldsNot
)

type sectionForm uint8

const (
	rawForm sectionForm = iota
	binaryForm
	binarySize
)

// Bounds of a section.
const (
	maxPath   = 64
	maxFields = 1000
)

// parseSection takes "[...]" and a partial range.
func parseSection(p *parser, name string) *section {
	x := &section{}
	p.want('[')
	var path []string
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		n := p.number()
		if n == 0 || len(path) >= maxPath {
			p.fail("Invalid section")
		}
		path, x.path = append(path, strconv.Itoa(int(n))), append(x.path, int(min(n, 1<<30)))
		if !p.is('.') {
			break
		}
	}
	label := strings.Join(path, ".")
	if c := p.peek(); c != ']' && p.err == nil {
		if label != "" {
			label += "."
		}
		label += x.parseWhat(p)
	}
	p.want(']')
	x.label = name + "[" + label + "]"
	if p.peek() == '<' && name != "BINARY.SIZE" {
		p.skip()
		x.partial = true
		x.offset = p.number64()
		p.want('.')
		x.length = p.number64()
		p.want('>')
		x.label += "<" + strconv.FormatInt(x.offset, 10) + ">"
	}
	return x
}

// parseWhat takes HEADER, TEXT, MIME or HEADER.FIELDS.
func (x *section) parseWhat(p *parser) string {
	word := p.word()
	switch word {
	case "HEADER":
		x.what = wantHeader
	case "TEXT":
		x.what = wantText
	case "MIME":
		if x.what = wantMIME; len(x.path) == 0 {
			p.fail("Invalid section")
		}
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		if x.what = wantFields; word != "HEADER.FIELDS" {
			x.what = wantFieldsNot
		}
		p.sp()
		var names []string
		p.list(func() {
			if len(names) >= maxFields {
				p.fail("Too many fields")
			}
			n := strings.ToUpper(p.astring())
			names, x.fields = append(names, astr(n)), append(x.fields, n)
		})
		word += " (" + strings.Join(names, " ") + ")"
	default:
		p.fail("Invalid section %s", word)
	}
	return word
}

// locate finds the part that a path names, or nil.
func (root *part) locate(path []int) *part {
	here := root
	var found *part
	for _, k := range path {
		switch {
		case here == nil:
			return nil
		case here.main == "multipart" && len(here.parts) > 0:
			if k > len(here.parts) {
				return nil
			}
			found = here.parts[k-1]
		case k == 1:
			found = here
		default:
			return nil
		}
		here = nil
		if found.main == "multipart" {
			here = found
		} else if found.inner != nil {
			here = found.inner
		}
	}
	return found
}

// pieces are the stretches of the file that make up a section; ok is false
// when there is no such section. A blank line of our own ends selected header
// fields.
func (x *section) pieces(root *part) (list []stretch, blank, ok bool) {
	p := root
	if len(x.path) > 0 {
		if p = root.locate(x.path); p == nil {
			return nil, false, false
		}
		switch x.what {
		case wantAll:
			return []stretch{p.body}, false, true
		case wantMIME:
			return []stretch{p.head}, false, true
		}
		if p = p.inner; p == nil {
			return nil, false, false
		}
	}
	switch x.what {
	case wantAll:
		return []stretch{p.head, p.body}, false, true
	case wantHeader:
		return []stretch{p.head}, false, true
	case wantText:
		return []stretch{p.body}, false, true
	}
	for i := range p.fields {
		named := false
		for _, n := range x.fields {
			named = named || strings.EqualFold(n, p.fields[i].name)
		}
		if named == (x.what == wantFields) {
			list = append(list, p.fields[i].raw)
		}
	}
	return list, true, true
}

// A source is a message that is fetched: what is known, and its open file.
type source struct {
	*session
	m      *message
	f      *os.File
	tree   *part
	digest *digest
	date   int64
	wire   int64
}

func (x *source) close() {
	if x.f != nil {
		x.f.Close() // it was only read
	}
}

// ready gets all that some items need, so that nothing can be missing once the
// answer has begun. fs.ErrNotExist means that the message is gone.
func (x *source) ready(items []fetchItem) (err error) {
	for _, it := range items {
		switch it.kind {
		case fetchDate:
			x.hub.mu.Lock()
			x.date, err = x.hub.internalDate(x.m)
			x.hub.mu.Unlock()
		case fetchSize:
			x.wire, err = x.wireSize(x.m)
		case fetchEnvelope:
			err = x.need(digestHeader)
		case fetchBody, fetchStructure, fetchPreview:
			err = x.need(digestFull)
		case fetchSection:
			err = x.open()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *source) need(level digestLevel) (err error) {
	if x.digest == nil || x.digest.level < level {
		x.digest, err = x.session.digest(x.m, level)
	}
	return err
}

// open opens the file and finds its structure.
func (x *source) open() (err error) {
	if x.f != nil {
		return nil
	}
	x.hub.mu.Lock()
	x.f, err = x.hub.box.OpenItem(x.m.item)
	x.hub.mu.Unlock()
	if err != nil {
		return err
	}
	x.tree, err = parseMessage(x.f)
	if err == nil {
		x.hub.mu.Lock()
		x.m.item.SetWire(x.tree.head.wire + x.tree.body.wire) // what a file name says may be wrong
		x.hub.mu.Unlock()
	}
	return err
}

// send writes a section.
func (x *source) send(want *section) error {
	x.out.WriteString(want.label) // the error sticks
	x.out.WriteByte(' ')          // as above
	if want.form != rawForm {
		return x.sendBinary(want)
	}
	list, blank, ok := want.pieces(x.tree)
	if !ok {
		x.out.WriteString("NIL") // as above
		return nil
	}
	var readers []io.Reader
	total := int64(0)
	for _, t := range list {
		total += t.wire
		readers = append(readers, openWire(x.f, t))
	}
	if blank {
		total += 2
		readers = append(readers, strings.NewReader("\r\n"))
	}
	return x.literal(io.MultiReader(readers...), want, total, "{")
}

// literal writes the part of a section that was asked for.
func (x *source) literal(r io.Reader, want *section, total int64, open string) error {
	skip := int64(0)
	if want.partial {
		skip = min(want.offset, total)
		total = min(total-skip, want.length)
	}
	fmt.Fprintf(x.out, "%s%d}\r\n", open, total) // the error sticks
	_, err := io.CopyN(io.Discard, r, skip)
	if err == nil {
		_, err = io.CopyN(x.out, r, total)
	}
	if err != nil { // the client was promised more: only the end of the connection says so
		x.log.Warning("imap(%s): message %d: %v", x.user.name, x.m.uid, err)
		x.leaving = true
		x.conn.Close() // it is of no use
		return nil
	}
	return nil
}

// sendBinary writes a decoded part, or its size (RFC 3516).
func (x *source) sendBinary(want *section) error {
	read := func() (io.Reader, error) {
		if len(want.path) == 0 {
			return io.MultiReader(openWire(x.f, x.tree.head), openWire(x.f, x.tree.body)), nil
		}
		p := x.tree.locate(want.path)
		if p == nil {
			return nil, os.ErrNotExist
		}
		if len(p.parts) > 0 || p.inner != nil {
			return openWire(x.f, p.body), nil
		}
		return p.decoded(x.f)
	}
	r, err := read()
	if err != nil {
		if want.form == binarySize {
			x.out.WriteByte('0') // as above
		} else {
			x.out.WriteString("NIL") // as above
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	c := &binaryCounter{}
	if _, err := io.Copy(c, r); err != nil {
		return err
	}
	if want.form == binarySize {
		fmt.Fprintf(x.out, "%d", c.n) // as above
		return nil
	}
	if r, err = read(); err != nil {
		return err
	}
	open := "{"
	if c.nul {
		open = "~{"
	}
	return x.literal(r, want, c.n, open)
}

// binaryCounter counts bytes and looks for NUL.
type binaryCounter struct {
	n   int64
	nul bool
}

func (c *binaryCounter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	c.nul = c.nul || strings.IndexByte(string(p), 0) >= 0
	return len(p), nil
}
