package message

// A Class says where a header stands.
type Class uint8

const (
	Primary   Class = 1 + iota // at the start of the message
	Multipart                  // after a boundary
	Nested                     // at the start of an enclosed message
)

// An Ending says how a piece of text ends.
type Ending uint8

const (
	Hard Ending = iota // the line ends here
	Soft               // the line is longer; the next piece continues it
)

// Problems are what a Walker found wrong with a message; a set.
type Problems uint8

const (
	TooDeep            Problems = 1 << iota // multiparts nested beyond NestingLimit
	TruncatedHeader                         // a header was longer than HeaderLimit
	EightBitHeader                          // a byte above 127 in a header
	EightBitBody                            // a byte above 127 in a body that is 7bit
	EncodedComposite                        // a multipart or message body with a transfer encoding (RFC 2045 §6.4)
	NonEmptyHeadersEnd                      // text other than an empty line ended the primary headers
)

// problemTexts are in order of weight: String names the first that is set.
var problemTexts = []struct {
	p    Problems
	text string
}{
	{TooDeep, "MIME nesting exceeds safety limit"},
	{TruncatedHeader, "message header length exceeds safety limit"},
	{EightBitHeader, "improper use of 8-bit data in message header"},
	{EightBitBody, "improper use of 8-bit data in message body"},
	{EncodedComposite, "invalid message/* or multipart/* encoding domain"},
	{NonEmptyHeadersEnd, "primary header was terminated with non-empty line"},
}

// Status is the enhanced status code for a message with any of the Problems.
const Status = "5.6.0"

// String names the gravest of the problems; "" for none.
func (p Problems) String() string {
	for _, t := range problemTexts {
		if p&t.p != 0 {
			return t.text
		}
	}
	return ""
}

// A Handler receives what a Walker finds, in the order of the message. The
// bytes are the Walker's or its caller's: they are valid until the method
// returns.
type Handler interface {
	// Header gets a whole header, with a newline before each continuation
	// line, and what is known about it, or nil. The text may be changed.
	Header(class Class, f *Field, text []byte)
	// HeadersEnd comes once, after the last primary header.
	HeadersEnd()
	// Body gets a body line, or a piece of one. Boundaries and the empty
	// line after a header block are body lines. offset counts the bytes
	// of the present body part before it, a line end as one.
	Body(text []byte, end Ending, offset int64)
	// Problem reports the first occurrence of each problem that the options
	// ask for; text is the offending header or line.
	Problem(p Problems, text []byte)
}

// Options choose what a Walker does.
type Options struct {
	HeaderLimit   int      // bytes of one header; what comes after is dropped (header_size_limit)
	BoundaryLimit int      // bytes of a boundary that are compared (mime_boundary_length_limit)
	NestingLimit  int      // levels of multipart (mime_nesting_limit)
	Report        Problems // problems that are looked for
	IgnoreMIME    bool     // treat all that follows the primary headers as body (disable_mime_input_processing)
	Downgrade     bool     // convert 8bit content to quoted-printable (RFC 2045 §6.7)
}

type encoding uint8

const (
	enc7Bit encoding = iota
	enc8Bit
	encBinary
	encBase64
	encQuotedPrintable
)

// encodings are the transfer encodings of RFC 2045 §6.1 and the kind of data
// each of them produces.
var encodings = []struct {
	name   string
	enc    encoding
	domain encoding
}{
	{"7bit", enc7Bit, enc7Bit},
	{"8bit", enc8Bit, enc8Bit},
	{"binary", encBinary, encBinary},
	{"base64", encBase64, enc7Bit},
	{"quoted-printable", encQuotedPrintable, enc7Bit},
}

func (e encoding) name() []byte { return []byte(encodings[e].name) }

type mediaType uint8

const (
	typeText mediaType = iota
	typeMessage
	typeMultipart
	typeOther
)

type mediaSubtype uint8

const (
	subPlain mediaSubtype = iota
	subRFC822
	subPartial
	subExternalBody
	subGlobal
	subOther
)

