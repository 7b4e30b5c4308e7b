package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/libmail/maillog"
)

// A stage is a worker with one user, for tests.
type stage struct {
	t    *testing.T
	u    *user
	root string
	l    net.Listener
	wg   sync.WaitGroup
}

// newStage opens a user whose Maildir is empty. Sessions come by Dial.
func newStage(t *testing.T) *stage {
	t.Helper()
	return stageAt(t, filepath.Join(t.TempDir(), "Maildir"))
}

func stageAt(t *testing.T, root string) *stage {
	t.Helper()
	w, err := newWatcher()
	if err != nil {
		t.Fatal(err)
	}
	u, err := openUser("alice", root, w, maillog.New("test", maillog.Stream(os.Stderr, "test")))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "imapd")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, u: u, root: root, l: l}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() {
				defer c.Close()
				newSession(u, c, bufio.NewReader(c)).serve("login")
			})
		}
	})
	t.Cleanup(func() {
		s.close()
		os.RemoveAll(dir)
	})
	return s
}

// close ends the worker; sessions must have ended.
func (s *stage) close() {
	if s.l == nil {
		return
	}
	s.l.Close()
	s.l = nil
	s.wg.Wait()
	s.u.close()
	s.u.watch.f.Close()
}

// A tester is a client.
type tester struct {
	t    testing.TB
	c    net.Conn
	in   *bufio.Reader
	next int
}

func (s *stage) dial() *tester {
	s.t.Helper()
	c, err := net.Dial("unix", s.l.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(60 * time.Second))
	x := &tester{t: s.t, c: c, in: bufio.NewReader(c)}
	if got := x.line(); !strings.HasPrefix(got, "login OK [CAPABILITY ") {
		s.t.Fatalf("greeting %q", got)
	}
	return x
}

// line reads a response with its literals.
func (x *tester) line() string {
	x.t.Helper()
	text, err := x.read()
	if err != nil {
		x.t.Fatalf("after %q: %v", text, err)
	}
	return text
}

func (x *tester) read() (string, error) {
	var b strings.Builder
	for {
		part, err := x.in.ReadString('\n')
		b.WriteString(part)
		if err != nil {
			return b.String(), err
		}
		bare := strings.TrimRight(part, "\r\n")
		i := strings.LastIndexByte(bare, '{')
		if i < 0 || !strings.HasSuffix(bare, "}") {
			return strings.TrimSuffix(b.String(), "\r\n"), nil
		}
		n, err := strconv.Atoi(bare[i+1 : len(bare)-1])
		if err != nil {
			return strings.TrimSuffix(b.String(), "\r\n"), nil
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(x.in, data); err != nil {
			return b.String(), err
		}
		b.Write(data)
	}
}

// do sends a command and returns the untagged responses and the tagged one.
func (x *tester) do(command string) (untagged []string, tagged string) {
	x.t.Helper()
	tag := x.send(command)
	return x.until(tag)
}

func (x *tester) send(command string) (tag string) {
	x.t.Helper()
	x.next++
	tag = fmt.Sprintf("t%d", x.next)
	if _, err := io.WriteString(x.c, tag+" "+command+"\r\n"); err != nil {
		x.t.Fatal(err)
	}
	return tag
}

func (x *tester) until(tag string) (untagged []string, tagged string) {
	x.t.Helper()
	for {
		l := x.line()
		if rest, ok := strings.CutPrefix(l, tag+" "); ok {
			return untagged, rest
		}
		untagged = append(untagged, l)
	}
}

// want plays a command and compares all that comes.
func (x *tester) want(command, tagged string, untagged ...string) {
	x.t.Helper()
	got, end := x.do(command)
	if !strings.HasPrefix(end, tagged) {
		x.t.Errorf("%s: %q, want %q", command, end, tagged)
	}
	if strings.Join(got, "\n") != strings.Join(untagged, "\n") {
		x.t.Errorf("%s:\n got %q\nwant %q", command, got, untagged)
	}
}

// has plays a command and looks for some of what comes.
func (x *tester) has(command, tagged string, some ...string) {
	x.t.Helper()
	got, end := x.do(command)
	if !strings.HasPrefix(end, tagged) {
		x.t.Errorf("%s: %q, want %q", command, end, tagged)
	}
	for _, w := range some {
		if !strings.Contains(strings.Join(got, "\n")+"\n", w+"\n") {
			x.t.Errorf("%s: no %q in %q", command, w, got)
		}
	}
}

// literal is a message as a literal that is sent unasked.
func literal(text string) string {
	text = strings.ReplaceAll(text, "\n", "\r\n")
	return fmt.Sprintf("{%d+}\r\n%s", len(text), text)
}
