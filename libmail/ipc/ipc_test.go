package ipc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is two ends of a Unix stream socket.
func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = NewConn(c, time.Minute)
		t.Cleanup(func() { ends[i].Close() })
	}
	return ends[0], ends[1]
}

func TestFilesArePassedBetweenAttributes(t *testing.T) {
	a, b := pair(t)
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a.Out().Str("before", "1")
	a.Out().End()
	if err := a.SendFile(f); err != nil {
		t.Fatal(err)
	}
	a.Out().Str("after", "2")
	a.Out().End()
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	// All of it is in the socket now, so one read may see it all.
	if got := b.In().Str("before"); got != "1" {
		t.Errorf("before: %q %v", got, b.In().Err())
	}
	b.In().End()
	g, err := b.ReceiveFile()
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if text, err := io.ReadAll(g); string(text) != "content" {
		t.Errorf("file: %q %v", text, err)
	}
	if got := b.In().Str("after"); got != "2" {
		t.Errorf("after: %q %v", got, b.In().Err())
	}
}

func TestReceiveFileTakesExactlyOne(t *testing.T) {
	send := func(t *testing.T, c *Conn, data []byte, n int) {
		t.Helper()
		fds := make([]int, n)
		for i := range fds {
			fds[i] = int(os.Stdin.Fd())
		}
		var oob []byte
		if n > 0 {
			oob = unix.UnixRights(fds...)
		}
		if _, _, err := c.unix.WriteMsgUnix(data, oob, nil); err != nil {
			t.Fatal(err)
		}
	}
	mark := []byte{fileMark}
	for _, c := range []struct {
		rule string
		send func(*testing.T, *Conn)
		want string
	}{
		{"one is right", func(t *testing.T, c *Conn) { send(t, c, mark, 1) }, ""},
		{"none is an error", func(t *testing.T, c *Conn) { send(t, c, mark, 0) }, "no descriptor came"},
		{"two are an error", func(t *testing.T, c *Conn) { send(t, c, mark, 2) }, "more than one"},
		{"many are an error", func(t *testing.T, c *Conn) { send(t, c, mark, 50) }, "more than one"},
		{"one with the wrong byte is an error", func(t *testing.T, c *Conn) { send(t, c, []byte{'x'}, 1) }, "got byte 0x78"},
		{"a closed peer is an error", func(_ *testing.T, c *Conn) { c.Close() }, "EOF"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			a, b := pair(t)
			before := openFiles(t)
			c.send(t, a)
			f, err := b.ReceiveFile()
			switch {
			case err == nil && c.want != "":
				t.Error("accepted")
			case err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)):
				t.Error(err)
			}
			if f != nil {
				f.Close()
			}
			if after := openFiles(t); after > before {
				t.Errorf("%d descriptors more than before", after-before)
			}
		})
	}
}

