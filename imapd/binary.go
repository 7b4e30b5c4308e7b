package main

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"

	"postroad/libmail/mailbox"
)

// storeBinary finishes an addition that came as literal8 (RFC 3516 §4.4).
// Parts with the transfer encoding "binary" become base64, as files have lines
// and other programs expect text; all else gets LF line ends.
func storeBinary(a *mailbox.Addition) error {
	r, size, err := a.Reader()
	if err != nil {
		return err
	}
	tree, err := parseMessage(io.NewSectionReader(r, 0, size))
	if err != nil {
		return err
	}
	var leaves []*part
	tree.binaryLeaves(&leaves)
	return a.Rewrite(func(from io.ReaderAt, size int64) error {
		at := int64(0)
		text := func(to int64) error {
			_, err := io.Copy(a, io.NewSectionReader(from, at, to-at))
			at = to
			return err
		}
		for _, p := range leaves {
			for i := range p.fields {
				if f := &p.fields[i]; strings.EqualFold(f.name, "Content-Transfer-Encoding") {
					if err := text(f.raw.from); err != nil {
						return err
					}
					if _, err := a.Write([]byte("Content-Transfer-Encoding: base64\n")); err != nil {
						return err
					}
					at = f.raw.to
				}
			}
			if err := text(p.body.from); err != nil {
				return err
			}
			if err := writeBase64(a, io.NewSectionReader(from, at, p.body.to-at)); err != nil {
				return err
			}
			at = p.body.to
		}
		return text(size)
	})
}

// binaryLeaves collects the parts that are encoded as binary.
func (p *part) binaryLeaves(list *[]*part) {
	for _, c := range p.parts {
		c.binaryLeaves(list)
	}
	if p.inner != nil {
		p.inner.binaryLeaves(list)
	} else if len(p.parts) == 0 && p.encoding() == "binary" {
		*list = append(*list, p)
	}
}

// base64Line is how many bytes a line of base64 has (RFC 2045 §6.8).
const base64Line = 57

func writeBase64(w io.Writer, r io.Reader) error {
	raw := make([]byte, base64Line*100)
	for {
		n, err := io.ReadFull(r, raw)
		var out bytes.Buffer
		for rest := raw[:n]; len(rest) > 0; {
			line := rest[:min(len(rest), base64Line)]
			rest = rest[len(line):]
			out.WriteString(base64.StdEncoding.EncodeToString(line))
			out.WriteByte('\n')
		}
		if _, e := w.Write(out.Bytes()); e != nil {
			return e
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
