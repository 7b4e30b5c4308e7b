package table

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxLine bounds a logical line of a source file: 16 MiB, a mailing list of
// half a million addresses in one alias.
const maxLine = 16 << 20

// A Source reads the logical lines of a file such as main.cf or the input of
// postmap: a line, and the lines after it that start with a blank. Lines that
// are empty or blank, or whose first text is #, are no lines at all; they do
// not end a logical line.
type Source struct {
	r     *bufio.Reader
	name  string
	log   Logger
	buf   []byte
	last  int // number of the last line read
	first int
	err   error
}

// NewSource reads from r. name and log are for warnings about what is odd.
func NewSource(r io.Reader, name string, log Logger) *Source {
	if log == nil {
		log = quiet{}
	}
	return &Source{r: bufio.NewReader(r), name: name, log: log}
}

// Next returns the next logical line, without its newline, and the number of
// its first line; ok is false at the end and after an error.
func (s *Source) Next() (line string, number int, ok bool) {
	for s.logical() {
		if !isSpace(s.buf[0]) {
			text := string(s.buf)
			if i := strings.IndexByte(text, 0); i >= 0 {
				s.warnNull()
				text = text[:i]
			}
			return text, s.first, true
		}
		s.log.Warning("%s: logical line must not start with whitespace: %q", s.name, s.buf[:min(len(s.buf), 30)])
	}
	return "", 0, false
}

// Err is the error that ended the lines, or nil at the end of the file.
func (s *Source) Err() error { return s.err }

func (s *Source) warnNull() {
	lines := fmt.Sprint(s.first)
	if s.first != s.last {
		lines = fmt.Sprintf("%d-%d", s.first, s.last)
	}
	s.log.Warning("%s, line %s: text after null byte may be ignored", s.name, lines)
}

// logical collects one logical line into buf. It stops before the first line
// of the next.
func (s *Source) logical() bool {
	s.buf = s.buf[:0]
	for s.err == nil {
		start := len(s.buf)
		eof := s.physical()
		if blankOrComment(s.buf[start:]) {
			s.buf = s.buf[:start]
		}
		if start == 0 {
			s.first = s.last
		}
		if eof {
			break
		}
		if len(s.buf) > 0 {
			next, err := s.r.Peek(1)
			if err != nil && !errors.Is(err, io.EOF) {
				s.err = err
			}
			if len(next) == 0 || next[0] != '#' && !isSpace(next[0]) {
				break
			}
		}
	}
	return s.err == nil && len(s.buf) > 0
}

// physical appends one line to buf, without its newline.
func (s *Source) physical() (eof bool) {
	any := false
	for {
		part, err := s.r.ReadSlice('\n')
		any = any || len(part) > 0
		if err == nil {
			part = part[:len(part)-1]
		}
		if len(s.buf)+len(part) > maxLine {
			s.err = fmt.Errorf("%s, line %d: line is longer than %d bytes", s.name, s.last+1, maxLine)
			return true
		}
		s.buf = append(s.buf, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if any {
			s.last++
		}
		if err != nil && !errors.Is(err, io.EOF) {
			s.err = err
		}
		return err != nil
	}
}

func blankOrComment(line []byte) bool {
	for _, c := range line {
		if !isSpace(c) {
			return c == '#'
		}
	}
	return true
}

// ErrEntry is a line of a source file that is not `key whitespace value`.
var ErrEntry = errors.New("expected format: key whitespace value")

// SplitEntry divides a logical line of postmap's input into key and value. The
// key ends at the first blank outside quotes and keeps its quotes.
func SplitEntry(line string) (key, value string, err error) {
	n, err := keyEnd(line, "")
	if err != nil {
		return "", "", fmt.Errorf("%w -- ignoring this line", err)
	}
	key, value = line[:n], trimSpace(line[n:])
	if key == "" || value == "" {
		return "", "", ErrEntry
	}
	return key, value, nil
}

// LooksLikeAlias reports whether a key of postmap's input has the colon of an
// alias file.
func LooksLikeAlias(key string) bool { return strings.HasSuffix(key, ":") }

// maxFileValue bounds what FileValue reads.
const maxFileValue = 64 << 20

// FileValue reads the files of a list, puts a newline between two, and returns
// the base64 form of the whole: what postmap -F stores.
func FileValue(list string) (string, error) {
	names := strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(separators, r) })
	if len(names) == 0 {
		return "", fmt.Errorf("empty pathname list: >>%s<<'", list)
	}
	var all []byte
	for i, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("open %s: %w", name, cause(err))
		}
		text, err := io.ReadAll(io.LimitReader(f, maxFileValue-int64(len(all))+1))
		f.Close() // it was only read
		if err != nil {
			return "", fmt.Errorf("read %s: %w", name, cause(err))
		}
		if i > 0 {
			all = append(all, '\n')
		}
		if all = append(all, text...); len(all) > maxFileValue {
			return "", fmt.Errorf("file too large: %s", list)
		}
	}
	return base64.StdEncoding.EncodeToString(all), nil
}

// DecodeFileValue turns a value that FileValue made into the contents.
func DecodeFileValue(value string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return "", fmt.Errorf("malformed BASE64 value: %.30s", value)
	}
	return string(b), nil
}

// cause is the error below an *os.PathError, whose path our messages already
// have.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