// TestUnwantedDescriptorsAreClosed: a peer cannot fill our descriptor table.
func TestUnwantedDescriptorsAreClosed(t *testing.T) {
	a, b := pair(t)
	before := openFiles(t)
	for range 20 {
		if _, _, err := a.unix.WriteMsgUnix([]byte("text"), unix.UnixRights(0, 0, 0), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b.R, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	if n := openFiles(t) - before; n > 1 {
		t.Errorf("%d descriptors are kept", n)
	}
	b.Close()
	if n := openFiles(t) - before; n > -1 {
		t.Errorf("%d descriptors are kept after close", n+1)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(list)
}

func TestPeerCred(t *testing.T) {
	a, _ := pair(t)
	cred, err := a.PeerCred()
	if err != nil || int(cred.Uid) != os.Getuid() || int(cred.Pid) != os.Getpid() {
		t.Errorf("got %+v, %v", cred, err)
	}
}

func TestTheTimeLimitIsForEachOperation(t *testing.T) {
	a, b := pair(t)
	a.SetTimeout(20 * time.Millisecond)
	if _, err := a.R.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if _, err := b.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.R.ReadByte(); err != nil {
		t.Errorf("a later read has the whole time again: %v", err)
	}
	big := make([]byte, 1<<20)
	if _, err := a.W.Write(big); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
}

// A testServer answers requests of one attribute; a hook may spoil them.
type testServer struct {
	path     string
	listener net.Listener
	accepted atomic.Int64

	mu    sync.Mutex
	conns []*Conn
	// before sees each request; false hangs up.
	before func(n int64, text string) bool
}

func (s *testServer) setBefore(f func(n int64, text string) bool) {
	s.mu.Lock()
	s.before = f
	s.mu.Unlock()
}

func serve(t *testing.T, path string) *testServer {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &testServer{path: path, listener: l}
	s.setBefore(func(int64, string) bool { return true })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.session(c, s.accepted.Add(1))
		}
	}()
	return s
}

func (s *testServer) session(c net.Conn, n int64) {
	conn := NewConn(c, time.Minute)
	defer conn.Close()
	s.mu.Lock()
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	conn.Out().Str("protocol", "test")
	conn.Out().End()
	if conn.Flush() != nil {
		return
	}
	for conn.Await() == nil {
		text := conn.In().Str("text")
		conn.In().End()
		s.mu.Lock()
		before := s.before
		s.mu.Unlock()
		if conn.In().Err() != nil || !before(n, text) {
			return
		}
		conn.Out().Str("text", "re: "+text)
		conn.Out().End()
		if conn.Flush() != nil {
			return
		}
	}
}

func ask(c *Client, text string) (got string, calls int, err error) {
	err = c.Do(func(conn *Conn) error {
		calls++
		conn.Out().Str("text", text)
		conn.Out().End()
		if err := conn.Flush(); err != nil {
			return err
		}
		got = conn.In().Str("text")
		conn.In().End()
		return conn.In().Err()
	})
	return got, calls, err
}

func TestClient(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := serve(t, path)
	c := &Client{Path: path, Protocol: "test", Timeout: time.Minute, IdleTime: time.Minute}
	defer c.Close()
	want := func(rule, text string, calls int, accepted int64) {
		t.Helper()
		got, n, err := ask(c, text)
		if err != nil || got != "re: "+text || n != calls || s.accepted.Load() != accepted {
			t.Errorf("%s: %q %v, %d calls, %d connections", rule, got, err, n, s.accepted.Load())
		}
	}
	want("a first request makes a connection", "1", 1, 1)
	want("a second one uses it", "2", 1, 1)

	s.mu.Lock()
	s.conns[0].Shutdown()
	s.mu.Unlock()
	want("a kept connection that ends is replaced, and the request repeated", "3", 2, 2)

	s.setBefore(func(n int64, _ string) bool { return n != 2 })
	want("so is one that ends when the request is there", "4", 2, 3)

	s.setBefore(func(int64, string) bool { return false })
	if _, n, err := ask(c, "5"); !errors.Is(err, io.EOF) || n != 2 {
		t.Errorf("a new connection that ends is an error: %v, %d calls", err, n)
	}
	s.setBefore(func(int64, string) bool { return true })
	want("after an error a new connection is made", "6", 1, 5)

	refused := errors.New("refused")
	calls := 0
	if err := c.Do(func(*Conn) error { calls++; return refused }); !errors.Is(err, refused) || calls != 1 {
		t.Errorf("the request's own error is not repeated: %v, %d calls", err, calls)
	}
	c.Protocol = "other"
	if _, _, err := ask(c, "7"); err == nil || !strings.Contains(err.Error(), `server speaks "test", not other`) {
		t.Errorf("another protocol is an error: %v", err)
	}
	c.Protocol = "test"
	s.listener.Close()
	if _, _, err := ask(c, "8"); !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a missing server is an error: %v", err)
	}
}

