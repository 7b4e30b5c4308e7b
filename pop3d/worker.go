package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"postroad/libmail/conf"
	"postroad/libmail/ipc"
	"postroad/libmail/maillog"
	"postroad/libmail/privs"
	"postroad/libmail/proto"
	"postroad/libmail/server"
)

// idleLimit is how long a worker without sessions waits for the next one.
const idleLimit = time.Minute

// A worker serves the sessions of the users of one uid.
type worker struct {
	log    *maillog.Logger
	format string // pop3_uidl_format

	mu       sync.Mutex
	sessions int
	idle     *time.Timer
}

// work is the program after login. It ends when userd has no more clients for
// it and the last session is over.
func work(args []string) {
	w := &worker{}
	if err := w.run(args); err != nil {
		fmt.Fprintf(os.Stderr, "pop3d: fatal: %v\n", err)
		os.Exit(1)
	}
}

func (w *worker) run(args []string) error {
	if len(args) != 2 || args[0] != "-c" {
		return errors.New("usage: pop3d -w -c directory; it is started by userd")
	}
	c, err := conf.Load(args[1])
	if err != nil {
		return err
	}
	w.log = server.OpenLog(c, "pop3d")
	w.format = c.String("pop3_uidl_format")
	conn, err := privs.HelperConn()
	if err != nil {
		return err
	}
	in := ipc.NewConn(conn, 0)
	w.idle = time.AfterFunc(idleLimit, func() { w.leave(in) })
	var all sync.WaitGroup
	err = proto.ServeHandover(in, func(h *proto.Handover, f *os.File) error {
		s, err := net.FileConn(f)
		f.Close() // FileConn made a copy
		if err != nil {
			return err
		}
		w.enter(1)
		all.Go(func() {
			defer w.enter(-1)
			w.session(h, s)
		})
		return nil
	})
	all.Wait()
	return err
}

// enter counts sessions; the last one starts the clock.
func (w *worker) enter(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions += n
	if w.sessions == 0 {
		w.idle.Reset(idleLimit)
	}
}

// leave closes the socket to userd, which then starts another worker for the
// next client, unless a session has begun meanwhile.
func (w *worker) leave(in *ipc.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sessions == 0 {
		in.Shutdown()
	}
}

// session serves one client. A bug of ours ends this session and no other.
func (w *worker) session(h *proto.Handover, c net.Conn) {
	defer c.Close() // everything was flushed, or can't be
	defer func() {
		if p := recover(); p != nil {
			w.log.Panic("session of %s: %v", h.User, p)
		}
	}()
	s := &session{log: w.log, user: h.User, format: w.format, conn: c}
	s.in.Reset(io.MultiReader(bytes.NewReader(h.Buffered), c))
	s.out.Reset(c)
	kind, path, _ := strings.Cut(h.Mail, ":")
	if kind != "maildir" {
		w.log.Warning("user %s: mail location %s: only maildir: can be read by POP3", h.User, h.Mail)
		s.say("-ERR [SYS/PERM] This mailbox can't be read by POP3.")
		_ = s.out.Flush() // the client may be gone
		return
	}
	s.serve(path, h.Greeting)
}
