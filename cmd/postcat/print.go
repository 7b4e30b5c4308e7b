package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"postroad/libmail/maillog"
	"postroad/libmail/message"
	"postroad/libmail/queue"
	"postroad/libmail/record"
)

// printing is what to print, and how.
type printing struct {
	envelope, header, body bool
	pathname               bool
	offsets                bool
	decimal                bool
	verbose                bool
	raw                    bool
	start                  int64
}

// A part of a queue file.
type part int

const (
	envelope part = iota // before or after the content
	header
	body
)

// printer prints one file.
type printer struct {
	printing
	out  io.Writer
	log  *maillog.Logger
	path string
	zone *time.Location // of the dates

	w      *record.Walker
	at     int64 // where the current record was looked for
	part   part
	on     bool // this part is printed
	cont   bool // the last line is not ended
	sizes  bool // there was a size record
	size   int64
	offset int64 // of the content
}

func (p *printer) print(f io.ReaderAt) error {
	p.w = record.NewWalker(f, queue.MaxRecord)
	p.w.Goto(p.start)
	if p.start == 0 {
		var first [1]byte
		n, err := f.ReadAt(first[:], 0)
		if err != nil && err != io.EOF {
			return err
		}
		if n == 1 && !record.Type(first[0]).In(record.EnvelopeTypes) {
			p.log.Warning("%s: input is not a valid queue file", p.path)
			return nil
		}
		if p.envelope {
			fmt.Fprintf(p.out, "*** ENVELOPE RECORDS %s ***\n", p.path)
		}
	}
	p.on = p.envelope
	for {
		t, data, err := p.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			p.log.Warning("%s: %v", p.path, err)
			return errors.New("record read error")
		}
		if end, err := p.record(t, data); end || err != nil {
			return err
		}
	}
}

// next gives the next record; without -v pointers are followed and padding is
// skipped here. The offset that is shown is that before the pointers.
func (p *printer) next() (record.Type, []byte, error) {
	p.at = p.w.Pos()
	if p.verbose {
		return p.w.NextRaw()
	}
	return p.w.Next()
}

// record takes a record that changes what comes next, or shows it.
func (p *printer) record(t record.Type, data []byte) (end bool, err error) {
	switch {
	case t == record.Text, t == record.Continued && p.part != envelope:
		if end := p.headerEnds(data); end {
			return true, nil
		}
	case t == record.Content:
		return false, p.content()
	case t == record.Extracted:
		return p.extracted(), nil
	case t == record.End:
		if p.part != envelope {
			p.log.Warning("%s: out-of-order message end marker", p.path)
		}
		if p.envelope {
			p.marker(t, "MESSAGE FILE END")
		}
		return !p.raw || !p.verbose, nil
	case t == record.Pointer:
		if p.on {
			p.named(t, text(data))
		}
		if !p.raw {
			if err := p.w.Follow(data); err != nil {
				p.log.Warning("%s: %v", p.path, err)
				return true, errors.New("bad pointer record, or input is not seekable")
			}
		}
		return false, nil
	case t == record.Size:
		if p.on {
			p.named(t, text(data))
		}
		p.sizeRecord(data)
		return false, nil
	}
	if p.on {
		p.show(t, data)
	}
	return false, nil
}

// headerEnds notices the first line after the header; end is true when
// nothing is left to print.
func (p *printer) headerEnds(line []byte) (end bool) {
	isText := p.header || p.body
	if p.part != header || !isText || p.cont || message.HeaderName(line) > 0 ||
		len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		return false
	}
	p.part, p.on = body, p.body
	if p.on {
		return false
	}
	p.skipContent()
	return !p.envelope
}

func (p *printer) skipContent() {
	if p.offset > 0 && p.size > 0 {
		p.w.Goto(p.offset + p.size)
	}
}

func (p *printer) content() error {
	if p.part != envelope {
		p.log.Warning("%s: out-of-order message content marker", p.path)
	}
	if p.envelope {
		p.marker(record.Content, "MESSAGE CONTENTS")
	}
	if !p.header && !p.body {
		p.skipContent()
	}
	p.part, p.on = header, p.header
	return nil
}

