package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/addr"
	"postroad/libmail/message"
	"postroad/libmail/smtpwire"
)

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// A mimeError is content that cannot be converted.
type mimeError string

func (e mimeError) Error() string { return string(e) }

// A lineWriter writes content for DATA: CR LF line ends, a dot doubled at the
// start of a line (RFC 5321 §4.5.2), and long lines folded
// (smtp_line_length_limit).
type lineWriter struct {
	w      *bufio.Writer
	limit  int // 0: no limit
	left   int // room in the present line
	strayC bool
	folded bool // a line was folded
	err    error
}

func newLineWriter(w *bufio.Writer, limit int) *lineWriter {
	return &lineWriter{w: w, limit: limit, left: limit}
}

func (l *lineWriter) write(p []byte) {
	if _, err := l.w.Write(p); err != nil && l.err == nil {
		l.err = err
	}
}

// clean writes text without line ends: a LF inside it, or a CR where the
// queue does not keep them on purpose, would be a chance to smuggle commands.
func (l *lineWriter) clean(p []byte) {
	for {
		i := bytes.IndexByte(p, '\n')
		if j := bytes.IndexByte(p, '\r'); !l.strayC && j >= 0 && (i < 0 || j < i) {
			i = j
		}
		if i < 0 {
			l.write(p)
			return
		}
		l.write(p[:i])
		l.write([]byte{' '})
		p = p[i+1:]
	}
}

func (l *lineWriter) endLine() {
	l.write([]byte("\r\n"))
	l.left = l.limit
}

// text writes a line, or with Soft a piece of one.
func (l *lineWriter) text(p []byte, end message.Ending) {
	for {
		if l.left == l.limit && len(p) > 0 && p[0] == '.' {
			l.write([]byte{'.'})
		}
		if l.limit <= 0 || len(p) < l.left {
			break
		}
		l.clean(p[:l.left])
		p = p[l.left:]
		l.endLine()
		if len(p) == 0 && end == message.Hard {
			return
		}
		l.write([]byte{' '})
		l.left--
		l.folded = true
		if len(p) == 0 {
			return
		}
	}
	l.clean(p)
	if end == message.Soft {
		l.left -= len(p)
	} else {
		l.endLine()
	}
}

// downgrades reports whether 8bit content must be converted for a server
// that takes 7bit only (RFC 6152 §3).
func (j *job) downgrades(s *session) bool {
	return !j.p.noConversion && !s.has(smtpwire.EightBitMIME) && j.Encoding != "7bit"
}

// body writes the content into the connection's buffer, and from there to
// the server as the buffer fills.
func (t *transaction) body() error {
	out := newLineWriter(t.s.w, t.p.outLimit)
	out.strayC = t.p.keepStrayCR
	defer t.noteFolding(out)
	put := func(line []byte, end message.Ending) error {
		out.text(line, end)
		return out.err
	}
	finish := func() error { return nil }
	if walker := t.walker(out); walker != nil {
		put, finish = walker.line, walker.end
	}
	if err := t.prepend(put); err != nil {
		return err
	}
	if err := pour(t.content(), put); err != nil {
		return err
	}
	if err := finish(); err != nil {
		return err
	}
	if out.left != out.limit && out.limit > 0 { // a line that was never ended
		out.endLine()
	}
	if t.s.pixDelay {
		if err := t.s.w.Flush(); err != nil {
			return err
		}
		time.Sleep(t.p.pixPause)
	}
	return out.err
}

// pour reads all lines of the content. An unfinished last line gets its end.
func pour(src lines, put func([]byte, message.Ending) error) error {
	cut := false
	for {
		line, partial, err := src.Line()
		if errors.Is(err, io.EOF) {
			if cut {
				return put(nil, message.Hard)
			}
			return nil
		}
		if err != nil {
			return err
		}
		end := message.Hard
		if partial {
			end = message.Soft
		}
		cut = partial
		if err := put(line, end); err != nil {
			return err
		}
	}
}

// noteFolding logs once that lines were folded.
func (t *transaction) noteFolding(out *lineWriter) {
	if out.folded && !t.folded {
		t.log.Info("%s: breaking line > %d bytes with <CR><LF>SPACE", t.QueueID, t.p.outLimit)
		t.job.folded = true
	}
}

// prepend writes the headers that flags= of master.cf asks for, in the order
// of a mailbox delivery.
func (t *transaction) prepend(put func([]byte, message.Ending) error) error {
	first := &t.Rcpts[0]
	for _, h := range []struct{ flag, label, before, address, after string }{
		{"R", "Return-Path", "<", t.Sender, ">"},
		{"O", "X-Original-To", "", first.Orig, ""},
		{"D", "Delivered-To", "", first.Address, ""},
	} {
		if !strings.Contains(t.p.flags, h.flag) {
			continue
		}
		address, err := t.outward(h.address)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s: %s%s%s", h.label, h.before, addr.Quote(address), h.after)
		if err := put([]byte(line), message.Hard); err != nil {
			return err
		}
	}
	return nil
}

