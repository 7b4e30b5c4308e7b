package main

import (
	"bytes"
	"strings"

	"postroad/libmail/message"
	"postroad/libmail/table"
)

// checks are tables of actions for headers and body lines at delivery
// (smtp_header_checks and its kin). They may change what is sent, not where.
type checks struct {
	primary, mime, nested, text *table.Maps
}

func (c *checks) read(s *source) {
	c.primary, c.mime = s.mapsWith("header_checks", s.text), s.mapsWith("mime_header_checks", s.text)
	c.nested, c.text = s.mapsWith("nested_header_checks", s.text), s.mapsWith("body_checks", s.text)
}

// any reports whether there is anything to check.
func (c *checks) any() bool {
	return !c.primary.Empty() || !c.mime.Empty() || !c.nested.Empty() || !c.text.Empty()
}

// header looks a header up and returns what to send for it.
func (c *checks) header(w *walkingWriter, class message.Class, text []byte) (out []byte, keep bool) {
	tables := c.primary
	f := message.LookupField(text)
	switch {
	case f != nil && f.Flags&message.MIMEField != 0 || class == message.Multipart:
		tables = c.mime
	case class == message.Nested:
		tables = c.nested
	}
	return c.look(w, tables, "header", text)
}

// body looks a body line up.
func (c *checks) body(w *walkingWriter, text []byte) (out []byte, keep bool) {
	return c.look(w, c.text, "body", text)
}

func (c *checks) look(w *walkingWriter, tables *table.Maps, where string, text []byte) ([]byte, bool) {
	if tables.Empty() {
		return text, true
	}
	action, found, err := tables.Find(string(text))
	if err != nil {
		w.t.log.Warning("%s: smtp %s checks lookup error: %v", w.t.QueueID, where, err)
		w.err = errData
		return nil, false
	}
	if !found {
		return text, true
	}
	return w.act(tables.Title(), where, action, text)
}

// act does what a table says of one header or line.
func (w *walkingWriter) act(title, where, action string, text []byte) (out []byte, keep bool) {
	verb, arg, _ := strings.Cut(action, " ")
	arg = strings.TrimSpace(arg)
	verb = strings.ToUpper(verb)
	note := func(what string) {
		line := bytes.ReplaceAll(text[:min(len(text), 200)], []byte{'\n'}, []byte{' '})
		if arg != "" {
			w.t.log.Info("%s: %s: %s %s: %s", w.t.QueueID, what, where, line, arg)
		} else {
			w.t.log.Info("%s: %s: %s %s", w.t.QueueID, what, where, line)
		}
	}
	good := func() bool {
		switch {
		case arg == "":
			w.t.log.Warning("%s action without text in %s map", verb, title)
		case where == "header" && !message.IsHeader(arg):
			w.t.log.Warning("bad %s header text %q in %s map -- need \"headername: headervalue\"", verb, arg, title)
		default:
			return true
		}
		return false
	}
	switch verb {
	case "WARN":
		note("warning")
	case "INFO":
		note("info")
	case "REPLACE":
		if good() {
			note("replace")
			return []byte(arg), true
		}
	case "PREPEND":
		if good() {
			note("prepend")
			w.out.text([]byte(arg), message.Hard)
		}
	case "STRIP":
		note("strip")
		return nil, false
	case "IGNORE":
		return nil, false
	case "DUNNO", "OK":
	default:
		w.t.log.Warning("unsupported command in %s map: %s", title, verb)
	}
	return text, true
}
