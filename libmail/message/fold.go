package message

import "bytes"

// foldWidth is the length up to which FoldList joins addresses on one line; a
// tab counts as one.
const foldWidth = 70

// FoldList joins the lines of an address list, one address each, as far as
// they fit: newlines become blanks in place. The order does not change.
func FoldList(header []byte) {
	start := 0
	for line := 0; line < len(header); {
		end := len(header)
		if i := bytes.IndexByte(header[line:], '\n'); i >= 0 {
			end = line + i
		}
		if line > start {
			if end-start < foldWidth {
				header[line-1] = ' '
			} else {
				start = line
			}
		}
		line = end + 1
	}
}

// Unfold makes one line of a header value: each line end goes (RFC 5322
// §2.2.3), the blanks after it stay.
func Unfold(value []byte) []byte {
	if !bytes.ContainsAny(value, "\r\n") {
		return value
	}
	out := make([]byte, 0, len(value))
	for i, c := range value {
		if c == '\n' || c == '\r' && i+1 < len(value) && value[i+1] == '\n' {
			continue
		}
		out = append(out, c)
	}
	return out
}
