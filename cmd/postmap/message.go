package main

import (
	"bufio"
	"errors"
	"io"

	"postroad/libmail/conf"
	"postroad/libmail/message"
)

// messageKeys makes the keys of -b, -h and -m: the headers and body lines that
// header_checks and body_checks would see.
type messageKeys struct {
	header, body, mime bool
	limits             message.Options
}

// setLimits reads the limits that cleanup has too.
func (m *messageKeys) setLimits(c *conf.Config) {
	m.limits = message.Options{
		HeaderLimit:   int(c.Size("header_size_limit")),
		BoundaryLimit: int(c.Size("mime_boundary_length_limit")),
		NestingLimit:  c.Int("mime_nesting_limit"),
		IgnoreMIME:    !m.mime,
	}
}

// keys calls ask with each key; with neither -b nor -h the keys are lines.
func (m *messageKeys) keys(in io.Reader, ask func(key string) error) error {
	r := bufio.NewReaderSize(in, 1<<16)
	h := &handler{messageKeys: *m, ask: ask}
	var w *message.Walker
	if m.header || m.body {
		w = message.NewWalker(h, m.limits)
	}
	for h.err == nil && !h.over {
		line, err := r.ReadSlice('\n')
		ending := message.Soft
		switch {
		case err == nil:
			line, ending = line[:len(line)-1], message.Hard
		case errors.Is(err, io.EOF) && len(line) > 0:
			ending = message.Hard
		case errors.Is(err, io.EOF):
			if w != nil {
				w.End()
			}
			return h.err
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
		if w != nil {
			w.Line(line, ending)
		} else if err := ask(string(line)); err != nil {
			return err
		}
	}
	return h.err
}

// A handler asks for what the walk of a message finds.
type handler struct {
	messageKeys
	ask  func(key string) error
	over bool // nothing that is wanted can follow
	err  error
}

func (h *handler) Header(_ message.Class, _ *message.Field, text []byte) {
	if h.header && h.err == nil {
		h.err = h.ask(string(text))
	}
}

func (h *handler) HeadersEnd() { h.over = !h.body && !h.mime }

func (h *handler) Body(text []byte, _ message.Ending, _ int64) {
	if h.body && h.err == nil {
		h.err = h.ask(string(text))
	}
}

func (h *handler) Problem(message.Problems, []byte) {}
