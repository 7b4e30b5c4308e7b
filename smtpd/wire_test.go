package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func TestTimeLeft(t *testing.T) {
	began := time.Unix(1000, 0)
	for rule, c := range map[string]struct {
		pace
		budget, readBegan, now time.Duration // after began
		want                   time.Duration
	}{
		"each read has the whole time":                 {pace{timeout: 30 * time.Second}, 0, 100 * time.Second, 110 * time.Second, 20 * time.Second},
		"a request has it once (per_request_deadline)": {pace{30 * time.Second, true}, 0, 20 * time.Second, 25 * time.Second, 5 * time.Second},
		"content earns time (min_data_rate)":           {pace{30 * time.Second, true}, 20 * time.Second, 35 * time.Second, 40 * time.Second, 10 * time.Second},
		"but never more than the whole time at once":   {pace{30 * time.Second, true}, 90 * time.Second, 10 * time.Second, 10 * time.Second, 30 * time.Second},
		"too late": {pace{30 * time.Second, true}, 0, 0, 31 * time.Second, -time.Second},
	} {
		x := timedConn{pace: func() pace { return c.pace }, began: began, budget: c.budget}
		if got := x.left(began.Add(c.readBegan), began.Add(c.now)); got != c.want {
			t.Errorf("%s: %v, want %v", rule, got, c.want)
		}
	}
}

func TestSlowContentRunsOutOfTime(t *testing.T) {
	x := timedConn{minRate: 500, began: time.Now().Add(-time.Hour)}
	x.earn(1000)
	if x.budget != 2*time.Second {
		t.Errorf("1000 bytes at 500 a second earn %v", x.budget)
	}
	x.began = time.Now()
	x.earn(1 << 20)
	if x.budget > time.Minute {
		t.Errorf("what comes at once earns %v: time cannot be saved up", x.budget)
	}
}

func TestReadsWhatComesBeforeTheDeadline(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	x := newWire(server, func() pace { return pace{timeout: 50 * time.Millisecond} }, &contentBuffers{})
	go io.WriteString(client, "text")
	p := make([]byte, 10)
	if n, err := x.conn.Read(p); n != 4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := x.conn.Read(p); err != os.ErrDeadlineExceeded {
		t.Errorf("then: %v", err)
	}
}

func TestPurgeForgetsPlainText(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	x := newWire(server, func() pace { return pace{timeout: time.Second} }, &contentBuffers{})
	go io.WriteString(client, "STARTTLS\r\nMAIL\r\n")
	if line, err := x.reader().ReadString('\n'); line != "STARTTLS\r\n" || err != nil {
		t.Fatal(line, err)
	}
	x.content() // a larger buffer holds it too
	x.purge()
	if x.buffered() != 0 || x.large != nil {
		t.Error("there is still plain text")
	}
}

// TestFirstRequest: the time of the first request begins with the connection,
// so that a server under stress (smtpd_per_request_deadline) greets.
func TestFirstRequest(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	x := newWire(ours, func() pace { return pace{timeout: time.Minute, requests: true} }, &contentBuffers{})
	defer ours.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := x.w.WriteString("220 mx.example.com ESMTP\r\n")
		if err == nil {
			err = x.w.Flush()
		}
		sent <- err
	}()
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(theirs).ReadString('\n') // an error leaves it short
		line <- text
	}()
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if got := <-line; got != "220 mx.example.com ESMTP\r\n" {
		t.Errorf("got %q", got)
	}
}
