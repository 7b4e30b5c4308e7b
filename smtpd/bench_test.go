package main

import (
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// content is n lines of 72 bytes, and the end of a message.
func content(n int) string {
	return strings.Repeat("0123456789012345678901234567890123456789012345678901234567890123456789\r\n", n) + ".\r\n"
}

const envelope = "MAIL FROM:<a@example.org>\r\nRCPT TO:<user@example.com>\r\nDATA\r\n"

// TestContentCostsNoAllocations: what a session allocates does not grow with
// the number of lines of its message.
func TestContentCostsNoAllocations(t *testing.T) {
	cost := func(lines int) float64 {
		s := contentSession(t, lines)
		return testing.AllocsPerRun(5, s)
	}
	small, large := cost(100), cost(10100)
	if perLine := (large - small) / 10000; perLine > 0.01 {
		t.Errorf("%.3f allocations for each line", perLine)
	}
}

// sink is a destination that counts what it gets.
type sink struct{ batches, largest, bytes int }

func (k *sink) Records(batch []byte) {
	k.batches++
	k.bytes += len(batch)
	k.largest = max(k.largest, len(batch))
}
func (k *sink) Finish() (int, string, error) { return 0, "", nil }
func (k *sink) Abort()                       {}

// contentSession receives a message into a sink.
func contentSession(t testing.TB, lines int) func() {
	b := newTestbed(t, "", map[string]string{})
	text := content(lines)
	sender := "a@example.org"
	return func() {
		conn := &fuzzConn{Reader: strings.NewReader(text)}
		s := &session{service: b.service, ctx: context.Background(), stats: map[string]*count{}}
		s.client = unknownClient()
		s.wire = newWire(conn, s.pace, &b.buffers)
		k := &sink{}
		s.mail.sender, s.mail.queue = &sender, newQueueFile("4A1B2", k, &b.batches)
		s.beginContent()
		if r := s.receive(); r.code != 250 {
			t.Fatalf("%v", r)
		}
		s.wire.release()
		if want := lines * 72; k.bytes < want || k.largest > batchSize || k.batches > k.bytes/(batchSize-1000)+2 {
			t.Fatalf("%+v for %d bytes", k, want)
		}
	}
}

// TestIdleSessionsAreSmall holds sessions that wait for a command, as 2,000
// clients may.
func TestIdleSessionsAreSmall(t *testing.T) {
	const n = 200
	b := newTestbed(t, "", map[string]string{})
	b.call() // what is made once
	before := inUse()
	for range n {
		client, server := net.Pipe()
		go b.serve(context.Background(), server, false)
		t.Cleanup(func() { client.Close() })
		readUntil(t, client, "220 ")
		for _, say := range [][2]string{{"EHLO there\r\n", "CHUNKING"}, {envelope, "354 "}, {content(1000), "queued as"}} {
			go client.Write([]byte(say[0])) // an error shows as a missing reply
			readUntil(t, client, say[1])
		}
	}
	b.messages, b.log = nil, nil
	each := (inUse() - before) / n
	t.Logf("%d bytes for each session, with the client's half", each)
	if each > 32<<10 {
		t.Errorf("an idle session holds %d bytes", each)
	}
}

func readUntil(t *testing.T, c net.Conn, want string) {
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	text, buf := "", make([]byte, 1000)
	for !strings.Contains(text, want) {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("after %q: %v", text, err)
		}
		text += string(buf[:n])
	}
}

// inUse is the memory of heap and stacks.
func inUse() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}

func BenchmarkSession(b *testing.B) {
	for name, lines := range map[string]int{"4KB": 60, "1MB": 15000} {
		text := content(lines)
		b.Run(name, func(b *testing.B) {
			bed := newTestbed(b, "", map[string]string{})
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				bed.messages, bed.log = nil, nil
				steps := io.MultiReader(strings.NewReader("EHLO there\r\n"), strings.NewReader(envelope), strings.NewReader(text), strings.NewReader("QUIT\r\n"))
				conn := &fuzzConn{Reader: steps}
				bed.serve(context.Background(), conn, false)
				if !strings.Contains(conn.out.String(), "queued as") {
					b.Fatal(conn.out.String())
				}
			}
		})
	}
}

func BenchmarkContent(b *testing.B) {
	receive := contentSession(b, 15000)
	b.SetBytes(15000 * 72)
	b.ReportAllocs()
	for b.Loop() {
		receive()
	}
}
