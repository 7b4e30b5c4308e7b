package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"postroad/libmail/ipc"
)

// acceptPause is how long nothing is accepted after a shortage of
// descriptors or memory; as a log line goes with it, a second.
const acceptPause = time.Second

// Bounds on the time of a trigger request, and on datagrams.
const (
	triggerTime = 10 * time.Second
	maxDatagram = 65536
	maxDrain    = 100 // datagrams between two looks at whether we go on
	restBelow   = 5   // as many at once are half of what the kernel queues (unix(7))
)

// passTime bounds how long a passing program may take to hand over.
const passTime = 10 * time.Second

// accept runs one socket until the process leaves.
func (r *running) accept(s *socket) {
	defer r.accepting.Done()
	for {
		if s.wait() != nil || r.leaving.Load() {
			return
		}
		if r.changed() {
			return
		}
		if !r.slots.acquire() {
			return
		}
		c, err := s.accept()
		if err == nil {
			go r.session(c)
			continue
		}
		r.slots.release()
		switch {
		case errors.Is(err, errLeft):
		case shortage(err):
			r.env.Log.Warning("%v -- no new clients for %v", err, acceptPause)
			r.pause(acceptPause)
		default:
			r.env.Log.Warning("%v", err)
			r.pause(acceptPause)
		}
	}
}

// pause sleeps, or returns early when the process leaves.
func (r *running) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.left:
	}
}

// session serves one connection, whose slot is taken.
func (r *running) session(c net.Conn) {
	defer r.slots.release()
	defer c.Close() // the session said what it had to say
	defer func() {
		if r.env.panicked("session", recover()) && r.svc.Panicked != nil {
			r.apologize(c)
		}
	}()
	switch {
	case r.svc.stream != nil:
		r.conversation(c, r.svc.stream)
	case r.svc.inet != nil && r.env.Type == "pass":
		r.passed(c)
	case r.svc.inet != nil:
		r.svc.inet(r.ctx, c)
	case r.svc.trigger != nil:
		r.conversation(c, r.triggered)
	}
}

// apologize lets the program say a last word after a panic.
func (r *running) apologize(c net.Conn) {
	defer func() {
		if p := recover(); p != nil {
			r.env.Log.Panic("after a panic: %v", p)
		}
	}()
	if c.SetDeadline(time.Now().Add(orphanTime)) == nil {
		r.svc.Panicked(c)
	}
}

// conversation serves a client that may make further requests.
func (r *running) conversation(c net.Conn, serve func(context.Context, *ipc.Conn)) {
	conn := ipc.NewConn(c, r.ipcTimeout)
	conn.OnRequest(func() bool { return !r.leaving.Load() && !r.changed() })
	r.mu.Lock()
	r.conns[conn] = struct{}{}
	if r.leaving.Load() {
		conn.Shutdown()
	}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.conns, conn)
		r.mu.Unlock()
		conn.Close() // also closes descriptors that nobody took
	}()
	serve(r.ctx, conn)
}

// shutdownConversations ends the conversations between two requests; only
// those that waited longer than idle when it is above 0.
func (r *running) shutdownConversations(idle time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		if since, waits := c.Waiting(); idle == 0 || waits && time.Since(since) > idle {
			c.Shutdown()
		}
	}
}

// hangUpConversations is shutdownConversations for a process in a hurry.
func (r *running) hangUpConversations() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.HangUp()
	}
}

// passed receives a connection from another program, and what it says about
// it: one attribute list, then the descriptor.
func (r *running) passed(c net.Conn) {
	conn := ipc.NewConn(c, passTime)
	defer conn.Close()
	said := map[string]string{}
	for in := conn.In(); ; {
		name, value, more := in.Next()
		if in.Err() != nil {
			if !errors.Is(in.Err(), io.EOF) {
				r.env.Log.Warning("passed connection: %v", in.Err())
			}
			return
		}
		if !more {
			break
		}
		if len(said) < maxPassedAttrs {
			said[name] = value
		}
	}
	f, err := conn.ReceiveFile()
	if err != nil {
		r.env.Log.Warning("passed connection: %v", err)
		return
	}
	client, err := net.FileConn(f)
	f.Close() // FileConn made a copy
	if err != nil {
		r.env.Log.Warning("passed connection: %v", err)
		return
	}
	defer client.Close()
	r.svc.inet(context.WithValue(r.ctx, passedKey{}, said), client)
}

