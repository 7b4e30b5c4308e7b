package queue

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"postroad/libmail/record"
)

// ParseTime reads the data of a time record, "seconds microseconds"; the zero
// time if they are none.
func ParseTime(data []byte) time.Time {
	fields := bytes.Fields(data)
	if len(fields) == 0 {
		return time.Time{}
	}
	sec, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil || sec <= 0 {
		return time.Time{}
	}
	var usec int64
	if len(fields) > 1 {
		usec, err = strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil || usec < 0 || usec > 999999 {
			usec = 0
		}
	}
	return time.Unix(sec, usec*1000)
}

// FormatTime is the data of a time record.
func FormatTime(t time.Time) string {
	return fmt.Sprintf("%d %d", t.Unix(), t.Nanosecond()/1000)
}

// FormatWarn is the data of a warning record.
func FormatWarn(t time.Time) string { return fmt.Sprintf("%15d", t.Unix()) }

var errAttr = errors.New("bad attribute record")

// SplitAttr splits an attribute record at its first '=', without the blanks
// around name and value.
func SplitAttr(data []byte) (name string, value []byte, err error) {
	n, value, found := bytes.Cut(data, []byte("="))
	n = bytes.TrimSpace(n)
	if !found || len(n) == 0 || bytes.ContainsAny(n, " \t\r\n\v\f") {
		return "", nil, fmt.Errorf("%w: %w: %.200q", ErrCorrupt, errAttr, data)
	}
	return string(n), bytes.TrimSpace(value), nil
}

// AttrType is the record type that a named attribute stands for, or 0. Such
// attributes came later than the format, so they hide from older readers.
func AttrType(name string) record.Type {
	switch name {
	case "dsn_orig_rcpt":
		return record.DSNRcpt
	case "notify_flags":
		return record.DSNNotify
	case "envelope_id":
		return record.DSNEnvID
	case "ret_flags":
		return record.DSNReturn
	case "create_time":
		return record.Created
	}
	return 0
}