// content is what the headers of an entity say about its body.
type content struct {
	main   mediaType
	sub    mediaSubtype
	enc    encoding
	domain encoding // 7bit, 8bit or binary
}

// A boundary is one level of multipart; its parts are of type main/sub unless
// their headers say otherwise.
type boundary struct {
	text []byte
	main mediaType
	sub  mediaSubtype
}

// A Walker follows the structure of a message (RFC 2045, 2046) in one pass,
// with bounded memory: one header and the boundaries that are open. It does
// not join boundaries that RFC 2231 split, nor lines longer than a piece.
type Walker struct {
	h   Handler
	opt Options

	class    Class // of the headers that are read; 0 in a body
	cur      content
	header   []byte // the header that is being collected
	last     lastLine
	open     []boundary
	problems Problems
	offset   int64
	qp       QuotedPrintable
}

// lastLine is what the line before was.
type lastLine uint8

const (
	none lastLine = iota
	hardLine
	softLine
)

// NewWalker returns a Walker at the start of a message.
func NewWalker(h Handler, opt Options) *Walker {
	return &Walker{h: h, opt: opt, class: Primary}
}

// Line takes the next line, or a piece of one, and returns the problems found
// so far.
func (w *Walker) Line(text []byte, end Ending) Problems {
	if w.class == 0 || w.headerLine(text, end) {
		w.body(text, end)
	}
	w.last = hardLine
	if end == Soft {
		w.last = softLine
	}
	return w.problems
}

// Found is the problems found so far.
func (w *Walker) Found() Problems { return w.problems }

// End takes the end of the message. A line that was cut off gets its end.
func (w *Walker) End() Problems {
	if w.last == softLine {
		w.Line(nil, Hard)
	}
	if w.class != 0 {
		w.flushHeader()
		w.endHeaders(nil, false)
		w.enterBody()
	}
	return w.problems
}

// headerLine takes a line of a header block. It returns true when the line
// belongs to the body and the Walker has moved there.
func (w *Walker) headerLine(text []byte, end Ending) bool {
	if len(w.header) > 0 {
		if w.last == softLine {
			w.extend(nil, text)
			return false
		}
		if len(text) > 0 && isBlank(text[0]) {
			w.extend([]byte{'\n'}, text)
			return false
		}
		w.flushHeader()
	}
	if n := HeaderName(text); n > 0 {
		rest := text[n:]
		for isBlank(rest[0]) { // a colon follows
			rest = rest[1:]
		}
		w.header = append(append(w.header[:0], text[:n]...), rest...)
		return false
	}
	w.endHeaders(text, true)
	w.leaveHeaders(text)
	if w.class != 0 {
		w.emit(text, end) // the empty line before the headers of an enclosed message
		return false
	}
	return true
}

// extend adds to the header that is being collected, up to its limit.
func (w *Walker) extend(sep, text []byte) {
	if len(w.header) < w.opt.HeaderLimit {
		w.header = append(append(w.header, sep...), text...)
		return
	}
	w.report(TruncatedHeader, w.header)
}

// flushHeader hands out the collected header. When 8bit content is converted
// its Content-Transfer-Encoding is held back; endHeaders writes the new one.
func (w *Walker) flushHeader() {
	if len(w.header) == 0 {
		return
	}
	f := LookupField(w.header)
	if f != nil && !w.opt.IgnoreMIME {
		switch f.Type {
		case ContentType:
			w.contentType()
		case ContentTransferEncoding:
			w.contentEncoding()
		}
	}
	if w.opt.Report&EightBitHeader != 0 && !IsASCII(w.header) {
		w.report(EightBitHeader, w.header)
	}
	if f == nil || f.Type != ContentTransferEncoding || !w.downgrading() {
		w.h.Header(w.class, f, w.header)
	}
	w.header = w.header[:0]
	w.last = none
}

func (w *Walker) downgrading() bool { return w.opt.Downgrade && w.cur.domain != enc7Bit }

