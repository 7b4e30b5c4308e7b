package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"
)

// wireReader reads a stretch of a message's file with CRLF line ends.
type wireReader struct {
	in *bufio.Reader
	cr bool // the byte before was a CR
	lf bool // an LF is still to be given
}

func openWire(f io.ReaderAt, t stretch) *wireReader {
	return &wireReader{in: bufio.NewReaderSize(io.NewSectionReader(f, t.from, t.to-t.from), 32<<10)}
}

func (w *wireReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if w.lf {
			p[n] = '\n'
			n++
			w.lf = false
			continue
		}
		if w.in.Buffered() == 0 {
			if n > 0 {
				return n, nil
			}
			if _, err := w.in.Peek(1); err != nil {
				return 0, err
			}
		}
		chunk, _ := w.in.Peek(min(w.in.Buffered(), len(p)-n)) // it is buffered
		if i := bytes.IndexByte(chunk, '\n'); i >= 0 {
			chunk = chunk[:i]
		}
		copy(p[n:], chunk)
		if len(chunk) > 0 {
			w.cr = chunk[len(chunk)-1] == '\r'
			n += len(chunk)
			w.in.Discard(len(chunk)) // it is buffered
			continue
		}
		w.in.Discard(1) // the LF
		if w.cr {
			p[n] = '\n'
		} else {
			p[n], w.lf = '\r', true
		}
		w.cr = false
		n++
	}
	return n, nil
}

// errEncoding means that a transfer encoding is not known.
var errEncoding = errors.New("unknown transfer encoding")

// decoded reads a part's body without its transfer encoding (RFC 2045 §6).
func (p *part) decoded(f io.ReaderAt) (io.Reader, error) {
	wire := openWire(f, p.body)
	switch p.encoding() {
	case "7bit", "8bit", "binary":
		return wire, nil
	case "base64":
		return &lenient{base64.NewDecoder(base64.StdEncoding, &base64Only{in: wire})}, nil
	case "quoted-printable":
		return &lenient{quotedprintable.NewReader(wire)}, nil
	}
	return nil, errEncoding
}

// lenient ends at a malformed place as if the data ended there.
type lenient struct{ io.Reader }

func (l *lenient) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	var path *os.PathError
	if err != nil && !errors.As(err, &path) {
		err = io.EOF
	}
	return n, err
}

// base64Only passes on the alphabet; a padded end in the middle begins anew.
type base64Only struct {
	in   io.Reader
	quad int
}

func (b *base64Only) Read(p []byte) (int, error) {
	for {
		n, err := b.in.Read(p)
		out := p[:0]
		for _, c := range p[:n] {
			switch {
			case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '+', c == '/', c == '=':
				out = append(out, c)
			}
		}
		if len(out) > 0 || err != nil {
			return len(out), err
		}
	}
}

// utf8Reader reads text in a charset as UTF-8; an unknown charset is taken as
// it is.
func utf8Reader(r io.Reader, charset string) io.Reader {
	charset = strings.ToLower(charset)
	if charset == "" || charset == "us-ascii" || charset == "utf-8" || charset == "utf8" {
		return r
	}
	enc, err := htmlindex.Get(charset)
	if err != nil {
		return r
	}
	return transform.NewReader(r, enc.NewDecoder())
}

// knownCharset reports whether SEARCH may use a charset (RFC 3501 §6.4.4).
func knownCharset(name string) bool {
	_, err := htmlindex.Get(strings.ToLower(name))
	return err == nil || strings.EqualFold(name, "US-ASCII")
}

var wordDecoder = &mime.WordDecoder{CharsetReader: func(charset string, input io.Reader) (io.Reader, error) {
	return utf8Reader(input, charset), nil
}}

// decodeHeader replaces encoded words (RFC 2047); text that can't be decoded
// stays. The result is valid UTF-8.
func decodeHeader(text string) string {
	if strings.Contains(text, "=?") {
		if out, err := wordDecoder.DecodeHeader(text); err == nil {
			text = out
		}
	}
	return strings.ToValidUTF8(text, "�")
}

// fold makes text comparable without regard to case, in the manner of
// i;unicode-casemap (RFC 5051).
func fold(s string) string {
	ascii := true
	for i := 0; i < len(s) && ascii; i++ {
		ascii = s[i] < utf8.RuneSelf
	}
	if ascii {
		return strings.ToUpper(s)
	}
	return norm.NFKD.String(strings.Map(unicode.ToTitle, s))
}

// findText looks for a folded text in what r has.
func findText(r io.Reader, needle string) (bool, error) {
	buf := make([]byte, 0, 64<<10)
	keep := 4*len(needle) + 64 // folding may shorten
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		atEnd := err != nil
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if len(buf) < cap(buf)/2 && !atEnd {
			continue
		}
		if strings.Contains(fold(string(buf)), needle) {
			return true, nil
		}
		if atEnd {
			return false, nil
		}
		from := max(len(buf)-keep, 0)
		for from > 0 && from < len(buf) && !utf8.RuneStart(buf[from]) {
			from--
		}
		if keep > cap(buf)/2 {
			grown := make([]byte, 0, 2*cap(buf))
			buf = append(grown, buf...)
			continue
		}
		buf = append(buf[:0], buf[from:]...)
	}
}

// eachText calls f for every text part of a message, decoded and in UTF-8,
// until f returns true.
func (p *part) eachText(f io.ReaderAt, use func(p *part, r io.Reader) (bool, error)) (bool, error) {
	for _, c := range p.parts {
		if done, err := c.eachText(f, use); done || err != nil {
			return done, err
		}
	}
	if p.inner != nil {
		return p.inner.eachText(f, use)
	}
	if p.main != "text" || p.parts != nil {
		return false, nil
	}
	r, err := p.decoded(f)
	if errors.Is(err, errEncoding) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return use(p, utf8Reader(r, p.param("charset")))
}

// Bounds of a preview (RFC 8970 §3.2).
const (
	previewRunes = 200
	previewRead  = 16 << 10 // bytes of text that are looked at
)

// preview is the beginning of a message's first text.
func (p *part) preview(f io.ReaderAt) (string, error) {
	text := ""
	_, err := p.eachText(f, func(p *part, r io.Reader) (bool, error) {
		raw, err := io.ReadAll(io.LimitReader(r, previewRead))
		if err != nil {
			return false, err
		}
		s := strings.ToValidUTF8(string(raw), "")
		if p.sub == "html" {
			s = stripTags(s)
		}
		text = clip(strings.Join(strings.Fields(s), " "), previewRunes)
		return text != "", nil
	})
	return text, err
}

func clip(s string, runes int) string {
	for i := range s {
		if runes == 0 {
			return s[:i]
		}
		runes--
	}
	return s
}

// stripTags leaves the text of HTML, roughly.
func stripTags(s string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "<")
		b.WriteString(before)
		if !found {
			break
		}
		skip := ">"
		low := strings.ToLower(rest[:min(len(rest), 8)])
		for _, tag := range []string{"style", "script", "title"} {
			if strings.HasPrefix(low, tag) {
				skip = "</" + tag
			}
		}
		if skip != ">" {
			if i := strings.Index(strings.ToLower(rest), skip); i >= 0 {
				rest = rest[i:]
			}
		}
		_, s, _ = strings.Cut(rest, ">")
		b.WriteByte(' ')
	}
	return strings.NewReplacer("&nbsp;", " ", "&lt;", "<", "&gt;", ">", "&quot;", `"`, "&#39;", "'", "&amp;", "&").Replace(b.String())
}
