package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A feedback says how much one delivery changes the concurrency of a
// destination (default_destination_concurrency_positive_feedback and
// _negative_feedback): a constant, a ratio, or a constant divided by the
// concurrency or by its square root.
type feedback struct {
	base float64
	per  func(window float64) float64 // nil: base alone
}

// hysteresis is how much feedback must pile up before the window moves.
const hysteresis = 1

// at is the feedback of one delivery when the window is of that size.
func (f feedback) at(window int) float64 {
	if f.per == nil {
		return f.base
	}
	return f.base / f.per(float64(window))
}

// parseFeedback reads "0.5", "1 / 8", "1 / concurrency" or "1 / sqrt_concurrency";
// the result lies between 0 and 1.
func parseFeedback(text string) (feedback, error) {
	above, below, divided := strings.Cut(text, "/")
	below = strings.TrimSpace(below)
	base, err := strconv.ParseFloat(strings.TrimSpace(above), 64)
	f := feedback{base: base}
	switch {
	case err != nil:
	case !divided:
	case below == "concurrency":
		f.per = func(w float64) float64 { return w }
	case below == "sqrt_concurrency":
		f.per = math.Sqrt
	default:
		var divisor float64
		divisor, err = strconv.ParseFloat(below, 64)
		f.base /= divisor
	}
	if err != nil || !(f.base >= 0 && f.base <= 1) {
		return feedback{base: 1}, fmt.Errorf("malformed or unreasonable feedback: %s", text)
	}
	return f, nil
}
