package main

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"

	"postroad/libmail/message"
	"postroad/libmail/proto"
	"postroad/libmail/record"
)

// put writes a record to the queue file.
func (s *session) put(t record.Type, data string) { s.putBytes(t, []byte(data)) }

// putBytes writes a record. A text line longer than line_length_limit becomes
// several. Nothing is written any more once the message is given up.
func (s *session) putBytes(t record.Type, data []byte) {
	if !s.sound() {
		return
	}
	if t == record.Text || t == record.Continued {
		for len(data) > s.maxLine {
			s.write(record.Continued, data[:s.maxLine])
			data = data[s.maxLine:]
		}
	}
	s.write(t, data)
}

// write writes one record, within message_size_limit.
func (s *session) write(t record.Type, data []byte) {
	if s.maxMessage > 0 && s.file.Offset()+int64(record.Len(len(data))) > s.maxMessage {
		s.tooLarge()
		return
	}
	if err := s.file.Record(t, data); err != nil {
		s.writeFailed(err)
	}
}

func (s *session) tooLarge() {
	if s.errs&proto.StatSize == 0 {
		s.log.Warning("%s: queue file size limit exceeded", s.id)
	}
	s.errs |= proto.StatSize
}

// writeFailed notes that the queue file is of no use.
func (s *session) writeFailed(err error) {
	if errors.Is(err, syscall.EFBIG) { // a limit of the process or the file system
		s.tooLarge()
		return
	}
	if s.errs&proto.StatWrite == 0 {
		s.log.Warning("%s: %v", s.id, err)
	}
	s.errs |= proto.StatWrite
}

func (s *session) putf(t record.Type, format string, args ...any) {
	s.put(t, fmt.Sprintf(format, args...))
}

// putHeader writes a header, a record for each line. Lines that address
// rewriting made get a tab. A header beyond header_size_limit ends with the
// last line that fits, or in that line when it is a long one.
func (s *session) putHeader(header []byte) {
	if s.utf8 && len(header) > 0 && !message.IsASCII(header) {
		s.sendOpts |= proto.SendOptUTF8Header
		if s.flags&proto.CleanupAutoUTF8 != 0 {
			s.sendOpts |= proto.SendOptUTF8
		}
	}
	for at := 0; at <= len(header); {
		line := header[at:]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i]
		}
		end := at + len(line)
		if end > s.maxHeader {
			if at*10 > s.maxHeader*9 {
				return
			}
			line = line[:s.maxHeader-at]
			end = len(header) // no more lines
		}
		if at > 0 && (len(line) == 0 || line[0] != ' ' && line[0] != '\t') {
			line = append([]byte{'\t'}, line...)
		}
		s.putBytes(record.Text, line)
		at = end + 1
	}
}
