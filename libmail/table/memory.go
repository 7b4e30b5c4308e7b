package table

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"postroad/libmail/addr"
)

// memory is a table that is held in memory: texthash, inline, internal.
type memory map[string]string

func (m memory) get(key string) (string, bool, error) {
	value, found := m[key]
	return value, found, nil
}

func (m memory) walk(fn func(key, value string) error) error {
	for key, value := range m {
		if err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}

func (m memory) close() error { return nil }

// openInternal opens internal:anything, which is empty: a table that a process
// fills itself has no other way in.
func openInternal(*front, string) (contents, error) { return memory{}, nil }

// openText opens texthash:FILE, the input of postmap as it is.
func openText(t *front, name string) (contents, error) {
	return openWatched(t, "open database", name, func(f *os.File) (fileContents, error) {
		m, err := readText(t, f, name)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return nil, err
		}
		return m, nil
	})
}

// readText reads the input of postmap.
func readText(t *front, r io.Reader, name string) (memory, error) {
	m := memory{}
	src := NewSource(r, name, t.warn())
	for {
		line, n, ok := src.Next()
		if !ok {
			return m, src.Err()
		}
		if err := m.addLine(t, line); err != nil {
			if _, fatal := err.(duplicate); fatal {
				return nil, fmt.Errorf("%s, line %d: %w", name, n, err)
			}
			t.warn().Warning("%s, line %d: %v", name, n, err)
		}
	}
}

// duplicate is the error of DupError.
type duplicate string

func (d duplicate) Error() string { return fmt.Sprintf("duplicate entry: \"%s\"", string(d)) }

// addLine adds one entry. Its error is a warning, but for a duplicate.
func (m memory) addLine(t *front, line string) error {
	if t.o.UTF8 && !addr.IsASCII(line) && !utf8.ValidString(line) {
		return fmt.Errorf("non-UTF-8 input %q -- ignoring this line", line)
	}
	key, value, err := SplitEntry(line)
	if errors.Is(err, ErrEntry) {
		return fmt.Errorf("%w -- ignoring this line", err)
	}
	if err != nil {
		return err
	}
	if t.o.FileValues {
		if value, err = FileValue(value); err != nil {
			return fmt.Errorf("%w: skipping this entry", err)
		}
	}
	stored := key
	if t.o.Fold != FoldNone {
		stored = fold(key, t.o.UTF8)
	}
	if _, have := m[stored]; have {
		switch t.o.Duplicates {
		case DupError:
			return duplicate(key)
		case DupWarn:
			return fmt.Errorf("%w", error(duplicate(key)))
		case DupIgnore:
			return nil
		case DupReplace:
		}
	}
	m[stored] = value
	if LooksLikeAlias(key) {
		return errAlias
	}
	return nil
}

var errAlias = fmt.Errorf(`record is in "key: value" format; is this an alias file?`)

// openInline opens inline:{key=value, {key = text with blanks}}.
func openInline(t *front, name string) (contents, error) {
	need := fmt.Sprintf("; need \"inline:{name=%s...}\"", map[bool]string{false: "value", true: "filename"}[t.o.FileValues])
	bad := func(what string) (contents, error) {
		return nil, fmt.Errorf("%s: \"inline:%s\"%s", what, name, need)
	}
	list, err := unbrace(name)
	if err != nil || list == "" {
		return bad("bad syntax")
	}
	m := memory{}
	for _, part := range fields(list) {
		if part[0] == '{' {
			if part, err = unbraceTrim(part); err != nil {
				return bad(err.Error())
			}
		}
		key, value, err := splitNameValue(part)
		if err == nil && t.o.FileValues {
			value, err = FileValue(value)
		}
		if err != nil {
			return bad(err.Error())
		}
		if t.o.Fold != FoldNone {
			key = fold(key, t.o.UTF8)
		}
		m[key] = value
	}
	if len(m) == 0 {
		return bad("empty table")
	}
	return m, nil
}

// splitNameValue divides "key = value". The key may stand in quotes, which it
// keeps.
func splitNameValue(s string) (key, value string, err error) {
	s = trimLeft(s)
	if s == "" {
		return "", "", fmt.Errorf("no key found; expected format: key = value")
	}
	n, err := keyEnd(s, "=")
	if err != nil {
		return "", "", fmt.Errorf("unbalanced '\"'")
	}
	value = trimLeft(s[n:])
	if value == "" || value[0] != '=' {
		return "", "", fmt.Errorf("missing '=' after attribute name")
	}
	return s[:n], trimSpace(value[1:]), nil
}
