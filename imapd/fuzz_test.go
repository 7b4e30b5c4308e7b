package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func FuzzParser(f *testing.F) {
	for _, s := range []string{"a b (c \"d\\\"\" {3}\r\nefg (h))\r\n", "1:*,3:2,$ x\r\n", "~{5}\r\n", "{3+}\r\nabc\r\n", "(\\Seen $x) FLAGS\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for way := range 6 {
			p := &parser{in: bufio.NewReaderSize(bytes.NewReader(data), 64), line: 4096, literal: 512, proceed: func() error { return nil }}
			p.begin()
			switch way {
			case 0:
				for p.err == nil && !p.atEnd() {
					p.astring()
					p.is(' ')
				}
			case 1:
				s := p.set()
				for i, r := range s.normal(100) {
					if r.first > r.last || r.first == 0 {
						t.Errorf("span %d of %q: %v", i, data, r)
					}
				}
			case 2:
				p.flags()
			case 3:
				x := &fetching{session: &session{}}
				x.parseItems(p)
			case 4:
				k := &keyParser{parser: p, s: &session{}, convert: strings.ToLower}
				k.keys()
			case 5:
				parseID(p)
			}
			p.end()
			var wrong syntaxError
			if errors.As(p.err, &wrong) {
				_ = p.recover() // whatever it says, it must come back
			}
			if p.used > 4096+maxAtom+1 {
				t.Errorf("took %d bytes", p.used)
			}
		}
	})
}

// FuzzStructure looks at the sizes of parts: each lies within its parent, and
// what is read has the length that was announced.
func FuzzStructure(f *testing.F) {
	f.Add([]byte("Content-Type: multipart/mixed; boundary=a\n\n--a\n\nx\n--a\nContent-Type: message/rfc822\n\nFrom: x\n\ny\n--a--\n"))
	f.Add([]byte("Content-Type: multipart/digest; boundary=\"a b\"\r\n\r\n--a b\r\n\r\n--a b--"))
	f.Add([]byte("From: a: b <c@d>, e;, \"x\" (y)\nContent-Transfer-Encoding: base64\n\nAAAA=\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseMessage(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if p.head.from != 0 || max(p.head.to, p.body.to) != int64(len(data)) {
			t.Errorf("%q: the message is %d to %d", data, p.head.from, p.body.to)
		}
		checkPart(t, data, p, 0)
		appendStructure(nil, p, withExtension)
		appendEnvelope(nil, p)
		if _, err := p.preview(bytes.NewReader(data)); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	})
}

func checkPart(t *testing.T, data []byte, p *part, depth int) {
	for _, x := range []stretch{p.head, p.body} {
		got, err := io.ReadAll(openWire(bytes.NewReader(data), x))
		if err != nil || int64(len(got)) != x.wire {
			t.Errorf("%q: depth %d: stretch %+v has %d bytes: %q, %v", data, depth, x, len(got), got, err)
		}
	}
	for _, c := range append(p.parts, p.inner) {
		if c == nil {
			continue
		}
		if c.head.from < p.body.from || max(c.body.to, c.head.to) > p.body.to {
			t.Errorf("%q: part %+v %+v outside of %+v", data, c.head, c.body, p.body)
		}
		checkPart(t, data, c, depth+1)
	}
}

func FuzzKept(f *testing.F) {
	d := &digest{level: digestFull, envelope: []byte("e"), wire: 7}
	f.Add(d.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if d := decodeDigest(data); d != nil && decodeDigest(d.encode()) == nil {
			t.Errorf("%q does not survive", data)
		}
		(&hub{}).readState(data, 1)
	})
}
