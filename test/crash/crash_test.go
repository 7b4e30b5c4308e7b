// Package crash proves the first promise: mail that was answered with 250 is
// delivered, whatever dies, fills up, runs out or is damaged meanwhile. Each
// test sends mail whose every message has a checksum, disturbs the suite, and
// then compares a ledger of the answers with the mailboxes. The short form
// runs with the other tests; POSTROAD_CRASH=N makes each N times as long.
package crash

import (
	"os"
	"strconv"
	"testing"

	"postroad/libmail/mailtest"
)

func TestMain(m *testing.M) {
	status := m.Run()
	mailtest.Cleanup()
	os.Exit(status)
}

// times is how much longer than the short form a test is to run.
func times() int {
	n, err := strconv.Atoi(os.Getenv("POSTROAD_CRASH"))
	if err != nil || n < 1 {
		return 1 // unset
	}
	return n
}
