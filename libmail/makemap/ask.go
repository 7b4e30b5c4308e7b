package makemap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"postroad/libmail/table"
)

// maxKey bounds a line of keys: 1 MiB.
const maxKey = 1 << 20

// queryOne prints the value that the first table has for a key.
func (j *job) queryOne() (bool, error) {
	for _, name := range j.tables {
		t, err := table.Open(name, j.BuildOptions.Options)
		if err != nil {
			return false, err
		}
		value, found, err := j.lookup(t, j.key)
		if errClose := t.Close(); err == nil {
			err = errClose
		}
		if err != nil {
			return false, err
		}
		if found && j.json {
			j.print(j.key, value)
		} else if found {
			fmt.Fprintln(j.out, value)
		}
		if found {
			return true, nil
		}
	}
	return false, nil
}

// queryAll prints what the first table that has a key says, for all keys of
// standard input. A table is opened when the first key gets to it.
func (j *job) queryAll() (found bool, err error) {
	tables := make([]table.Table, len(j.tables))
	ask := func(key string) error {
		for i, name := range j.tables {
			if tables[i] == nil {
				if tables[i], err = table.Open(name, j.BuildOptions.Options); err != nil {
					return err
				}
			}
			value, ok, err := j.lookup(tables[i], key)
			if err != nil {
				return err
			}
			if ok {
				j.print(key, value)
				found = true
				return nil
			}
		}
		return nil
	}
	keys := j.Keys
	if keys == nil {
		keys = eachLine
	}
	err = keys(j.in, ask)
	for _, t := range tables {
		if t != nil {
			err = errors.Join(err, t.Close())
		}
	}
	return found, err
}

// eachLine calls fn with each line of in.
func eachLine(in io.Reader, fn func(line string) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxKey)
	for lines.Scan() {
		key, _, _ := strings.Cut(lines.Text(), "\x00")
		if err := fn(key); err != nil {
			return err
		}
	}
	return lines.Err()
}

// lookup asks one table.
func (j *job) lookup(t table.Table, key string) (value string, found bool, err error) {
	value, found, err = t.Lookup(key)
	if err != nil {
		var e *table.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return "", false, fmt.Errorf("table %s: query error: %w", t.Name(), err)
	}
	if found && value == "" {
		j.warnEmpty(t.Name(), key)
	}
	if found && j.FileValues {
		if value, err = table.DecodeFileValue(value); err != nil {
			j.log.Warning("table %s: key %s: %v", t.Name(), key, err)
			return "", false, fmt.Errorf("table %s: query error", t.Name())
		}
	}
	return value, found, nil
}

func (j *job) warnEmpty(name, key string) {
	j.log.Warning("table %s: key %s: empty string result is not allowed", name, key)
	j.log.Warning("table %s should return NO RESULT in case of NOT FOUND", name)
}

// list prints all entries of the first table.
func (j *job) list() (bool, error) {
	if len(j.tables) == 0 {
		return false, nil
	}
	t, err := table.Open(j.tables[0], j.BuildOptions.Options)
	if err != nil {
		return false, err
	}
	err = table.Walk(t, func(key, value string) error {
		switch {
		case key == "":
			j.log.Warning("table %s: empty lookup key value is not allowed", t.Name())
		case value == "":
			j.warnEmpty(t.Name(), key)
		}
		if j.FileValues {
			text, err := table.DecodeFileValue(value)
			if err != nil {
				j.log.Warning("table %s: key %s: %v", t.Name(), key, err)
				return nil
			}
			value = text
		}
		j.print(key, value)
		return nil
	})
	return err == nil, errors.Join(err, t.Close())
}

// print writes one entry.
func (j *job) print(key, value string) {
	if j.json {
		fmt.Fprintf(j.out, "{\"%s\": \"%s\"}\n", quoteJSON(key), quoteJSON(value))
		return
	}
	fmt.Fprintf(j.out, "%s%s%s\n", key, j.Separator, value)
}

// quoteJSON escapes text for JSON (RFC 8259 §7).
func quoteJSON(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' || c == '"':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\b':
			b.WriteString(`\b`)
		case c == '\f':
			b.WriteString(`\f`)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
