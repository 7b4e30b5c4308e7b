package crash

import (
	"crypto/sha256"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"testing"
)

// An answer is what a client knows about a message in the end.
type answer int

const (
	accepted answer = iota // 250 after the final dot
	refused                // 4xx or 5xx before the content, 5xx after it
	cut                    // the connection was lost before the final dot was sent
	unknown                // the connection was lost after it, or the answer was 4xx
)

// A message is one that a client sent, or tried to.
type message struct {
	id   string
	to   string
	text string // lines end with LF
	want []string
}

// addresses are where the messages go in turn, and the mailboxes meant.
var addresses = []struct {
	to   string
	want []string
}{
	{"alice@example.com", []string{"alice"}},
	{"bob@example.com", []string{"bob"}},
	{"both@example.com", []string{"alice", "bob"}}, // an alias
}

// newMessage makes a message of up to a few thousand bytes, the same for the
// same number.
func newMessage(n int) message {
	r := rand.New(rand.NewSource(int64(n)))
	var body strings.Builder
	for range 1 + r.Intn(60) {
		fmt.Fprintf(&body, "%s%x\n", strings.Repeat(".", r.Intn(3)), r.Int63())
	}
	a := addresses[n%len(addresses)]
	id := fmt.Sprintf("crash-%d", n)
	return message{id: id, to: a.to, want: a.want, text: fmt.Sprintf("Subject: crash\nX-Crash: %s %x\n\n%s", id, sha256.Sum256([]byte(body.String())), body.String())}
}

// A ledger is the answers to all messages of a test.
type ledger struct {
	mu      sync.Mutex
	answers map[string]answer
	sent    map[string]message
	next    int
	lost    []string // connections that ended without a 421
	replies map[string]int
}

func newLedger() *ledger {
	return &ledger{answers: map[string]answer{}, sent: map[string]message{}, replies: map[string]int{}}
}

// write is the next message to send.
func (l *ledger) write() message {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := newMessage(l.next)
	l.next++
	l.sent[m.id] = m
	l.answers[m.id] = cut
	return m
}

func (l *ledger) note(m message, a answer, reply string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[m.id] = a
	if a == refused {
		l.countReply(reply)
	}
}

// noteLater notes a 4xx after the final dot. A cleanup that died when the
// message was complete leaves smtpd in doubt, so the message may be ours.
func (l *ledger) noteLater(m message, reply string) {
	l.note(m, unknown, "")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.countReply(reply)
}

func (l *ledger) countReply(reply string) {
	if len(reply) > 4 {
		code, _, _ := strings.Cut(reply[4:], " ")
		l.replies[reply[:3]+" "+code]++
	}
}

func (l *ledger) noteLost(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = append(l.lost, why)
}

// count is how many messages had an answer.
func (l *ledger) count(a answer) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, got := range l.answers {
		if got == a {
			n++
		}
	}
	return n
}

// A delivery is a copy of a message in a mailbox.
type delivery struct{ user, id string }

// open reads what was delivered to a user and proves each copy by its
// checksum.
func open(t testing.TB, user, text string) delivery {
	head, body, found := strings.Cut(text, "\n\n")
	_, mark, marked := strings.Cut("\n"+head, "\nX-Crash: ")
	if !found || !marked {
		t.Errorf("%s has a message that nobody sent:\n%s", user, text)
		return delivery{}
	}
	mark, _, _ = strings.Cut(mark, "\n")
	id, sum, _ := strings.Cut(mark, " ")
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(body))); got != sum {
		t.Errorf("%s has %s damaged: checksum %s, want %s", user, id, got, sum)
	}
	return delivery{user, id}
}

// settle compares the answers with the mailboxes: accepted mail is there
// whole, refused mail is not, and nothing else is. It returns the number of
// second copies.
func (l *ledger) settle(t testing.TB, mailbox func(user string) []string) (duplicates int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	copies := map[delivery]int{}
	for _, user := range []string{"alice", "bob"} {
		for _, text := range mailbox(user) {
			copies[open(t, user, text)]++
		}
	}
	for d, n := range copies {
		duplicates += n - 1
		a, sent := l.answers[d.id]
		if !sent || a == refused || a == cut {
			t.Errorf("%s has %s, which was not accepted (answer %d)", d.user, d.id, a)
		}
	}
	lost := 0
	for id, a := range l.answers {
		if a != accepted {
			continue
		}
		for _, user := range l.sent[id].want {
			if copies[delivery{user, id}] == 0 {
				lost++
				t.Errorf("lost: %s was accepted and %s does not have it", id, user)
			}
		}
	}
	t.Logf("%d sent, replies of refusal %v, %d lost connections; %d lost messages, %d duplicates", len(l.sent), l.replies, len(l.lost), lost, duplicates)
	return duplicates
}
