package main

import (
	"bufio"
	"net"
	"strconv"
	"strings"
	"time"
)

// Bounds of what goes to a client.
const (
	outBuffer  = 32 << 10
	writeLimit = 5 * time.Minute
	maxQuoted  = 1000 // bytes; longer strings are literals
)

// An output is what goes to the client, kept back until the end of a command
// or until the buffer is full. Its error sticks.
type output struct{ *bufio.Writer }

func newOutput(c net.Conn) output { return output{bufio.NewWriterSize(&patient{c}, outBuffer)} }

// patient gives every write its time.
type patient struct{ net.Conn }

func (p *patient) Write(b []byte) (int, error) {
	if err := p.Conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

// line writes its parts and a line end.
func (o output) line(parts ...string) {
	for _, s := range parts {
		o.WriteString(s) // the error sticks
	}
	o.WriteString("\r\n")
}

// appendString adds a quoted string, or a literal where that can't be.
func appendString[T string | []byte](b []byte, s T) []byte {
	quotable := len(s) <= maxQuoted
	for i := 0; quotable && i < len(s); i++ {
		c := s[i]
		quotable = c != '\r' && c != '\n' && c != 0 && c < 0x80
	}
	if !quotable {
		b = append(b, '{')
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(b, "}\r\n"...)
		return append(b, s...)
	}
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// str writes a string.
func str(s string) string { return string(appendString(nil, s)) }

// astr writes a string as an atom where that can be.
func astr(s string) string {
	if s == "" || strings.EqualFold(s, "NIL") {
		return str(s)
	}
	for i := 0; i < len(s); i++ {
		if atomSpecial[s[i]] && s[i] != ']' {
			return str(s)
		}
	}
	return s
}