// A walkingWriter writes content header by header, with what has to be done
// to them.
type walkingWriter struct {
	t      *transaction
	out    *lineWriter
	walker *message.Walker
	bad    message.Problems
	err    error
}

// walker returns what understands the structure of the message, or nil if
// nothing needs it.
func (t *transaction) walker(out *lineWriter) *walkingWriter {
	down := t.downgrades(t.s)
	checks := t.p.headerChecks.any()
	if !down && !checks && t.p.generic.Empty() {
		return nil
	}
	w := &walkingWriter{t: t, out: out}
	o := message.Options{
		HeaderLimit: t.p.headerLimit, BoundaryLimit: t.p.boundaryLimit, NestingLimit: t.p.nestingLimit,
		Downgrade: down, IgnoreMIME: !down && !checks,
	}
	if down {
		o.Report = message.TooDeep
	}
	w.walker = message.NewWalker(w, o)
	return w
}

func (w *walkingWriter) line(text []byte, end message.Ending) error {
	return w.state(w.walker.Line(text, end))
}

func (w *walkingWriter) end() error { return w.state(w.walker.End()) }

func (w *walkingWriter) state(p message.Problems) error {
	switch {
	case w.err != nil:
		return w.err
	case p != 0:
		return mimeError(p.String())
	}
	return w.out.err
}

// Header implements message.Handler.
func (w *walkingWriter) Header(class message.Class, f *message.Field, text []byte) {
	if w.err != nil {
		return
	}
	text, keep := w.t.p.headerChecks.header(w, class, text)
	if !keep {
		return
	}
	if class == message.Primary && f != nil && f.Flags&(message.SenderAddress|message.RcptAddress) != 0 && !w.t.p.generic.Empty() {
		if rewritten, err := w.t.genericHeader(f, text); err != nil {
			w.err = err
			return
		} else if rewritten != nil {
			text = rewritten
		}
	}
	w.lines(text)
}

// lines writes a header, which has a LF before each continuation.
func (w *walkingWriter) lines(text []byte) {
	for {
		line, rest, more := bytes.Cut(text, []byte{'\n'})
		w.out.text(line, message.Hard)
		if !more {
			return
		}
		text = rest
	}
}

// HeadersEnd implements message.Handler.
func (w *walkingWriter) HeadersEnd() {}

// Body implements message.Handler.
func (w *walkingWriter) Body(text []byte, end message.Ending, _ int64) {
	if w.err != nil {
		return
	}
	if text, keep := w.t.p.headerChecks.body(w, text); keep {
		w.out.text(text, end)
	}
}

// Problem implements message.Handler: Line and End return it, too.
func (w *walkingWriter) Problem(message.Problems, []byte) {}

// outward rewrites an envelope address for the outside (smtp_generic_maps).
func (j *job) outward(address string) (string, error) {
	if address == "" || j.p.generic.Empty() {
		return address, nil
	}
	to, found, err := j.p.generic.MapAddress(address, j.p.genericExtension, nil)
	if err != nil {
		j.log.Warning("%s: %s map lookup problem for %s: %v", j.QueueID, j.p.generic.Title(), address, err)
		return "", errData
	}
	if !found || len(to) == 0 {
		return address, nil
	}
	if len(to) > 1 {
		j.log.Warning("multi-valued %s result for %s", j.p.generic.Title(), address)
	}
	return to[0], nil
}

// genericHeader rewrites the addresses of a header for the outside. nil means
// that nothing changed.
func (j *job) genericHeader(f *message.Field, text []byte) ([]byte, error) {
	list := addr.ParseList(string(message.Value(text)), j.p.addressTokens)
	changed := false
	for i := range list {
		if list[i].Kind != addr.Address {
			continue
		}
		before := list[i].Internal()
		after, err := j.outward(before)
		if err != nil {
			return nil, err
		}
		if after != before {
			list[i].SetExternal(addr.Quote(after))
			changed = true
		}
	}
	if !changed {
		return nil, nil
	}
	value, _ := addr.Header(list, addr.Lines|addr.Trim)
	header := []byte(f.Name + ": " + value)
	message.FoldList(header)
	return continued(header), nil
}

// continued puts a tab before each continuation line that has no blank.
func continued(header []byte) []byte {
	var out []byte
	for i, line := range bytes.Split(header, []byte{'\n'}) {
		if i > 0 {
			out = append(out, '\n')
			if len(line) == 0 || line[0] != ' ' && line[0] != '\t' {
				out = append(out, '\t')
			}
		}
		out = append(out, line...)
	}
	return out
}
