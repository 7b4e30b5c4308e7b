package conf

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Level is a compatibility level, "major[.minor[.patch]]", as one number that
// compares as the levels do (postconf(5) compatibility_level).
type Level int64

const (
	levelBits = 10
	maxMajor  = math.MaxInt64 >> (2 * levelBits)
	maxMinor  = 1<<levelBits - 1
)

// ParseLevel reads a compatibility level such as "2" or "3.6".
func ParseLevel(text string) (Level, error) {
	parts := strings.Split(text, ".")
	if len(parts) > 3 {
		return 0, fmt.Errorf("malformed compatibility level %q: write major.minor, such as 3.6", text)
	}
	var level Level
	for i := range 3 {
		level <<= levelBits
		if i >= len(parts) {
			continue
		}
		limit := int64(maxMinor)
		if i == 0 {
			limit = maxMajor
		}
		n, err := strconv.ParseInt(parts[i], 10, 64)
		if err != nil || n < 0 || n > limit {
			return 0, fmt.Errorf("malformed compatibility level %q: write major.minor, such as 3.6", text)
		}
		level |= Level(n)
	}
	return level, nil
}