// endHeaders finishes a header block. text is the line that ended it; isText
// is false at the end of the message.
func (w *Walker) endHeaders(text []byte, isText bool) {
	if w.downgrading() {
		enc := "quoted-printable"
		if w.cur.main == typeMultipart || w.cur.main == typeMessage && w.cur.sub != subGlobal {
			enc = "7bit"
		}
		w.h.Header(w.class, nil, []byte("Content-Transfer-Encoding: "+enc))
	}
	if w.class == Primary {
		if isText && len(text) > 0 {
			w.report(NonEmptyHeadersEnd, text)
		}
		w.h.HeadersEnd()
	}
	w.checkDomain()
}

// checkDomain reports a transfer encoding where RFC 2045 §6.4 and RFC 2046
// §5.2 allow none.
func (w *Walker) checkDomain() {
	bad := false
	switch {
	case w.cur.main == typeMultipart:
		bad = w.cur.enc != w.cur.domain
	case w.cur.main != typeMessage:
	case w.cur.sub == subPartial || w.cur.sub == subExternalBody:
		bad = w.cur.domain != enc7Bit
	case w.cur.sub == subRFC822:
		bad = w.cur.enc != w.cur.domain
	}
	if bad {
		w.report(EncodedComposite, w.cur.enc.name())
	}
}

// leaveHeaders decides what follows a header block that the line text ended:
// the headers of an enclosed message after an empty line, else a body. A
// primary block that ended otherwise gets an empty line; the others stay as
// they are, for a signature may cover them.
func (w *Walker) leaveHeaders(text []byte) {
	if len(text) > 0 {
		if w.class == Primary {
			w.emit(nil, Hard)
		}
		w.enterBody()
		return
	}
	w.offset = 0
	switch {
	case w.cur.main == typeMessage && w.cur.sub == subRFC822,
		w.cur.main == typeMessage && w.cur.sub == subGlobal && !w.downgrading():
		w.class, w.cur = Nested, content{}
		w.header = w.header[:0]
	case w.cur.main == typeMultipart:
		w.cur = content{main: typeOther, sub: subOther}
		w.enterBody()
	default:
		w.enterBody()
	}
}

func (w *Walker) enterBody() {
	w.class = 0
	w.offset = 0
}

// body takes a line of a body: it may be a boundary. Text after a boundary is
// ignored, and so is what a long boundary has beyond BoundaryLimit.
func (w *Walker) body(text []byte, end Ending) {
	if w.opt.Report&EightBitBody != 0 && w.cur.enc == enc7Bit && !IsASCII(text) {
		w.report(EightBitBody, text)
	}
	if len(w.open) > 0 && len(text) > 2 && text[0] == '-' && text[1] == '-' && w.last != softLine {
		w.boundary(text[2:])
	}
	if w.downgrading() {
		w.qp.Line(text, end, func(line []byte) { w.emit(line, Hard) })
		return
	}
	w.emit(text, end)
}

// boundary changes to the state after a boundary, if text begins with one.
// The innermost level is tried first; those inside the one that matches are
// closed, for their end may be missing.
func (w *Walker) boundary(text []byte) {
	for i := len(w.open) - 1; i >= 0; i-- {
		b := w.open[i]
		if len(text) < len(b.text) || string(text[:len(b.text)]) != string(b.text) {
			continue
		}
		if rest := text[len(b.text):]; len(rest) >= 2 && rest[0] == '-' && rest[1] == '-' {
			w.open = w.open[:i]
			w.cur = content{main: typeOther, sub: subOther}
			w.enterBody()
			return
		}
		w.open = w.open[:i+1]
		w.class, w.cur = Multipart, content{main: b.main, sub: b.sub}
		w.header = w.header[:0]
		return
	}
}

func (w *Walker) emit(text []byte, end Ending) {
	w.h.Body(text, end, w.offset)
	w.offset += int64(len(text)) + 1
}

// report reports a problem once, if the options ask for it.
func (w *Walker) report(p Problems, text []byte) {
	if w.opt.Report&p == 0 || w.problems&p != 0 {
		return
	}
	w.h.Problem(p, text)
	w.problems |= p
}
