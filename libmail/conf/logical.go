package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxFile bounds main.cf and master.cf, in bytes.
const maxFile = 4 << 20

// A Line is one logical line of main.cf or master.cf: a line and those after it
// that begin with a blank. Comments and empty lines are left out, also inside.
type Line struct {
	Text string // without line ends; the leading blanks of continuations stay
	No   int    // number of its first physical line, from 1
}

// Lines splits the text of a configuration file into logical lines. Text that
// continues nothing is reported and skipped, as Postfix does.
func Lines(text []byte) (lines []Line, warnings []Warning) {
	for n := 1; len(text) > 0; n++ {
		physical, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		if bytes.IndexByte(physical, 0) >= 0 {
			warnings = append(warnings, Warning{Where: fmt.Sprint(n), Text: "null byte removed"})
			physical = bytes.ReplaceAll(physical, []byte{0}, nil)
		}
		line := string(physical)
		trimmed := strings.TrimLeft(line, blanks)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case len(trimmed) == len(line):
			lines = append(lines, Line{line, n})
		case len(lines) == 0:
			warnings = append(warnings, Warning{Where: fmt.Sprint(n),
				Text: fmt.Sprintf("text %q continues no line and is skipped: remove the blanks before it", clip(trimmed))})
		default:
			lines[len(lines)-1].Text += line
		}
	}
	return lines, warnings
}

// readFile reads a configuration file within maxFile.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("larger than %d bytes", maxFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text, nil
}

// SplitNameValue splits "name = value"; both come without blanks around them.
func SplitNameValue(text string) (name, value string, err error) {
	text = strings.Trim(text, blanks)
	n := strings.IndexAny(text, "="+blanks)
	switch {
	case n == 0 || text == "":
		return "", "", errors.New("missing parameter name")
	case n < 0:
		return "", "", errors.New("missing '=' after the parameter name")
	}
	rest := strings.TrimLeft(text[n:], blanks)
	if rest[0] != '=' {
		return "", "", errors.New("missing '=' after the parameter name")
	}
	return text[:n], strings.TrimLeft(rest[1:], blanks), nil
}