// maxPassedAttrs bounds what a passing program says about a connection.
const maxPassedAttrs = 100

// PassConn hands an accepted connection to the service at path (type pass),
// with what the session there gets from Passed. The caller still owns c.
func PassConn(path string, c net.Conn, said map[string]string, timeout time.Duration) error {
	filer, ok := c.(interface{ File() (*os.File, error) })
	if !ok {
		return fmt.Errorf("pass connection to %s: it has no descriptor", path)
	}
	f, err := filer.File()
	if err != nil {
		return fmt.Errorf("pass connection to %s: %w", path, err)
	}
	defer f.Close() // a copy
	conn, err := ipc.Dial(path, timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	for name, value := range said {
		conn.Out().Str(name, value)
	}
	conn.Out().End()
	if err := conn.SendFile(f); err != nil {
		return fmt.Errorf("pass connection to %s: %w", path, err)
	}
	return nil
}

// triggered reads trigger requests and serves them, one at a time: what a
// client wrote at once is one request. The first must come soon.
func (r *running) triggered(ctx context.Context, conn *ipc.Conn) {
	conn.SetTimeout(triggerTime)
	for conn.Await() == nil {
		request, _ := conn.R.Peek(conn.R.Buffered()) // they are in the buffer
		whole := len(request)
		if whole == conn.R.Size() {
			// The last of several may have been cut: take whole lines.
			if i := bytes.LastIndexByte(request, '\n'); i >= 0 {
				whole = i + 1
			}
		}
		cut := len(request) - whole
		r.serial.Lock()
		r.svc.trigger(ctx, request[:whole])
		r.serial.Unlock()
		_, _ = conn.R.Discard(whole) // they are in the buffer
		if cut > 0 {
			_, _ = conn.R.Peek(cut + 1) // its end is on the way; an error leaves what there is
		}
		conn.SetTimeout(r.ipcTimeout)
	}
}

// read serves a datagram socket or a FIFO until the process leaves.
func (r *running) read(s *socket) {
	defer r.accepting.Done()
	buf := make([]byte, maxDatagram)
	for {
		if s.wait() != nil || r.leaving.Load() {
			// What came last may be for a process that does not come any more.
			_, _ = r.readAll(s, buf) // nothing is read after an error
			return
		}
		r.changed() // the next process is on its way; we serve until it is there
		n, err := r.readAll(s, buf)
		switch {
		case err != nil:
			r.env.Log.Warning("%v", err)
			r.pause(acceptPause)
		case n < restBelow && r.svc.Rest > 0:
			rest(r.svc.Rest)
		}
	}
}

// rest sleeps without the runtime's knowledge: with it, the poller would wake
// up for each datagram that comes meanwhile. A signal may end it early.
func rest(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}

// readAll serves the datagrams that wait in a socket, or a piece of a FIFO,
// and returns their number.
func (r *running) readAll(s *socket, buf []byte) (served int, err error) {
	if r.svc.Drained != nil {
		defer r.svc.Drained()
	}
	for served < maxDrain {
		n, err := s.read(buf)
		if err != nil || n == 0 {
			return served, err
		}
		r.packet(buf[:n])
		served++
		if r.env.Type == "fifo" {
			break
		}
	}
	return served, nil
}

// packet serves one datagram or one piece of a FIFO.
func (r *running) packet(p []byte) {
	r.slots.add()
	defer r.slots.release()
	r.serial.Lock()
	defer r.serial.Unlock()
	defer func() { r.env.panicked("datagram", recover()) }()
	if r.svc.datagram != nil {
		r.svc.datagram(r.ctx, p)
	} else {
		r.svc.trigger(r.ctx, p)
	}
}

// wake serves master's wakeup timer.
func (r *running) wake() {
	r.slots.add()
	defer r.slots.release()
	r.serial.Lock()
	defer r.serial.Unlock()
	defer func() { r.env.panicked("wakeup", recover()) }()
	switch {
	case r.svc.Wake != nil:
		r.svc.Wake(r.ctx)
	case r.svc.trigger != nil:
		r.svc.trigger(r.ctx, []byte("W"))
	}
}