func (p *printer) extracted() (end bool) {
	if p.part == envelope {
		p.log.Warning("%s: out-of-order extracted segment marker", p.path)
	}
	if p.on && p.cont {
		fmt.Fprintln(p.out)
	}
	if p.envelope {
		p.marker(record.Extracted, "HEADER EXTRACTED")
	}
	p.part, p.on, p.cont = envelope, p.envelope, false
	return !p.on
}

// sizeRecord says where the content is, so that what is not printed need not
// be read.
func (p *printer) sizeRecord(data []byte) {
	if strings.HasPrefix(p.path, queue.Maildrop+"/") {
		return // a preliminary record of newer submitters
	}
	if p.sizes {
		p.log.Warning("file contains multiple size records")
		return
	}
	p.sizes = true
	fields := strings.Fields(text(data))
	if len(fields) >= 2 {
		p.size, _ = strconv.ParseInt(fields[0], 10, 62) // 0 if malformed
		p.offset, _ = strconv.ParseInt(fields[1], 10, 62)
	}
	if p.size <= 0 || p.offset <= 0 {
		p.log.Warning("invalid size record: %.100s", text(data))
		return
	}
	if !p.envelope {
		p.w.Goto(p.offset)
		p.part, p.on = header, p.header
	}
}

// prefix prints what stands before a record.
func (p *printer) prefix(t record.Type) {
	if p.pathname {
		fmt.Fprintf(p.out, "%s: ", p.path)
	}
	if p.offsets {
		fmt.Fprintf(p.out, "%9d ", p.at)
	}
	if p.decimal {
		fmt.Fprintf(p.out, "%3d ", byte(t))
	}
}

func (p *printer) marker(t record.Type, title string) {
	p.prefix(t)
	fmt.Fprintf(p.out, "*** %s %s ***\n", title, p.path)
}

func (p *printer) named(t record.Type, value string) {
	p.prefix(t)
	fmt.Fprintf(p.out, "%v: %s\n", t, value)
}

// show prints a record of the current part.
func (p *printer) show(t record.Type, data []byte) {
	p.cont = false
	switch {
	case t == record.Continued && p.part != envelope, t == record.Text:
		p.line(t, data)
	case t == record.Time, t == record.Warn:
		p.named(t, p.date(text(data)))
	case t == record.Attr:
		p.attr(data)
	default:
		p.named(t, text(data))
	}
}

// line prints a line of the content, or a piece of one.
func (p *printer) line(t record.Type, data []byte) {
	p.prefix(t)
	switch {
	case p.verbose && t == record.Continued:
		fmt.Fprint(p.out, "unterminated_text: ")
	case p.verbose:
		fmt.Fprintf(p.out, "%v: ", t)
	}
	p.cont = t == record.Continued && !p.verbose && !p.offsets
	p.out.Write(data) // the buffered writer keeps its error for main
	if !p.cont {
		fmt.Fprintln(p.out)
	}
}

func (p *printer) attr(data []byte) {
	name, value, err := queue.SplitAttr(data)
	switch {
	case err != nil:
		p.prefix(record.Attr)
		p.log.Warning("%s: %v", p.path, err)
	case name == "create_time":
		p.prefix(record.Attr)
		fmt.Fprintf(p.out, "create_time: %s\n", p.date(string(value)))
	default:
		p.named(record.Attr, name+"="+text(value))
	}
}

// text is what stands before a NUL.
func text(data []byte) string {
	before, _, _ := bytes.Cut(data, []byte{0})
	return string(before)
}

// date is a time in seconds as ctime(3) prints it.
func (p *printer) date(value string) string {
	fields := strings.Fields(value)
	var sec int64
	if len(fields) > 0 {
		sec, _ = strconv.ParseInt(fields[0], 10, 62) // 0 if malformed
	}
	return time.Unix(sec, 0).In(p.zone).Format(time.ANSIC)
}