func TestKeptConnectionsAreLimited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := serve(t, path)
	var together sync.WaitGroup
	together.Add(10)
	s.setBefore(func(_ int64, text string) bool {
		if text == "together" {
			together.Done()
			together.Wait()
		}
		return true
	})
	c := &Client{Path: path, Protocol: "test", MaxIdle: 2, IdleTime: 20 * time.Millisecond}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, _, err := ask(c, "together"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c.mu.Lock()
	kept := len(c.idle)
	c.mu.Unlock()
	if kept > 2 {
		t.Errorf("%d connections are kept", kept)
	}
	for {
		c.mu.Lock()
		kept = len(c.idle)
		c.mu.Unlock()
		if kept == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
}

// TestFullListenQueueIsWaitedFor: the kernel refuses a connection then, and
// no request may fail for that.
func TestFullListenQueueIsWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	first, err := Dial(path, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := Dial(path, 5*time.Millisecond); err == nil {
		t.Fatal("the listen queue is not full")
	}
	done := make(chan error)
	go func() { done <- Trigger(path, []byte("W"), time.Minute) }()
	var accepted []int
	for range 2 {
		n, _, err := unix.Accept(fd)
		if err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, n)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	buf := make([]byte, 10)
	if n, err := unix.Read(accepted[1], buf); n != 1 || buf[0] != 'W' {
		t.Errorf("request: %q %v", buf[:max(n, 0)], err)
	}
	for _, n := range append(accepted, fd) {
		unix.Close(n)
	}
}

func TestAwait(t *testing.T) {
	t.Run("the first request is taken whatever happens", func(t *testing.T) {
		a, b := pair(t)
		b.OnRequest(func() bool { return false })
		b.Shutdown()
		if _, err := a.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if err := b.Await(); err != nil {
			t.Error(err)
		}
		if err := b.Await(); err != io.EOF {
			t.Errorf("the second is not: %v", err)
		}
	})
	t.Run("shutdown wakes a session that waits", func(t *testing.T) {
		a, b := pair(t)
		if _, err := a.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if err := b.Await(); err != nil {
			t.Fatal(err)
		}
		b.R.Discard(1)
		done := make(chan error)
		go func() { done <- b.Await() }()
		for {
			if _, ok := b.Waiting(); ok {
				break
			}
			time.Sleep(time.Millisecond)
		}
		b.Shutdown()
		if err := <-done; err != io.EOF {
			t.Error(err)
		}
	})
	t.Run("a server in a hurry does not wait for the first request", func(t *testing.T) {
		_, b := pair(t)
		done := make(chan error)
		go func() { done <- b.Await() }()
		for {
			if _, ok := b.Waiting(); ok {
				break
			}
			time.Sleep(time.Millisecond)
		}
		b.Shutdown()
		select {
		case err := <-done:
			t.Errorf("one that is not ends too: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
		b.HangUp()
		if err := <-done; err != io.EOF {
			t.Error(err)
		}
	})
	t.Run("a request that must not be taken is left to others", func(t *testing.T) {
		a, b := pair(t)
		may := true
		b.OnRequest(func() bool { return may })
		for i, want := range []error{nil, nil, io.EOF} {
			may = i < 2
			if _, err := a.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			if err := b.Await(); err != want {
				t.Errorf("request %d: %v", i+1, err)
			}
			b.R.Discard(1)
		}
	})
	t.Run("the end of the stream is the end", func(t *testing.T) {
		a, b := pair(t)
		a.Close()
		if err := b.Await(); err != io.EOF {
			t.Error(err)
		}
	})
}

// TestClientsSurviveServersThatComeAndGo: with a listening socket that stays,
// no request fails while the processes behind it are replaced.
func TestClientsSurviveServersThatComeAndGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := serve(t, path)
	stop := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			s.mu.Lock()
			for _, c := range s.conns {
				c.Shutdown()
			}
			s.conns = nil
			s.mu.Unlock()
		}
	})
	c := &Client{Path: path, Protocol: "test", Timeout: time.Minute}
	defer c.Close()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 300 {
				text := fmt.Sprint(i, n)
				if got, _, err := ask(c, text); err != nil || got != "re: "+text {
					t.Errorf("%s: %q %v", text, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	killer.Wait()
}

// FuzzReceiveFile feeds bytes of a hostile peer to the reader of descriptors.
func FuzzReceiveFile(f *testing.F) {
	f.Add([]byte{fileMark})
	f.Add([]byte("protocol\x00x\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Skip(err)
		}
		w, r := os.NewFile(uintptr(fds[0]), "w"), os.NewFile(uintptr(fds[1]), "r")
		c, err := net.FileConn(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		conn := NewConn(c, time.Second)
		defer conn.Close()
		bw := bufio.NewWriter(w)
		if len(data) > 4096 {
			data = data[:4096]
		}
		bw.Write(data)
		bw.Flush()
		w.Close()
		if _, err := conn.ReceiveFile(); err == nil {
			t.Error("a file came out of plain bytes")
		}
	})
}
