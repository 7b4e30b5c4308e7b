package mailtest

import (
	"os"
	"testing"
)

// Peers skips a test that runs real software of others, beside ours, unless
// POSTROAD_PEERS is set: such tests are slow and want root (make peers).
func Peers(tb testing.TB) {
	tb.Helper()
	if os.Getenv("POSTROAD_PEERS") == "" {
		tb.Skip("POSTROAD_PEERS is not set")
	}
}
