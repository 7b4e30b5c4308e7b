package main

import (
	"bufio"
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

// idleLimit is how long a worker without sessions waits for the next one. Its
// mailboxes stay open meanwhile, for clients that come again and again.
const idleLimit = 5 * time.Minute

// A worker serves the sessions of the users of one uid.
type worker struct {
	log   *maillog.Logger
	limit int64 // message_size_limit
	watch *watcher

	mu       sync.Mutex
	sessions int
	idle     *time.Timer
	users    map[string]*user // by name and Maildir
}

// work is the program after login. It ends when userd has no more clients for
// it and the last session is over.
func work(args []string) {
	w := &worker{}
	if err := w.run(args); err != nil {
		fmt.Fprintf(os.Stderr, "imapd: fatal: %v\n", err)
		os.Exit(1)
	}
}

func (w *worker) run(args []string) error {
	if len(args) != 2 || args[0] != "-c" {
		return errors.New("usage: imapd -w -c directory; it is started by userd")
	}
	c, err := conf.Load(args[1])
	if err != nil {
		return err
	}
	w.log = server.OpenLog(c, "imapd")
	w.limit = c.Size("message_size_limit")
	w.users = map[string]*user{}
	if w.watch, err = newWatcher(); err != nil {
		w.log.Warning("inotify: %v; news come late", err)
	}
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
	for _, u := range w.users {
		u.close()
	}
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

// user finds or opens the mail of a user.
func (w *worker) user(h *proto.Handover, root string) (*user, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := h.User + "\x00" + root
	if u := w.users[key]; u != nil {
		return u, nil
	}
	u, err := openUser(h.User, root, w.watch, w.log)
	if err != nil {
		return nil, err
	}
	u.quota, u.limit = parseQuota(h.Quota), w.limit
	w.users[key] = u
	return u, nil
}

// session serves one client. A bug of ours ends this session and no other.
func (w *worker) session(h *proto.Handover, c net.Conn) {
	defer c.Close() // everything was flushed, or can't be
	defer func() {
		if p := recover(); p != nil {
			w.log.Panic("session of %s: %v", h.User, p)
		}
	}()
	kind, path, _ := strings.Cut(h.Mail, ":")
	problem := "[UNAVAILABLE] The mail can't be opened now."
	if kind == "maildir" {
		u, err := w.user(h, path)
		if err == nil {
			in := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(h.Buffered), c), 8<<10)
			newSession(u, c, in).serve(h.Greeting)
			return
		}
		w.log.Warning("user %s: open mail: %v", h.User, err)
	} else {
		w.log.Warning("user %s: mail location %s: only maildir: can be read by IMAP", h.User, h.Mail)
		problem = "[CANNOT] This mailbox can't be read by IMAP."
	}
	out := newOutput(c)
	out.line(h.Greeting, " NO ", problem)
	out.line("* BYE ", problem)
	_ = out.Flush() // the client may be gone
}
