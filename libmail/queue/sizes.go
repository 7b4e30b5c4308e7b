package queue

import (
	"bytes"
	"fmt"
	"strconv"
)

// Sizes is the first record of a queue file. It is written as zeros and
// filled in at the end, always with the same width.
type Sizes struct {
	DataSize      int64 // bytes of the content records, without what milters appended
	DataOffset    int64 // offset of the first content record
	Rcpts         int   // recipients ever written
	Flags         int   // for qmgr: MixedRcpts, and what NOTIFY asks for
	ContentLength int64 // bytes of the content; differs from DataSize after a milter's edit
	SendOpts      int   // SMTPUTF8 and the like, summed
}

// MixedRcpts is set in Sizes.Flags when recipients stand between other
// records. The next four bits are the union of Rcpt.Notify, once to the left.
const MixedRcpts = 1 << 0

const (
	flagsAll    = 1<<5 - 1
	notifyNever = 1 << 0
	notifyAll   = 1<<4 - 1
	sendOptsAll = 1<<6 - 1
)

// Data is the data of the size record: 95 bytes.
func (z Sizes) Data() string {
	return fmt.Sprintf("%15d %15d %15d %15d %15d %15d",
		z.DataSize, z.DataOffset, z.Rcpts, z.Flags, z.ContentLength, z.SendOpts)
}

// ParseSizes reads a size record of three or more numbers; what is missing is
// 0. Sizes, offset and flags that no writer produces are ErrCorrupt.
func ParseSizes(data []byte) (Sizes, error) {
	var n [6]int64
	count := 0
	for i, field := range bytes.Fields(data) {
		if i == len(n) {
			break
		}
		v, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			break
		}
		n[i], count = v, i+1
	}
	z := Sizes{n[0], n[1], int(n[2]), int(n[3]), n[4], int(n[5]) & sendOptsAll}
	if count < 3 || z.DataSize <= 0 || z.DataOffset <= 0 || z.DataSize > maxOffset || z.DataOffset > maxOffset ||
		z.Flags&^flagsAll != 0 || z.ContentLength < 0 {
		return z, fmt.Errorf("%w: size record %.100q", ErrCorrupt, data)
	}
	if z.ContentLength == 0 {
		z.ContentLength = z.DataSize
	}
	return z, nil
}

// maxOffset keeps sums of two offsets in range.
const maxOffset = 1 << 62
